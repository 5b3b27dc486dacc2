//! `consume()` of a broker, and `pause()`, `resume()` and `seek()`.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use ext_php_rs::exception::PhpException;
use ext_php_rs::types::Zval;
use ext_php_rs::zend::{bailout, ce, try_catch, CatchError};

use super::arguments::{self, CallError};
use super::broker::Broker;
use super::handler::PhpHandler;
use super::shutdown::end_after_fatal;
use super::{logging, metrics, retry, signals, zend};
use crate::config::Delivery;
use crate::error::Error;
use crate::kafka::consumer::Position;
use crate::kafka::transaction::{self, TransactionalConsumer};
use crate::loop_guard;
use crate::retry::CircuitPolicy;
use crate::runtime::clock;
use crate::worker::{DeliveryMode, Limits, PendingDeadLetters, Worker};

/// Refuses to consume or poll where the subscriptions or the configuration do not allow it.
pub fn check(broker: &Broker, pull: bool) -> Result<(), Error> {
    let method = if pull { "poll" } else { "consume" };
    if broker.consuming.get() || broker.polling.get() {
        return Err(Error::configuration(format!(
            "Broker::{method}(): this broker is consuming already. Use a second Broker inside a callback."
        )));
    }
    let subscriptions = broker.subscriptions.borrow();
    if subscriptions.is_empty() {
        return Err(Error::configuration(format!(
            "Broker::{method}(): there is no subscription. Call subscribe() first."
        )));
    }
    if subscriptions.is_pull() != pull {
        return Err(Error::configuration(if pull {
            "Broker::poll(): the subscriptions have callbacks, so consume() runs them. For poll(), subscribe without \
            a callback."
        } else {
            "Broker::consume(): the subscriptions have no callbacks. Pass one to subscribe(), or use poll()."
        }));
    }
    if pull && broker.config.delivery != Delivery::AtLeastOnce {
        return Err(Error::configuration(format!(
            "Broker::poll() is at-least-once, as it waits for ack(): it cannot be {}. Use consume(), or set \
            'delivery' of broker \"{}\" to \"at-least-once\".",
            broker.config.delivery.as_str(),
            broker.config.name
        )));
    }
    Ok(())
}

pub fn run(broker: &Broker, this: &Zval, limits: Limits) -> Result<i64, CallError> {
    check(broker, false)?;
    metrics::start_monitoring()?;
    let consumer = broker.consumer(limits.when_empty)?;
    let transaction = broker.transaction()?;
    broker.register();
    consumer
        .assignment
        .records(|all| all.requeue_all(Instant::now()));
    consumer.begin();
    clock::cancel_shutdown();
    if signals::SignalHandlers::any_installed() {
        // A gateway installed its signal handlers earlier: a signal received before this call stops the loop
        // immediately.
        broker.stop.clear_request();
    } else {
        broker.stop.reset();
    }
    broker.stop_reason.set(None);
    broker.consuming.set(true);
    let saved = transaction::save_current();
    let handlers = signals::SignalHandlers::install();
    let php = PhpHandler::new(broker, this);
    let transactions = transaction
        .as_ref()
        .map(|transaction| TransactionalConsumer {
            consumer: &consumer,
            transaction,
        });
    // A fatal error in a callback is a longjmp out of everything below. It is caught here, so that handled records are
    // committed.
    let caught = try_catch(AssertUnwindSafe(|| {
        Worker {
            source: &*consumer,
            handler: &php,
            subscriptions: &broker.subscriptions,
            topics: &broker.config.topics,
            delivery: match (broker.config.delivery, &transactions) {
                (Delivery::AtMostOnce, _) => DeliveryMode::AtMostOnce,
                (_, Some(transactions)) => DeliveryMode::ExactlyOnce(transactions),
                _ => DeliveryMode::AtLeastOnce,
            },
            limits,
            stop: &broker.stop,
            counters: &broker.counters,
            pending_dead_letters: PendingDeadLetters::default(),
            circuit: CircuitPolicy {
                failures: broker.config.circuit_failures,
                backoff: retry::configured(&broker.config),
            },
        }
        .run()
    }));
    broker.stop.release();
    drop(handlers);
    broker.counters.timing.liveness.stop();
    metrics::update_group_stats(
        broker,
        crate::monitoring::MONITORING.current().is_exported(),
    );
    broker.consuming.set(false);
    saved.restore();
    logging::deliver();
    let ended = match caught {
        Ok(ended) => ended,
        Err(CatchError::Bailout) => {
            end_after_fatal(broker, &consumer);
            // SAFETY: continues the engine's own bailout; no value that needs to be dropped is left on the stack.
            unsafe { bailout() }
        }
        Err(error) => {
            loop_guard::clear();
            consumer
                .assignment
                .records(|all| all.requeue_all(Instant::now()));
            return Err(PhpException::new(
                format!("Rust panic while consuming: {error}"),
                0,
                ce::error(),
            )
            .into());
        }
    };
    if ended.is_err() && broker.config.delivery == Delivery::ExactlyOnce {
        // The next consume() starts a new transaction, also where Kafka has refused this one permanently. An exit
        // counts as an attempt of its record.
        broker.end_transaction();
        if zend::is_exiting() && !consumer.is_inherited() {
            drop(consumer.commits.commit_crash_counts(Duration::from_secs(3)));
        }
    }
    if broker.closing.get() {
        broker.leave();
    }
    match ended {
        Ok((handled, reason)) => {
            broker.stop_reason.set(Some(reason.as_str()));
            Ok(i64::try_from(handled).unwrap_or(i64::MAX))
        }
        Err(why) => {
            broker.stop_reason.set(Some("error"));
            Err(why.into())
        }
    }
}

fn partition_number(partition: i64, method: &str) -> Result<i32, Error> {
    i32::try_from(partition)
        .ok()
        .filter(|number| *number >= 0)
        .ok_or_else(|| {
            Error::configuration(format!(
                "Broker::{method}(): $partition must be 0 or more, {partition} given."
            ))
        })
}

/// `pause()` and `resume()`. Does nothing before partitions are assigned.
pub fn set_paused(
    broker: &Broker,
    topic: Option<&Zval>,
    partition: Option<&Zval>,
    paused: bool,
    method: &str,
) -> Result<(), CallError> {
    let place = format!("Broker::{method}(): Argument #1 ($topic)");
    let topic = arguments::optional(topic, |topic| arguments::channel(topic, &place))?;
    let place = format!("Broker::{method}(): Argument #2 ($partition)");
    let partition = arguments::optional_int(partition, &place)?
        .map(|partition| partition_number(partition, method))
        .transpose()?;
    if let Some(consumer) = broker.running_consumer() {
        consumer
            .assignment
            .set_paused(topic.as_deref(), partition, paused);
    }
    Ok(())
}

pub fn seek(
    broker: &Broker,
    topic: &Zval,
    partition: &Zval,
    position: &Zval,
) -> Result<(), CallError> {
    let topic = arguments::channel(topic, "Broker::seek(): Argument #1 ($topic)")?;
    let partition = partition_number(
        arguments::int(partition, "Broker::seek(): Argument #2 ($partition)")?,
        "seek",
    )?;
    let position = read(position)?;
    let consumer = broker.running_consumer().ok_or_else(|| {
            Error::configuration(
                "Broker::seek(): no partition is assigned yet. Call seek() in the callback of onAssigned().",
            )
    })?;
    consumer.assignment.seek(&topic, partition, position)?;
    Ok(())
}

fn read(position: &Zval) -> Result<Position, CallError> {
    let position = position.dereference();
    let wrong = || {
        CallError::from(Error::configuration(
            "Broker::seek(): $position must be an offset of 0 or more, 'beginning', 'end', or a DateTimeInterface.",
        ))
    };
    if let Some(offset) = position.long() {
        return if offset >= 0 {
            Ok(Position::Offset(offset))
        } else {
            Err(wrong())
        };
    }
    if let Some(word) = position.zend_str().and_then(|word| word.as_str().ok()) {
        return match word {
            "beginning" => Ok(Position::Beginning),
            "end" => Ok(Position::End),
            digits => match digits.parse() {
                Ok(offset) if offset >= 0 => Ok(Position::Offset(offset)),
                _ => Err(wrong()),
            },
        };
    }
    moment(position)?.map(Position::Time).ok_or_else(wrong)
}

/// The milliseconds since 1970 of a DateTimeInterface; `None` for anything else.
fn moment(value: &Zval) -> Result<Option<i64>, CallError> {
    if value.object().is_none() {
        return Ok(None);
    }
    // Seconds and milliseconds as `Uv` formats them: `format()` exists in every DateTimeInterface.
    let time = value.try_call_method("format", vec![&"Uv"]);
    if zend::has_exception() {
        return Err(CallError::Pending);
    }
    let time = time.ok().and_then(|time| time.string());
    Ok(time.and_then(|time| time.parse().ok()))
}

/// A time in milliseconds since 1970, from whole seconds or a DateTimeInterface.
pub fn time(value: &Zval, place: &str) -> Result<i64, CallError> {
    let value = value.dereference();
    let seconds = value
        .long()
        .or_else(|| value.zend_str()?.as_str().ok()?.parse::<i64>().ok());
    let ms = match seconds {
        Some(seconds) => seconds.checked_mul(1000),
        None => moment(value)?,
    };
    ms.filter(|ms| *ms >= 0).ok_or_else(|| {
        Error::configuration(format!(
            "{place} must be Unix seconds from 0, or a DateTimeInterface since 1970."
        ))
        .into()
    })
}
