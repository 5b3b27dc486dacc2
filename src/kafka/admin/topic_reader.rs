//! Reads a topic from the first offsets to the end offsets at the start of the read.
//!
//! Fetched messages are stored in the reader, never on the caller's stack: librdkafka blocks forever when a client is
//! destroyed while messages are outstanding.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode as Code;

use super::offsets::{offset_ranges, range_of};
use super::{
    is_transient, is_unknown_topic, topics, Admin, AdminCall, AdminResult, PollInterrupts,
    CALL_TIMEOUT,
};
use crate::kafka::client::{EventQueue, KafkaMessage, TopicHandle};
use crate::message::{Message, Origin};

/// Messages taken from librdkafka's queue per call.
const BATCH: usize = 256;

#[derive(Debug)]
pub enum ReadStep {
    Record(Box<Message>),
    /// No record within the wait.
    Waiting,
    /// The end offsets have been reached.
    End,
}

/// A partition being read.
struct PartitionCursor {
    id: i32,
    /// Records from this offset on were written after the start.
    end: i64,
    /// Lowest offset expected next.
    next: i64,
    open: bool,
}

/// Reads a topic. One reader at a time per [`Admin`].
pub struct TopicReader {
    fetched: VecDeque<KafkaMessage>,
    cursors: Vec<PartitionCursor>,
    open: usize,
    name: Rc<str>,
    action: String,
    /// When the last record was received, if none is available.
    idle: Option<Instant>,
    topic: TopicHandle,
    queue: EventQueue,
    admin: Rc<Admin>,
}

impl TopicReader {
    /// Looks up the offset ranges and starts fetching; `from` overrides the start offset of some partitions.
    ///
    /// # Errors
    /// UnknownTopic; Configuration: unknown partition, or a negative offset. Connection: Kafka does not respond.
    pub fn start(
        admin: &Rc<Admin>,
        topic: &str,
        from: &[(i32, i64)],
        poll_interrupts: PollInterrupts<'_>,
    ) -> AdminResult<Self> {
        let action = format!("Topic \"{topic}\" cannot be read");
        let call = admin.call(action.as_str(), poll_interrupts);
        let ranges = offset_ranges(topic, &call)?;
        let mut starts: Vec<i64> = ranges.iter().map(|range| range.beginning).collect();
        for (partition, offset) in from {
            let range = range_of(&ranges, *partition, &call)?;
            if *offset < 0 {
                let wrong = call.wrong(format_args!(
                    "start offsets must be 0 or more, {offset} given for partition {partition}."
                ));
                return Err(wrong.into());
            }
            let place = ranges.iter().position(|one| one == range);
            if let Some(start) = place.and_then(|place| starts.get_mut(place)) {
                // Deleted records cannot be read: starts at the first available one.
                *start = (*offset).max(range.beginning);
            }
        }
        let handle = topics::handle(topic, &call)?;
        drop(call);
        let mut reader = Self {
            fetched: VecDeque::new(),
            cursors: Vec::with_capacity(ranges.len()),
            open: 0,
            name: Rc::from(topic),
            topic: handle,
            queue: EventQueue::new(&admin.client),
            action,
            idle: None,
            admin: Rc::clone(admin),
        };
        for (range, start) in ranges.iter().zip(starts) {
            reader.open(range.partition, start, range.end)?;
        }
        Ok(reader)
    }

    /// For its errors.
    fn call(&self) -> AdminCall<'_> {
        self.admin.call(self.action.as_str(), &|| true)
    }

    fn open(&mut self, id: i32, start: i64, end: i64) -> AdminResult<()> {
        if start < end {
            let started = self.topic.start(id, start, &self.queue);
            started.map_err(|code| self.call().error(code, ""))?;
            self.open += 1;
        }
        self.cursors.push(PartitionCursor {
            id,
            end,
            next: start,
            open: start < end,
        });
        Ok(())
    }

    /// The next record, waiting for at most `wait`.
    ///
    /// # Errors
    /// Connection: no record for 10 s, or Kafka refuses. UnknownTopic: the topic was deleted. Configuration: called in
    /// a forked child.
    pub fn next(&mut self, wait: Duration) -> AdminResult<ReadStep> {
        if self.admin.is_inherited() {
            let wrong =
                "a forked child cannot use its parent's reader. Create an Admin in the child.";
            return Err(self.call().wrong(wrong).into());
        }
        loop {
            if self.open == 0 {
                return Ok(ReadStep::End);
            }
            while let Some(fetched) = self.fetched.pop_front() {
                if let Some(message) = self.read_message(&fetched)? {
                    return Ok(ReadStep::Record(Box::new(message)));
                }
            }
            if self.open > 0 && !self.fetch(wait) {
                return self.on_no_records();
            }
        }
    }

    /// True if a message was fetched.
    fn fetch(&mut self, wait: Duration) -> bool {
        let Some(first) = self.queue.consume(wait) else {
            return false;
        };
        self.fetched.push_back(first);
        let fetched = &mut self.fetched;
        self.queue
            .consume_available(BATCH, |next| fetched.push_back(next));
        self.idle = None;
        true
    }

    /// Tolerates a time without records, up to the time limit of a call.
    fn on_no_records(&mut self) -> AdminResult<ReadStep> {
        self.call().check_client_errors()?;
        let since = *self.idle.get_or_insert_with(Instant::now);
        if since.elapsed() < CALL_TIMEOUT {
            return Ok(ReadStep::Waiting);
        }
        let stuck: Vec<String> = self
            .cursors
            .iter()
            .filter(|cursor| cursor.open)
            .map(|cursor| format!("{} at offset {} of {}", cursor.id, cursor.next, cursor.end))
            .collect();
        let action = format!("{} (partition {})", self.action, stuck.join(", "));
        Err(self.call().about(action).timeout().into())
    }

    /// Converts the message into a record; `None` for events and records after the end.
    fn read_message(&mut self, message: &KafkaMessage) -> AdminResult<Option<Message>> {
        let place = self
            .cursors
            .iter()
            .position(|cursor| cursor.id == message.partition() && cursor.open);
        match message.code() {
            Code::NoError => {}
            Code::PartitionEOF => {
                // The last offsets may be control records, and before the end there may be an open transaction.
                if let Some(place) = place {
                    self.close(place);
                }
                return Ok(None);
            }
            code if is_unknown_topic(code) => {
                return Err(self.call().unknown_topic(&self.name).into());
            }
            code if is_transient(code) => return Ok(None),
            code => {
                let detail = message.error_text();
                return Err(self.call().error(code, &detail).into());
            }
        }
        let Some(place) = place else {
            return Ok(None);
        };
        let cursor = &mut self.cursors[place];
        let offset = message.offset();
        cursor.next = offset + 1;
        let (came_later, was_last) = (offset >= cursor.end, offset + 1 >= cursor.end);
        if was_last {
            self.close(place);
        }
        if came_later {
            return Ok(None);
        }
        let origin = Origin {
            topic: Rc::clone(&self.name),
            partition: message.partition(),
            offset,
            attempt: 1,
            transient: 0,
            transient_since: None,
            timestamp_ms: message.timestamp_ms(),
        };
        Ok(Some(Message::from_record(
            message.value(),
            message.key(),
            message.headers(),
            None,
            origin,
        )))
    }

    /// Stops fetching a partition.
    fn close(&mut self, place: usize) {
        let cursor = &mut self.cursors[place];
        if std::mem::replace(&mut cursor.open, false) {
            self.open -= 1;
            self.topic.stop(cursor.id);
        }
    }
}

impl Drop for TopicReader {
    fn drop(&mut self) {
        if self.admin.is_inherited() {
            // The parent's messages: its threads do not exist here.
            std::mem::forget(std::mem::take(&mut self.fetched));
            return;
        }
        // Messages are destroyed first: stopping a partition would wait for them.
        self.fetched.clear();
        for place in 0..self.cursors.len() {
            self.close(place);
        }
    }
}
