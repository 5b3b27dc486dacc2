//! Commits: what was handled is told to Kafka, but only once everything the callbacks sent is acknowledged.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka_sys as sys;
use sys::bindings::rd_kafka_resp_err_t as Code;

use super::offsets::Metadata;
use super::Consumer;
use crate::clock::coarse_ms;
use crate::config::Delivery;
use crate::error::{Error, Result};
use crate::kafka::native::{self, Partitions};
use crate::process;

/// A periodic commit waits this long for acknowledgements, then leaves it to the next one.
const PATIENCE: Duration = Duration::from_millis(500);

impl Consumer {
    /// Commits if `auto.commit.interval.ms` has passed, without waiting for Kafka's answer; `now` is that of [`coarse_ms`].
    ///
    /// # Errors
    /// Delivery: something a callback sent was not delivered; nothing is committed.
    pub fn commit_if_due(&self, now: u64) -> Result<()> {
        if !self.commits_afterwards() {
            return Ok(());
        }
        if now.saturating_sub(self.last_commit.get()) < self.config.commit_interval_ms {
            return Ok(());
        }
        self.last_commit.set(now);
        self.read_answers(Duration::ZERO);
        if self.state.borrow().commit_under_way {
            return Ok(());
        }
        self.request(Instant::now() + PATIENCE).map(drop)
    }

    /// Asks for a commit soon, as an acknowledgement by hand does.
    ///
    /// # Errors
    /// See [`Consumer::commit_if_due`].
    pub fn commit_soon(&self) -> Result<()> {
        self.read_answers(Duration::ZERO);
        if self.state.borrow().commit_under_way {
            return Ok(());
        }
        self.last_commit.set(coarse_ms());
        self.request(Instant::now() + PATIENCE).map(drop)
    }

    /// Commits everything handled and waits for Kafka's answer, `bound` at most.
    ///
    /// # Errors
    /// Delivery: something a callback sent was not delivered; nothing is committed.
    pub fn commit_now(&self, bound: Duration) -> Result<()> {
        if !self.commits_afterwards() {
            return Ok(());
        }
        self.commit(bound)
    }

    /// Tells the group whose callback died, and nothing of what else was handled since the last transaction.
    ///
    /// # Errors
    /// See [`Consumer::commit_now`].
    pub fn commit_deaths(&self, bound: Duration) -> Result<()> {
        for partition in self.state.borrow_mut().partitions.iter_mut().flatten() {
            partition.forget_progress();
        }
        self.commit(bound)
    }

    /// True for at-least-once. At-most-once commits ahead, and exactly-once in its transactions.
    #[inline]
    fn commits_afterwards(&self) -> bool {
        self.config.delivery == Delivery::AtLeastOnce
    }

    /// What the group may be told within a transaction: everything handled since the last one.
    pub fn offsets(&self) -> Partitions {
        let mut list = Partitions::new();
        self.add_offsets(&mut list);
        list
    }

    /// The transaction with these offsets is committed.
    pub fn committed_with(&self, offsets: &Partitions) {
        let mut state = self.state.borrow_mut();
        for element in offsets.elements() {
            let topic = native::topic_of(element);
            if let Some(partition) = state.find(&topic, element.partition) {
                partition.committed(element.offset);
            }
        }
        self.stats.committed();
    }

    /// Commits the offsets after everything in hand, before any of it is handled; false where Kafka did not take them.
    pub fn commit_ahead(&self, bound: Duration) -> bool {
        let mut list = Partitions::new();
        {
            let mut state = self.state.borrow_mut();
            let state = &mut *state;
            let mut ends: BTreeMap<usize, i64> = BTreeMap::new();
            for raw in state.hand.clone() {
                // SAFETY: in hand, so alive.
                let message = unsafe { &*raw };
                if message.err == Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                    if let Some(slot) = Self::slot(state, message) {
                        ends.insert(slot, message.offset + 1);
                    }
                }
            }
            let metadata = Metadata {
                subscriptions: state.subscriptions.clone(),
                deaths: Vec::new(),
            }
            .bytes();
            for (slot, end) in ends {
                if let Some(partition) = &state.partitions[slot] {
                    let element = list.add(&partition.topic, partition.number, end);
                    Partitions::set_metadata(element, &metadata);
                }
            }
        }
        if list.elements().is_empty() {
            return true;
        }
        let before = self.stats.commits.get();
        let until = Instant::now() + crate::clock::bounded(bound);
        if !self.ask(&list) {
            return false;
        }
        self.await_answer(until);
        let refused = std::mem::take(&mut self.state.borrow_mut().commit_under_way);
        !refused && self.stats.commits.get() > before
    }

    fn commit(&self, bound: Duration) -> Result<()> {
        let until = Instant::now() + crate::clock::bounded(bound);
        self.await_answer(until);
        if self.request(until)? {
            self.await_answer(until);
        }
        self.state.borrow_mut().commit_under_way = false;
        Ok(())
    }

    /// Sends the request; false where there is nothing to commit, or acknowledgements are missing still.
    fn request(&self, until: Instant) -> Result<bool> {
        let mut list = Partitions::new();
        self.add_offsets(&mut list);
        // With nothing to commit there is nothing to wait for.
        let until = if list.elements().is_empty() {
            Instant::now()
        } else {
            until
        };
        // The list is made first: what is sent from here on belongs to records that are not in it.
        if !self.deliveries_settled(until)? || list.elements().is_empty() {
            return Ok(false);
        }
        Ok(self.ask(&list))
    }

    fn add_offsets(&self, list: &mut Partitions) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        for partition in state.partitions.iter_mut().flatten() {
            if let Some(offset) = partition.committable() {
                let metadata = Metadata {
                    subscriptions: state.subscriptions.clone(),
                    deaths: partition.obituary(),
                };
                let element = list.add(&partition.topic, partition.number, offset);
                Partitions::set_metadata(element, &metadata.bytes());
                partition.told();
            }
        }
    }

    fn ask(&self, list: &Partitions) -> bool {
        // SAFETY: a live client and our own queue; the list is copied.
        let code = unsafe {
            sys::bindings::rd_kafka_commit_queue(
                self.client,
                list.raw(),
                self.commits,
                None,
                std::ptr::null_mut(),
            )
        };
        let sent = code == Code::RD_KAFKA_RESP_ERR_NO_ERROR;
        if !sent {
            self.stats.commit_failures.add(1);
        }
        self.state.borrow_mut().commit_under_way = sent;
        sent
    }

    /// Waits until everything that was sent for the records is acknowledged.
    fn deliveries_settled(&self, until: Instant) -> Result<bool> {
        let clients = process::current().clients.all();
        let owing: Vec<_> = clients.iter().filter(|client| client.owes()).collect();
        let mut settled = true;
        for client in &owing {
            settled &= client.settle(until);
        }
        if !owing.iter().any(|client| client.defaulted()) {
            if settled {
                for client in owing {
                    client.acquit();
                }
            }
            return Ok(settled);
        }
        let mut failed = Vec::new();
        for client in owing {
            failed.extend(client.failures.take().0);
            client.acquit();
        }
        self.rewind();
        Err(Error::undelivered(
            "What a callback sent was not delivered, so its records are not committed and come again.",
            failed,
        ))
    }

    /// Waits for the answer to the commit that is under way, if there is one.
    fn await_answer(&self, until: Instant) {
        while self.state.borrow().commit_under_way && Instant::now() < until {
            self.read_answers(until.saturating_duration_since(Instant::now()));
        }
    }

    /// Reads answers to commit requests, waiting at most `wait` for the first.
    fn read_answers(&self, wait: Duration) {
        let wait = i32::try_from(wait.as_millis()).unwrap_or(0);
        // SAFETY: our own queue; each event is destroyed once.
        unsafe {
            let event = sys::rd_kafka_queue_poll(self.commits, wait);
            if event.is_null() {
                return;
            }
            let code = sys::rd_kafka_event_error(event);
            let list = sys::bindings::rd_kafka_event_topic_partition_list(event);
            let mut state = self.state.borrow_mut();
            state.commit_under_way = false;
            if code == Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                self.heard_from_kafka();
                self.stats.committed();
                let count = if list.is_null() {
                    0
                } else {
                    usize::try_from((*list).cnt).unwrap_or(0)
                };
                for n in 0..count {
                    let element = &*(*list).elems.add(n);
                    let topic = native::topic_of(element);
                    let partitions = state.partitions.iter_mut().flatten();
                    let mut ours = partitions.filter(|partition| {
                        partition.number == element.partition && *partition.topic == *topic
                    });
                    if let Some(partition) = ours.next() {
                        if element.err == Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                            partition.committed(element.offset);
                        }
                    }
                }
            } else {
                self.stats.commit_failures.add(1);
                state.last_error = Some(format!("commit: {}", native::describe(code)));
            }
            sys::rd_kafka_event_destroy(event);
        }
    }
}
