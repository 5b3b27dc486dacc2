//! What is set aside: records that can never be sent, readable, one JSON object per line in `failed/`; damaged files,
//! or only their torn ends, in `damaged/`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::engine::general_purpose::STANDARD;
use base64::Engine;
use serde_json::to_string;

use super::directory::{self, DAMAGED};
use super::record::SpoolRecord;
use super::sys;

/// Opens the file of a claim in `failed/`. Only the holder of the claim writes to it, so lines never interleave.
pub(super) fn open(dir: &Path, stem: &str) -> io::Result<File> {
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
pub(super) fn append(mut file: &File, record: &SpoolRecord, reason: &str) -> io::Result<()> {
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
                bytes(value.as_deref())
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
        bytes(record.key.as_deref()),
        bytes(record.value.as_deref()),
        headers.join(","),
        text(&record.reason)
    )
}

fn text(text: &str) -> String {
    to_string(text).unwrap_or_default()
}

/// `{"text": …}` if the bytes are UTF-8, otherwise `{"base64": …}`; null for none.
fn bytes(bytes: Option<&[u8]>) -> String {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => "null".to_owned(),
        Some((_, Ok(utf8))) => format!("{{\"text\":{}}}", text(utf8)),
        Some((raw, Err(_))) => format!("{{\"base64\":\"{}\"}}", STANDARD.encode(raw)),
    }
}

/// A damaged file, as found by a replay.
pub(super) struct DamagedFile<'a> {
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
pub(super) fn quarantine(damaged: &DamagedFile<'_>) -> io::Result<String> {
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
