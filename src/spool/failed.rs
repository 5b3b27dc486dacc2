//! Records that can never be sent, readable: one JSON object per line in `failed/`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::to_string;

use super::directory;
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
        Some((raw, Err(_))) => format!("{{\"base64\":\"{}\"}}", base64(raw)),
    }
}

/// RFC 4648, with padding.
pub(super) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let group = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4 {
            if digit <= chunk.len() {
                out.push(DIGITS[(group >> (18 - 6 * digit)) as usize & 63] as char);
            } else {
                out.push('=');
            }
        }
    }
    out
}
