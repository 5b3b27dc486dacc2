//! Messages on disk before they are sent (`spool_when: always`): what a killed process had under way is in its files.
//!
//! A journal writes spool files like any other, with `write(2)` and without syncing: that outlives the process, not the
//! machine. What is acknowledged is noted in the file's header up to the first message that is not, so whoever replays the
//! file after a kill sends at least what was missing. A file whose messages are all settled is deleted; one with a message that
//! was given up but could not be moved elsewhere is let go of, for a replay.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::file::{Appended, OwnFile};
use super::format;
use super::record::SpoolRecord;
use super::{errors, Spool};
use crate::error::Result;

/// A file longer than this is followed by another, so that under steady load the oldest can go.
const MAX_SEGMENT_BYTES: u64 = 8 << 20;
/// Measured room that may be used before the directory is measured again; by so much each process may exceed the bound.
const ALLOWANCE: u64 = 1 << 20;
/// A file without anything under way is kept for this long: requests come one after the other.
const IDLE_TIME: Duration = Duration::from_millis(200);

/// The messages a client has under way. Numbers are the client's own and ascend.
#[derive(Debug, Default)]
pub struct Journal {
    inner: Mutex<JournalInner>,
}

#[derive(Debug, Default)]
struct JournalInner {
    /// The last one is written to, unless it is closed.
    segments: VecDeque<JournalSegment>,
    allowance: u64,
    wrote: Option<Instant>,
}

#[derive(Debug)]
struct JournalSegment {
    file: OwnFile,
    /// From the first message that is not acknowledged on.
    entries: VecDeque<JournalEntry>,
    /// Where that one begins, and how many are before it.
    done: (u64, u64),
    noted: u64,
    /// How many entries are [`EntryState::Waiting`].
    waiting: usize,
    closed: bool,
}

#[derive(Debug)]
struct JournalEntry {
    number: u64,
    end: u64,
    state: EntryState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EntryState {
    Waiting,
    Done,
    /// Not delivered, and nowhere else: it is in this file until a replay sends it.
    Kept,
}

impl Journal {
    /// Writes one message down, before it is sent; numbers ascend from call to call.
    ///
    /// # Errors
    /// Delivery: the spool or the disk is full, or the disk fails. Configuration: the directory cannot be used. The message is
    /// not in the journal then.
    pub fn write(&self, spool: &Spool, number: u64, record: &SpoolRecord) -> Result<()> {
        let one = std::slice::from_ref(record);
        let mut inner = self.inner.lock();
        for fresh in [false, true] {
            let segment = inner.segment(spool, one, fresh)?;
            let batch = segment.file.batch(one);
            let size = batch.fits(segment.file.available_bytes());
            let Some(size) = size else {
                if fresh {
                    let error = io::Error::from_raw_os_error(libc::EFBIG);
                    return Err(errors::disk(spool.directory(), one, 0, &error));
                }
                segment.closed = true;
                continue;
            };
            if inner.allowance < size {
                inner.allowance = spool.available_bytes(one, size)?.min(ALLOWANCE.max(size));
            }
            inner.allowance -= size;
            inner.wrote = Some(Instant::now());
            let Some(segment) = inner.segments.back_mut() else {
                continue;
            };
            let Appended { stored, error } = segment.file.write(&batch, 1);
            if let Some(error) = error {
                // What a disk that failed once says about this file later is not trusted.
                segment.closed = true;
                return Err(errors::disk(spool.directory(), one, 0, &error));
            }
            segment.file.count(&batch, stored);
            segment.waiting += 1;
            segment.entries.push_back(JournalEntry {
                number,
                end: segment.file.length(),
                state: EntryState::Waiting,
            });
            return Ok(());
        }
        Ok(())
    }

    /// The message just written is not sent after all: takes it out again.
    pub fn cancel(&self, number: u64) {
        let mut inner = self.inner.lock();
        let Some(segment) = inner.segments.back_mut() else {
            return;
        };
        if segment.entries.back().is_some_and(|e| e.number == number) {
            segment.entries.pop_back();
            segment.waiting -= 1;
            let end = segment
                .entries
                .back()
                .map_or(segment.done.0, |before| before.end);
            if segment.file.truncate_last(end).is_err() {
                // Still in the file, it might be sent after a kill; more must not be written behind it.
                segment.closed = true;
            }
        }
    }

    /// The message is acknowledged, or somebody else's.
    pub fn done(&self, number: u64) {
        self.inner.lock().complete(number, EntryState::Done);
    }

    /// The message was not delivered and is nowhere else: its file is kept for a replay.
    pub fn keep(&self, number: u64) {
        self.inner.lock().complete(number, EntryState::Kept);
    }

    /// True where something is under way, or a file is there that is not needed any more.
    pub fn is_busy(&self) -> bool {
        !self.inner.lock().segments.is_empty()
    }

    /// Notes what is acknowledged, and deletes what is not needed any more; with `now` also what was just written.
    /// Files deleted by others while in use are told of.
    pub fn prune(&self, spool: &Spool, now: bool) {
        let mut inner = self.inner.lock();
        let quiet = now || inner.wrote.is_none_or(|wrote| wrote.elapsed() >= IDLE_TIME);
        let last = inner.segments.len().saturating_sub(1);
        let mut place = 0;
        inner.segments.retain_mut(|segment| {
            let current = place == last && !segment.closed;
            place += 1;
            if !segment.file.is_there() {
                spool.generations.current().notice(format!(
                    "The spool file {} with {} messages under way was deleted or moved while in use: a new one is written.",
                    segment.file.path().display(),
                    segment.waiting
                ));
                return false;
            }
            segment.write_progress();
            if segment.waiting > 0 || (current && !quiet) {
                return true;
            }
            if segment.entries.is_empty() {
                segment.file.delete();
            }
            // Dropped: what is kept in it can be replayed, by this process as by others.
            false
        });
        if inner.segments.is_empty() {
            inner.allowance = 0;
        }
    }

    /// The client is closed: whatever is not acknowledged is left to a replay.
    pub fn close(&self, spool: &Spool) {
        self.prune(spool, true);
        self.inner.lock().segments.clear();
    }
}

impl JournalInner {
    /// The file to write to: the last one, or a new one.
    fn segment(
        &mut self,
        spool: &Spool,
        one: &[SpoolRecord],
        fresh: bool,
    ) -> Result<&mut JournalSegment> {
        let usable =
            |segment: &JournalSegment| !segment.closed && segment.file.length() < MAX_SEGMENT_BYTES;
        if fresh || !self.segments.back().is_some_and(usable) {
            // Measured anew: a directory that was deleted meanwhile is made again.
            self.allowance =
                (spool.available_bytes(one, format::HEADER)? - format::HEADER).min(ALLOWANCE);
            let file = OwnFile::create(spool.directory())
                .map_err(|error| errors::disk(spool.directory(), one, 0, &error))?;
            self.segments.push_back(JournalSegment {
                done: (file.length(), 0),
                noted: file.length(),
                file,
                entries: VecDeque::new(),
                waiting: 0,
                closed: false,
            });
        }
        let last = self.segments.len() - 1;
        Ok(&mut self.segments[last])
    }

    fn complete(&mut self, number: u64, state: EntryState) {
        let holder = self.segments.iter_mut().find(|segment| {
            let first = segment.entries.front().map(|entry| entry.number);
            let last = segment.entries.back().map(|entry| entry.number);
            first
                .zip(last)
                .is_some_and(|(a, z)| (a..=z).contains(&number))
        });
        if let Some(segment) = holder {
            segment.complete(number, state);
        }
    }
}

impl JournalSegment {
    fn complete(&mut self, number: u64, state: EntryState) {
        let place = self.entries.partition_point(|entry| entry.number < number);
        let Some(entry) = self.entries.get_mut(place) else {
            return;
        };
        if entry.number != number || entry.state != EntryState::Waiting {
            return;
        }
        entry.state = state;
        self.waiting -= 1;
        // Nothing is written behind what a replay shall send.
        self.closed |= state == EntryState::Kept;
        while self
            .entries
            .front()
            .is_some_and(|e| e.state == EntryState::Done)
        {
            if let Some(entry) = self.entries.pop_front() {
                self.done = (entry.end, self.done.1 + 1);
            }
        }
    }

    /// Brings the header up to date. Where that fails, a kill costs duplicates and nothing else.
    fn write_progress(&mut self) {
        let (offset, records) = self.done;
        if self.noted != offset && self.file.write_progress(offset, records).is_ok() {
            self.noted = offset;
        }
    }
}
