//! Waits for acknowledgements with a time limit: on demand, at the end of a request, at the end of the process.
#![allow(unsafe_code)]

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka_sys as sys;

use super::{poller, Producer};
use crate::error::{Error, FailedMessage, Kind, Result};
use crate::process;

impl Producer {
    /// Waits until everything queued is acknowledged or has failed; true if nothing is left.
    pub fn wait_for_delivery(&self, until: Instant) -> bool {
        loop {
            if self.waiting() == 0 {
                // Its messages may have been handed over to another client.
                return self
                    .successor()
                    .is_none_or(|next| next.wait_for_delivery(until));
            }
            let remaining = until.saturating_duration_since(Instant::now());
            if remaining.is_zero() {
                return false;
            }
            // In slices: messages that wait for their topic are not in librdkafka's queue.
            let slice = remaining.min(Duration::from_millis(50));
            let before = Instant::now();
            // SAFETY: a live client.
            unsafe {
                sys::rd_kafka_flush(
                    self.client,
                    i32::try_from(slice.as_millis().max(1)).unwrap_or(50),
                )
            };
            if self.waiting() > 0 && before.elapsed() < Duration::from_micros(500) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Waits like [`Producer::wait_for_delivery`] and reports all failures since the last flush.
    ///
    /// # Errors
    /// Delivery, naming each message that failed or is still in flight.
    pub fn flush(&self, timeout: Duration) -> Result<()> {
        self.flush_within(timeout, timeout)
    }

    /// As [`Producer::flush`], with `rest` left of a `timeout` that the caller has already used in part.
    ///
    /// # Errors
    /// See [`Producer::flush`].
    pub fn flush_within(&self, rest: Duration, timeout: Duration) -> Result<()> {
        let delivered = self.wait_for_delivery(Instant::now() + rest);
        self.prune_journal(true);
        let (mut failed, mut count) = self.take_failures();
        if !delivered {
            let reason = format!(
                "no acknowledgement within {} ms; still queued",
                timeout.as_millis()
            );
            count += self.add_unacknowledged(&reason, &mut failed);
        }
        if count == 0 {
            return Ok(());
        }
        let advice = match self.auth_error.lock().as_deref() {
            _ if self.is_reachable() => String::new(),
            Some(detail) => format!(
                " Kafka at {} and this client do not accept each other: {detail}. Check the settings of `security`; \
                 realtime:doctor says which of them is wrong.",
                self.config.brokers
            ),
            None => format!(" Is Kafka running at {}?", self.config.brokers),
        };
        let sentence = format!("{count} message(s) were not delivered.");
        Err(Error::undelivered(&sentence, failed).and(&advice))
    }

    /// Takes the failures of this client and of those that have taken over its messages.
    pub(in crate::kafka) fn take_failures(&self) -> (Vec<FailedMessage>, u64) {
        let (mut failed, mut count) = self.failures.take();
        if let Some(next) = self.successor() {
            let (more, others) = next.take_failures();
            failed.extend(more);
            count += others;
        }
        (failed, count)
    }

    /// Adds the messages in flight, by name as far as these are stored; returns their number.
    fn add_unacknowledged(&self, reason: &str, failed: &mut Vec<FailedMessage>) -> u64 {
        {
            let topics = self.topics.lock();
            let unacknowledged = self.in_flight.unacknowledged(1000).into_iter();
            failed.extend(unacknowledged.map(|(id, topic)| FailedMessage {
                id,
                topic: topics.name(topic),
                reason: reason.to_owned(),
                kind: Kind::Connection,
                permanent: false,
            }));
        }
        let others = self
            .successor()
            .map_or(0, |next| next.add_unacknowledged(reason, failed));
        self.waiting() + others
    }

    /// The flush at the end of a request. It has a time limit, and is skipped after one that timed out until a broker
    /// responds again. With a spool, the remaining messages are spooled, because the process may be killed between
    /// requests.
    pub fn end_request(&self, bound: Duration) {
        if self.waiting() == 0 {
            return;
        }
        if self.suspended.load(Ordering::Acquire)
            && self.in_flight.broker_responded.load(Ordering::Acquire)
        {
            self.suspended.store(false, Ordering::Release);
        }
        let bound = if self.suspended.load(Ordering::Acquire) {
            Duration::ZERO
        } else {
            bound
        };
        if self.wait_for_delivery(Instant::now() + bound) {
            self.prune_journal(false);
            return;
        }
        if !self.suspended.swap(true, Ordering::AcqRel) {
            self.in_flight
                .broker_responded
                .store(false, Ordering::Release);
        }
        if self.spool.is_some() {
            self.spool_queue(Duration::from_millis(500));
        }
    }

    /// True while requests do not wait for Kafka.
    pub(super) fn is_suspended(&self) -> bool {
        self.suspended.load(Ordering::Acquire)
    }

    /// Moves all queued messages to the spool.
    fn spool_queue(&self, bound: Duration) {
        self.spooling_queue.store(true, Ordering::Release);
        self.purge();
        // Not with librdkafka's flush, which waits in slices: the reports arrive within a millisecond or two.
        let until = Instant::now() + bound;
        while self.waiting() > 0 && Instant::now() < until {
            std::thread::sleep(Duration::from_micros(500));
        }
        self.spooling_queue.store(false, Ordering::Release);
    }

    /// Purges messages that are queued, but not those in flight.
    pub(super) fn purge_queue(&self) {
        // SAFETY: a live client.
        unsafe { sys::rd_kafka_purge(self.client, sys::bindings::RD_KAFKA_PURGE_F_QUEUE) };
        self.pending.lock().drain();
    }

    pub(super) fn purge(&self) {
        // SAFETY: a live client.
        unsafe {
            sys::rd_kafka_purge(
                self.client,
                sys::bindings::RD_KAFKA_PURGE_F_QUEUE | sys::bindings::RD_KAFKA_PURGE_F_INFLIGHT,
            )
        };
        self.pending.lock().drain();
        poller::wake(self);
    }

    /// Closes the client at the end of the process: waits for acknowledgements (at most 2 s while no broker is known to
    /// be reachable), spools or reports the remaining messages, and ends the thread. Idempotent.
    pub fn close(&self, until: Instant) {
        self.close_since(Instant::now(), until);
    }

    /// As [`Producer::close`], for several clients closed one after the other: the time for an unreachable broker
    /// counts from `started` for all of them.
    pub(super) fn close_since(&self, started: Instant, until: Instant) {
        let Some(thread) = self.thread.lock().take() else {
            return;
        };
        let until = until.min(Instant::now() + crate::clock::bounded(Duration::from_secs(3600)));
        let unreachable_after = started + Duration::from_secs(2);
        loop {
            let now = Instant::now();
            if self.wait_for_delivery((now + Duration::from_millis(50)).min(until))
                || Instant::now() >= until
            {
                break;
            }
            if Instant::now() >= unreachable_after && !self.is_reachable() {
                break;
            }
        }
        self.closing.store(true, Ordering::Release);
        if self.waiting() > 0 {
            self.purge();
        }
        poller::wake(self);
        if thread.join().is_err() {
            process::current().log.write(
                crate::log::Level::Error,
                "The delivery thread panicked; messages may not have been reported.",
            );
        }
        self.close_journal();
    }
}
