//! Waits for acknowledgements with a time limit: on demand, at the end of a request, at the end of the process, and
//! through the client that replaces this one.

use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::delivery_failure::Undelivered;
use super::topic_cache::PendingMessage;
use super::{in_flight, poller, Producer};
use crate::error::{Error, FailedMessage, Kind, Result};
use crate::log::Level;
use crate::runtime::clock;
use crate::runtime::{self, termination};

/// Longest wait at the end of a process while no broker is known to be reachable.
const UNREACHABLE_WAIT: Duration = Duration::from_secs(2);
/// A request that waits for Kafka looks for a signal to end at this interval.
const REQUEST_SLICE: Duration = Duration::from_millis(20);
/// A request does not wait longer for brokers that are all down. Shorter, and a host name of which only the second
/// address is served would count as down.
const ALL_DOWN_WAIT: Duration = Duration::from_millis(150);
/// The same for each client while too many are closing.
const HASTENED_WAIT: Duration = Duration::from_secs(1);
/// Longest wait for the delivery reports of purged messages.
const PURGE_WAIT: Duration = Duration::from_millis(500);
/// Ids in one line of the log.
const NAMED_PER_LINE: usize = 100;

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
            let slice = remaining.min(Duration::from_millis(50));
            let before = Instant::now();
            // Messages that wait for their topic are not in librdkafka's queue. A flush of an empty queue returns
            // immediately and leaves a wake-up with each broker thread, which serves one of these per turn: every
            // millisecond one more would keep the requests for the topic behind them waiting.
            if self.client.queued() > 0 {
                self.client.flush(slice.max(Duration::from_millis(1)));
            }
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
        self.prune_journal(false);
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
    fn take_failures(&self) -> (Vec<FailedMessage>, u64) {
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
            let unacknowledged = self.in_flight.unacknowledged(0, 1000).into_iter();
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

    /// True if the flush of an earlier request timed out and no broker has responded since.
    #[must_use]
    pub fn is_known_unreachable(&self) -> bool {
        self.suspended.load(Ordering::Acquire)
            && !self.in_flight.broker_responded.load(Ordering::Acquire)
    }

    /// The flush at the end of a request. It has a time limit, ends early if the process is told to end, and is
    /// skipped after one that timed out until a broker responds again. The remaining messages are secured then.
    pub fn end_request(&self, bound: Duration) {
        if self.waiting() == 0 {
            return;
        }
        let bound = if self.is_known_unreachable() {
            Duration::ZERO
        } else {
            self.suspended.store(false, Ordering::Release);
            bound
        };
        if self.wait_for_request(bound) {
            self.delivered_at
                .store(clock::coarse_ms(), Ordering::Relaxed);
            self.prune_journal(false);
            return;
        }
        if !self.suspended.swap(true, Ordering::AcqRel) {
            self.in_flight
                .broker_responded
                .store(false, Ordering::Release);
        }
        self.secure_queue();
    }

    /// Moves what is queued to the spool or names it in the log, because the process may be killed between requests
    /// and by some hosts without a signal that can be handled.
    pub fn secure_queue(&self) {
        if self.spool.is_some() {
            self.spool_queue(Duration::from_millis(500));
        } else {
            self.name_unacknowledged();
        }
    }

    fn wait_for_request(&self, bound: Duration) -> bool {
        let started = Instant::now();
        let until = started + bound;
        loop {
            if self.wait_for_delivery((Instant::now() + REQUEST_SLICE).min(until)) {
                return true;
            }
            let is_down = started.elapsed() >= ALL_DOWN_WAIT && self.reachability.is_unreachable();
            if is_down || Instant::now() >= until || termination::is_signal_pending() {
                return false;
            }
        }
    }

    /// Logs the ids of messages that only the memory of this process holds, once each.
    fn name_unacknowledged(&self) {
        let last = self.in_flight.last_sequence();
        let before = self.named.swap(last, Ordering::AcqRel);
        let ids: Vec<String> = self
            .in_flight
            .unacknowledged(before, usize::MAX)
            .into_iter()
            .map(|(id, _)| id)
            .collect();
        let more = (last - before).saturating_sub(in_flight::TRACKED_MESSAGES as u64);
        let process = runtime::current();
        let reason = process.counters.last_error();
        let reason = reason.unwrap_or_else(|| "no response".to_owned());
        for ids in ids.chunks(NAMED_PER_LINE) {
            process.log.write(Level::Error, format!(
                "{} message(s) are not acknowledged by Kafka at {} ({reason}) and kept in the memory of this process \
                 only; they are lost if it ends before Kafka responds (`spool` keeps them on disk): {}",
                ids.len(),
                self.config.brokers,
                ids.join(", ")
            ));
        }
        if more > 0 {
            process.log.write(
                Level::Error,
                format!("The same holds for up to {more} older message(s)."),
            );
        }
    }

    /// True while requests do not wait for Kafka.
    pub(super) fn is_suspended(&self) -> bool {
        self.suspended.load(Ordering::Acquire)
    }

    /// Moves all queued messages to the spool.
    fn spool_queue(&self, bound: Duration) {
        self.spooling_queue.store(true, Ordering::Release);
        // Not with librdkafka's flush, which waits in slices: the reports arrive within a millisecond or two. Repeated,
        // because the delivery thread may have been about to send messages.
        let until = Instant::now() + bound;
        while self.waiting() > 0 && Instant::now() < until {
            self.purge();
            std::thread::sleep(Duration::from_micros(500));
        }
        self.spooling_queue.store(false, Ordering::Release);
    }

    /// Purges messages that are queued, but not those in flight.
    pub(super) fn purge_queue(&self) {
        self.client.purge(false);
        self.pending.lock().drain();
        self.gated.lock().drain();
    }

    pub(super) fn purge(&self) {
        self.client.purge(true);
        self.pending.lock().drain();
        self.gated.lock().drain();
        poller::wake(self);
    }

    /// Shortens the wait for an unreachable broker, because too many clients are closing.
    pub(super) fn hasten(&self) {
        self.hastened.store(true, Ordering::Release);
    }

    /// Waits for acknowledgements until `until`, or `hopeless` while no broker is known to be reachable. A signal to
    /// end shortens both.
    fn wait_before_end(&self, hopeless: Instant, until: Instant) {
        let started = Instant::now();
        loop {
            let rest = clock::bounded(Duration::from_secs(3600));
            let until = until.min(Instant::now() + rest);
            let slice = Instant::now() + Duration::from_millis(50);
            if self.wait_for_delivery(slice.min(until)) || Instant::now() >= until {
                return;
            }
            let is_over =
                self.hastened.load(Ordering::Acquire) && started.elapsed() >= HASTENED_WAIT;
            if (is_over || Instant::now() >= hopeless) && !self.is_reachable() {
                return;
            }
        }
    }

    /// Sends, spools or reports what is queued before a signal ends the process. The client stays open.
    pub(super) fn drain(&self, hopeless: Instant) {
        self.wait_before_end(hopeless, hopeless + Duration::from_secs(3600));
        let until = Instant::now() + PURGE_WAIT;
        while self.waiting() > 0 && Instant::now() < until {
            self.purge();
            std::thread::sleep(Duration::from_millis(1));
        }
        self.prune_journal(true);
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
        self.wait_before_end(started + UNREACHABLE_WAIT, until);
        // The thread purges what is left: nothing is sent or held back afterwards.
        self.closing.store(true, Ordering::Release);
        poller::wake(self);
        if thread.join().is_err() {
            runtime::error("The delivery thread panicked; messages may not have been reported.");
        }
        self.close_journal();
        if let Some(spool) = &self.spool {
            spool.sweep();
        }
    }

    /// The client that has taken over this one's messages, if it has been replaced.
    pub(super) fn successor(&self) -> Option<Arc<Self>> {
        self.successor.lock().clone()
    }

    /// Holds back the messages of this client until `predecessor` has handed over its own.
    pub(super) fn start_behind(&self, predecessor: &Arc<Self>) {
        *self.predecessor.lock() = Some(Arc::clone(predecessor));
        self.held.store(true, Ordering::Release);
        poller::wake(self);
    }

    /// Takes over messages of its predecessor: they are sent before its own, in the given order. False if this client
    /// does not hold back its own messages.
    pub(super) fn take_over(&self, reports: &[Undelivered]) -> Result<bool> {
        let mut topics = self.topics.lock();
        if !self.held.load(Ordering::Acquire) {
            return Ok(false);
        }
        let mut messages = Vec::with_capacity(reports.len());
        for report in reports {
            let record = &report.record;
            let number = topics.get(&record.topic).number;
            let sequence = self.in_flight.track(&record.id, number);
            let outgoing = record.outgoing();
            self.journal_write(&outgoing, sequence)?;
            messages.push(PendingMessage {
                record: record.clone(),
                sequence,
            });
        }
        self.pending.lock().prepend(messages);
        Ok(true)
    }
}
