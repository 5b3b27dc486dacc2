//! Assigning and revoking partitions.

use std::rc::Rc;

use super::{AssignedRecords, CommitOffset, Ends, Fetched, Partition, GONE};

impl<M: Fetched> AssignedRecords<M> {
    /// A partition was assigned; `committed` is the group's offset, negative where it has none.
    pub fn add(&mut self, topic: &str, number: i32, committed: i64) -> &mut Partition {
        let known = self
            .partitions()
            .find(|partition| &*partition.topic == topic);
        let name = known.map_or_else(|| Rc::from(topic), |partition| Rc::clone(&partition.topic));
        let partition = Partition::new(Rc::clone(&name), number, committed, self.commits);
        let free = self.partitions.iter().position(Option::is_none);
        let slot = free.unwrap_or_else(|| {
            self.partitions.push(None);
            self.partitions.len() - 1
        });
        self.index.insert((name, number), slot);
        self.recent = None;
        self.partitions[slot].insert(partition)
    }

    /// A partition was revoked: its records belong to another member.
    pub fn remove(&mut self, topic: &str, number: i32) {
        let Some(slot) = self.slot_of(topic, number) else {
            return;
        };
        self.discard_from(slot, i64::MIN);
        self.index.remove(&(Rc::from(topic), number));
        self.attempts.retain(|(other, _), _| *other != slot);
        for record in self
            .in_flight
            .iter_mut()
            .filter(|record| record.slot == slot)
        {
            record.slot = GONE;
            record.queue = None;
        }
        self.partitions[slot] = None;
        self.recent = None;
    }

    pub fn partitions(&self) -> impl Iterator<Item = &Partition> {
        self.partitions.iter().flatten()
    }

    pub fn find(&mut self, topic: &str, number: i32) -> Option<&mut Partition> {
        let slot = self.slot_of(topic, number)?;
        self.partitions[slot].as_mut()
    }

    /// The place of a partition in the assignment.
    pub fn slot_of(&self, topic: &str, number: i32) -> Option<usize> {
        self.index.get(&(Rc::from(topic), number)).copied()
    }

    /// The partition in a slot.
    pub fn at(&mut self, slot: usize) -> Option<&mut Partition> {
        self.partitions.get_mut(slot)?.as_mut()
    }

    #[inline]
    pub(super) fn slot(&mut self, message: &M) -> Option<usize> {
        let (handle, number) = (message.topic_handle(), message.partition());
        if let Some((topic, partition, slot)) = self.recent {
            if topic == handle && partition == number {
                return Some(slot);
            }
        }
        if handle == 0 {
            return None;
        }
        let slot = self.slot_of(&message.topic(), number)?;
        self.recent = Some((handle, number, slot));
        Some(slot)
    }

    /// Every message is dropped: the client is about to be destroyed.
    pub fn clear(&mut self) {
        self.in_flight.clear();
        self.retry_queue.clear();
        self.rejected.clear();
        self.held_back.clear();
        self.fetched.clear();
        self.next_batch.clear();
    }
}

// Offsets of commits, and undoing progress.

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
