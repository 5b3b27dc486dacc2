//! `Broker::publishBatch()`: sends a list of messages and waits for their acknowledgement.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ext_php_rs::types::{ZendClassObject, ZendHashTable, Zval};

use super::arguments::{self, CallError};
use super::broker::Broker;
use super::message::{encode_data, Message};
use super::{arrays, exceptions, json, publish, zend};
use crate::error::{Error, Kind};
use crate::message::Message as Inner;

/// Sends all messages, then waits for their acknowledgement. If an entry cannot be sent, a BatchException with its
/// index and reason is thrown; the entries before it are queued.
pub fn publish(broker: &Broker, messages: &Zval, flush: Duration) -> Result<Zval, CallError> {
    let list = arguments::array(messages, "Broker::publishBatch(): Argument #1 ($messages)")?;
    let sender = broker.sender()?;
    let started = Instant::now();
    let (mut queued, mut failed) = (0_u64, 0_u64);
    let counters = &crate::process::current().counters;
    let before = counters.failed.load(Ordering::Acquire);
    for (place, (_, entry)) in arrays::entries(list).iter().enumerate() {
        let sent = prepare(place, entry).and_then(|(channel, message, key, headers)| {
            publish::publish(&sender, &channel, &message, key.as_deref(), headers)
        });
        sent.map_err(|why| exceptions::in_batch(place, why))?;
        queued += 1;
        if zend::has_exception() {
            return Err(CallError::Pending);
        }
    }
    if !publish::wait_for_acks(&sender.producer, Instant::now() + flush) {
        failed += sender.producer.waiting();
    }
    if zend::has_exception() {
        return Err(CallError::Pending);
    }
    let after = counters.failed.load(Ordering::Acquire);
    failed += after - before;
    let elapsed = started.elapsed().as_secs_f64();
    #[allow(clippy::cast_precision_loss)] // a rate
    let delivered = queued.saturating_sub(failed) as f64;
    totals(
        queued,
        failed,
        elapsed * 1000.0,
        if elapsed > 0.0 {
            delivered / elapsed
        } else {
            0.0
        },
    )
    .map_err(|error| Error::new(Kind::Encoding, error.to_string()).into())
}

type Prepared = (String, Inner, Option<Vec<u8>>, Vec<crate::message::Header>);

fn prepare(place: usize, entry: &Zval) -> Result<Prepared, CallError> {
    let here = format!("Broker::publishBatch(): entry {place} of $messages");
    if let Some(object) = entry.object() {
        let message = ZendClassObject::<Message>::from_zend_obj(object);
        if let Some(inner) = message.map(|message| Inner::clone(&message.inner)) {
            let channel = inner.channel().map(str::to_owned).ok_or_else(|| {
                Error::channel(format!(
                    "{here} has no channel. Pass one to Message::event()."
                ))
            })?;
            return Ok((channel, inner, None, Vec::new()));
        }
    }
    let wrong = || {
        arguments::type_error(
            &here,
            "Toporia\\Realtime\\Message|array{channel, event, data, key?, headers?}",
            entry,
        )
    };
    let row = entry.array().ok_or_else(wrong)?;
    let column = |number: i64, name: &str| {
        row.get_index(number)
            .or_else(|| row.get(name))
            .map(Zval::dereference)
    };
    let channel = arguments::channel(column(0, "channel").ok_or_else(wrong)?, &here)?;
    let event = arguments::event(column(1, "event").ok_or_else(wrong)?, &here)?;
    let key = arguments::optional(column(3, "key"), |key| arguments::bytes(key, &here))?;
    let headers = arguments::record_headers(column(4, "headers"), &here)?;
    crate::topic::validate_channel(&channel)?;
    let inner = json::with_buffer(|bytes| {
        let has_data = encode_data(column(2, "data"), bytes)?;
        Ok::<_, CallError>(Inner::new(
            Some(&channel),
            &event,
            has_data.then_some(bytes.as_slice()),
        ))
    })?;
    Ok((channel.into_owned(), inner, key, headers))
}

fn totals(queued: u64, failed: u64, time: f64, throughput: f64) -> ext_php_rs::error::Result<Zval> {
    let mut all = ZendHashTable::new();
    all.insert("queued", i64::try_from(queued).unwrap_or(i64::MAX))?;
    all.insert("failed", i64::try_from(failed).unwrap_or(i64::MAX))?;
    all.insert("total_time_ms", time)?;
    all.insert("throughput", throughput)?;
    let mut value = Zval::new();
    value.set_hashtable(all);
    Ok(value)
}
