//! How consuming ends: aborting the open transaction, a fatal error in a callback, `close()`.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::arguments::CallError;
use super::broker::Broker;
use super::dead_letter;
use crate::config::Delivery;
use crate::error::{Error, Kind};
use crate::kafka::consumer::Consumer;
use crate::kafka::transaction;
use crate::loop_guard;

/// Aborts the open transaction; the next consume() starts another.
pub fn end_transaction(broker: &Broker) {
    let transaction = broker.transaction.borrow_mut().take();
    if let Some(transaction) = transaction {
        if broker.generation == crate::process::generation() {
            transaction.close();
        } else {
            std::mem::forget(transaction);
        }
    }
}

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
    dead_letter::on_fatal_error(broker, consumer);
    end_transaction(broker);
    let committed = if broker.config.delivery == Delivery::ExactlyOnce {
        consumer.commit_crash_counts(Duration::from_secs(3))
    } else {
        consumer.commit_now(Duration::from_secs(3))
    };
    if let Err(error) = committed {
        crate::process::current()
            .log
            .write(crate::log::Level::Error, error.message());
    }
}

/// `Broker::close()`. While consuming or polling it takes effect after the current record.
pub fn close(broker: &Broker) -> Result<(), CallError> {
    loop_guard::set_polled(false);
    broker.closing.set(true);
    if broker.consuming.get() || broker.polling.get() {
        broker.stop.request();
        return Ok(());
    }
    broker.leave();
    let config = &broker.config;
    let clients = crate::process::current().producers.all();
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
