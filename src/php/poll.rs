//! `poll()`, `ack()` and `nack()` of a broker.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use ext_php_rs::types::Zval;

use super::arguments::CallError;
use super::broker::Broker;
use super::consume::{abort, check};
use super::handler::{self, PhpHandler};
use super::message::Message;
use super::retry::{self, Decision, FailureKind};
use super::{dead_letter, zend};
use crate::clock;
use crate::dispatch::Route;
use crate::error::Error;
use crate::kafka::consumer::records::Attempt;
use crate::kafka::consumer::{Consumer, Record};
use crate::kafka::dead_letter::Failure;
use crate::loop_guard;
use crate::message::{Message as Inner, Origin};
use crate::metrics::number::SingleWriterCounter;
use crate::retry::RetryStrategy;
use crate::worker::{Handler, Item, Source};

/// `poll()` lets signal handlers run at this interval.
const SLICE: Duration = Duration::from_millis(100);

/// Messages that were rejected, with the time of their redelivery.
#[derive(Default)]
pub struct Redelivery {
    waiting: VecDeque<(Instant, Rc<Inner>)>,
}

impl Redelivery {
    fn due(&mut self) -> Option<Rc<Inner>> {
        let now = Instant::now();
        let place = self.waiting.iter().position(|(due, _)| *due <= now)?;
        self.waiting.remove(place).map(|(_, message)| message)
    }

    fn next_due(&self) -> Option<Instant> {
        self.waiting.iter().map(|(due, _)| *due).min()
    }
}

pub fn poll(broker: &Broker, this: &Zval, timeout: Duration) -> Result<Option<Zval>, CallError> {
    check(broker, true)?;
    broker.polling.set(true);
    let result = poll_until(broker, this, timeout);
    broker.polling.set(false);
    if broker.closing.get() {
        broker.leave();
    }
    result
}

/// Polls until there is a message, the time is over, or a hook or signal handler has closed the broker.
fn poll_until(broker: &Broker, this: &Zval, timeout: Duration) -> Result<Option<Zval>, CallError> {
    let first = broker.consumer.borrow().is_none();
    if first {
        super::metrics::start_monitoring()?;
    }
    let consumer = broker.consumer(false)?;
    if first {
        super::lifecycle::register_broker(broker);
    }
    let php = PhpHandler::new(broker, this);
    let until = Instant::now() + timeout;
    // From here until the next poll(), sends are attributed to the message that is returned.
    loop_guard::set_polled(true);
    loop {
        let round = clock::coarse_ms();
        broker.counters.timing.liveness.loop_tick(round);
        php.poll_interrupts(round).map_err(abort)?;
        if broker.closing.get() {
            return Ok(None);
        }
        consumer.serve_events(&php).map_err(abort)?;
        if broker.closing.get() {
            return Ok(None);
        }
        if let Some(error) = consumer.take_fatal_error() {
            return Err(error.into());
        }
        consumer.commit_if_due(round)?;
        let again = broker.redelivery.borrow_mut().due();
        if let Some(message) = again {
            return Ok(Some(super::object(Message::new(message))));
        }
        while let Some(record) = consumer.next() {
            if let Some(message) = take(&php, &consumer, &record)? {
                return Ok(Some(super::object(Message::new(message))));
            }
        }
        let now = Instant::now();
        if now >= until {
            return Ok(None);
        }
        let next = broker
            .redelivery
            .borrow()
            .next_due()
            .unwrap_or(until)
            .min(until);
        let wait = next
            .saturating_duration_since(now)
            .min(SLICE)
            .max(Duration::from_millis(1));
        let came = Source::fetch(&*consumer, wait, 100);
        if came > 0 {
            broker.counters.timing.sizes.observe(came as u64);
        }
    }
}

/// The message of a record, unless it belongs to no subscription.
fn take(
    php: &PhpHandler<'_>,
    consumer: &Consumer,
    record: &Record,
) -> Result<Option<Rc<Inner>>, CallError> {
    let broker = php.broker;
    let counters = &broker.counters;
    let count = |total: &SingleWriterCounter| total.add(1);
    let route =
        broker
            .subscriptions
            .borrow()
            .route(&broker.config.topics, record.topic(), record.value());
    match route {
        Route::To(_, envelope) => {
            let message = handler::message(record, envelope.as_ref());
            consumer.await_ack(record);
            return Ok(Some(message));
        }
        Route::Mismatch(_) => count(&counters.mismatched),
        Route::Unclaimed => count(&counters.skipped),
        Route::NotAnEnvelope(reason) => {
            count(&counters.failures);
            if let Err(error) = php.dead_letter(record, &php.not_an_envelope(&reason)) {
                consumer.requeue(record, Attempt::Counted);
                return Err(error.into());
            }
        }
    }
    consumer.complete(record);
    Ok(None)
}

fn origin_of<'a>(message: &'a Message, method: &str) -> Result<&'a crate::message::Origin, Error> {
    message.inner.origin.as_ref().ok_or_else(|| {
        Error::configuration(format!(
            "Broker::{method}(): this message was not received from Kafka; there is nothing \
        to acknowledge."
        ))
    })
}

/// `Broker::ack()`. A message whose partition was reassigned is left to the new owner.
pub fn ack(broker: &Broker, message: &Message) -> Result<(), CallError> {
    let origin = origin_of(message, "ack")?;
    let consumer = broker.consumer.borrow().clone();
    let Some(consumer) = consumer.filter(|consumer| !consumer.is_inherited()) else {
        return Err(Error::configuration(
            "Broker::ack(): this broker is not consuming; the message was received by another Broker.",
        )
        .into());
    };
    let same = |waiting: &Inner| is_same(waiting, origin);
    broker
        .redelivery
        .borrow_mut()
        .waiting
        .retain(|(_, waiting)| !same(waiting));
    if consumer.acknowledge(&origin.topic, origin.partition, origin.offset) {
        broker.counters.handled.add(1);
        consumer.commit_soon()?;
    }
    Ok(())
}

fn is_same(waiting: &Inner, origin: &Origin) -> bool {
    waiting.origin.as_ref().is_some_and(|other| {
        other.topic == origin.topic
            && other.partition == origin.partition
            && other.offset == origin.offset
    })
}

/// `Broker::nack()`. Does nothing for a message that is acknowledged already or waits for its redelivery.
pub fn nack(broker: &Broker, message: &Message, why: Option<&Zval>) -> Result<(), CallError> {
    let origin = origin_of(message, "nack")?;
    let consumer = broker.consumer.borrow().clone();
    let open = consumer.is_some_and(|consumer| {
        consumer.is_in_progress(&origin.topic, origin.partition, origin.offset)
    });
    let waits = broker
        .redelivery
        .borrow()
        .waiting
        .iter()
        .any(|(_, waiting)| is_same(waiting, origin));
    if !open || waits {
        return Ok(());
    }
    let why = why.map(Zval::dereference).filter(|why| why.is_object());
    broker.counters.failures.add(1);
    let config = &broker.config;
    let decision = match why {
        Some(why) => retry::decide(broker, &message.inner, why).map_err(abort)?,
        None => Decision {
            wait: retry::configured(config).delay(origin.counted_attempt()),
            ..Decision::give_up(FailureKind::Other)
        },
    };
    let wait = decision.wait;
    let longest = retry::configured(config).max;
    if let Some(why) = why {
        if !broker.hooks.call_failed(&message.inner, why, decision) {
            return Err(CallError::Pending);
        }
    }
    if let Some(wait) = wait.or_else(|| (!config.dlq).then_some(longest)) {
        broker.counters.retries.add(1);
        let mut again = Inner::clone(&message.inner);
        if let Some(origin) = again.origin.as_mut() {
            origin.attempt += 1;
            if decision.kind == FailureKind::Transient {
                origin.transient += 1;
                origin.transient_since.get_or_insert_with(Instant::now);
            } else {
                origin.transient_since = None;
            }
        }
        broker
            .redelivery
            .borrow_mut()
            .waiting
            .push_back((Instant::now() + wait, again.into()));
        return Ok(());
    }
    let class = why.map(zend::class_of).unwrap_or_default();
    let reason = why.map_or_else(|| "not acknowledged (nack)".to_owned(), zend::message_of);
    let chain = why.map(zend::chain_of).unwrap_or_default();
    let failure = Failure {
        topic: &origin.topic,
        partition: origin.partition,
        offset: origin.offset,
        timestamp_ms: origin.timestamp_ms,
        class: &class,
        reason: &reason,
        chain: &chain,
        attempts: origin.attempt,
    };
    let inner = &message.inner;
    dead_letter::write(
        broker,
        &failure,
        inner.key(),
        inner.value(),
        inner.headers.clone(),
        dead_letter::Form::Whole,
    )?;
    broker.counters.dead_lettered.add(1);
    ack(broker, message)
}
