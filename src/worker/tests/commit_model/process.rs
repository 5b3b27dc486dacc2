//! One process of the group: the real records of a consumer, a simulated librdkafka, and callbacks that misbehave.

mod host;

use std::collections::BTreeMap;
use std::time::Instant;

use super::super::*;
use super::{Message, ModelRecord, World, BOUNDS, MAX_FETCHES, TOPIC};
use crate::config::Delivery;
use crate::kafka::consumer::partition::SeekTarget;
use crate::kafka::consumer::partitions::CommitOffset;
use crate::kafka::consumer::records::{AssignedRecords, Attempt, Ends, Next};

const STEP: Duration = Duration::from_millis(1);

/// The error for a message that Kafka refuses for good.
pub(super) fn refused() -> Error {
    Error::delivery(
        "refused",
        vec![FailedMessage {
            id: "1".to_owned(),
            topic: "out".to_owned(),
            reason: "refused".to_owned(),
            kind: Kind::Delivery,
            permanent: true,
        }],
    )
}

/// One process of the group: its consumer and its callbacks.
pub(super) struct Process<'w> {
    pub(super) world: &'w World,
    pub(super) records: RefCell<AssignedRecords<Message>>,
    /// Position of librdkafka's next fetch, by assigned partition.
    pub(super) positions: RefCell<BTreeMap<i32, i64>>,
    pub(super) paused: RefCell<Vec<i32>>,
    /// Commits without a response yet.
    pub(super) responses: RefCell<Vec<(usize, Vec<CommitOffset>)>>,
    /// Messages that the callbacks sent: not acknowledged yet, or in the open transaction.
    pub(super) sent: RefCell<Vec<(i32, i64)>>,
    /// The last commit had no response: whether it was executed.
    pub(super) unsure: Cell<Option<bool>>,
    pub(super) late_outcome: Cell<Option<bool>>,
    pub(super) fetches: Cell<u32>,
    pub(super) ids: Cell<u64>,
    pub(super) stop: StopSignal,
    /// Simulated time: a millisecond passes with each fetch and each wait.
    pub(super) clock: Cell<Instant>,
}

impl<'w> Process<'w> {
    pub(super) fn start(world: &'w World) -> Self {
        let process = Self {
            world,
            records: RefCell::default(),
            positions: RefCell::default(),
            paused: RefCell::default(),
            responses: RefCell::default(),
            sent: RefCell::default(),
            unsure: Cell::default(),
            late_outcome: Cell::default(),
            fetches: Cell::new(0),
            ids: Cell::new(1),
            stop: StopSignal::default(),
            clock: Cell::new(Instant::now()),
        };
        for partition in 0..3 {
            process.assign(partition);
        }
        process
    }

    pub(super) fn assign(&self, partition: i32) {
        let committed = self.world.committed.borrow().get(&partition).cloned();
        let (offset, crashes) = committed.unwrap_or((-1, Vec::new()));
        let mut records = self.records.borrow_mut();
        records
            .assigned
            .add(TOPIC, partition, offset)
            .restore_crash_counts(&crashes);
        self.positions.borrow_mut().insert(partition, offset);
    }

    pub(super) fn revoke(&self, partition: i32, is_lost: bool) -> Result<()> {
        let committed = if is_lost {
            Ok(())
        } else {
            self.commit_now(Duration::ZERO)
        };
        self.records.borrow_mut().remove(TOPIC, partition);
        self.positions.borrow_mut().remove(&partition);
        self.paused.borrow_mut().retain(|other| *other != partition);
        committed
    }

    pub(super) fn seek_back(&self, places: Vec<(String, i32, i64)>) {
        for (topic, partition, offset) in places {
            let mut records = self.records.borrow_mut();
            let succeeded = self.world.choose(3) != 2;
            records.sought_back(&topic, partition, offset, succeeded);
            if succeeded {
                self.positions.borrow_mut().insert(partition, offset);
            }
        }
    }

    pub(super) fn rewind(&self) {
        self.sent.borrow_mut().clear();
        self.records.borrow_mut().rewind();
        let places = self.records.borrow().assigned.pending_rewinds();
        self.seek_back(places);
    }

    /// As the consumer commits: the list first, then the acknowledgements, then the request.
    pub(super) fn request(&self) -> Result<()> {
        let offsets = self.records.borrow().assigned.committable();
        match self.world.choose(7) {
            4 => return Ok(()),
            6 => {
                self.records.borrow_mut().assigned.isolate();
                self.rewind();
                return Err(refused());
            }
            5 => {
                self.rewind();
                return Err(Error::delivery("lost", Vec::new()));
            }
            _ => {}
        }
        for record in self.sent.take() {
            self.world.result(record);
        }
        if !offsets.is_empty() && self.world.choose(4) != 3 {
            let number = self.records.borrow_mut().assigned.next_commit();
            self.world.commit(&offsets);
            self.responses.borrow_mut().push((number, offsets));
        }
        Ok(())
    }

    pub(super) fn read_responses(&self) {
        for (number, offsets) in self.responses.take() {
            for commit in offsets {
                let mut records = self.records.borrow_mut();
                records
                    .assigned
                    .committed(&commit.topic, commit.partition, commit.offset, number);
            }
        }
    }

    /// As the binding does at `exit` and fatal errors.
    pub(super) fn on_fatal_error(&self) {
        let in_flight = self.records.borrow().in_flight();
        for handle in &in_flight {
            let mut records = self.records.borrow_mut();
            let counted = handle.attempt - handle.transient;
            records.crashed(handle.slot, handle.offset, counted);
        }
        self.records.borrow_mut().requeue_all(self.clock.get());
        if self.world.delivery == Delivery::ExactlyOnce {
            self.sent.borrow_mut().clear();
            self.records.borrow_mut().rewind();
            let offsets = self.records.borrow().assigned.committable();
            self.world.commit(&offsets);
        }
    }

    pub(super) fn callback(&self, items: &[ModelRecord]) -> (usize, Outcome<String>) {
        let places: Vec<_> = items
            .iter()
            .map(|item| (item.partition, item.offset))
            .collect();
        for place in &places {
            let mut handlings = self.world.handlings.borrow_mut();
            let handlings = handlings.entry(*place).or_insert(0);
            *handlings += 1;
            let once = self.world.delivery != Delivery::AtMostOnce || *handlings == 1;
            assert!(once, "at-most-once begins {place:?} twice");
        }
        let action = self.world.choose(10);
        // How far the callback gets, and whether it has sent a result for the record that fails.
        let done = match action {
            0 | 7 | 8 => items.len(),
            _ => self.world.choose(items.len()),
        };
        let sent = done + self.world.choose(2).min(items.len() - done);
        if self.world.delivery != Delivery::AtMostOnce {
            self.sent.borrow_mut().extend(&places[..sent]);
        }
        let first = items[0].partition;
        let outcome = match action {
            1..=3 | 9 if self.world.delivery == Delivery::AtMostOnce => {
                Outcome::Dropped { permanent: false }
            }
            1 | 2 => Outcome::Retry(Duration::ZERO),
            9 => Outcome::Transient(Duration::ZERO),
            3 => Outcome::DeadLetter(dead_letter("no")),
            4 => Outcome::Stop("stop".to_owned()),
            5 => {
                self.on_fatal_error();
                Outcome::Exiting("exit".to_owned())
            }
            // A fatal error of PHP jumps over the loop, as an unwinding panic does.
            6 => std::panic::resume_unwind(Box::new("fatal error")),
            7 => {
                self.pause_and_resume(first);
                Outcome::Handled
            }
            8 if self.world.delivery == Delivery::AtLeastOnce => {
                self.seek(first);
                Outcome::Handled
            }
            _ => Outcome::Handled,
        };
        (done, outcome)
    }

    /// Records that the client delivers.
    fn poll(&self, partition: i32, most: usize) -> Vec<Message> {
        let mut positions = self.positions.borrow_mut();
        let is_paused = self.paused.borrow().contains(&partition);
        let Some(position) = positions.get_mut(&partition).filter(|_| !is_paused) else {
            return Vec::new();
        };
        let log = &self.world.log[usize::try_from(partition).expect("a partition")];
        let next = log.iter().filter(|record| record.offset >= *position);
        let mut next: Vec<_> = next.take(most).cloned().collect();
        for message in &mut next {
            *position = message.offset + 1;
            message.id = self.ids.replace(self.ids.get() + 1);
        }
        next
    }

    pub(super) fn pause_and_resume(&self, partition: i32) {
        let first = self
            .records
            .borrow_mut()
            .first_to_read_again(TOPIC, partition);
        let place = first.map(|offset| (TOPIC.to_owned(), partition, offset));
        self.seek_back(place.into_iter().collect());
    }

    pub(super) fn seek(&self, partition: i32) {
        let mut records = self.records.borrow_mut();
        records.discard(TOPIC, partition, i64::MIN);
        let commits = records.assigned.last_commit();
        let offset = 10 + i64::try_from(self.world.choose(2)).expect("small");
        if let Some(found) = records.assigned.find(TOPIC, partition) {
            // Forwards it would pass records because the application wants that.
            if found.next_offset().is_some_and(|next| next >= offset) {
                found.sought(SeekTarget::Offset(offset), commits);
                self.positions.borrow_mut().insert(partition, offset);
            } else {
                found.sought(SeekTarget::Beginning, commits);
                self.positions.borrow_mut().insert(partition, 0);
            }
        }
    }
}

impl Source for Process<'_> {
    type Id = (u64, Rc<Vec<u8>>);

    fn value(item: &ModelRecord) -> Option<&[u8]> {
        Some(&item.id.1)
    }

    fn fetch(&self, _: Duration, most: usize) -> usize {
        self.sleep(STEP);
        self.fetches.set(self.fetches.get() + 1);
        if self.fetches.get() > MAX_FETCHES && !self.world.choices.borrow().is_over {
            self.stop.request();
        }
        let pending = self.records.borrow().assigned.pending_rewinds();
        self.seek_back(pending);
        let released = self.records.borrow_mut().release(BOUNDS);
        self.paused
            .borrow_mut()
            .retain(|paused| !released.iter().any(|(_, number)| number == paused));
        if self.records.borrow().fetched_count() > 0 {
            return 0;
        }
        let mut count = self.records.borrow_mut().begin_batch(most);
        let mut partitions: Vec<i32> = self.positions.borrow().keys().copied().collect();
        while count < most && !partitions.is_empty() {
            let partition = partitions.remove(self.world.choose(partitions.len()));
            let few = [usize::MAX, 1, 2][self.world.choose(3)].min(most - count);
            for message in self.poll(partition, few) {
                self.records.borrow_mut().push_fetched(message);
                count += 1;
            }
        }
        count
    }

    fn has_records(&self) -> bool {
        self.records.borrow().has_records(|| self.clock.get())
    }

    fn next(&self) -> Option<ModelRecord> {
        let mut records = self.records.borrow_mut();
        let next = records.next(BOUNDS, || self.clock.get());
        let pauses = records.take_pauses();
        self.paused
            .borrow_mut()
            .extend(pauses.iter().map(|(_, partition)| *partition));
        let Next::Record(handle) = next else {
            return None;
        };
        let log = &self.world.log[usize::try_from(handle.partition).expect("a partition")];
        let record = log.iter().find(|record| record.offset == handle.offset);
        let value = Rc::clone(&record.expect("in the log").value);
        Some(Handle {
            id: (handle.id, value),
            slot: handle.slot,
            topic: handle.topic,
            partition: handle.partition,
            offset: handle.offset,
            attempt: handle.attempt,
            transient: handle.transient,
            transient_since: handle.transient_since,
            crashes: handle.crashes,
            isolated: handle.isolated,
            was_handled: handle.was_handled,
        })
    }

    fn complete(&self, item: &ModelRecord) {
        let is_unclaimed = self.world.log[usize::try_from(item.partition).expect("one")]
            .iter()
            .any(|record| {
                record.offset == item.offset && *record.value == *item.id.1 && {
                    let scanned = crate::envelope::scan_envelope(&record.value).expect("valid");
                    scanned.channel.as_deref() == Some("z")
                }
            });
        if is_unclaimed {
            let place = (item.partition, item.offset);
            self.world.results.borrow_mut().insert(place, 1);
        }
        self.records
            .borrow_mut()
            .complete(item.id.0, || self.clock.get());
    }

    fn requeue(&self, item: &ModelRecord, attempt: Attempt) {
        let mut records = self.records.borrow_mut();
        records.requeue(item.id.0, attempt, self.clock.get());
    }

    fn schedule_retry(&self, item: &ModelRecord, attempt: Attempt, wait: Duration) {
        let mut records = self.records.borrow_mut();
        records.schedule_retry(item.id.0, attempt, self.clock.get(), wait);
    }

    fn now(&self) -> Instant {
        self.clock.get()
    }

    fn sleep(&self, _: Duration) {
        self.clock.set(self.clock.get() + STEP);
    }

    fn keep_alive(&self, _: u64) {
        for message in self.poll(0, self.world.choose(2)) {
            let mut records = self.records.borrow_mut();
            if self.world.delivery == Delivery::AtLeastOnce {
                records.push_fetched(message);
            } else {
                records.push_next_batch(message);
            }
        }
    }

    fn is_rebalancing(&self) -> bool {
        self.world.choose(4) == 3
    }

    fn serve_events<W: RebalanceListener>(&self, _: &W) -> Result<(), W::Abort> {
        let partition = i32::try_from(self.world.choose(3)).expect("small");
        let is_assigned = self.positions.borrow().contains_key(&partition);
        match self.world.choose(5) {
            3 if is_assigned => drop(self.revoke(partition, false)),
            4 if is_assigned => drop(self.revoke(partition, true)),
            _ if !is_assigned => self.assign(partition),
            _ => {}
        }
        Ok(())
    }

    fn commit_if_due(&self, _: u64) -> Result<()> {
        if self.world.delivery != Delivery::AtLeastOnce {
            return Ok(());
        }
        match self.world.choose(3) {
            0 if self.responses.borrow().is_empty() => self.request(),
            2 => Ok(()),
            _ => {
                self.read_responses();
                Ok(())
            }
        }
    }

    fn commit_now(&self, _: Duration) -> Result<()> {
        if self.world.delivery != Delivery::AtLeastOnce {
            return Ok(());
        }
        self.read_responses();
        self.request()?;
        self.read_responses();
        Ok(())
    }

    fn results(&self, _: Duration) -> Result<bool> {
        match self.world.choose(3) {
            1 if !self.sent.borrow().is_empty() => {
                self.sent.borrow_mut().clear();
                Err(refused())
            }
            _ => {
                for record in self.sent.take() {
                    self.world.result(record);
                }
                Ok(true)
            }
        }
    }

    fn read_again(&self, isolated: bool) {
        if isolated {
            self.records.borrow_mut().assigned.isolate();
        }
        self.rewind();
    }

    fn has_isolated(&self) -> bool {
        self.records.borrow().assigned.has_isolated()
    }

    fn pre_commit(&self, _: Duration) -> PreCommit {
        let ends: Ends = self.records.borrow_mut().ends_of_fetched();
        match self.world.choose(4) {
            2 => return PreCommit::Refused,
            3 => return PreCommit::Pending,
            _ => {}
        }
        let number = self.records.borrow_mut().assigned.next_commit();
        let offsets: Vec<_> = ends
            .into_iter()
            .map(|((topic, partition), offset)| CommitOffset {
                topic,
                partition,
                offset,
                crashes: Vec::new(),
            })
            .collect();
        self.world.commit(&offsets);
        self.responses.borrow_mut().push((number, offsets));
        self.read_responses();
        PreCommit::Committed
    }

    fn discard_fetched(&self) -> (u64, Vec<String>) {
        self.records.borrow_mut().discard_fetched()
    }

    fn take_fatal_error(&self) -> Option<Error> {
        None
    }

    fn is_at_end(&self) -> bool {
        let positions = self.positions.borrow();
        let records = self.records.borrow();
        let read = |partition: i32| {
            let log = &self.world.log[usize::try_from(partition).expect("a partition")];
            let last = log.last().expect("records").offset;
            positions
                .get(&partition)
                .is_some_and(|position| *position > last)
        };
        records.is_drained() && records.assigned.pending_rewinds().is_empty() && (0..3).all(read)
    }

    fn has_no_more(&self) -> bool {
        false
    }
}
