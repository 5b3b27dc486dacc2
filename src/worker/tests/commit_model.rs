//! A model of the promise behind every commit: an offset passes a record only with its result.
//!
//! The real loop and the real [`AssignedRecords`] run against a simulated Kafka that checks each commit. Every
//! decision is a choice: how records are fetched, what a callback does (return, throw, exit, fatal error, pause,
//! seek), whether a commit, a delivery, a seek or a transaction succeeds, when partitions are revoked and assigned,
//! when the process is killed. The first choices of a run are enumerated, the rest come from a seed; after the faults
//! a worker without faults has to finish.

use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;
use std::time::Instant;

use super::*;
use crate::config::Delivery;
use crate::dispatch::channels;
use crate::kafka::consumer::partition::SeekTarget;
use crate::kafka::consumer::records::{
    AssignedRecords, CommitOffset, Ends, Fetched, Handle, Next, RetryBounds,
};

const TOPIC: &str = "t";
const BOUNDS: RetryBounds = RetryBounds {
    queued: 3,
    ahead: 4,
};
/// Fetches of one process before it is stopped.
const MAX_FETCHES: u32 = 25;

/// Decisions: enumerated at first, then from a seed.
struct Choices {
    fixed: Vec<usize>,
    made: Vec<(usize, usize)>,
    random: u64,
    is_over: bool,
}

impl Choices {
    fn next(&mut self, of: usize) -> usize {
        if self.is_over || of < 2 {
            return 0;
        }
        let place = self.made.len();
        let choice = self.fixed.get(place).copied().unwrap_or_else(|| {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            // Faults in about a third of the decisions, so that runs also get somewhere.
            if self.random % 3 > 0 {
                0
            } else {
                usize::try_from((self.random >> 8) % of as u64).unwrap_or(0)
            }
        });
        self.made.push((choice, of));
        choice
    }
}

/// An offset and the crash counts beside it.
type Committed = (i64, Vec<(i64, i64, u32)>);

/// Kafka, as far as one group and one topic are concerned.
struct World {
    delivery: Delivery,
    log: Vec<Vec<Message>>,
    committed: RefCell<HashMap<i32, Committed>>,
    /// Results that consumers of the output can read.
    results: RefCell<HashMap<(i32, i64), u32>>,
    begun: RefCell<HashMap<(i32, i64), u32>>,
    choices: RefCell<Choices>,
}

#[derive(Clone)]
struct Message {
    id: u64,
    partition: i32,
    offset: i64,
    key: Option<Vec<u8>>,
    value: Rc<Vec<u8>>,
}

impl Fetched for Message {
    type Id = u64;

    fn id(&self) -> u64 {
        self.id
    }

    fn is_record(&self) -> bool {
        true
    }

    fn topic_handle(&self) -> usize {
        1
    }

    fn topic(&self) -> String {
        TOPIC.to_owned()
    }

    fn partition(&self) -> i32 {
        self.partition
    }

    fn offset(&self) -> i64 {
        self.offset
    }

    fn key(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }

    fn size(&self) -> usize {
        self.value.len()
    }
}

impl World {
    /// Three partitions with records of a batch subscription (x), a single one (y) and none (z), keys and gaps.
    fn new(delivery: Delivery, has_offsets: bool, choices: Choices) -> Self {
        let layout: [&[(&str, Option<&str>)]; 3] = [
            &[
                ("x", Some("a")),
                ("x", None),
                ("x", Some("a")),
                ("y", None),
                ("x", Some("b")),
                ("x", Some("a")),
                ("x", Some("b")),
            ],
            &[("y", Some("a")), ("x", None), ("z", None), ("y", Some("a"))],
            &[("x", None), ("y", Some("c")), ("x", Some("c"))],
        ];
        let partition = |(number, records): (usize, &&[(&str, Option<&str>)])| {
            let message = |(place, (channel, key)): (usize, &(&str, Option<&str>))| {
                let mut value = Vec::new();
                let channel = Some(*channel);
                let kind = "event";
                crate::envelope::write_envelope(
                    &mut value,
                    b"i",
                    kind,
                    channel,
                    Some("e"),
                    None,
                    1,
                );
                let place = i64::try_from(place).expect("small");
                Message {
                    id: 0,
                    partition: i32::try_from(number).expect("small"),
                    // A gap after the third record, as transactions and compaction leave them.
                    offset: 10 + place + i64::from(place > 2) * 3,
                    key: key.map(|key| key.as_bytes().to_vec()),
                    value: Rc::new(value),
                }
            };
            records.iter().enumerate().map(message).collect()
        };
        let committed = if has_offsets {
            (0..3)
                .map(|partition| (partition, (10, Vec::new())))
                .collect()
        } else {
            HashMap::new()
        };
        Self {
            delivery,
            log: layout.iter().enumerate().map(partition).collect(),
            committed: RefCell::new(committed),
            results: RefCell::default(),
            begun: RefCell::default(),
            choices: RefCell::new(choices),
        }
    }

    fn choose(&self, of: usize) -> usize {
        self.choices.borrow_mut().next(of)
    }

    fn result(&self, record: (i32, i64)) {
        *self.results.borrow_mut().entry(record).or_insert(0) += 1;
    }

    /// Kafka accepts a commit. The promise: every record before the offset has its result.
    fn commit(&self, offsets: &[CommitOffset]) {
        for commit in offsets {
            let records = &self.log[usize::try_from(commit.partition).expect("a partition")];
            if self.delivery != Delivery::AtMostOnce {
                for record in records
                    .iter()
                    .filter(|record| record.offset < commit.offset)
                {
                    assert!(
                        self.results
                            .borrow()
                            .contains_key(&(commit.partition, record.offset)),
                        "offset {} of partition {} passes record {} without its result",
                        commit.offset,
                        commit.partition,
                        record.offset
                    );
                }
            }
            let committed = (commit.offset, commit.crashes.clone());
            self.committed
                .borrow_mut()
                .insert(commit.partition, committed);
        }
    }
}

#[derive(Clone)]
struct ModelRecord {
    handle: Handle<u64>,
    value: Rc<Vec<u8>>,
}

impl Item for ModelRecord {
    fn topic(&self) -> &str {
        TOPIC
    }

    fn value(&self) -> Option<&[u8]> {
        Some(&self.value)
    }

    fn same_partition(&self, other: &Self) -> bool {
        self.handle.slot == other.handle.slot
    }

    fn place(&self) -> (String, i32, i64) {
        (TOPIC.to_owned(), self.handle.partition, self.handle.offset)
    }

    fn crashes(&self) -> u32 {
        self.handle.crashes
    }
}

/// One process of the group: its consumer and its callbacks.
struct Process<'w> {
    world: &'w World,
    records: RefCell<AssignedRecords<Message>>,
    /// Position of librdkafka's next fetch, by assigned partition.
    positions: RefCell<BTreeMap<i32, i64>>,
    paused: RefCell<Vec<i32>>,
    /// Commits without an answer yet.
    answers: RefCell<Vec<(usize, Vec<CommitOffset>)>>,
    /// Messages that the callbacks sent: not acknowledged yet, or in the open transaction.
    sent: RefCell<Vec<(i32, i64)>>,
    is_unsure: Cell<bool>,
    fetches: Cell<u32>,
    ids: Cell<u64>,
    stop: StopSignal,
}

impl<'w> Process<'w> {
    fn start(world: &'w World) -> Self {
        let process = Self {
            world,
            records: RefCell::default(),
            positions: RefCell::default(),
            paused: RefCell::default(),
            answers: RefCell::default(),
            sent: RefCell::default(),
            is_unsure: Cell::new(false),
            fetches: Cell::new(0),
            ids: Cell::new(1),
            stop: StopSignal::default(),
        };
        for partition in 0..3 {
            process.assign(partition);
        }
        process
    }

    fn assign(&self, partition: i32) {
        let committed = self.world.committed.borrow().get(&partition).cloned();
        let (offset, crashes) = committed.unwrap_or((-1, Vec::new()));
        let mut records = self.records.borrow_mut();
        records
            .add(TOPIC, partition, offset)
            .restore_crash_counts(&crashes);
        self.positions.borrow_mut().insert(partition, offset);
    }

    fn revoke(&self, partition: i32, is_lost: bool) -> Result<()> {
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

    fn seek_back(&self, places: Vec<(String, i32, i64)>) {
        for (topic, partition, offset) in places {
            let mut records = self.records.borrow_mut();
            records.discard(&topic, partition, offset);
            let succeeded = self.world.choose(3) != 2;
            records.sought_back(&topic, partition, offset, succeeded);
            if succeeded {
                self.positions.borrow_mut().insert(partition, offset);
            }
        }
    }

    fn rewind(&self) {
        self.sent.borrow_mut().clear();
        let places = self.records.borrow().restart_offsets();
        self.seek_back(places);
    }

    /// As the consumer commits: the list first, then the acknowledgements, then the request.
    fn request(&self) -> Result<()> {
        let offsets = self.records.borrow().committable();
        match self.world.choose(6) {
            4 => return Ok(()),
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
            let number = self.records.borrow_mut().next_commit();
            self.world.commit(&offsets);
            self.answers.borrow_mut().push((number, offsets));
        }
        Ok(())
    }

    fn read_answers(&self) {
        for (number, offsets) in self.answers.take() {
            for commit in offsets {
                let mut records = self.records.borrow_mut();
                records.committed(&commit.topic, commit.partition, commit.offset, number);
            }
        }
    }

    /// As the binding does at `exit` and fatal errors.
    fn on_fatal_error(&self) {
        let in_flight = self.records.borrow().in_flight();
        for handle in &in_flight {
            let mut records = self.records.borrow_mut();
            records.crashed(handle.slot, handle.offset, handle.attempt);
        }
        self.records.borrow_mut().requeue_all(Instant::now());
        if self.world.delivery == Delivery::ExactlyOnce {
            self.rewind();
            let offsets = self.records.borrow().committable();
            self.world.commit(&offsets);
        }
    }

    fn callback(&self, items: &[ModelRecord]) -> (usize, Outcome<String>) {
        let places: Vec<_> = items
            .iter()
            .map(|item| (item.handle.partition, item.handle.offset))
            .collect();
        for place in &places {
            let mut begun = self.world.begun.borrow_mut();
            let begun = begun.entry(*place).or_insert(0);
            *begun += 1;
            let once = self.world.delivery != Delivery::AtMostOnce || *begun == 1;
            assert!(once, "at-most-once begins {place:?} twice");
        }
        let action = self.world.choose(9);
        // How far the callback gets, and whether it has sent a result for the record that fails.
        let done = match action {
            0 | 7 | 8 => items.len(),
            _ => self.world.choose(items.len()),
        };
        let sent = done + self.world.choose(2).min(items.len() - done);
        if self.world.delivery != Delivery::AtMostOnce {
            self.sent.borrow_mut().extend(&places[..sent]);
        }
        let first = items[0].handle.partition;
        let outcome = match action {
            1..=3 if self.world.delivery == Delivery::AtMostOnce => Outcome::Dropped,
            1 | 2 => Outcome::Retry(Duration::ZERO),
            3 => Outcome::DeadLetter(letter("no")),
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

    fn pause_and_resume(&self, partition: i32) {
        let first = self.records.borrow_mut().first_fetched(TOPIC, partition);
        let place = first.map(|offset| (TOPIC.to_owned(), partition, offset));
        self.seek_back(place.into_iter().collect());
    }

    fn seek(&self, partition: i32) {
        let mut records = self.records.borrow_mut();
        records.discard(TOPIC, partition, i64::MIN);
        let commits = records.last_commit();
        let offset = 10 + i64::try_from(self.world.choose(2)).expect("small");
        if let Some(found) = records.find(TOPIC, partition) {
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
    type Item = ModelRecord;

    fn fetch(&self, _: Duration, most: usize) -> usize {
        self.fetches.set(self.fetches.get() + 1);
        if self.fetches.get() > MAX_FETCHES && !self.world.choices.borrow().is_over {
            self.stop.ask();
        }
        let pending = self.records.borrow().pending_rewinds();
        self.seek_back(pending);
        let released = self.records.borrow_mut().release(BOUNDS);
        self.paused
            .borrow_mut()
            .retain(|paused| !released.iter().any(|(_, number)| number == paused));
        if self.records.borrow().fetched_count() > 0 {
            return 0;
        }
        let mut count = 0;
        let mut partitions: Vec<i32> = self.positions.borrow().keys().copied().collect();
        while count < most && !partitions.is_empty() {
            let partition = partitions.remove(self.world.choose(partitions.len()));
            if self.paused.borrow().contains(&partition) {
                continue;
            }
            let mut positions = self.positions.borrow_mut();
            let position = positions.get_mut(&partition).expect("assigned");
            let log = &self.world.log[usize::try_from(partition).expect("a partition")];
            let next = log.iter().filter(|record| record.offset >= *position);
            let few = [usize::MAX, 1, 2][self.world.choose(3)].min(most - count);
            let next: Vec<_> = next.take(few).cloned().collect();
            for mut message in next {
                *position = message.offset + 1;
                message.id = self.ids.replace(self.ids.get() + 1);
                self.records.borrow_mut().push_fetched(message);
                count += 1;
            }
        }
        count
    }

    fn has_records(&self) -> bool {
        self.records.borrow().has_records(Instant::now)
    }

    fn next(&self) -> Option<ModelRecord> {
        let mut records = self.records.borrow_mut();
        let next = records.next(BOUNDS, Instant::now);
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
        Some(ModelRecord { handle, value })
    }

    fn complete(&self, item: &ModelRecord) {
        let is_unclaimed = self.world.log[usize::try_from(item.handle.partition).expect("one")]
            .iter()
            .any(|record| {
                record.offset == item.handle.offset && *record.value == *item.value && {
                    let scanned = crate::envelope::scan_envelope(&record.value).expect("valid");
                    scanned.channel.as_deref() == Some("z")
                }
            });
        if is_unclaimed {
            let place = (item.handle.partition, item.handle.offset);
            self.world.results.borrow_mut().insert(place, 1);
        }
        self.records
            .borrow_mut()
            .complete(item.handle.id, Instant::now);
    }

    fn requeue(&self, item: &ModelRecord, failed: bool) {
        let mut records = self.records.borrow_mut();
        records.requeue(item.handle.id, failed, Instant::now());
    }

    fn schedule_retry(&self, item: &ModelRecord, wait: Duration) {
        let mut records = self.records.borrow_mut();
        records.schedule_retry(item.handle.id, Instant::now(), wait);
    }

    fn keep_alive(&self) {}

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
            0 if self.answers.borrow().is_empty() => self.request(),
            2 => Ok(()),
            _ => {
                self.read_answers();
                Ok(())
            }
        }
    }

    fn commit_now(&self, _: Duration) -> Result<()> {
        if self.world.delivery != Delivery::AtLeastOnce {
            return Ok(());
        }
        self.read_answers();
        self.request()?;
        self.read_answers();
        Ok(())
    }

    fn pre_commit(&self, _: Duration) -> PreCommit {
        let ends: Ends = self.records.borrow_mut().ends_of_fetched();
        match self.world.choose(4) {
            2 => return PreCommit::Refused,
            3 => return PreCommit::Unanswered,
            _ => {}
        }
        let number = self.records.borrow_mut().next_commit();
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
        self.answers.borrow_mut().push((number, offsets));
        self.read_answers();
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
        records.is_drained() && records.pending_rewinds().is_empty() && (0..3).all(read)
    }

    fn nothing_to_come(&self) -> bool {
        false
    }
}

impl RebalanceListener for Process<'_> {
    type Abort = String;

    fn assigned(&self, _: &[(String, i32)]) -> Result<(), String> {
        Ok(())
    }

    fn revoked(&self, _: &[(String, i32)], _: bool) -> Result<(), String> {
        Ok(())
    }
}

impl Handler<ModelRecord> for Process<'_> {
    type Callback = ();

    fn handle(
        &self,
        _: &Rc<Subscription<()>>,
        item: &ModelRecord,
        _: Option<&Scanned<'_>>,
    ) -> Outcome<String> {
        self.callback(std::slice::from_ref(item)).1
    }

    fn handle_batch(
        &self,
        _: &Rc<Subscription<()>>,
        items: &[ModelRecord],
    ) -> (usize, Outcome<String>) {
        self.callback(items)
    }

    fn wants(&self, _: &ModelRecord) -> bool {
        true
    }

    fn retries_exhausted(&self, item: &ModelRecord) -> Option<DeadLetter> {
        (item.handle.crashes > 3 && self.world.delivery != Delivery::AtMostOnce)
            .then(|| letter("crashed"))
    }

    fn not_an_envelope(&self, reason: &Error) -> DeadLetter {
        letter(reason.message())
    }

    fn dead_letter(&self, item: &ModelRecord, _: &DeadLetter) -> Result<()> {
        let place = (item.handle.partition, item.handle.offset);
        self.sent.borrow_mut().push(place);
        Ok(())
    }

    fn poll_interrupts(&self, _: u64) -> Result<(), String> {
        Ok(())
    }

    fn fail(&self, error: Error) -> String {
        error.message().to_owned()
    }
}

impl Transactions for Process<'_> {
    fn prepare(&self) -> Result<bool> {
        if self.is_unsure.replace(false) {
            let committed = self.world.committed.borrow().clone();
            let mut places = Vec::new();
            for partition in 0..3 {
                if let Some(found) = self.records.borrow_mut().find(TOPIC, partition) {
                    if let Some((offset, _)) = committed.get(&partition) {
                        found.restart_at(*offset);
                    }
                    let offset = found.restart_offset();
                    places.extend(offset.map(|offset| (TOPIC.to_owned(), partition, offset)));
                }
            }
            self.seek_back(places);
        }
        Ok(true)
    }

    fn begin(&self) -> Result<bool> {
        self.prepare()?;
        self.sent.borrow_mut().clear();
        Ok(self.world.choose(4) != 3)
    }

    fn commit(&self) -> Result<TransactionOutcome> {
        let lost = || Error::delivery("aborted", Vec::new());
        let fault = self.world.choose(6);
        if fault == 2 {
            self.rewind();
            return Ok(TransactionOutcome::Aborted(lost()));
        }
        if fault == 3 {
            return Err(lost());
        }
        if fault == 4 {
            // Without an answer the client is replaced: nothing of the transaction is in Kafka.
            self.rewind();
            self.is_unsure.set(true);
            return Ok(TransactionOutcome::Aborted(lost()));
        }
        let offsets = self.records.borrow().committable();
        for record in self.sent.take() {
            self.world.result(record);
        }
        self.world.commit(&offsets);
        if fault == 5 {
            // The same, where Kafka has committed it.
            self.rewind();
            self.is_unsure.set(true);
            return Ok(TransactionOutcome::Aborted(lost()));
        }
        let number = self.records.borrow_mut().next_commit();
        for commit in offsets {
            let mut records = self.records.borrow_mut();
            records.committed(&commit.topic, commit.partition, commit.offset, number);
        }
        Ok(TransactionOutcome::Committed)
    }

    fn abort(&self) -> Result<()> {
        self.rewind();
        Ok(())
    }

    fn bound(&self) -> Duration {
        Duration::from_secs(20)
    }
}

/// One process: `consume()` up to three times, until it crashes or is killed.
fn run_process(world: &World, subscriptions: &RefCell<Subscriptions<()>>, topics: &TopicMap) {
    let process = Process::start(world);
    for _ in 0..3 {
        process.records.borrow_mut().requeue_all(Instant::now());
        process.stop.reset();
        let limits = Limits {
            wait: Duration::ZERO,
            batch: [8, 1, 2, 3][world.choose(4)],
            max_messages: [0, 1, 3][world.choose(3)],
            when_empty: true,
        };
        let counters = WorkerCounters::default();
        let ended = std::panic::catch_unwind(AssertUnwindSafe(|| {
            Worker {
                source: &process,
                handler: &process,
                subscriptions,
                topics,
                delivery: match world.delivery {
                    Delivery::AtLeastOnce => DeliveryMode::AtLeastOnce,
                    Delivery::AtMostOnce => DeliveryMode::AtMostOnce,
                    Delivery::ExactlyOnce => DeliveryMode::ExactlyOnce(&process),
                },
                limits,
                stop: &process.stop,
                counters: &counters,
                pending_dead_letters: PendingDeadLetters::default(),
            }
            .run()
        }));
        match ended {
            Err(panic) if panic.downcast_ref::<&str>() == Some(&"fatal error") => {
                process.on_fatal_error();
                drop(process.commit_now(Duration::ZERO));
                return;
            }
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(Err(why)) if why == "exit" => return,
            Ok(Err(_)) if world.delivery == Delivery::ExactlyOnce => process.rewind(),
            Ok(_) => {}
        }
        // kill -9 between two calls.
        if world.choose(4) == 3 {
            return;
        }
    }
}

fn run_world(delivery: Delivery, has_offsets: bool, choices: Choices) -> Vec<(usize, usize)> {
    let world = World::new(delivery, has_offsets, choices);
    let topics = TopicMap::grouped("p", Vec::new(), TOPIC, None);
    let mut subscriptions = Subscriptions::default();
    for (name, style) in [("x", Style::Batch), ("y", Style::Single)] {
        let target = channels(name, &topics).expect("a channel");
        let callback = Some(());
        subscriptions
            .add(Subscription {
                target,
                style,
                callback,
            })
            .expect("added");
    }
    let subscriptions = RefCell::new(subscriptions);
    for _ in 0..3 {
        run_process(&world, &subscriptions, &topics);
    }
    world.choices.borrow_mut().is_over = true;
    run_process(&world, &subscriptions, &topics);
    for record in world.log.iter().flatten() {
        let results = world.results.borrow();
        let results = results
            .get(&(record.partition, record.offset))
            .copied()
            .unwrap_or(0);
        match delivery {
            Delivery::AtLeastOnce => assert!(
                results > 0,
                "{record:?} has no result",
                record = (record.partition, record.offset)
            ),
            Delivery::ExactlyOnce => {
                assert_eq!(results, 1, "{:?}", (record.partition, record.offset));
            }
            Delivery::AtMostOnce => {}
        }
    }
    world.choices.into_inner().made
}

/// Runs with every combination of the first choices, then seeds; names the run that fails.
fn explore(delivery: Delivery, enumerated: usize, depth: usize, seeds: u64) {
    let run = |has_offsets, fixed: Vec<usize>, seed: u64| {
        let choices = Choices {
            fixed: fixed.clone(),
            made: Vec::new(),
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            is_over: false,
        };
        let caught = std::panic::catch_unwind(|| run_world(delivery, has_offsets, choices));
        caught.unwrap_or_else(|_| {
            panic!("{delivery:?}, offsets {has_offsets}, {fixed:?}, seed {seed}")
        })
    };
    for has_offsets in [false, true] {
        let mut fixed = Vec::new();
        for seed in 0..enumerated as u64 {
            let mut made = run(has_offsets, fixed, seed);
            made.truncate(depth);
            while made.last().is_some_and(|(choice, of)| choice + 1 >= *of) {
                made.pop();
            }
            let Some(last) = made.last_mut() else {
                break;
            };
            last.0 += 1;
            fixed = made.into_iter().map(|(choice, _)| choice).collect();
        }
        for seed in 0..seeds {
            run(has_offsets, Vec::new(), seed);
        }
    }
}

#[test]
fn at_least_once_commits_no_offset_before_the_results() {
    explore(Delivery::AtLeastOnce, 3000, 9, 4000);
}

#[test]
fn exactly_once_commits_each_result_once_with_its_offset() {
    explore(Delivery::ExactlyOnce, 3000, 9, 4000);
}

#[test]
fn at_most_once_begins_no_record_twice() {
    explore(Delivery::AtMostOnce, 3000, 9, 4000);
}
