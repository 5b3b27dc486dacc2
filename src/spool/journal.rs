//! Writes messages to disk before they are sent (`spool_when: always`), so that they survive a killed process.
//!
//! A journal consists of spool files, written through memory that is mapped to them (with `write(2)` where that is not
//! possible) and without syncing: they survive the process, but not a crash of the machine. The header stores the
//! position of the first unacknowledged message, from which a replay starts after a kill. A file is deleted once all
//! its messages are acknowledged; the last one is cleared and kept for the next message. If an undelivered message
//! could not be moved to the spool, its file is released for a replay.

use std::collections::VecDeque;
use std::io;

use parking_lot::Mutex;

use super::file::OwnFile;
use super::format;
use super::record::SpoolRecord;
use super::sys;
use super::{directory, Spool};
use crate::error::{Error, Result};
use crate::message::ProducerRecord;
use crate::runtime::clock;

/// A longer file is followed by another one, so that old files can be used again, or deleted, under steady load.
const MAX_SEGMENT_BYTES: u64 = 8 << 20;
/// Without acknowledgements files are not used again: this many are mapped as a whole, which are shorter.
const MAX_WHOLE: usize = 16;
/// Files without messages that are kept under steady load for the next ones.
const MAX_SPARES: usize = 8;
/// Bytes that may be written before the directory is measured again; each process may exceed the limit by this much.
const ALLOWANCE: u64 = 1 << 20;
/// With a lower limit of the spool nothing is mapped: the zeros at the end of a file count too.
const LEAST_MAPPED: u64 = 2048 * sys::CHUNK;
/// Memory for this many messages is kept while idle.
const KEPT_ENTRIES: usize = 256;
/// The file is cleared when no message was written for this long.
const IDLE_MS: u64 = 200;
/// In the file: the message is there because it was not acknowledged.
const REASON: &str = "not sent";

/// The unacknowledged messages of a client. Numbers are assigned by the client and ascend.
#[derive(Debug, Default)]
pub struct Journal {
    inner: Mutex<JournalInner>,
}

#[derive(Debug, Default)]
struct JournalInner {
    /// Messages are written to the last segment, unless it is closed.
    segments: VecDeque<JournalSegment>,
    /// Files whose messages are all done and noted, oldest first.
    spares: VecDeque<OwnFile>,
    allowance: u64,
    /// Time of the last message, in ms of [`clock::coarse_ms`].
    wrote_ms: u64,
    /// Its memory is used again.
    buffer: Vec<u8>,
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
    /// Without a record, kept for the next message.
    idle: bool,
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
    #[inline]
    pub fn write(&self, spool: &Spool, number: u64, message: &ProducerRecord<'_>) -> Result<()> {
        let too_large = || not_stored(spool, message, &io::Error::from_raw_os_error(libc::EFBIG));
        let size = format::frame_length(message, REASON).ok_or_else(too_large)?;
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        if !inner.can_hold(size) {
            inner.start_segment(spool, message, size)?;
            if !inner.can_hold(size) {
                return Err(too_large());
            }
        }
        let Some(segment) = inner.segments.back_mut() else {
            return Ok(());
        };
        // What is mapped was allocated and counts already.
        if !segment.file.has_mapped(size) {
            if inner.allowance < size as u64 {
                let one = [SpoolRecord::of(message, REASON)];
                let available = spool.available_bytes(&one, size as u64)?;
                inner.allowance = available.min(ALLOWANCE.max(size as u64));
            }
            inner.allowance -= size as u64;
        }

        inner.wrote_ms = clock::coarse_ms();
        let appended = segment
            .file
            .append(message, REASON, size, &mut inner.buffer);
        if let Err(error) = appended {
            // After a failed write, the file is not trusted any more.
            segment.closed = true;
            return Err(not_stored(spool, message, &error));
        }
        segment.waiting += 1;
        segment.entries.push_back(JournalEntry {
            number,
            end: segment.file.length(),
            state: EntryState::Waiting,
        });
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

    /// True if there are unacknowledged messages, or files to clear or to delete.
    pub fn is_busy(&self) -> bool {
        let inner = self.inner.lock();
        !inner.spares.is_empty() || inner.segments.iter().any(|segment| !segment.idle)
    }

    /// Stores the progress, deletes files that are no longer needed, and clears the last one once no message has been
    /// written for a while; with `end` it is deleted too. Reports files that were deleted while in use.
    pub fn prune(&self, spool: &Spool, end: bool) {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let quiet = clock::coarse_ms() >= inner.wrote_ms + IDLE_MS;
        if quiet || end {
            inner.spares.clear();
        }
        let last = inner.segments.len().saturating_sub(1);
        let mut place = 0;
        let mut spares = inner.spares.len();
        inner.segments.retain_mut(|segment| {
            let current = place == last && !segment.closed;
            place += 1;
            if segment.idle {
                return !end;
            }
            if !segment.file.is_there() {
                spool.generations.current().notice(format!(
                    "The spool file {} with {} unacknowledged messages was deleted or moved while in use; \
                     a new file is written.",
                    segment.file.path().display(),
                    segment.waiting
                ));
                return false;
            }
            let noted = segment.write_progress();
            if segment.waiting > 0 {
                return true;
            }
            if current && !end && (!quiet || (noted && segment.rest(spool))) {
                return true;
            }
            if segment.entries.is_empty() {
                segment.file.delete();
                if noted && !quiet && !end && segment.file.is_whole() && spares < MAX_SPARES {
                    spares += 1;
                    return true;
                }
            }
            // Released: its kept messages can be replayed by any process.
            false
        });
        inner.collect_spares();
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
    /// True if the last segment takes a frame of `size` bytes.
    #[inline]
    fn can_hold(&mut self, size: usize) -> bool {
        let Some(segment) = self.segments.back_mut() else {
            return false;
        };
        if segment.idle {
            // The file, or the directory, may have been deleted since.
            if !segment.file.is_there() {
                self.segments.pop_back();
                return false;
            }
            segment.idle = false;
        }
        if segment.file.is_whole() {
            return !segment.closed && segment.file.has_mapped(size);
        }
        !segment.closed
            && segment.file.length() < MAX_SEGMENT_BYTES
            && segment.file.available_bytes(size) >= size as u64
    }

    #[cold]
    fn start_segment(
        &mut self,
        spool: &Spool,
        message: &ProducerRecord<'_>,
        size: usize,
    ) -> Result<()> {
        let mut is_steady = self.segments.len() < MAX_WHOLE && (size as u64) < sys::MAX_LENGTH / 2;
        if let Some(last) = self.segments.back_mut() {
            is_steady &= last.file.length() > sys::MAX_LENGTH / 2;
            last.closed = true;
        } else {
            is_steady = false;
        }
        if is_steady {
            let spare = self.spares.pop_front();
            if let Some(file) = spare.and_then(OwnFile::reused) {
                self.push_segment(file);
                return Ok(());
            }
        }
        let one = [SpoolRecord::of(message, REASON)];
        // Measured again, which also recreates a directory that was deleted.
        let available = spool.available_bytes(&one, format::HEADER)?;
        self.allowance = (available - format::HEADER).min(ALLOWANCE);
        let mut file = OwnFile::create(spool.directory())
            .map_err(|error| directory::disk_error(spool.directory(), &one, 0, &error))?;
        if is_mapped(spool) {
            if is_steady && available > sys::MAX_LENGTH {
                file.map_whole();
            } else {
                file.map();
            }
        }
        self.push_segment(file);
        Ok(())
    }

    fn push_segment(&mut self, file: OwnFile) {
        self.segments.push_back(JournalSegment {
            done: (file.length(), 0),
            noted: file.length(),
            file,
            entries: VecDeque::new(),
            waiting: 0,
            idle: false,
            closed: false,
        });
    }

    /// Moves the files that are used again to the others.
    fn collect_spares(&mut self) {
        let is_spare = |segment: &JournalSegment| {
            segment.closed && segment.file.is_whole() && segment.file.records() == 0
        };
        while let Some(place) = self.segments.iter().position(is_spare) {
            let segment = self.segments.remove(place);
            self.spares.extend(segment.map(|segment| segment.file));
        }
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

fn is_mapped(spool: &Spool) -> bool {
    spool.max_bytes >= LEAST_MAPPED
}

#[cold]
fn not_stored(spool: &Spool, message: &ProducerRecord<'_>, error: &io::Error) -> Error {
    let one = [SpoolRecord::of(message, REASON)];
    directory::disk_error(spool.directory(), &one, 0, error)
}

impl JournalSegment {
    fn complete(&mut self, number: u64, state: EntryState) {
        // Acknowledgements mostly come in order.
        let is_first = self
            .entries
            .front()
            .is_some_and(|first| first.number == number);
        let place = if is_first {
            0
        } else {
            self.entries.partition_point(|entry| entry.number < number)
        };
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

    /// Updates the header. If that fails (false), a kill causes duplicates only.
    fn write_progress(&mut self) -> bool {
        let (offset, records) = self.done;
        if self.noted != offset && self.file.write_progress(offset, records).is_ok() {
            self.noted = offset;
        }
        self.noted == offset
    }

    /// Clears the file for the next message, with all messages done and noted; false if it cannot be used any more.
    fn rest(&mut self, spool: &Spool) -> bool {
        self.idle = self.file.clear(is_mapped(spool)).is_ok();
        self.done = (self.file.length(), 0);
        self.noted = self.file.length();
        self.entries.shrink_to(KEPT_ENTRIES);
        self.idle
    }
}
