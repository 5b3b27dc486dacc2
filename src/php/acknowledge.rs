//! `ack()` and `nack()` of a broker.

use std::rc::Rc;
use std::time::{Duration, Instant};

use ext_php_rs::exception::PhpException;
use ext_php_rs::types::Zval;

use super::arguments::CallError;
use super::broker::{place, Broker};
use super::handler::PhpHandler;
use super::message::Message;
use super::poll::{self, isolate_refused};
use super::retry::{self, Decision, FailureKind};
use super::zend;
use crate::dead_letter::{self, DeadLetter, FailedRecord};
use crate::error::Error;
use crate::kafka::consumer::records::Attempt;
use crate::kafka::consumer::Consumer;
use crate::message::Origin;
use crate::retry::RetryStrategy;
use crate::runtime::clock;
use crate::worker::{refused_dead_letter, Handler};

/// Signal handlers run at this interval.
const SLICE: Duration = Duration::from_millis(100);
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
            "Broker::ack(): this broker is not consuming; the message was received by another Broker.",
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
        let consumer = broker.consumer.borrow().clone();
        let consumer = consumer.filter(|consumer| !consumer.is_inherited());
        Ok(consumer.map(|consumer| Self {
            broker,
            this,
            message,
            origin,
            consumer,
        }))
    }

    /// It has no result yet, and does not wait for its redelivery.
    fn is_open(&self) -> bool {
        let (topic, partition, offset) = &place(self.origin);
        self.consumer.is_in_progress(topic, *partition, *offset)
            && !self.consumer.waits_for_retry(topic, *partition, *offset)
    }

    fn is_isolated(&self) -> bool {
        poll::is_isolated(&self.consumer, &place(self.origin))
    }

    /// The results of a message that was handed out alone.
    fn results(&self) -> Result<Results, CallError> {
        let place = place(self.origin);
        let (topic, partition, offset) = &place;
        let isolated = self.is_isolated();
        let alone = isolated || self.broker.polled.borrow().is_single(&place);
        if !alone || !self.consumer.is_in_progress(topic, *partition, *offset) {
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
            match Consumer::callback_results(
                Instant::now() + left.map_or(SLICE, |left| left.min(SLICE)),
            ) {
                Ok(true) => return Ok(Results::Accepted),
                Err(error) if error.is_permanent() => return Ok(Results::Refused(error)),
                Err(error) => {
                    self.consumer.read_again(false);
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
            self.consumer.reject(message, attempt, wait);
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
        let was_handled = self.consumer.was_handled(topic, *partition, *offset);
        if self.consumer.acknowledge(topic, *partition, *offset) {
            if !was_handled {
                self.broker.counters.handled.add(1);
            }
            isolate_refused(self.consumer.commit_soon())?;
        }
        Ok(())
    }
}
