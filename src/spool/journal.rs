//! Writes messages to disk before they are sent (`spool_when: always`), so that they survive a killed process.
//!
//! A journal consists of spool files, written through memory that is mapped to them (with `write(2)` where that is not
//! possible) and without syncing: they survive the process, but not a crash of the machine. The header stores the
//! position of the first unacknowledged message, from which a replay starts after a kill. A file is deleted once all
//! its messages are acknowledged. If an undelivered message could not be moved to the spool, its file is released for a
//! replay.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::file::{Appended, FrameBatch, OwnFile};
use super::format;
use super::mapping;
use super::record::SpoolRecord;
use super::{errors, Spool};
use crate::error::Result;

/// A longer file is followed by a new one, so that old files can be deleted under steady load.
const MAX_SEGMENT_BYTES: u64 = 8 << 20;
/// Bytes that may be written before the directory is measured again; each process may exceed the limit by this much.
const ALLOWANCE: u64 = 1 << 20;
/// With a lower limit of the spool nothing is mapped: the zeros at the end of a file count too.
const LEAST_MAPPED: u64 = 2048 * mapping::CHUNK;
/// An idle file is kept for this long, because requests follow each other.
const IDLE_TIME: Duration = Duration::from_millis(200);

/// The unacknowledged messages of a client. Numbers are assigned by the client and ascend.
#[derive(Debug, Default)]
pub struct Journal {
    inner: Mutex<JournalInner>,
}

#[derive(Debug, Default)]
struct JournalInner {
    /// Messages are written to the last segment, unless it is closed.
    segments: VecDeque<JournalSegment>,
    allowance: u64,
    wrote: Option<Instant>,
    /// Its memory is used again.
    batch: FrameBatch,
}

#[derive(Debug)]
struct JournalSegment {
    file: OwnFile,
    /// Starts with the first unacknowledged message.
    entries: VecDeque<JournalEntry>,
    /// Offset of the first entry, and the number of messages before it.
    done: (u64, u64),
    noted: u64,
    /// Number of entries in [`EntryState::Waiting`].
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
    /// Not delivered and stored nowhere else: kept until a replay sends it.
    Kept,
}

impl Journal {
    /// Writes a message before it is sent; numbers ascend from call to call.
    ///
    /// # Errors
    /// Delivery: the spool or the disk is full, or the disk fails. Configuration: the directory cannot be used. The
    /// message is not in the journal then.
    pub fn write(&self, spool: &Spool, number: u64, record: &SpoolRecord) -> Result<()> {
        let one = std::slice::from_ref(record);
        let mut inner = self.inner.lock();
        let mut used = std::mem::take(&mut inner.batch);
        for fresh in [false, true] {
            let segment = inner.segment(spool, one, fresh)?;
            let batch = segment.file.batch(one, std::mem::take(&mut used));
            let size = batch.fits(segment.file.available_bytes(batch.size()));
            let Some(size) = size else {
                if fresh {
                    let error = io::Error::from_raw_os_error(libc::EFBIG);
                    return Err(errors::disk(spool.directory(), one, 0, &error));
                }
                segment.closed = true;
                used = batch;
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
                // After a failed write, the file is not trusted any more.
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
            inner.batch = batch;
            return Ok(());
        }
        Ok(())
    }

    /// Removes the message written last, because it is not sent after all.
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
                // It remains in the file and may be sent after a kill; nothing may be written after it.
                segment.closed = true;
            }
        }
    }

    /// The message is acknowledged, or stored elsewhere.
    pub fn done(&self, number: u64) {
        self.inner.lock().complete(number, EntryState::Done);
    }

    /// True if the message waits in the journal.
    pub fn has(&self, number: u64) -> bool {
        self.inner.lock().segments.iter().any(|segment| {
            let entries = &segment.entries;
            let place = entries.partition_point(|entry| entry.number < number);
            entries
                .get(place)
                .is_some_and(|entry| entry.number == number && entry.state == EntryState::Waiting)
        })
    }

    /// The message was not delivered and is stored nowhere else: keeps its file for a replay.
    pub fn keep(&self, number: u64) {
        self.inner.lock().complete(number, EntryState::Kept);
    }

    /// True if there are unacknowledged messages, or files to delete.
    pub fn is_busy(&self) -> bool {
        !self.inner.lock().segments.is_empty()
    }

    /// Stores the progress, and deletes files that are no longer needed; with `now` also recently written ones. Reports
    /// files that were deleted while in use.
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
                    "The spool file {} with {} unacknowledged messages was deleted or moved while in use; \
                     a new file is written.",
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
            // Released: its kept messages can be replayed by any process.
            false
        });
        if inner.segments.is_empty() {
            inner.allowance = 0;
        }
    }

    /// Leaves all unacknowledged messages to a replay, because the client is closed.
    pub fn close(&self, spool: &Spool) {
        self.prune(spool, true);
        self.inner.lock().segments.clear();
    }
}

impl JournalInner {
    /// The segment to write to: the last one, or a new one.
    fn segment(
        &mut self,
        spool: &Spool,
        one: &[SpoolRecord],
        fresh: bool,
    ) -> Result<&mut JournalSegment> {
        let usable =
            |segment: &JournalSegment| !segment.closed && segment.file.length() < MAX_SEGMENT_BYTES;
        if fresh || !self.segments.back().is_some_and(usable) {
            // Measured again, which also recreates a directory that was deleted.
            self.allowance =
                (spool.available_bytes(one, format::HEADER)? - format::HEADER).min(ALLOWANCE);
            let mut file = OwnFile::create(spool.directory())
                .map_err(|error| errors::disk(spool.directory(), one, 0, &error))?;
            if spool.max_bytes >= LEAST_MAPPED {
                file.map();
            }
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
        // No message is appended to a file that awaits a replay.
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

    /// Updates the header. If that fails, a kill causes duplicates only.
    fn write_progress(&mut self) {
        let (offset, records) = self.done;
        if self.noted != offset && self.file.write_progress(offset, records).is_ok() {
            self.noted = offset;
        }
    }
}
