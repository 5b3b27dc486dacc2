//! The file to which a process appends its own records, locked while it is open; and the state of a spool,
//! one per fork generation.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use once_cell::race::OnceBox;
use parking_lot::Mutex;

use super::directory;
use super::format;
use super::record::SpoolRecord;
use super::sys::{self, FileMapping, LockedFile, OpenMode, CHUNK, MAX_LENGTH};
use crate::message::ProducerRecord;

/// Attempts to create a new file; each failure means that another process took or deleted it at that moment.
const MAX_NAME_ATTEMPTS: usize = 100;

/// A locked file with a valid header and complete records.
#[derive(Debug)]
pub(super) struct OwnFile {
    locked: LockedFile,
    path: PathBuf,
    nonce: u32,
    length: u64,
    records: u64,
    /// The directory entry is synced.
    listed: bool,
    /// Records are copied into memory instead of written; see [`OwnFile::map`].
    is_mapped: bool,
    /// `mapping` is that of the whole file.
    is_whole: bool,
    mapping: Option<FileMapping>,
}

/// Result of writing a batch: the first `stored` records are on disk, the others are not.
pub(super) struct Appended {
    pub stored: usize,
    pub error: Option<io::Error>,
}

/// The frames of a batch, and their end positions.
#[derive(Debug, Default)]
pub(super) struct FrameBatch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl FrameBatch {
    /// The number of leading frames that fit into `available_bytes`.
    pub(super) fn fitting(&self, available_bytes: u64) -> usize {
        self.ends
            .partition_point(|end| *end as u64 <= available_bytes)
    }

    fn length(&self, count: usize) -> usize {
        count.checked_sub(1).map_or(0, |last| self.ends[last])
    }
}

impl OwnFile {
    /// Creates a file in `dir`, which must exist.
    pub(super) fn create(dir: &Path) -> io::Result<Self> {
        for _ in 0..MAX_NAME_ATTEMPTS {
            let path = dir.join(new_name());
            let locked = match LockedFile::open(&path, OpenMode::New) {
                Ok(Some(locked)) => locked,
                Ok(None) => continue,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            };
            let nonce = format::nonce();
            let written = locked.file().and_then(|file| {
                directory::chown_like(file, dir)?;
                file.write_all_at(&format::header(nonce), 0)
            });
            if let Err(error) = written {
                let _ = fs::remove_file(&path);
                return Err(error);
            }
            return Ok(Self {
                locked,
                path,
                nonce,
                length: format::HEADER,
                records: 0,
                listed: false,
                is_mapped: false,
                is_whole: false,
                mapping: None,
            });
        }
        Err(io::Error::other(
            "no new file could be created and locked there",
        ))
    }

    /// From now on the end of the file is mapped into memory. Until the file is closed it then has zeros at its end,
    /// which readers take for the end.
    pub(super) fn map(&mut self) {
        self.is_mapped = true;
    }

    /// Maps a new file as a whole, of [`MAX_LENGTH`] bytes: its memory serves again, see [`OwnFile::reused`]. If that
    /// is not possible, its end is mapped.
    pub(super) fn map_whole(&mut self) {
        self.is_mapped = true;
        let rest = usize::try_from(MAX_LENGTH - self.length).unwrap_or(0);
        self.mapping = self
            .locked
            .file()
            .ok()
            .and_then(|file| map_end(file, self.length, rest));
        self.is_whole = self.mapping.is_some();
    }

    /// True for a file of [`OwnFile::map_whole`].
    #[inline]
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// A file that is mapped as a whole takes new records in place of its own, which are done: the page faults of a new
    /// file cost more than the records. Under a new name, because readers take files in the order of their names.
    /// `None` if it cannot be used any more; it is deleted.
    pub(super) fn reused(mut self) -> Option<Self> {
        self.records = 0;
        let length = std::mem::replace(&mut self.length, format::HEADER);
        let mapping = self.mapping.as_mut().filter(|_| self.is_whole)?;
        if !self.locked.is_at(&self.path) || !mapping.clear(format::HEADER, length) {
            return None;
        }
        let path = self.path.with_file_name(new_name());
        self.write_progress(format::HEADER, 0).ok()?;
        fs::rename(&self.path, &path).ok()?;
        self.path = path;
        Some(self)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn records(&self) -> u64 {
        self.records
    }

    /// False if the file was deleted or moved: further writes would be lost.
    pub(super) fn is_there(&self) -> bool {
        self.locked.is_at(&self.path)
    }

    /// Bytes left before the file size limit, beyond which the process would be killed; not less than `size` if these
    /// bytes are mapped, because the limit was observed then.
    #[inline]
    pub(super) fn available_bytes(&self, size: usize) -> u64 {
        if self.has_mapped(size) {
            return size as u64;
        }
        sys::file_size_limit().saturating_sub(self.length)
    }

    #[inline]
    pub(super) fn has_mapped(&self, size: usize) -> bool {
        let mapping = self.mapping.as_ref();
        mapping.is_some_and(|mapping| mapping.has(self.length, size))
    }

    /// Encodes `records` for this file; stops at a record that is too large to be stored at all.
    pub(super) fn batch(&self, records: &[SpoolRecord]) -> FrameBatch {
        let mut batch = FrameBatch::default();
        for record in records {
            if format::frame(&mut batch.bytes, self.nonce, record).is_none() {
                break;
            }
            batch.ends.push(batch.bytes.len());
        }
        batch
    }

    /// Writes the first `count` frames without syncing. Truncates a partial frame on a full disk.
    pub(super) fn write(&mut self, batch: &FrameBatch, count: usize) -> Appended {
        let bytes = &batch.bytes[..batch.length(count)];
        let (written, error) = match self.locked.file() {
            Ok(file) => write_out(file, bytes, self.length),
            Err(error) => (0, Some(error)),
        };
        let stored = batch.fitting(written as u64).min(count);
        if error.is_some() {
            // A partial frame that cannot be truncated is detected on replay.
            let _ = self.cut_to(batch.length(stored));
        }
        Appended { stored, error }
    }

    /// Appends a record, which takes `size` bytes, without syncing. On an error it is not stored; the file is not to be
    /// used any more. The memory of `buffer` is used where the end of the file is not mapped.
    #[inline]
    pub(super) fn append(
        &mut self,
        message: &ProducerRecord<'_>,
        reason: &str,
        size: usize,
        buffer: &mut Vec<u8>,
    ) -> io::Result<()> {
        let file = self.locked.file()?;
        if self.is_mapped && !self.has_mapped(size) {
            self.mapping = map_end(file, self.length, size);
            self.is_whole = false;
            self.is_mapped = self.mapping.is_some();
        }
        let mapping = self.mapping.as_mut();
        if let Some(part) = mapping.and_then(|mapping| mapping.part(self.length, size)) {
            format::write_frame(part, self.nonce, message, reason);
        } else {
            buffer.clear();
            buffer.resize(size, 0);
            format::write_frame(buffer, self.nonce, message, reason);
            if let (_, Some(error)) = write_out(file, buffer, self.length) {
                // A partial frame that cannot be truncated is detected on replay.
                let _ = self.cut_to(0);
                return Err(error);
            }
        }
        self.length += size as u64;
        self.records += 1;
        Ok(())
    }

    /// Truncates the file to `end`, before the last record.
    pub(super) fn truncate_last(&mut self, end: u64) -> io::Result<()> {
        let length = self.length;
        let cleared = |mapping: &mut FileMapping| mapping.clear(end, length);
        if self.locked.is_ours() && self.mapping.as_mut().is_some_and(cleared) {
            self.length = end;
            self.records -= 1;
            return Ok(());
        }
        self.mapping = None;
        self.is_whole = false;
        self.locked.file()?.set_len(end)?;
        self.length = end;
        self.records -= 1;
        Ok(())
    }

    /// Removes all records, which are done. The file is kept for the next ones, with space for them if it is to be
    /// mapped: creating and deleting a file for each request costs more than the request's messages.
    pub(super) fn clear(&mut self, is_mapped: bool) -> io::Result<()> {
        let file = self.locked.file()?;
        let length = self.length;
        // While idle less is kept than the whole file.
        let mapping = self.mapping.as_mut().filter(|_| !self.is_whole);
        if !mapping.is_some_and(|mapping| mapping.clear(format::HEADER, length)) {
            self.mapping = None;
            self.is_whole = false;
            file.set_len(format::HEADER)?;
            self.mapping = is_mapped
                .then(|| map_end(file, format::HEADER, 1))
                .flatten();
        }
        // A process that is killed here leaves a file without records: its progress is at the end of those.
        self.is_mapped = self.mapping.is_some();
        self.length = format::HEADER;
        self.records = 0;
        self.write_progress(format::HEADER, 0)
    }

    /// Stores in the header that the first `records` records, up to `offset`, need no replay.
    pub(super) fn write_progress(&mut self, offset: u64, records: u64) -> io::Result<()> {
        let file = self.locked.file()?;
        let progress = format::ReplayProgress {
            offset,
            records,
            damaged: false,
        };
        let counts = format::counts(progress, self.records);
        let mapping = self.mapping.as_mut();
        match mapping.and_then(|mapping| mapping.part(format::PROGRESS_AT, counts.len())) {
            Some(part) => part.copy_from_slice(&counts),
            None => file.write_all_at(&counts, format::PROGRESS_AT)?,
        }
        Ok(())
    }

    /// Deletes the file when it is dropped.
    pub(super) fn delete(&mut self) {
        self.records = 0;
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Syncs the frames stored by [`OwnFile::write`]. On an error none of them counts as stored.
    pub(super) fn sync(&mut self, batch: &FrameBatch, stored: usize) -> io::Result<()> {
        let result = self.sync_data(stored);
        match result {
            Ok(()) => {
                self.length += batch.length(stored) as u64;
                self.records += stored as u64;
            }
            Err(_) => self.cut_to(0)?,
        }
        result
    }

    fn sync_data(&mut self, stored: usize) -> io::Result<()> {
        let file = self.locked.file()?;
        format::write_records(file, self.records + stored as u64)?;
        file.sync_data()?;
        if !self.listed {
            directory::sync(self.path.parent().unwrap_or(Path::new("/")))?;
            self.listed = true;
        }
        Ok(())
    }

    /// Truncates the file to `extra` bytes after the last counted frame.
    fn cut_to(&mut self, extra: usize) -> io::Result<()> {
        self.mapping = None;
        self.is_whole = false;
        self.locked.file()?.set_len(self.length + extra as u64)
    }
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        if self.records == 0 && self.is_there() {
            let _ = fs::remove_file(&self.path);
        } else if self.mapping.is_some() {
            // The zeros at the end; nothing in a forked child.
            let _ = self.cut_to(0);
        }
    }
}

/// Maps `size` bytes at the end of the file, rounded up; `None` if they must be written.
fn map_end(file: &fs::File, length: u64, size: usize) -> Option<FileMapping> {
    let end = length + size as u64;
    // Below the file size limit, also when rounded up.
    sys::check_file_size_limit(end + CHUNK).ok()?;
    FileMapping::open(file, length, end)
}

/// Writes as much as possible; returns the number of bytes and the error, if any.
fn write_out(file: &fs::File, bytes: &[u8], at: u64) -> (usize, Option<io::Error>) {
    let mut written = 0;
    while written < bytes.len() {
        match file.write_at(&bytes[written..], at + written as u64) {
            Ok(0) => return (written, Some(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Some(error)),
        }
    }
    (written, None)
}

/// A name that sorts by time, even if the clock of the process is set back.
fn new_name() -> String {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(0));
    let last = LAST
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |last| {
            Some(now.max(last + 1))
        })
        .unwrap_or(0);
    format!(
        "{:020}-{}.{}",
        now.max(last + 1),
        std::process::id(),
        directory::EXTENSION
    )
}

/// Maximum number of notices kept; the oldest are dropped.
const MAX_NOTICES: usize = 100;

/// The open file of this process, and pending notices.
#[derive(Debug, Default)]
pub(super) struct SpoolState {
    pub own: Mutex<Option<OwnFile>>,
    /// Files in use at the last claim that found none.
    pub held: AtomicUsize,
    notices: Mutex<Vec<String>>,
    /// Files for which a notice exists already.
    notified: Mutex<HashSet<PathBuf>>,
}

impl SpoolState {
    /// Adds a message for the administrator; see [`SpoolState::take_notices`].
    pub(super) fn notice(&self, text: String) {
        let mut notices = self.notices.lock();
        if notices.len() >= MAX_NOTICES {
            notices.remove(0);
        }
        notices.push(text);
    }

    /// Adds a notice once per file, because each claim finds the file again.
    pub(super) fn notice_once(&self, path: &Path, text: String) {
        let mut notified = self.notified.lock();
        if notified.len() < MAX_NOTICES && notified.insert(path.to_owned()) {
            self.notice(text);
        }
    }

    pub(super) fn take_notices(&self) -> Vec<String> {
        std::mem::take(&mut *self.notices.lock())
    }

    /// Called before a reference is dropped. In a child (`ours` is false) the state belongs to the parent and may have
    /// been inconsistent at the fork: it is leaked on purpose.
    pub(super) fn keep_in_child(self: &Arc<Self>, ours: bool) {
        if !ours {
            std::mem::forget(Arc::clone(self));
        }
    }
}

/// The state of this generation and of earlier ones. The latter are never touched again: another thread of the parent
/// may have held their locks at the fork.
#[derive(Debug)]
pub(super) struct Generations {
    number: u32,
    state: Arc<SpoolState>,
    next: OnceBox<Self>,
}

impl Generations {
    pub(super) fn new() -> Self {
        Self {
            number: sys::generation(),
            state: Arc::default(),
            next: OnceBox::new(),
        }
    }

    /// State of the running process.
    pub(super) fn current(&self) -> &Arc<SpoolState> {
        let now = sys::generation();
        let mut place = self;
        while place.number != now {
            place = place.next.get_or_init(|| Box::new(Self::new()));
        }
        &place.state
    }
}

impl Drop for Generations {
    fn drop(&mut self) {
        self.state.keep_in_child(self.number == sys::generation());
    }
}
