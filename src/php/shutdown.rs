//! How consuming ends: dead letters, a fatal error in a callback, `close()`.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::arguments::CallError;
use super::broker::Broker;
use super::{logging, zend};
use crate::config::Delivery;
use crate::dead_letter::{self, DeadLetter, FailedRecord};
use crate::error::{Error, Kind, Result};
use crate::kafka::consumer::{Consumer, Record};
use crate::kafka::producer::pool::PRODUCERS;
use crate::kafka::transaction;
use crate::loop_guard;
use crate::runtime;
use crate::runtime::clock;

/// The record whose callback crashed was not handled; those before it were.
pub fn end_after_fatal(broker: &Broker, consumer: &Rc<Consumer>) {
    loop_guard::clear();
    broker.stop_reason.set(Some("error"));
    if consumer.is_inherited() {
        // A child forked in the callback: the record and the transaction belong to the parent.
        return;
    }
    // The crashed callback's sends must not be part of the transaction of its dead letter.
    transaction::clear();
    on_fatal_error(broker, consumer);
    broker.end_transaction();
    let committed = if broker.config.delivery == Delivery::ExactlyOnce {
        consumer.commits.commit_crash_counts(Duration::from_secs(3))
    } else {
        consumer.commits.commit_now(Duration::from_secs(3))
    };
    if let Err(error) = committed {
        runtime::error(error.message());
    }
}

/// Writes the dead letter of a record in flight.
pub fn write_dead_letter(broker: &Broker, record: &Record, letter: &DeadLetter) -> Result<()> {
    dead_letter::write(
        &broker.config,
        || Ok(broker.sender()?.producer),
        &FailedRecord::of(record),
        letter,
        record.isolated,
    )
}

/// The process ends in a callback, by `exit` or a fatal error: the attempt is counted, and after the last one the
/// record is dead-lettered, so that it does not crash every worker after this one.
pub fn on_fatal_error(broker: &Broker, consumer: &Rc<Consumer>) {
    if broker.config.delivery == Delivery::AtMostOnce {
        return;
    }
    let in_flight = consumer.assignment.records(|all| {
        let in_flight = all.in_flight();
        for record in &in_flight {
            all.crashed(record.slot, record.offset, record.counted_attempt());
        }
        in_flight
    });
    // In a list it is unknown which record crashed the callback; the next worker receives them one by one. In a
    // transaction all earlier results are aborted, so the dead letter has to wait for the next transaction.
    if let ([record], Delivery::AtLeastOnce) = (&*in_flight, broker.config.delivery) {
        let is_last = record.counted_attempt() > broker.config.max_retries;
        let is_blocked = consumer.assignment.records(|all| {
            let partition = all.assigned.at(record.slot);
            partition.is_some_and(|partition| partition.waits_before(record.offset))
        });
        // While an earlier record is waiting, this record is delivered again anyway and is dead-lettered then.
        if is_last
            && !is_blocked
            && broker.config.dlq
            && !dead_letter::is_topic(&broker.config, &record.topic)
        {
            let letter = DeadLetter {
                class: dead_letter::FATAL.to_owned(),
                reason: zend::fatal_error()
                    .unwrap_or_else(|| "the callback ended the process by exit".to_owned()),
                chain: String::new(),
                attempts: record.attempt,
                headers_only: false,
                permanent: true,
            };
            match write_dead_letter(broker, record, &letter) {
                Ok(()) => {
                    let counters = &broker.counters;
                    counters.dead_lettered.add(1);
                    let records = &consumer.assignment;
                    records.records(|all| all.complete(record.id, Instant::now));
                }
                Err(error) => runtime::error(error.message()),
            }
        }
    }
    consumer
        .assignment
        .records(|all| all.requeue_all(Instant::now()));
}

/// `Broker::close()`. While consuming or polling it takes effect after the current record.
pub fn close(broker: &Broker) -> std::result::Result<(), CallError> {
    loop_guard::set_polled(false);
    broker.closing.set(true);
    if broker.consuming.get() || broker.polling.get() {
        broker.stop.request();
        return Ok(());
    }
    broker.leave();
    let config = &broker.config;
    let clients = PRODUCERS.current().all();
    let ours = clients
        .iter()
        .filter(|client| client.config().producer_key() == config.producer_key());
    let until = Instant::now() + Duration::from_millis(config.shutdown_flush_ms);
    for client in ours {
        if !client.wait_for_delivery(until) {
            let left = client.waiting();
            return Err(Error::new(
                Kind::Delivery,
                format!(
                    "{left} message(s) to {} are not acknowledged yet. Realtime::flush() waits for them and lists \
                    those that failed.",
                    config.brokers
                ),
            )
            .into());
        }
    }
    Ok(())
}

/// Sends, spools or logs what is queued, as at the end of the process. The clients stay open: `pcntl_exec()` may fail.
pub fn flush_before_exec() {
    let clients = PRODUCERS.current().all();
    let waiting = clients.iter().filter(|client| client.waiting() > 0);
    let Some(bound) = waiting
        .map(|client| client.config().shutdown_flush_ms)
        .max()
    else {
        return;
    };
    clock::within(Duration::from_millis(bound), || {
        PRODUCERS
            .current()
            .drain(Instant::now(), Duration::from_secs(2));
    });
    logging::deliver();
}
