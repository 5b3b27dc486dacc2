//! Exclusive replay of one spool file: records in order, progress, deletion after the last record. What is set aside:
//! records that can never be sent, readable, one JSON object per line in `failed/`; damaged files, or only their torn
//! ends, in `damaged/`.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::engine::general_purpose::STANDARD;
use base64::Engine;
use serde_json::to_string;

use super::directory::{self, DAMAGED};
use super::file::SpoolState;
use super::format::{self, Frame, FrameReader, HeaderState, ReplayProgress};
use super::record::SpoolRecord;
use super::sys::{self, LockedFile, OpenMode};
use crate::error::{Error, Kind, Result};

/// A spool file that no running process holds, locked until dropped. Dropped without [`Claim::finish`] it stays, and
/// the next claim resumes after the last [`Claim::mark_done`].
///
/// Records are counted from 0 in the order of [`Claim::next`], separately for each claim.
///
/// ```text
/// while let Some(mut claim) = spool.claim()? {
///     while let Some(record) = claim.next()? {
///         match send_and_wait(&record) {
///             Ok(()) => {}
///             Err(error) if error.is_permanent() => claim.fail(&record, &error.to_string())?,
///             Err(_) => return Ok(()),            // later; what was marked is not sent again
///         }
///         claim.mark_done(claim.position() as usize);
///     }
///     claim.finish()?;
/// }
/// ```
#[derive(Debug)]
pub struct Claim {
    locked: LockedFile,
    path: PathBuf,
    reader: FrameReader,
    length: u64,
    /// Read in advance, so that a claim always has a record.
    next_record: Option<(SpoolRecord, u64)>,
    position: u64,
    /// End offsets of the records returned and not yet done.
    ends: VecDeque<u64>,
    /// Progress stored in the file; `marked` counts the records done in this claim.
    done: ReplayProgress,
    marked: u64,
    gaps: Vec<(u64, u64)>,
    header_readable: bool,
    failed: Option<File>,
    state: Arc<SpoolState>,
}

impl Claim {
    /// Claims the file. `None`: another process holds it, or it had nothing left to send and was removed.
    pub(super) fn open(path: &Path, state: &Arc<SpoolState>) -> io::Result<Option<Self>> {
        let Some(locked) = LockedFile::open(path, OpenMode::Existing)? else {
            return Ok(None);
        };
        let file = locked.file()?;
        let length = file.metadata()?.len();
        let head = match format::read_head(file, length) {
            Err(error) if error.raw_os_error() == Some(libc::EIO) => HeaderState::Damaged,
            head => head?,
        };
        let nonce = match head {
            HeaderState::Readable(nonce) => Some(nonce),
            HeaderState::Damaged => None,
            HeaderState::Unfinished => {
                fs::remove_file(path)?;
                return Ok(None);
            }
            HeaderState::Newer(version) => {
                state.notice_once(path, format!(
                    "The spool file {} has format {version}, written by a newer version of toporia_realtime, \
                     and is left to that version.",
                    path.display()
                ));
                return Ok(None);
            }
        };
        // An unreadable header is treated as a gap that starts at byte 0.
        let start = nonce.map_or(0, |_| format::HEADER);
        let done = format::read_progress(file, length).unwrap_or(ReplayProgress {
            offset: start,
            ..ReplayProgress::default()
        });
        let from = if nonce.is_none() && done.records == 0 {
            start
        } else {
            done.offset
        };
        let mut claim = Self {
            reader: FrameReader::new(from, length, nonce),
            length,
            next_record: None,
            position: 0,
            ends: VecDeque::new(),
            done,
            marked: 0,
            gaps: Vec::new(),
            header_readable: nonce.is_some(),
            failed: None,
            state: Arc::clone(state),
            path: path.to_owned(),
            locked,
        };
        claim.read_ahead()?;
        if claim.next_record.is_some() {
            return Ok(Some(claim));
        }
        claim.remove_or_quarantine()?;
        Ok(None)
    }

    /// The next record that is not done; `None` at the end.
    ///
    /// # Errors
    /// Delivery: the file cannot be read at the moment, or belongs to the parent of this process. Drop the claim.
    // Not an Iterator: reading can fail, and the claim is used between two records.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<SpoolRecord>> {
        self.locked.file().map_err(|e| self.error("read", &e))?;
        let Some((record, end)) = self.next_record.take() else {
            return Ok(None);
        };
        if let Err(error) = self.read_ahead() {
            self.next_record = Some((record, end));
            return Err(self.error("read", &error));
        }
        self.ends.push_back(end);
        self.position += 1;
        Ok(Some(record))
    }

    /// True if [`Claim::next`] has returned the last record.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.next_record.is_none()
    }

    /// The number of records [`Claim::next`] has returned so far.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The number in the file of a record of the current batch, by its place there: all before the batch are done.
    #[must_use]
    pub fn record_number(&self, place: usize) -> u64 {
        self.done.records + place as u64
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Marks the records before `up_to_index` as acknowledged or moved to `failed/` (`mark_done(1)`: the first record;
    /// `mark_done(position)`: all so far). Later claims skip them. A smaller index than before has no effect. A failure
    /// to store the progress is reported as a notice: it may cause duplicates, never a loss.
    pub fn mark_done(&mut self, up_to_index: usize) {
        if !self.locked.is_ours() {
            return;
        }
        let target = (up_to_index as u64).min(self.position);
        let mut offset = None;
        while self.marked < target {
            offset = self.ends.pop_front();
            self.marked += 1;
            self.done.records += 1;
        }
        let Some(offset) = offset else { return };
        self.done.offset = offset;
        // A later claim starts after these gaps, so the file must record that it had some.
        self.done.damaged |=
            !self.header_readable || self.gaps.iter().any(|(from, _)| *from < offset);
        let written = self
            .locked
            .file()
            .and_then(|file| format::write_progress(file, self.done));
        if let Err(error) = written {
            self.state.notice_once(
                &self.path,
                format!(
                    "The progress of {} cannot be stored ({error}); its records may be sent twice.",
                    self.path.display()
                ),
            );
        }
    }

    /// Moves a record that can never be sent to `failed/<name of the file>.jsonl`, with the reason, and syncs. The
    /// record may be marked as done afterwards.
    ///
    /// # Errors
    /// Delivery: `failed/` cannot be written. Do not mark the record as done.
    pub fn fail(&mut self, record: &SpoolRecord, reason: &str) -> Result<()> {
        let result = self.locked.file().map(|_| ()).and_then(|()| {
            if self.failed.is_none() {
                self.failed = Some(open_failed(self.directory(), &self.stem())?);
            }
            self.failed
                .as_ref()
                .map_or(Ok(()), |file| append_failed(file, record, reason))
        });
        result.map_err(|error| self.error("move a failed message out of", &error))
    }

    /// Deletes the file after every record was acknowledged or moved to `failed/`. A damaged file is moved to
    /// `damaged/`; if only its end is torn, the end is.
    ///
    /// # Errors
    /// Delivery: there are records left to read, or the disk refuses; nothing is deleted.
    pub fn finish(mut self) -> Result<()> {
        if self.next_record.is_some() {
            return Err(Error::new(
                Kind::Delivery,
                format!(
                    "The spool file {} is kept: only {} of its records were read. Read to the end before finishing.",
                    self.path.display(),
                    self.position
                ),
            ));
        }
        self.mark_done(usize::MAX);
        self.remove_or_quarantine()
            .map_err(|e| self.error("remove", &e))
    }

    fn read_ahead(&mut self) -> io::Result<()> {
        loop {
            match self.reader.next(self.locked.file()?)? {
                Frame::Record(record, end) => self.next_record = Some((record, end)),
                Frame::Gap(from, to) => {
                    self.gaps.push((from, to));
                    continue;
                }
                Frame::End => {}
            }
            return Ok(());
        }
    }

    /// Removes the file, or quarantines it if damaged. Succeeds if it is already gone.
    fn remove_or_quarantine(&mut self) -> io::Result<()> {
        let file = self.locked.file()?;
        if !self.locked.is_at(&self.path) {
            return Ok(());
        }
        if self.gaps.is_empty() && !self.done.damaged {
            return fs::remove_file(&self.path);
        }
        let at_end = matches!(self.gaps.as_slice(), [(_, to)] if *to == self.length);
        let note = quarantine(&DamagedFile {
            file,
            path: &self.path,
            length: self.length,
            gaps: &self.gaps,
            torn: at_end && self.header_readable && !self.done.damaged,
            records: self.done.records,
        })?;
        self.state.notice(note);
        Ok(())
    }

    fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    fn stem(&self) -> String {
        self.path
            .file_stem()
            .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
    }

    fn error(&self, doing: &str, error: &io::Error) -> Error {
        Error::new(
            Kind::Delivery,
            format!(
                "Cannot {doing} the spool file {}: {error}. The file is kept and tried again later.",
                self.path.display()
            ),
        )
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.state.keep_in_child(self.locked.is_ours());
    }
}

/// Opens the file of a claim in `failed/`. Only the holder of the claim writes to it, so lines never interleave.
fn open_failed(dir: &Path, stem: &str) -> io::Result<File> {
    let failed = dir.join(directory::FAILED);
    directory::make(&failed)?;
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(failed.join(format!("{stem}.jsonl")))?;
    directory::chown_like(&file, &failed)?;
    directory::sync(&failed)?;
    Ok(file)
}

/// Appends one record and syncs. A line cut short by a full disk is truncated.
fn append_failed(mut file: &File, record: &SpoolRecord, reason: &str) -> io::Result<()> {
    let before = file.metadata()?.len();
    let line = line(record, reason);
    sys::check_file_size_limit(before + line.len() as u64)?;
    let written = file
        .write_all(line.as_bytes())
        .and_then(|()| file.sync_data());
    if written.is_err() {
        file.set_len(before)?;
    }
    written
}

fn line(record: &SpoolRecord, reason: &str) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_millis());
    let headers: Vec<String> = record
        .headers
        .iter()
        .map(|(name, value)| {
            format!(
                "{{\"name\":{},\"value\":{}}}",
                text(name),
                json_bytes(value.as_deref())
            )
        })
        .collect();
    format!(
        "{{\"failed_because\":{},\"failed_at_ms\":{now},\"id\":{},\"topic\":{},\"partition\":{},\"timestamp_ms\":{},\
         \"key\":{},\"value\":{},\"headers\":[{}],\"spooled_because\":{}}}\n",
        text(reason),
        text(&record.id),
        text(&record.topic),
        record
            .partition
            .map_or_else(|| "null".to_owned(), |p| p.to_string()),
        record.timestamp_ms,
        json_bytes(record.key.as_deref()),
        json_bytes(record.value.as_deref()),
        headers.join(","),
        text(&record.reason)
    )
}

fn text(text: &str) -> String {
    to_string(text).unwrap_or_default()
}

/// `{"text": …}` if the bytes are UTF-8, otherwise `{"base64": …}`; null for none.
fn json_bytes(bytes: Option<&[u8]>) -> String {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => "null".to_owned(),
        Some((_, Ok(utf8))) => format!("{{\"text\":{}}}", text(utf8)),
        Some((raw, Err(_))) => format!("{{\"base64\":\"{}\"}}", STANDARD.encode(raw)),
    }
}

/// A damaged file, as found by a replay.
struct DamagedFile<'a> {
    /// The file, locked by us, and its path.
    pub file: &'a File,
    pub path: &'a Path,
    pub length: u64,
    /// Unreadable ranges found by this replay; an earlier replay may have found others.
    pub gaps: &'a [(u64, u64)],
    /// True if only the end is unreadable: a process died while writing it.
    pub torn: bool,
    pub records: u64,
}

/// Removes the file from the spool. Describes what was done in a note beside it, and returns that text.
fn quarantine(damaged: &DamagedFile<'_>) -> io::Result<String> {
    let directory = damaged.path.parent().unwrap_or(Path::new("/"));
    let stem = damaged.path.file_stem().unwrap_or_default();
    let stem = stem.to_string_lossy();
    let quarantine = directory.join(DAMAGED);
    directory::make(&quarantine)?;
    let from = damaged.gaps.first().map_or(0, |(from, _)| *from);
    // If there is no space for the torn end, the whole file is moved, which needs none.
    let tail = quarantine.join(format!("{stem}.tail-{from}"));
    let what = if damaged.torn && save_tail(damaged, from, &tail).is_ok() {
        fs::remove_file(damaged.path)?;
        format!(
            "a process died while writing it; its torn end is kept as {}",
            tail.display()
        )
    } else {
        let place: PathBuf = quarantine.join(damaged.path.file_name().unwrap_or_default());
        fs::rename(damaged.path, &place)?;
        format!("it is damaged and kept as {}", place.display())
    };
    let lost: u64 = damaged.gaps.iter().map(|(from, to)| to - from).sum();
    let extent = match lost {
        0 => "a part read earlier is unreadable".to_owned(),
        lost => format!("{lost} bytes from offset {from} on are unreadable"),
    };
    let note = format!(
        "Spool file {}: {extent}; {what}. The {} records that can be read were replayed.",
        damaged.path.display(),
        damaged.records
    );
    let _ = directory::write_note(&quarantine, &format!("{stem}.txt"), &format!("{note}\n"));
    Ok(note)
}

fn save_tail(damaged: &DamagedFile<'_>, from: u64, place: &Path) -> io::Result<()> {
    let length = usize::try_from(damaged.length - from).map_err(io::Error::other)?;
    sys::check_file_size_limit(damaged.length - from)?;
    let mut bytes = vec![0; length];
    damaged.file.read_exact_at(&mut bytes, from)?;
    let saved = directory::new_private(place).and_then(|tail| {
        directory::chown_like(&tail, place.parent().unwrap_or(Path::new("/")))?;
        tail.write_all_at(&bytes, 0)?;
        tail.sync_data()
    });
    if saved.is_err() {
        let _ = fs::remove_file(place);
    }
    saved
}
