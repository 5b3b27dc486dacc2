//! PHP as the handler of a worker: records become Messages, callbacks are called, signals get their turn.

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::time::Duration;

use ext_php_rs::exception::PhpException;
use ext_php_rs::types::{ZendHashTable, Zval};

use super::arguments;
use super::broker::Broker;
use super::callback::Callback;
use super::message::Message;
use super::{lifecycle, signals, zend};
use crate::clock::coarse_ms;
use crate::dispatch::Subscription;
use crate::error::{Error, Kind, Result};
use crate::kafka::consumer::assignment::{TopicPartition, Watcher};
use crate::kafka::consumer::Record;
use crate::kafka::dead_letter;
use crate::kafka::producer::Outgoing;
use crate::loop_guard::InHand;
use crate::message::{headers, Scanned};
use crate::record::{Message as Inner, Origin};
use crate::worker::Handler;

/// Why PHP wants to stop.
pub enum Abort {
    /// An exception is on its way through the engine; `exit` is one of them.
    Pending,
    /// One of ours, still to be thrown.
    Error(Error),
}

/// PHP's signal handlers and the log get their turn this often.
const BREATH_MS: u64 = 50;

/// The callbacks that are not about records.
#[derive(Default)]
pub struct Hooks {
    assigned: RefCell<Option<Rc<Callback>>>,
    revoked: RefCell<Option<Rc<Callback>>>,
    tick: RefCell<Option<Rc<Callback>>>,
    every_ms: Cell<u64>,
    ticked: Cell<Option<u64>>,
    breathed: Cell<Option<u64>>,
    in_tick: Cell<bool>,
}

fn callback(value: &Zval, place: &str) -> Result<Rc<Callback>, PhpException> {
    Callback::new(value)
        .map(Rc::new)
        .ok_or_else(|| arguments::type_error(place, "callable", value))
}

impl Hooks {
    /// `onAssigned()`.
    pub fn set_assigned(&self, value: &Zval, place: &str) -> Result<(), PhpException> {
        let old = self.assigned.replace(Some(callback(value, place)?));
        drop(old);
        Ok(())
    }

    /// `onRevoked()`.
    pub fn set_revoked(&self, value: &Zval, place: &str) -> Result<(), PhpException> {
        let old = self.revoked.replace(Some(callback(value, place)?));
        drop(old);
        Ok(())
    }

    /// `onTick()`.
    pub fn set_tick(&self, value: &Zval, every: Duration, place: &str) -> Result<(), PhpException> {
        let old = self.tick.replace(Some(callback(value, place)?));
        drop(old);
        self.every_ms
            .set(u64::try_from(every.as_millis()).unwrap_or(u64::MAX));
        Ok(())
    }

    /// The callables, for the garbage collector.
    pub fn show(&self, list: &mut Vec<ManuallyDrop<Zval>>) {
        for hook in [&self.assigned, &self.revoked, &self.tick] {
            if let Ok(hook) = hook.try_borrow() {
                list.extend(hook.iter().map(|hook| hook.look()));
            }
        }
    }
}

/// A broker that is consuming, with its `$this`.
pub struct PhpHandler<'a> {
    /// The broker.
    pub broker: &'a Broker,
    /// Its object.
    pub this: &'a Zval,
}

/// The message of a record.
pub fn message(record: &Record, envelope: Option<&Scanned<'_>>) -> Rc<Inner> {
    let origin = Origin {
        topic: Rc::clone(&record.topic),
        partition: record.partition,
        offset: record.offset,
        attempt: record.attempt,
        timestamp_ms: if envelope.is_some() {
            -1
        } else {
            record.timestamp_ms()
        },
    };
    Rc::new(Inner::from_record(
        record.value(),
        record.key(),
        record.headers(),
        envelope,
        origin,
    ))
}

impl PhpHandler<'_> {
    /// A record that another group asked to have again.
    fn is_for_others(&self, message: &Inner) -> bool {
        let wanted = message
            .headers
            .iter()
            .find(|(name, _)| name == headers::REPLAY_GROUP);
        wanted.is_some_and(|(_, group)| {
            group.as_deref() != Some(self.broker.config.consumer_group.as_bytes())
        })
    }

    fn hold(&self, messages: &[Rc<Inner>]) -> InHand {
        match messages {
            // Held all the same: what is sent meanwhile belongs to these records.
            _ if !self.broker.config.loop_guard => InHand::many(Vec::new()),
            [one] => InHand::one(Rc::clone(one)),
            many => InHand::many(many.to_vec()),
        }
    }

    fn tick(&self, now: u64) -> Result<(), Abort> {
        let hooks = &self.broker.hooks;
        let due = hooks
            .ticked
            .get()
            .is_none_or(|last| now.saturating_sub(last) >= hooks.every_ms.get());
        let hook = hooks.tick.borrow().clone();
        if let Some(hook) = hook.filter(|_| due && !hooks.in_tick.get()) {
            hooks.ticked.set(Some(now));
            hooks.in_tick.set(true);
            let went_well = hook.call(&mut [self.this.shallow_clone()]);
            hooks.in_tick.set(false);
            if !went_well {
                return Err(Abort::Pending);
            }
        }
        Ok(())
    }
}

fn partitions(list: &[TopicPartition], is_lost: Option<bool>) -> ext_php_rs::error::Result<Zval> {
    let mut all = ZendHashTable::new();
    for (topic, partition) in list {
        let mut entry = ZendHashTable::new();
        entry.insert("topic", topic.as_str())?;
        entry.insert("partition", i64::from(*partition))?;
        if let Some(is_lost) = is_lost {
            entry.insert("lost", is_lost)?;
        }
        all.push(entry)?;
    }
    let mut value = Zval::new();
    value.set_hashtable(all);
    Ok(value)
}

fn call_hook(
    hook: Option<Rc<Callback>>,
    list: &[TopicPartition],
    is_lost: Option<bool>,
) -> Result<(), Abort> {
    let Some(hook) = hook else {
        return Ok(());
    };
    let list = partitions(list, is_lost)
        .map_err(|error| Abort::Error(Error::new(Kind::Encoding, error.to_string())))?;
    if hook.call(&mut [list]) {
        Ok(())
    } else {
        Err(Abort::Pending)
    }
}

impl Watcher for PhpHandler<'_> {
    type Abort = Abort;

    fn assigned(&self, list: &[TopicPartition]) -> Result<(), Abort> {
        let hook = self.broker.hooks.assigned.borrow().clone();
        call_hook(hook, list, None)
    }

    fn revoked(&self, list: &[TopicPartition], is_lost: bool) -> Result<(), Abort> {
        let hook = self.broker.hooks.revoked.borrow().clone();
        call_hook(hook, list, Some(is_lost))
    }
}

impl Handler<Record> for PhpHandler<'_> {
    type Callback = Callback;

    fn handle(
        &self,
        subscription: &Rc<Subscription<Callback>>,
        item: &Record,
        envelope: Option<&Scanned<'_>>,
    ) -> Result<(), Abort> {
        let Some(callback) = &subscription.callback else {
            return Ok(());
        };
        let message = message(item, envelope);
        if !message.headers.is_empty() && self.is_for_others(&message) {
            return Ok(());
        }
        let _held = self.hold(std::slice::from_ref(&message));
        if callback.call(&mut [super::object(Message::new(message))]) {
            Ok(())
        } else {
            Err(Abort::Pending)
        }
    }

    fn handle_batch(
        &self,
        subscription: &Rc<Subscription<Callback>>,
        items: &[Record],
    ) -> Result<(), (usize, Abort)> {
        let Some(callback) = &subscription.callback else {
            return Ok(());
        };
        let mut messages = Vec::with_capacity(items.len());
        for item in items {
            // Envelopes were scanned when the record was routed; a list is scanned again rather than kept borrowed.
            let envelope = item
                .value()
                .and_then(|value| crate::message::scan_envelope(value).ok());
            messages.push(message(item, envelope.as_ref()));
        }
        let mut list = ZendHashTable::with_capacity(u32::try_from(messages.len()).unwrap_or(0));
        for message in &messages {
            let object = super::object(Message::new(Rc::clone(message)));
            if let Err(error) = list.push(object) {
                return Err((
                    0,
                    Abort::Error(Error::new(Kind::Encoding, error.to_string())),
                ));
            }
        }
        let mut argument = Zval::new();
        argument.set_hashtable(list);
        let _held = self.hold(&messages);
        if callback.call(&mut [argument]) {
            Ok(())
        } else {
            Err((super::exceptions::pending_batch_index(), Abort::Pending))
        }
    }

    fn reject(&self, item: &Record, reason: &Error) -> Result<()> {
        let failure = dead_letter::Failure {
            topic: &item.topic,
            partition: item.partition,
            offset: item.offset,
            timestamp_ms: item.timestamp_ms(),
            class: "Toporia\\Realtime\\Exception\\EncodingException",
            reason: reason.message(),
            attempts: 0,
        };
        dead_letter(
            self.broker,
            &failure,
            item.key(),
            item.value(),
            item.headers(),
        )
    }

    fn breathe(&self) -> Result<(), Abort> {
        zend::serve_interrupt();
        let now = coarse_ms();
        let hooks = &self.broker.hooks;
        if hooks
            .breathed
            .get()
            .is_none_or(|last| now.saturating_sub(last) >= BREATH_MS)
        {
            hooks.breathed.set(Some(now));
            signals::dispatch();
            lifecycle::deliver_log();
            self.tick(now)?;
        }
        if zend::has_exception() {
            return Err(Abort::Pending);
        }
        Ok(())
    }

    fn fail(&self, error: Error) -> Abort {
        Abort::Error(error)
    }
}

/// Writes a dead letter; the offset of its record moves on once Kafka has acknowledged it, as with everything a callback sends.
pub fn dead_letter(
    broker: &Broker,
    failure: &dead_letter::Failure<'_>,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    own: Vec<crate::kafka::producer::delivery::Header>,
) -> Result<()> {
    let place = format!(
        "topic \"{}\" partition {} offset {}",
        failure.topic, failure.partition, failure.offset
    );
    if !broker.config.dlq {
        return Err(Error::encoding(format!(
            "The record in {place} cannot be handled: {} Dead letters are off (dlq), so it stays where it is.",
            failure.reason
        )));
    }
    let topic = dead_letter::topic(&broker.config, failure.topic);
    let headers = dead_letter::headers(own, &broker.config.consumer_group, failure);
    let id = crate::ids::new_id();
    let letter = Outgoing {
        id: &id,
        topic: &topic,
        partition: None,
        key,
        value,
        headers: &headers,
        timestamp_ms: 0,
    };
    let producer = broker.sender()?.producer;
    producer.owe();
    crate::process::current().log.say(
        crate::log::Level::Warning,
        format!(
            "Dead letter in \"{topic}\": the record in {place} ({}).",
            failure.reason
        ),
    );
    match producer.send(&letter) {
        // With our headers it is larger than the original was: keep at least where to find that.
        Err(error) if error.kind() == Kind::MessageTooLarge => producer.send(&Outgoing {
            value: None,
            ..letter
        }),
        other => other,
    }
}
