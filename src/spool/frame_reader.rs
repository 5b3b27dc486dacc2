//! Reads the records of a spool file in order and skips damaged parts.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::format::{checksum, u32_at, FRAME_HEAD, MARKER};
use super::record::SpoolRecord;

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
