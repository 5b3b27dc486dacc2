//! `poll()` of a broker.

use std::rc::Rc;
use std::time::{Duration, Instant};

use ext_php_rs::types::Zval;

use super::arguments::CallError;
use super::broker::{Broker, Place};
use super::consume::check;
use super::handler::PhpHandler;
use super::message::Message;
use super::received;
use crate::dispatch::Route;
use crate::error::Error;
use crate::kafka::consumer::records::Attempt;
use crate::kafka::consumer::{Consumer, Record};
use crate::loop_guard;
use crate::message::Message as Inner;
use crate::metrics::number::SingleWriterCounter;
use crate::runtime::clock;
use crate::worker::{log_isolation, Handler};

/// `poll()` lets signal handlers run at this interval.
const SLICE: Duration = Duration::from_millis(100);

pub fn is_isolated(consumer: &Consumer, (topic, partition, offset): &Place) -> bool {
    consumer.is_isolated(topic, *partition, *offset)
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
        broker.register();
    }
    let php = PhpHandler::new(broker, this);
    let until = Instant::now() + timeout;
    // From here until the next poll(), sends are attributed to the message that is returned.
    loop_guard::set_polled(true);
    loop {
        let round = clock::coarse_ms();
        broker.counters.timing.liveness.loop_tick(round);
        php.poll_interrupts(round)?;
        if broker.closing.get() {
            return Ok(None);
        }
        consumer.serve_events(&php)?;
        if broker.closing.get() {
            return Ok(None);
        }
        if let Some(error) = consumer.take_fatal_error() {
            return Err(error.into());
        }
        isolate_refused(consumer.commit_if_due(round))?;
        let awaits_ack = awaits_ack(broker, &consumer);
        if !awaits_ack {
            if let Some(message) = next_message(&php, &consumer)? {
                return Ok(Some(super::object(Message::new(message))));
            }
        }
        let now = Instant::now();
        if now >= until {
            return Ok(None);
        }
        if awaits_ack {
            broker.polled.borrow_mut().report_open();
            consumer.keep_alive(clock::coarse_ms());
            std::thread::sleep(SLICE.min(until - now));
            continue;
        }
        let wait = until
            .saturating_duration_since(now)
            .clamp(Duration::from_millis(1), SLICE);
        let came = consumer.fetch(wait, 100);
        if came > 0 {
            broker.counters.timing.sizes.observe(came as u64);
        }
    }
}

/// A result that Kafka refuses for good: the records since the last commit are read again one by one, which has begun.
pub fn isolate_refused(committed: Result<(), Error>) -> Result<(), Error> {
    match committed {
        Err(error) if error.is_permanent() => {
            log_isolation(&error);
            Ok(())
        }
        other => other,
    }
}

/// True while an isolated message is neither acknowledged nor rejected.
fn awaits_ack(broker: &Broker, consumer: &Consumer) -> bool {
    let mut polled = broker.polled.borrow_mut();
    let open = polled
        .isolated
        .as_ref()
        .is_some_and(|(topic, partition, offset)| {
            consumer.is_in_progress(topic, *partition, *offset)
        });
    if !open {
        polled.isolated = None;
    }
    open
}

/// The next message to hand out. Results of messages before an isolated one are settled first.
fn next_message(php: &PhpHandler<'_>, consumer: &Consumer) -> Result<Option<Rc<Inner>>, CallError> {
    loop {
        let is_first = consumer.is_committed();
        let Some(record) = consumer.next() else {
            return Ok(None);
        };
        let mut is_settled = false;
        if record.isolated || is_first {
            let wait = if record.isolated {
                SLICE
            } else {
                Duration::ZERO
            };
            let requeue = || consumer.requeue(&record, Attempt::NotMade);
            match settle(consumer, wait, requeue)? {
                Settled::Yes => is_settled = true,
                Settled::NotYet if !record.isolated => {}
                Settled::NotYet => {
                    requeue();
                    return Ok(None);
                }
                Settled::ReadAgain => return Ok(None),
            }
        }
        let Some(message) = take(php, consumer, &record)? else {
            continue;
        };
        let place = (Rc::clone(&record.topic), record.partition, record.offset);
        let mut polled = php.broker.polled.borrow_mut();
        polled.single = (is_first && is_settled).then(|| place.clone());
        polled.open(record.isolated.then_some(place));
        return Ok(Some(message));
    }
}

enum Settled {
    Yes,
    NotYet,
    /// Kafka refused one for good: the records since the last commit are read again one by one.
    ReadAgain,
}

/// Waits for the results of earlier messages, so that a refusal from here on belongs to the next one.
fn settle(
    consumer: &Consumer,
    wait: Duration,
    requeue: impl FnOnce(),
) -> Result<Settled, CallError> {
    match Consumer::callback_results(Instant::now() + wait) {
        Ok(true) => Ok(Settled::Yes),
        Ok(false) => Ok(Settled::NotYet),
        Err(error) => {
            requeue();
            consumer.read_again(error.is_permanent());
            isolate_refused(Err(error))?;
            Ok(Settled::ReadAgain)
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
            .route(&broker.config.topics, &record.topic, record.value());
    match route {
        Route::To(_, envelope) => {
            // With Kafka's timestamp: a dead letter has it.
            let origin = received::origin(record, None);
            let message = received::message(record, envelope.as_ref(), origin);
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
