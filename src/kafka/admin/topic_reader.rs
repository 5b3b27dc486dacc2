//! Every record of a topic, from where its partitions begin to where they ended when the reading began.
//!
//! Records that were fetched stay in here, never on the stack of whoever reads: librdkafka waits for ever for a client whose
//! messages were not given back.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rdkafka_sys as sys;
use sys::bindings::rd_kafka_resp_err_t as Code;

use super::offsets::range_of;
use super::{
    is_transient, is_unknown_topic, Admin, AdminCall, AdminResult, PollInterrupts, CALL_TIMEOUT,
};
use crate::error::{Error, Result};
use crate::kafka::client::{self, EventQueue, TopicHandle};
use crate::kafka::producer::delivery;
use crate::message::{Message, Origin};

/// Records taken over from librdkafka at once.
const BATCH: usize = 256;

type Raw = *mut sys::rd_kafka_message_t;

/// What came.
#[derive(Debug)]
pub enum ReadStep {
    /// The next record, raw.
    Record(Box<Message>),
    /// Nothing yet.
    Waiting,
    /// That was all.
    End,
}

/// A partition that is being read.
struct PartitionCursor {
    id: i32,
    /// What lies from here on came after the reading began.
    end: i64,
    /// The offset to come next at the earliest.
    next: i64,
    open: bool,
}

/// Reads a topic. One at a time for each Admin.
pub struct TopicReader {
    fetched: VecDeque<Raw>,
    cursors: Vec<PartitionCursor>,
    open: usize,
    name: Rc<str>,
    action: String,
    /// Since when nothing has come.
    idle: Option<Instant>,
    topic: Option<TopicHandle>,
    queue: Option<EventQueue>,
    admin: Rc<Admin>,
}

impl TopicReader {
    /// Looks up where the topic begins and ends now, and begins to fetch; `from`: partitions that begin elsewhere.
    ///
    /// # Errors
    /// UnknownTopic; Configuration: no such partition, or an offset below 0. Connection: Kafka does not answer.
    pub fn start(
        admin: &Rc<Admin>,
        topic: &str,
        from: &[(i32, i64)],
        poll_interrupts: PollInterrupts<'_>,
    ) -> AdminResult<Self> {
        let action = format!("Topic \"{topic}\" cannot be read");
        let call = AdminCall::new(poll_interrupts);
        let offset_ranges = admin.offset_ranges(topic, &call, &action)?;
        let mut starts: Vec<i64> = offset_ranges.iter().map(|range| range.beginning).collect();
        for (partition, offset) in from {
            let range = range_of(&offset_ranges, *partition, &action)?;
            if *offset < 0 {
                return Err(Error::configuration(format!(
                    "{action}: the offset to begin with must be 0 or more, {offset} given for partition {partition}."
                ))
                .into());
            }
            let place = offset_ranges.iter().position(|one| one == range);
            if let Some(start) = place.and_then(|place| starts.get_mut(place)) {
                // What was deleted cannot be read any more: the first that is left.
                *start = (*offset).max(range.beginning);
            }
        }
        let mut reader = Self {
            fetched: VecDeque::new(),
            cursors: Vec::with_capacity(offset_ranges.len()),
            open: 0,
            name: Rc::from(topic),
            topic: Some(admin.handle(topic, &action)?),
            queue: Some(EventQueue::new(admin.client)),
            action,
            idle: None,
            admin: Rc::clone(admin),
        };
        for (range, start) in offset_ranges.iter().zip(starts) {
            reader.open(range.partition, start, range.end)?;
        }
        Ok(reader)
    }

    fn open(&mut self, id: i32, start: i64, end: i64) -> Result<()> {
        let (Some(topic), Some(queue)) = (&self.topic, &self.queue) else {
            return Ok(());
        };
        if start < end {
            // SAFETY: live objects.
            let status = unsafe {
                sys::bindings::rd_kafka_consume_start_queue(topic.raw(), id, start, queue.raw())
            };
            if status != 0 {
                // SAFETY: reads this thread's last error.
                let code = unsafe { sys::bindings::rd_kafka_last_error() };
                return Err(self.admin.error_for(code, &self.action, ""));
            }
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
    /// Connection: nothing came for 10 s, or Kafka refuses to be read. UnknownTopic: it was deleted meanwhile. Configuration: in a
    /// forked child.
    pub fn next(&mut self, wait: Duration) -> AdminResult<ReadStep> {
        if self.admin.is_inherited() {
            return Err(Error::configuration(format!(
                "{}: a forked child cannot go on with its parent's reading. Make an Admin in the child.",
                self.action
            ))
            .into());
        }
        loop {
            if self.open == 0 {
                return Ok(ReadStep::End);
            }
            while let Some(raw) = self.fetched.pop_front() {
                // SAFETY: taken out of the hand, and given back below whatever it says.
                let found = unsafe { self.read_message(raw) };
                // SAFETY: nothing refers to it any more: a message is a copy.
                unsafe { sys::rd_kafka_message_destroy(raw) };
                if let Some(message) = found? {
                    return Ok(ReadStep::Record(Box::new(message)));
                }
            }
            if self.open > 0 && !self.fetch(wait) {
                return self.on_no_records();
            }
        }
    }

    /// True where something came.
    fn fetch(&mut self, wait: Duration) -> bool {
        let Some(queue) = &self.queue else {
            return false;
        };
        let wait = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        let mut batch: [Raw; BATCH] = [std::ptr::null_mut(); BATCH];
        // SAFETY: a live queue; messages are ours until destroyed.
        unsafe {
            // The batch call would wait until it is full: wait for one, then take what is there.
            let first = sys::bindings::rd_kafka_consume_queue(queue.raw(), wait);
            if first.is_null() {
                return false;
            }
            self.fetched.push_back(first);
            let count = sys::bindings::rd_kafka_consume_batch_queue(
                queue.raw(),
                0,
                batch.as_mut_ptr(),
                BATCH,
            );
            let count = usize::try_from(count).unwrap_or(0).min(BATCH);
            self.fetched.extend(&batch[..count]);
        }
        self.idle = None;
        true
    }

    /// Nothing came: that is fine for a while.
    fn on_no_records(&mut self) -> AdminResult<ReadStep> {
        self.admin.check_client_errors(&self.action)?;
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
        Err(self.admin.timeout_error(&action).into())
    }

    /// The record, where it is one to hand over.
    ///
    /// # Safety
    /// `raw` must be alive.
    unsafe fn read_message(&mut self, raw: Raw) -> Result<Option<Message>> {
        let message = &*raw;
        let place = self
            .cursors
            .iter()
            .position(|cursor| cursor.id == message.partition && cursor.open);
        match message.err {
            Code::RD_KAFKA_RESP_ERR_NO_ERROR => {}
            Code::RD_KAFKA_RESP_ERR__PARTITION_EOF => {
                // Behind the last record there may be markers of transactions, and before the end one that is still open.
                if let Some(place) = place {
                    self.close(place);
                }
                return Ok(None);
            }
            code if is_unknown_topic(code) => {
                return Err(self.admin.unknown_topic(&self.name, &self.action));
            }
            code if is_transient(code) => return Ok(None),
            code => {
                let detail = client::text(sys::rd_kafka_message_errstr(raw));
                return Err(self.admin.error_for(code, &self.action, &detail));
            }
        }
        let Some(place) = place else {
            return Ok(None);
        };
        let cursor = &mut self.cursors[place];
        let offset = message.offset;
        cursor.next = offset + 1;
        let (came_later, was_last) = (offset >= cursor.end, offset + 1 >= cursor.end);
        if was_last {
            self.close(place);
        }
        if came_later {
            return Ok(None);
        }
        let slice = |pointer: *const u8, length| {
            (!pointer.is_null()).then(|| std::slice::from_raw_parts(pointer, length))
        };
        let origin = Origin {
            topic: Rc::clone(&self.name),
            partition: message.partition,
            offset,
            attempt: 1,
            timestamp_ms: sys::rd_kafka_message_timestamp(raw, std::ptr::null_mut()),
        };
        Ok(Some(Message::from_record(
            slice(message.payload.cast(), message.len),
            slice(message.key.cast(), message.key_len),
            delivery::headers(raw),
            None,
            origin,
        )))
    }

    /// Stops fetching a partition.
    fn close(&mut self, place: usize) {
        let cursor = &mut self.cursors[place];
        if std::mem::replace(&mut cursor.open, false) {
            self.open -= 1;
            if let Some(topic) = &self.topic {
                // SAFETY: a live handle whose partition was started.
                unsafe { sys::bindings::rd_kafka_consume_stop(topic.raw(), cursor.id) };
            }
        }
    }
}

impl Drop for TopicReader {
    fn drop(&mut self) {
        if self.admin.is_inherited() {
            // The parent's, with threads that are not here.
            std::mem::forget((self.topic.take(), self.queue.take()));
            return;
        }
        // Messages first: a partition that is stopped waits for nothing then.
        for raw in self.fetched.drain(..) {
            // SAFETY: each once.
            unsafe { sys::rd_kafka_message_destroy(raw) };
        }
        for place in 0..self.cursors.len() {
            self.close(place);
        }
    }
}
