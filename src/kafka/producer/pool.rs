//! The producer clients of a process: one per configuration, at most eight, replaced after a fatal error.

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

/// Applications that share an FPM pool never share a client; with more configurations than this, the least recently
/// used is evicted.
const MAX_PRODUCERS: usize = 8;

struct PoolEntry {
    key: String,
    producer: Arc<Producer>,
    used: u64,
}

#[derive(Default)]
struct PoolState {
    entries: Vec<PoolEntry>,
    /// Evicted and replaced clients, until their threads have closed them.
    closing: Vec<(Arc<Producer>, JoinHandle<()>)>,
    clock: u64,
}

#[derive(Default)]
pub struct ProducerPool {
    state: Mutex<PoolState>,
}

impl ProducerPool {
    /// The client for `config`, created on first use. Does not connect by itself.
    ///
    /// # Errors
    /// Configuration: properties librdkafka rejects.
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
            // Listed until its messages have been handed over, because a flush may have to wait for them.
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

    /// All clients, including those being closed.
    pub fn all(&self) -> Vec<Arc<Producer>> {
        let mut state = self.state.lock();
        state.remove_closed();
        let entries = state.entries.iter().map(|entry| &entry.producer);
        let closing = state.closing.iter().map(|(producer, _)| producer);
        entries.chain(closing).map(Arc::clone).collect()
    }

    /// The number of clients, without those being closed.
    pub fn count(&self) -> usize {
        self.state.lock().entries.len()
    }

    /// Closes all clients; each has its own `shutdown_flush_ms`, counted from the start of this call.
    pub fn close(&self) {
        let started = Instant::now();
        // A client with a fatal error creates another one for its unsent messages.
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
                    "The thread closing a replaced Kafka client panicked; messages may not have been reported.",
                );
            }
            producer.add_counts_to_process();
        }
        any
    }
}

impl PoolState {
    fn remove_closed(&mut self) {
        self.closing.retain(|(producer, thread)| {
            let gone = thread.is_finished();
            if gone {
                producer.add_counts_to_process();
            }
            !gone
        });
    }

    /// Evicts the least recently used client. Its messages keep their time limit, but the request does not wait for
    /// them.
    fn evict_least_recently_used(&mut self) -> Result<()> {
        let Some(oldest) = (0..self.entries.len()).min_by_key(|&n| self.entries[n].used) else {
            return Ok(());
        };
        let producer = self.entries.swap_remove(oldest).producer;
        producer.evicted.store(true, Ordering::Release);
        self.close_in_background(producer)
    }

    /// Closes a client in a thread of its own; a client created before a fork belongs to the parent.
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
