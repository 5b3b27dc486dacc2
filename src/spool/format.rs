//! The format of a spool file: a header of 64 bytes, then one frame per record. Little-endian throughout.
//!
//! ```text
//! header    0 "TRSPOOL1"   8 version u32   12 nonce u32   16 crc32 of 0..16   20 unused
//! progress 24 offset of the first record not done u64   32 records done u64   40 flags u32   44 crc32 of 24..44
//!          48 records written u64, an estimate for statistics   56 unused
//! frame     0 marker   4 nonce u32   8 length u32   12 crc32 of nonce, length and bytes   16 bytes of the record
//! ```
//!
//! The marker lets a reader find the next frame after a damaged one. The nonce, random per file, prevents it from
//! accepting a frame inside a message, which may itself contain a spool file. Progress is stored in the file because a
//! separate file could not be created on a full disk.

use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::unix::fs::FileExt;

use super::record::{self, SpoolRecord};
use crate::message::ProducerRecord;

/// First bytes of every spool file.
const MAGIC: &[u8; 8] = b"TRSPOOL1";
/// Version written. Files of a higher version are left to newer releases.
pub(super) const VERSION: u32 = 1;
/// Length of the header, bytes.
pub(super) const HEADER: u64 = HEADER_BYTES as u64;
const HEADER_BYTES: usize = 64;
/// Length of a frame's header.
const FRAME_HEAD: usize = 16;
/// First bytes of every frame. 0xFB and 0xFF never occur in UTF-8.
const MARKER: [u8; 4] = [0xFB, b'T', b'R', 0xFF];

/// Offset of the progress, which the number of records written follows.
pub(super) const PROGRESS_AT: u64 = 24;
const RECORDS_AT: u64 = 48;
const DAMAGED: u32 = 1;

/// State of a file's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderState {
    /// Valid; contains the nonce of the file.
    Readable(u32),
    /// Valid, with an unknown version.
    Newer(u32),
    /// Too short to hold a record but starts like a header: the writer died before it stored anything.
    Unfinished,
    /// Not a spool file, or corrupted.
    Damaged,
}

/// Progress of a replay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ReplayProgress {
    /// Offset of the first record that is not done.
    pub offset: u64,
    /// Records done so far.
    pub records: u64,
    /// Bytes before `offset` were unreadable.
    pub damaged: bool,
}

/// A random number per file.
pub(super) fn nonce() -> u32 {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    u32::from_le_bytes(
        *hasher
            .finish()
            .to_le_bytes()
            .first_chunk()
            .unwrap_or(&[0; 4]),
    )
}

pub(super) fn header(nonce: u32) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..16].copy_from_slice(&nonce.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..16]);
    bytes[16..20].copy_from_slice(&crc.to_le_bytes());
    bytes[24..48].copy_from_slice(&progress(ReplayProgress {
        offset: HEADER,
        ..ReplayProgress::default()
    }));
    bytes
}

/// Bytes of the frame of a record; `None` if it is too large (4 GiB).
#[inline]
pub(super) fn frame_length(message: &ProducerRecord<'_>, reason: &str) -> Option<usize> {
    let length = record::encoded_length(message, reason)?;
    u32::try_from(length).ok()?;
    Some(FRAME_HEAD + length)
}

/// Writes a frame into `out`, which has its [`frame_length`].
#[inline]
#[allow(clippy::cast_possible_truncation)] // see `frame_length`
pub(super) fn write_frame(out: &mut [u8], nonce: u32, message: &ProducerRecord<'_>, reason: &str) {
    let (head, bytes) = out.split_at_mut(FRAME_HEAD);
    record::encode(message, reason, bytes);
    let length = bytes.len() as u32;
    let crc = checksum(nonce, length, bytes);
    head[..4].copy_from_slice(&MARKER);
    head[4..8].copy_from_slice(&nonce.to_le_bytes());
    head[8..12].copy_from_slice(&length.to_le_bytes());
    head[12..].copy_from_slice(&crc.to_le_bytes());
}

/// Appends a frame. Returns `None` and leaves `out` unchanged if the record is too large (4 GiB).
pub(super) fn frame(out: &mut Vec<u8>, nonce: u32, record: &SpoolRecord) -> Option<()> {
    let start = out.len();
    out.resize(start + frame_length(&record.message(), &record.reason)?, 0);
    write_frame(&mut out[start..], nonce, &record.message(), &record.reason);
    Some(())
}

fn checksum(nonce: u32, length: u32, bytes: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    // Both at the same time: a short part costs as much as a hundred bytes.
    crc.update(&(u64::from(nonce) | u64::from(length) << 32).to_le_bytes());
    crc.update(bytes);
    crc.finalize()
}

/// Reads the fixed part of the header of a file of `length` bytes.
pub(super) fn read_head(file: &File, length: u64) -> io::Result<HeaderState> {
    let mut bytes = [0; 20];
    let have = usize::try_from(length).unwrap_or(20).min(20);
    file.read_exact_at(&mut bytes[..have], 0)?;
    let like = bytes[..have.min(8)] == MAGIC[..have.min(8)];
    if length < HEADER {
        return Ok(if like {
            HeaderState::Unfinished
        } else {
            HeaderState::Damaged
        });
    }
    if !like || crc32fast::hash(&bytes[..16]) != u32_at(&bytes, 16) {
        return Ok(HeaderState::Damaged);
    }
    Ok(match u32_at(&bytes, 8) {
        VERSION => HeaderState::Readable(u32_at(&bytes, 12)),
        other => HeaderState::Newer(other),
    })
}

/// Reads the progress of a file of `length` bytes stored by [`write_progress`]; `None` if it is unreadable. The replay
/// then starts at the beginning: duplicates are allowed, skipped records are not.
pub(super) fn read_progress(file: &File, length: u64) -> Option<ReplayProgress> {
    let mut bytes = [0; 24];
    file.read_exact_at(&mut bytes, PROGRESS_AT).ok()?;
    let found = ReplayProgress {
        offset: u64_at(&bytes, 0),
        records: u64_at(&bytes, 8),
        damaged: u32_at(&bytes, 16) & DAMAGED != 0,
    };
    let valid = crc32fast::hash(&bytes[..20]) == u32_at(&bytes, 20)
        && (HEADER..=length).contains(&found.offset);
    valid.then_some(found)
}

/// Stores the progress of a replay. Not synced: a power failure may cause duplicates, a crash of the process does not.
pub(super) fn write_progress(file: &File, to: ReplayProgress) -> io::Result<()> {
    file.write_all_at(&progress(to), PROGRESS_AT)
}

fn progress(to: ReplayProgress) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&to.offset.to_le_bytes());
    bytes[8..16].copy_from_slice(&to.records.to_le_bytes());
    bytes[16..20].copy_from_slice(&u32::from(to.damaged).to_le_bytes());
    let crc = crc32fast::hash(&bytes[..20]);
    bytes[20..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Stores the number of records, for statistics.
pub(super) fn write_records(file: &File, records: u64) -> io::Result<()> {
    file.write_all_at(&records.to_le_bytes(), RECORDS_AT)
}

/// Progress and number of records together, to be stored at [`PROGRESS_AT`].
pub(super) fn counts(to: ReplayProgress, records: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..24].copy_from_slice(&progress(to));
    bytes[24..].copy_from_slice(&records.to_le_bytes());
    bytes
}

/// True if the file has no record that is not done: the journal of a process that waits for the next message.
pub(super) fn is_idle(file: &File) -> io::Result<bool> {
    let length = file.metadata()?.len();
    if !matches!(read_head(file, length)?, HeaderState::Readable(_)) {
        return Ok(false);
    }
    let offset = read_progress(file, length).map_or(HEADER, |progress| progress.offset);
    let mut start = [0; MARKER.len()];
    let have = usize::try_from(length - offset).map_or(start.len(), |n| n.min(start.len()));
    file.read_exact_at(&mut start[..have], offset)?;
    Ok(start == [0; MARKER.len()])
}

/// Number of records that are not done, according to the header; 0 if it is unreadable.
pub(super) fn estimate(file: &File, length: u64) -> io::Result<u64> {
    if !matches!(read_head(file, length)?, HeaderState::Readable(_)) {
        return Ok(0);
    }
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, RECORDS_AT)?;
    let done = read_progress(file, length).map_or(0, |progress| progress.records);
    Ok(u64::from_le_bytes(bytes).saturating_sub(done))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap_or_default())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap_or_default())
}

/// Block size when searching for the next frame; an unreadable disk block costs this much.
const BLOCK: usize = 4096;

/// Result of a read.
#[derive(Debug)]
pub(super) enum Frame {
    /// A record, and the offset of its end.
    Record(SpoolRecord, u64),
    /// Bytes from..to without a readable record. If it extends to the end of the file: a torn end.
    Gap(u64, u64),
    /// The end of the file.
    End,
}

/// Position in the file.
#[derive(Debug)]
pub(super) struct FrameReader {
    position: u64,
    end: u64,
    /// `None` if the header was unreadable; set by the first readable frame.
    nonce: Option<u32>,
}

impl FrameReader {
    /// Starts at `position` of a file of `end` bytes.
    pub(super) fn new(position: u64, end: u64, nonce: Option<u32>) -> Self {
        Self {
            position,
            end,
            nonce,
        }
    }

    /// The next record or gap. Gaps are maximal: a record or the end follows.
    pub(super) fn next(&mut self, file: &File) -> io::Result<Frame> {
        if self.position >= self.end {
            return Ok(Frame::End);
        }
        if let Some((record, next)) = self.frame_at(file, self.position)? {
            self.position = next;
            return Ok(Frame::Record(record, next));
        }
        // Without a header it is not known what the zeros are.
        if self.nonce.is_some() && self.ends_in_zeros(file)? {
            self.position = self.end;
            return Ok(Frame::End);
        }
        let from = self.position;
        self.position = self.find_frame(file, from + 1)?;
        Ok(Frame::Gap(from, self.position))
    }

    /// True if only zeros follow: a process that was killed had mapped the file beyond its last record.
    fn ends_in_zeros(&self, file: &File) -> io::Result<bool> {
        let mut block = [0; BLOCK];
        let mut at = self.position;
        while at < self.end {
            let have = usize::try_from(self.end - at).map_or(BLOCK, |n| n.min(BLOCK));
            if !read(file, &mut block[..have], at)? || block[..have].iter().any(|&byte| byte != 0) {
                return Ok(false);
            }
            at += have as u64;
        }
        Ok(true)
    }

    /// The record of the frame at `at`, and the offset of its end.
    fn frame_at(&mut self, file: &File, at: u64) -> io::Result<Option<(SpoolRecord, u64)>> {
        let mut head = [0; FRAME_HEAD];
        if self.end - at < FRAME_HEAD as u64 || !read(file, &mut head, at)? {
            return Ok(None);
        }
        let (nonce, length) = (u32_at(&head, 4), u32_at(&head, 8));
        let body = at + FRAME_HEAD as u64;
        if head[..4] != MARKER
            || self.nonce.is_some_and(|known| known != nonce)
            || u64::from(length) > self.end - body
        {
            return Ok(None);
        }
        let mut bytes = vec![0; length as usize];
        if !read(file, &mut bytes, body)? || checksum(nonce, length, &bytes) != u32_at(&head, 12) {
            return Ok(None);
        }
        let record = SpoolRecord::decode(&bytes);
        if record.is_some() {
            self.nonce = Some(nonce);
        }
        Ok(record.map(|record| (record, body + u64::from(length))))
    }

    /// The offset of the next readable frame from `at` on; the end if there is none.
    fn find_frame(&mut self, file: &File, mut at: u64) -> io::Result<u64> {
        let mut block = [0; BLOCK + MARKER.len() - 1];
        while at < self.end {
            let have = usize::try_from(self.end - at).map_or(block.len(), |n| n.min(block.len()));
            if read(file, &mut block[..have], at)? {
                for found in positions(&block[..have]) {
                    let place = at + found as u64;
                    if self.frame_at(file, place)?.is_some() {
                        return Ok(place);
                    }
                }
            }
            at += BLOCK as u64;
        }
        Ok(self.end)
    }
}

/// Positions of the marker.
fn positions(bytes: &[u8]) -> impl Iterator<Item = usize> + '_ {
    bytes
        .windows(MARKER.len())
        .enumerate()
        .filter(|(_, window)| *window == MARKER)
        .map(|(at, _)| at)
}

/// Reads exactly; false if the bytes cannot be read (bad sector, truncated file), which is treated as damage. Other
/// errors may be temporary and are returned.
fn read(file: &File, into: &mut [u8], at: u64) -> io::Result<bool> {
    match file.read_exact_at(into, at) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) if error.raw_os_error() == Some(libc::EIO) => Ok(false),
        Err(error) => Err(error),
    }
}
