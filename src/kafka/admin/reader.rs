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

use super::offsets::find;
use super::{is_missing, passes, Admin, Breathe, Call, Outcome, BOUND};
use crate::error::{Error, Result};
use crate::kafka::native::{self, Queue, Topic};
use crate::kafka::producer::delivery;
use crate::record::{Message, Origin};

/// Records taken over from librdkafka at once.
const BATCH: usize = 256;

type Raw = *mut sys::rd_kafka_message_t;

/// What came.
#[derive(Debug)]
pub enum Step {
    /// The next record, raw.
    Record(Box<Message>),
    /// Nothing yet.
    Waiting,
    /// That was all.
    End,
}

/// A partition that is being read.
struct Part {
    id: i32,
    /// What lies from here on came after the reading began.
    end: i64,
    /// The offset to come next at the earliest.
    next: i64,
    open: bool,
}

/// Reads a topic. One at a time for each Admin.
pub struct Reader {
    hand: VecDeque<Raw>,
    parts: Vec<Part>,
    open: usize,
    name: Rc<str>,
    doing: String,
    /// Since when nothing has come.
    idle: Option<Instant>,
    topic: Option<Topic>,
    queue: Option<Queue>,
    admin: Rc<Admin>,
}

impl Reader {
    /// Looks up where the topic begins and ends now, and begins to fetch; `from`: partitions that begin elsewhere.
    ///
    /// # Errors
    /// UnknownTopic; Configuration: no such partition, or an offset below 0. Connection: Kafka does not answer.
    pub fn start(
        admin: &Rc<Admin>,
        topic: &str,
        from: &[(i32, i64)],
        breathe: Breathe<'_>,
    ) -> Outcome<Self> {
        let doing = format!("Topic \"{topic}\" cannot be read");
        let call = Call::new(breathe);
        let spans = admin.spans(topic, &call, &doing)?;
        let mut starts: Vec<i64> = spans.iter().map(|span| span.beginning).collect();
        for (partition, offset) in from {
            let span = find(&spans, *partition, &doing)?;
            if *offset < 0 {
                return Err(Error::configuration(format!(
                    "{doing}: the offset to begin with must be 0 or more, {offset} given for partition {partition}."
                ))
                .into());
            }
            let place = spans.iter().position(|one| one == span);
            if let Some(start) = place.and_then(|place| starts.get_mut(place)) {
                // What was deleted cannot be read any more: the first that is left.
                *start = (*offset).max(span.beginning);
            }
        }
        let mut reader = Self {
            hand: VecDeque::new(),
            parts: Vec::with_capacity(spans.len()),
            open: 0,
            name: Rc::from(topic),
            topic: Some(admin.handle(topic, &doing)?),
            queue: Some(Queue::new(admin.client)),
            doing,
            idle: None,
            admin: Rc::clone(admin),
        };
        for (span, start) in spans.iter().zip(starts) {
            reader.open(span.partition, start, span.end)?;
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
                return Err(self.admin.failed(code, &self.doing, ""));
            }
            self.open += 1;
        }
        self.parts.push(Part {
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
    pub fn next(&mut self, wait: Duration) -> Outcome<Step> {
        if self.admin.is_inherited() {
            return Err(Error::configuration(format!(
                "{}: a forked child cannot go on with its parent's reading. Make an Admin in the child.",
                self.doing
            ))
            .into());
        }
        loop {
            if self.open == 0 {
                return Ok(Step::End);
            }
            while let Some(raw) = self.hand.pop_front() {
                // SAFETY: taken out of the hand, and given back below whatever it says.
                let found = unsafe { self.look(raw) };
                // SAFETY: nothing refers to it any more: a message is a copy.
                unsafe { sys::rd_kafka_message_destroy(raw) };
                if let Some(message) = found? {
                    return Ok(Step::Record(Box::new(message)));
                }
            }
            if self.open > 0 && !self.fetch(wait) {
                return self.starve();
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
            self.hand.push_back(first);
            let count = sys::bindings::rd_kafka_consume_batch_queue(
                queue.raw(),
                0,
                batch.as_mut_ptr(),
                BATCH,
            );
            let count = usize::try_from(count).unwrap_or(0).min(BATCH);
            self.hand.extend(&batch[..count]);
        }
        self.idle = None;
        true
    }

    /// Nothing came: that is fine for a while.
    fn starve(&mut self) -> Outcome<Step> {
        self.admin.listen(&self.doing)?;
        let since = *self.idle.get_or_insert_with(Instant::now);
        if since.elapsed() < BOUND {
            return Ok(Step::Waiting);
        }
        let stuck: Vec<String> = self
            .parts
            .iter()
            .filter(|part| part.open)
            .map(|part| format!("{} at offset {} of {}", part.id, part.next, part.end))
            .collect();
        let doing = format!("{} (partition {})", self.doing, stuck.join(", "));
        Err(self.admin.silence(&doing).into())
    }

    /// The record, where it is one to hand over.
    ///
    /// # Safety
    /// `raw` must be alive.
    unsafe fn look(&mut self, raw: Raw) -> Result<Option<Message>> {
        let message = &*raw;
        let place = self
            .parts
            .iter()
            .position(|part| part.id == message.partition && part.open);
        match message.err {
            Code::RD_KAFKA_RESP_ERR_NO_ERROR => {}
            Code::RD_KAFKA_RESP_ERR__PARTITION_EOF => {
                // Behind the last record there may be markers of transactions, and before the end one that is still open.
                if let Some(place) = place {
                    self.close(place);
                }
                return Ok(None);
            }
            code if is_missing(code) => {
                return Err(self.admin.unknown(&self.name, &self.doing));
            }
            code if passes(code) => return Ok(None),
            code => {
                let words = native::text(sys::rd_kafka_message_errstr(raw));
                return Err(self.admin.failed(code, &self.doing, &words));
            }
        }
        let Some(place) = place else {
            return Ok(None);
        };
        let part = &mut self.parts[place];
        let offset = message.offset;
        part.next = offset + 1;
        let (came_later, was_last) = (offset >= part.end, offset + 1 >= part.end);
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
        let part = &mut self.parts[place];
        if std::mem::replace(&mut part.open, false) {
            self.open -= 1;
            if let Some(topic) = &self.topic {
                // SAFETY: a live handle whose partition was started.
                unsafe { sys::bindings::rd_kafka_consume_stop(topic.raw(), part.id) };
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if self.admin.is_inherited() {
            // The parent's, with threads that are not here.
            std::mem::forget((self.topic.take(), self.queue.take()));
            return;
        }
        // Messages first: a partition that is stopped waits for nothing then.
        for raw in self.hand.drain(..) {
            // SAFETY: each once.
            unsafe { sys::rd_kafka_message_destroy(raw) };
        }
        for place in 0..self.parts.len() {
            self.close(place);
        }
    }
}
