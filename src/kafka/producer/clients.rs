//! The producer clients of one process: one for each configuration, at most eight, replaced when librdkafka gives one up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Producer;
use crate::config::BrokerConfig;
use crate::error::Result;

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
        let mut retired = None;
        let producer = {
            let mut table = self.table.lock();
            table.clock += 1;
            let now = table.clock;
            if let Some(entry) = table.entries.iter_mut().find(|entry| entry.key == key) {
                entry.used = now;
                if !entry.producer.is_given_up() {
                    return Ok(Arc::clone(&entry.producer));
                }
                entry.producer = Producer::start(Arc::clone(config))?;
                return Ok(Arc::clone(&entry.producer));
            }
            let producer = Producer::start(Arc::clone(config))?;
            if table.entries.len() == MOST_CLIENTS {
                let oldest = (0..MOST_CLIENTS).min_by_key(|&n| table.entries[n].used);
                retired = oldest.map(|n| table.entries.swap_remove(n).producer);
            }
            table.entries.push(Entry {
                key,
                producer: Arc::clone(&producer),
                used: now,
            });
            producer
        };
        if let Some(old) = retired {
            // Its messages get their usual time, but not this request's.
            std::thread::spawn(move || {
                let bound = Duration::from_millis(old.config().shutdown_flush_ms);
                old.close(Instant::now() + bound);
            });
        }
        Ok(producer)
    }

    /// All clients there are now.
    pub fn all(&self) -> Vec<Arc<Producer>> {
        self.table
            .lock()
            .entries
            .iter()
            .map(|entry| Arc::clone(&entry.producer))
            .collect()
    }

    /// Takes all clients out, to close them.
    pub fn take(&self) -> Vec<Arc<Producer>> {
        self.table
            .lock()
            .entries
            .drain(..)
            .map(|entry| entry.producer)
            .collect()
    }
}
