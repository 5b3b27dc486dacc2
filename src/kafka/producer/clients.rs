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
const MOST_CLIENTS: usize = 8;

struct Entry {
    key: String,
    producer: Arc<Producer>,
    used: u64,
}

#[derive(Default)]
struct Table {
    entries: Vec<Entry>,
    /// Clients that gave way, until their threads have closed them.
    retiring: Vec<(Arc<Producer>, JoinHandle<()>)>,
    clock: u64,
}

/// The table of clients.
#[derive(Default)]
pub struct Clients {
    table: Mutex<Table>,
}

impl Clients {
    /// The client for `config`, made on first use. Connects nothing by itself.
    ///
    /// # Errors
    /// Configuration: properties librdkafka does not take.
    pub fn get(&self, config: &Arc<BrokerConfig>) -> Result<Arc<Producer>> {
        let key = config.producer_key();
        let mut table = self.table.lock();
        table.clock += 1;
        let now = table.clock;
        if let Some(entry) = table.entries.iter_mut().find(|entry| entry.key == key) {
            entry.used = now;
            if !entry.producer.is_given_up() {
                return Ok(Arc::clone(&entry.producer));
            }
            let next = Producer::start(Arc::clone(config))?;
            let old = std::mem::replace(&mut entry.producer, Arc::clone(&next));
            // Until its messages have moved on to the next one somebody may still have to wait for them.
            table.see_off(old)?;
            return Ok(next);
        }
        let producer = Producer::start(Arc::clone(config))?;
        if table.entries.len() == MOST_CLIENTS {
            table.retire_least_used()?;
        }
        table.entries.push(Entry {
            key,
            producer: Arc::clone(&producer),
            used: now,
        });
        Ok(producer)
    }

    /// All clients there are now, also those that are giving way.
    pub fn all(&self) -> Vec<Arc<Producer>> {
        let mut table = self.table.lock();
        table.forget_retired();
        let entries = table.entries.iter().map(|entry| &entry.producer);
        let retiring = table.retiring.iter().map(|(producer, _)| producer);
        entries.chain(retiring).map(Arc::clone).collect()
    }

    /// How many there are, not counting those that are giving way.
    pub fn count(&self) -> usize {
        self.table.lock().entries.len()
    }

    /// Closes them all: each has its own `shutdown_flush_ms`, counted from now.
    pub fn close(&self) {
        let started = Instant::now();
        // One that is given up meanwhile makes another for what it could not send.
        while self.close_those_there(started) {}
    }

    fn close_those_there(&self, started: Instant) -> bool {
        let (entries, retiring) = {
            let mut table = self.table.lock();
            (
                std::mem::take(&mut table.entries),
                std::mem::take(&mut table.retiring),
            )
        };
        let any = !entries.is_empty() || !retiring.is_empty();
        for entry in entries {
            let bound = Duration::from_millis(entry.producer.config().shutdown_flush_ms);
            entry.producer.close(started + bound);
            entry.producer.hand_over_counts();
        }
        for (producer, thread) in retiring {
            if thread.join().is_err() {
                process::current().log.say(
                    Level::Error,
                    "A client that gave way to another ended with a panic.",
                );
            }
            producer.hand_over_counts();
        }
        any
    }
}

impl Table {
    /// Clients that have given way are gone once their threads are.
    fn forget_retired(&mut self) {
        self.retiring.retain(|(producer, thread)| {
            let gone = thread.is_finished();
            if gone {
                producer.hand_over_counts();
            }
            !gone
        });
    }

    /// The least used client gives way. Its messages get their usual time, but not this request's.
    fn retire_least_used(&mut self) -> Result<()> {
        let Some(oldest) = (0..self.entries.len()).min_by_key(|&n| self.entries[n].used) else {
            return Ok(());
        };
        let producer = self.entries.swap_remove(oldest).producer;
        producer.retired.store(true, Ordering::Release);
        self.see_off(producer)
    }

    /// Closes a client that gave way, in a thread of its own; one made before a fork is the parent's.
    fn see_off(&mut self, producer: Arc<Producer>) -> Result<()> {
        if producer.is_inherited() {
            producer.hand_over_counts();
            return Ok(());
        }
        let retiring = Arc::clone(&producer);
        let thread = process::spawn("rt-retiring", move || {
            let bound = Duration::from_millis(retiring.config().shutdown_flush_ms);
            retiring.close(Instant::now() + bound);
        })?;
        self.forget_retired();
        self.retiring.push((producer, thread));
        Ok(())
    }
}
