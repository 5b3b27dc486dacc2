//! `poll()`, `ack()` and `nack()` of a broker.

use std::rc::Rc;
use std::time::{Duration, Instant};

use ext_php_rs::exception::PhpException;
use ext_php_rs::types::Zval;

use super::arguments::CallError;
use super::broker::{place, Broker, Place};
use super::consume::check;
use super::handler::PhpHandler;
use super::message::Message;
use super::retry::{self, Decision, FailureKind};
use super::{message, zend};
use crate::dead_letter::{self, DeadLetter, FailedRecord};
use crate::dispatch::Route;
use crate::error::Error;
use crate::kafka::consumer::records::Attempt;
use crate::kafka::consumer::{Consumer, FetchedMessage, Record};
use crate::kafka::producer::pool::PRODUCERS;
use crate::loop_guard;
use crate::message::{Message as Inner, Origin};
use crate::metrics::number::SingleWriterCounter;
use crate::retry::RetryStrategy;
use crate::runtime::clock;
use crate::worker::{log_isolation, refused_dead_letter, Handler};

/// Signal handlers run at this interval.
const SLICE: Duration = Duration::from_millis(100);

fn is_in_progress(consumer: &Consumer, (topic, partition, offset): &Place) -> bool {
    consumer.assignment.records(|all| {
        all.assigned
            .is(topic, *partition, |one| one.is_in_progress(*offset))
    })
}

pub fn is_isolated(consumer: &Consumer, (topic, partition, offset): &Place) -> bool {
    consumer.assignment.records(|all| {
        all.assigned
            .is(topic, *partition, |one| one.is_isolated(*offset))
    })
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
        isolate_refused(consumer.commits.commit_if_due(round))?;
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
fn isolate_refused(committed: Result<(), Error>) -> Result<(), Error> {
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
        .is_some_and(|place| is_in_progress(consumer, place));
    if !open {
        polled.isolated = None;
    }
    open
}

/// The next message to hand out. Results of messages before an isolated one are settled first.
fn next_message(php: &PhpHandler<'_>, consumer: &Consumer) -> Result<Option<Rc<Inner>>, CallError> {
    loop {
        let is_first = consumer
            .assignment
            .records(|all| !all.assigned.has_uncommitted());
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
            let requeue = || requeue(consumer, &record, Attempt::NotMade);
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
    match PRODUCERS.current().callback_results(Instant::now() + wait) {
        Ok(true) => Ok(Settled::Yes),
        Ok(false) => Ok(Settled::NotYet),
        Err(error) => {
            requeue();
            consumer.assignment.read_again(error.is_permanent());
            isolate_refused(Err(error))?;
            Ok(Settled::ReadAgain)
        }
    }
}

fn requeue(consumer: &Consumer, record: &Record, attempt: Attempt) {
    let now = Instant::now();
    consumer
        .assignment
        .records(|all| all.requeue(record.id, attempt, now));
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
            let origin = message::origin_of(record, None);
            let message = message::message_of(record, envelope.as_ref(), origin);
            let records = &consumer.assignment;
            records.records(|all| all.await_ack(record.id, Instant::now));
            return Ok(Some(message));
        }
        Route::Mismatch(_) => count(&counters.mismatched),
        Route::Unclaimed => count(&counters.skipped),
        Route::NotAnEnvelope(reason) => {
            count(&counters.failures);
            if let Err(error) = php.dead_letter(record, &php.not_an_envelope(&reason)) {
                requeue(consumer, record, Attempt::Counted);
                return Err(error.into());
            }
        }
    }
    let records = &consumer.assignment;
    records.records(|all| all.complete(record.id, Instant::now));
    Ok(None)
}

/// How long `ack()` waits for the results of a message that is not isolated; a commit waits as long.
const TIMEOUT: Duration = Duration::from_millis(500);

/// A call of `ack()` or `nack()`.
struct Call<'a> {
    broker: &'a Broker,
    this: &'a Zval,
    message: &'a Message,
    origin: &'a Origin,
    consumer: Rc<Consumer>,
}

/// `Broker::ack()`. A message whose partition was reassigned is left to the new owner. Where Kafka refuses a result of
/// the message for good, that is its permanent failure.
pub fn ack(broker: &Broker, this: &Zval, message: &Message) -> Result<(), CallError> {
    let Some(call) = Call::of(broker, this, message, "ack")? else {
        return Err(Error::configuration(
            "Broker::ack(): this broker is not consuming: it was closed, or another Broker received the message.",
        )
        .into());
    };
    closing_later(broker, || match call.results()? {
        Results::Refused(error) => call.undelivered(error),
        Results::Closed => Ok(()),
        Results::Accepted => call.complete(),
    })
}

/// `Broker::nack()`. Does nothing for a message that is acknowledged already or waits for its redelivery.
pub fn nack(
    broker: &Broker,
    this: &Zval,
    message: &Message,
    why: Option<&Zval>,
) -> Result<(), CallError> {
    let call = Call::of(broker, this, message, "nack")?;
    let Some(call) = call.filter(Call::is_open) else {
        return Ok(());
    };
    closing_later(broker, || {
        // The results of an attempt that failed do not count.
        if matches!(call.results()?, Results::Closed) {
            return Ok(());
        }
        let why = why.map(Zval::dereference).filter(|why| why.is_object());
        let config = &broker.config;
        let decision = match why {
            Some(why) => retry::decide(broker, &message.inner, why)?,
            None => Decision {
                wait: retry::configured(config).delay(call.origin.counted_attempt()),
                ..Decision::give_up(FailureKind::Other)
            },
        };
        call.fail(why, decision)
    })
}

/// A hook, retry strategy or signal handler that closes the broker takes effect after the call: the message gets its
/// result first, and a closed consumer must not be used.
fn closing_later<T>(broker: &Broker, call: impl FnOnce() -> T) -> T {
    let was_polling = broker.polling.replace(true);
    let result = call();
    broker.polling.set(was_polling);
    if broker.closing.get() && !was_polling && !broker.consuming.get() {
        broker.leave();
    }
    result
}

enum Results {
    /// Acknowledged, or not known to belong to this message: the commit waits for them.
    Accepted,
    /// Kafka refused one for good.
    Refused(Error),
    /// A hook or signal handler closed the broker.
    Closed,
}

impl<'a> Call<'a> {
    /// `None` where the broker is not consuming.
    fn of(
        broker: &'a Broker,
        this: &'a Zval,
        message: &'a Message,
        method: &str,
    ) -> Result<Option<Self>, Error> {
        let origin = message.inner.origin.as_ref().ok_or_else(|| {
            Error::configuration(format!(
                "Broker::{method}(): this message was not received from Kafka; there is nothing to acknowledge."
            ))
        })?;
        Ok(broker.running_consumer().map(|consumer| Self {
            broker,
            this,
            message,
            origin,
            consumer,
        }))
    }

    /// It has no result yet, and does not wait for its redelivery.
    fn is_open(&self) -> bool {
        let place = place(self.origin);
        let (topic, partition, offset) = &place;
        let records = &self.consumer.assignment;
        is_in_progress(&self.consumer, &place)
            && !records.records(|all| all.waits_for_retry(topic, *partition, *offset))
    }

    fn is_isolated(&self) -> bool {
        is_isolated(&self.consumer, &place(self.origin))
    }

    /// The results of a message that was handed out alone.
    fn results(&self) -> Result<Results, CallError> {
        let place = place(self.origin);
        let isolated = self.is_isolated();
        let alone = isolated || self.broker.polled.borrow().is_single(&place);
        if !alone || !is_in_progress(&self.consumer, &place) {
            return Ok(Results::Accepted);
        }
        self.await_results((!isolated).then_some(TIMEOUT))
    }

    /// Waits as a member of the group, until Kafka has acknowledged or refused everything, or for `limit`.
    fn await_results(&self, limit: Option<Duration>) -> Result<Results, CallError> {
        let until = limit.map(|limit| Instant::now() + limit);
        let php = PhpHandler::new(self.broker, self.this);
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            match PRODUCERS
                .current()
                .callback_results(Instant::now() + left.map_or(SLICE, |left| left.min(SLICE)))
            {
                Ok(true) => return Ok(Results::Accepted),
                Err(error) if error.is_permanent() => return Ok(Results::Refused(error)),
                Err(error) => {
                    self.consumer.assignment.read_again(false);
                    return Err(error.into());
                }
                Ok(false) if left.is_some_and(|left| left.is_zero()) => {
                    return Ok(Results::Accepted);
                }
                Ok(false) => {}
            }
            php.poll_interrupts(clock::coarse_ms())?;
            if self.broker.closing.get() {
                return Ok(Results::Closed);
            }
            self.consumer.keep_alive(clock::coarse_ms());
            self.consumer.serve_events(&php)?;
        }
    }

    /// Kafka refuses a result of the message for good: no other attempt would help.
    fn undelivered(&self, error: Error) -> Result<(), CallError> {
        PhpException::from(error).throw();
        let Some(why) = zend::pending_object() else {
            return Err(CallError::Pending);
        };
        zend::clear_exception();
        let has_dead_letters = self.has_dead_letters();
        self.fail(Some(&why), Decision::give_up(FailureKind::Permanent))?;
        if has_dead_letters {
            return Ok(());
        }
        zend::throw(why);
        Err(CallError::Pending)
    }

    /// A record that fails in a dead-letter topic cannot be dead-lettered again.
    fn has_dead_letters(&self) -> bool {
        self.broker.config.dlq && !dead_letter::is_topic(&self.broker.config, &self.origin.topic)
    }

    /// The message is handed out again later, or becomes a dead letter.
    fn fail(&self, why: Option<&Zval>, decision: Decision) -> Result<(), CallError> {
        let (broker, message) = (self.broker, &self.message.inner);
        broker.counters.failures.add(1);
        if let Some(why) = why {
            if !broker.hooks.call_failed(message, why, decision) {
                return Err(CallError::Pending);
            }
        }
        let longest = retry::configured(&broker.config).max;
        let wait = decision
            .wait
            .or_else(|| (!self.has_dead_letters()).then_some(longest));
        if let Some(wait) = wait {
            broker.counters.retries.add(1);
            let is_transient = decision.kind == FailureKind::Transient;
            let attempt = if is_transient {
                Attempt::Transient
            } else {
                Attempt::Counted
            };
            broker.polled.borrow_mut().isolated = None;
            let rejected = FetchedMessage::Rejected(Rc::clone(message));
            let now = Instant::now();
            let records = &self.consumer.assignment;
            records.records(|all| all.reject(rejected, attempt, now, wait));
            return Ok(());
        }
        self.dead_letter(why)
    }

    fn dead_letter(&self, why: Option<&Zval>) -> Result<(), CallError> {
        let (broker, origin) = (self.broker, self.origin);
        let Some(failed) = FailedRecord::of_message(&self.message.inner) else {
            return Ok(());
        };
        let letter = DeadLetter {
            class: why.map(zend::class_of).unwrap_or_default(),
            reason: why.map_or_else(|| "not acknowledged (nack)".to_owned(), zend::message_of),
            chain: why.map(zend::chain_of).unwrap_or_default(),
            attempts: origin.attempt,
            ..DeadLetter::default()
        };
        let is_isolated = self.is_isolated();
        let producer = || Ok(broker.sender()?.producer);
        dead_letter::write(&broker.config, producer, &failed, &letter, is_isolated)?;
        if is_isolated {
            match self.await_results(None)? {
                Results::Accepted => {}
                Results::Closed => return Ok(()),
                Results::Refused(error) => {
                    let (topic, partition, offset) = place(origin);
                    let place = (topic.to_string(), partition, offset);
                    return Err(refused_dead_letter(&place, &error).into());
                }
            }
        }
        broker.counters.dead_lettered.add(1);
        self.complete()
    }

    fn complete(&self) -> Result<(), CallError> {
        let (topic, partition, offset) = &place(self.origin);
        let (was_handled, is_done) = self.consumer.assignment.records(|all| {
            let was_handled = all
                .assigned
                .is(topic, *partition, |one| one.was_handled(*offset));
            let now = Instant::now();
            (
                was_handled,
                all.acknowledge(topic, *partition, *offset, now),
            )
        });
        if is_done {
            if !was_handled {
                self.broker.counters.handled.add(1);
            }
            isolate_refused(self.consumer.commits.commit_soon())?;
        }
        Ok(())
    }
}
