//! The producer clients of one process: one for each configuration, at most eight, replaced when librdkafka gives one up.

use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Producer;
use crate::config::BrokerConfig;
use crate::error::Result;
use crate::log::Level;
use crate::process;

/// Two applications in one FPM pool never share a client; more than this many configurations take turns.
const MAX_PRODUCERS: usize = 8;

struct PoolEntry {
    key: String,
    producer: Arc<Producer>,
    used: u64,
}

#[derive(Default)]
struct PoolState {
    entries: Vec<PoolEntry>,
    /// Clients that gave way, until their threads have closed them.
    closing: Vec<(Arc<Producer>, JoinHandle<()>)>,
    clock: u64,
}

/// The table of clients.
#[derive(Default)]
pub struct ProducerPool {
    state: Mutex<PoolState>,
}

impl ProducerPool {
    /// The client for `config`, made on first use. Connects nothing by itself.
    ///
    /// # Errors
    /// Configuration: properties librdkafka does not take.
    pub fn get(&self, config: &Arc<BrokerConfig>) -> Result<Arc<Producer>> {
        let key = config.producer_key();
        let mut state = self.state.lock();
        state.clock += 1;
        let now = state.clock;
        if let Some(entry) = state.entries.iter_mut().find(|entry| entry.key == key) {
            entry.used = now;
            if !entry.producer.needs_replacement() {
                return Ok(Arc::clone(&entry.producer));
            }
            let next = Producer::start(Arc::clone(config))?;
            let old = std::mem::replace(&mut entry.producer, Arc::clone(&next));
            // Until its messages have moved on to the next one somebody may still have to wait for them.
            state.close_in_background(old)?;
            return Ok(next);
        }
        let producer = Producer::start(Arc::clone(config))?;
        if state.entries.len() == MAX_PRODUCERS {
            state.evict_least_recently_used()?;
        }
        state.entries.push(PoolEntry {
            key,
            producer: Arc::clone(&producer),
            used: now,
        });
        Ok(producer)
    }

    /// All clients there are now, also those that are giving way.
    pub fn all(&self) -> Vec<Arc<Producer>> {
        let mut state = self.state.lock();
        state.remove_closed();
        let entries = state.entries.iter().map(|entry| &entry.producer);
        let closing = state.closing.iter().map(|(producer, _)| producer);
        entries.chain(closing).map(Arc::clone).collect()
    }

    /// How many there are, not counting those that are giving way.
    pub fn count(&self) -> usize {
        self.state.lock().entries.len()
    }

    /// Closes them all: each has its own `shutdown_flush_ms`, counted from now.
    pub fn close(&self) {
        let started = Instant::now();
        // One that is given up meanwhile makes another for what it could not send.
        while self.close_current(started) {}
    }

    fn close_current(&self, started: Instant) -> bool {
        let (entries, closing) = {
            let mut state = self.state.lock();
            (
                std::mem::take(&mut state.entries),
                std::mem::take(&mut state.closing),
            )
        };
        let any = !entries.is_empty() || !closing.is_empty();
        for entry in entries {
            let bound = Duration::from_millis(entry.producer.config().shutdown_flush_ms);
            entry.producer.close(started + bound);
            entry.producer.add_counts_to_process();
        }
        for (producer, thread) in closing {
            if thread.join().is_err() {
                process::current().log.say(
                    Level::Error,
                    "A client that gave way to another ended with a panic.",
                );
            }
            producer.add_counts_to_process();
        }
        any
    }
}

impl PoolState {
    /// Clients that have given way are gone once their threads are.
    fn remove_closed(&mut self) {
        self.closing.retain(|(producer, thread)| {
            let gone = thread.is_finished();
            if gone {
                producer.add_counts_to_process();
            }
            !gone
        });
    }

    /// The least used client gives way. Its messages get their usual time, but not this request's.
    fn evict_least_recently_used(&mut self) -> Result<()> {
        let Some(oldest) = (0..self.entries.len()).min_by_key(|&n| self.entries[n].used) else {
            return Ok(());
        };
        let producer = self.entries.swap_remove(oldest).producer;
        producer.evicted.store(true, Ordering::Release);
        self.close_in_background(producer)
    }

    /// Closes a client that gave way, in a thread of its own; one made before a fork is the parent's.
    fn close_in_background(&mut self, producer: Arc<Producer>) -> Result<()> {
        if producer.is_inherited() {
            producer.add_counts_to_process();
            return Ok(());
        }
        let closing = Arc::clone(&producer);
        let thread = process::spawn("rt-closing", move || {
            let bound = Duration::from_millis(closing.config().shutdown_flush_ms);
            closing.close(Instant::now() + bound);
        })?;
        self.remove_closed();
        self.closing.push((producer, thread));
        Ok(())
    }
}
