//! Offsets of commits, and undoing progress.

use std::rc::Rc;

use super::{AssignedRecords, CommitOffset, Ends, Fetched, Partition};

impl<M: Fetched> AssignedRecords<M> {
    /// The offsets that may be committed, where Kafka does not have them yet.
    pub fn committable(&self) -> Vec<CommitOffset> {
        let committable = |partition: &Partition| {
            Some(CommitOffset {
                topic: Rc::clone(&partition.topic),
                partition: partition.number,
                offset: partition.committable()?,
                crashes: partition.crash_counts(),
            })
        };
        self.partitions().filter_map(committable).collect()
    }

    /// Every record taken since the last commit is handed out alone when it is read again.
    pub fn isolate(&mut self) {
        for partition in self.partitions.iter_mut().flatten() {
            partition.isolate();
        }
    }

    /// True where isolated records are still to be read.
    pub fn has_isolated(&self) -> bool {
        self.partitions().any(Partition::has_isolated)
    }

    /// The number of the next commit; its answer carries it.
    pub fn next_commit(&mut self) -> usize {
        self.commits += 1;
        self.commits
    }

    /// Kafka confirmed an offset of commit number `commit`.
    pub fn committed(&mut self, topic: &str, number: i32, offset: i64, commit: usize) {
        if let Some(partition) = self.find(topic, number) {
            partition.committed(offset, commit);
        }
    }

    /// Undoes everything since the last commit: every partition is to be read again from there, which is a pending
    /// rewind until the client has sought.
    pub fn rewind(&mut self) {
        let restart =
            |one: &Partition| Some((one.topic.to_string(), one.number, one.restart_offset()?));
        let places: Vec<_> = self.partitions().filter_map(restart).collect();
        for (topic, number, offset) in places {
            self.sought_back(&topic, number, offset, false);
        }
    }

    /// Seeks that are still to be done, or failed.
    pub fn pending_rewinds(&self) -> Vec<(String, i32, i64)> {
        let pending = |one: &Partition| Some((one.topic.to_string(), one.number, one.rewind_to()?));
        self.partitions().filter_map(pending).collect()
    }

    /// A partition is read again from `offset`: what was fetched from there on is dropped. Without success the seek is
    /// a pending rewind.
    pub fn sought_back(&mut self, topic: &str, number: i32, offset: i64, succeeded: bool) {
        self.discard(topic, number, offset);
        let commits = self.commits;
        if let Some(partition) = self.find(topic, number) {
            if succeeded {
                partition.reread_from(offset, commits);
            } else {
                partition.rewind_later(offset, commits);
            }
        }
    }

    /// The number of the last commit sent.
    pub const fn last_commit(&self) -> usize {
        self.commits
    }

    /// The offset after the last fetched record of each partition.
    pub fn ends_of_fetched(&mut self) -> Ends {
        let fetched = std::mem::take(&mut self.fetched);
        let mut ends = Ends::new();
        for message in fetched.iter().filter(|message| message.is_record()) {
            let slot = self.slot(message);
            if let Some(partition) = slot.and_then(|slot| self.partitions[slot].as_ref()) {
                let place = (Rc::clone(&partition.topic), partition.number);
                ends.insert(place, message.offset() + 1);
            }
        }
        self.fetched = fetched;
        ends
    }
}
