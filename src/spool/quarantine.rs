//! Keeps damaged spool files in `damaged/`: the whole file, or only its torn end.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::directory::{self, DAMAGED};
use super::sys;

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
