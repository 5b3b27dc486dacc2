//! How consuming ends: the open transaction taken back, a fatal error in a callback, `close()`.

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

/// Takes back what is open; the next consume() begins anew.
pub fn end_transaction(broker: &Broker) {
    let transaction = broker.transaction.borrow_mut().take();
    if let Some(transaction) = transaction {
        transaction.close();
    }
}

/// The record whose callback died was not handled; those before it were.
pub fn end_after_fatal(broker: &Broker, consumer: &Rc<Consumer>) {
    loop_guard::clear();
    broker.stop_reason.set(Some("error"));
    // What it would have sent is not wanted any more, so that the letter it may become is not part of it.
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
            .say(crate::log::Level::Error, error.message());
    }
}

/// `Broker::close()`. While consuming it takes effect after the record in hand.
pub fn close(broker: &Broker) -> Result<(), CallError> {
    loop_guard::set_polled(false);
    broker.closing.set(true);
    if broker.consuming.get() {
        broker.stop.ask();
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
                    "{left} message(s) are still on their way to {}; Realtime::flush() names them.",
                    config.brokers
                ),
            )
            .into());
        }
    }
    Ok(())
}
