//! Assigning and revoking partitions.

use std::rc::Rc;

use super::{AssignedRecords, Fetched, Partition, GONE};

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
