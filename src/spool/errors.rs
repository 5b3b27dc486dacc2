//! Errors of the spool: what was not stored, where, why, and what to do.

use std::fmt::Display;
use std::io;
use std::path::Path;

use super::record::SpoolRecord;
use super::SpoolUsage;
use crate::error::{Error, FailedMessage, Kind};

/// The directory cannot be used for a spool.
pub(super) fn unusable(dir: &Path, why: impl Display) -> Error {
    Error::configuration(format!(
        "The spool directory {} cannot be used: {why}. Let the user that runs PHP write there, or set `spool` to \
         another directory.",
        dir.display()
    ))
}

/// `spool_max_bytes` leaves no space for the records after the first `stored`.
pub(super) fn full(
    dir: &Path,
    max_bytes: u64,
    usage: SpoolUsage,
    records: &[SpoolRecord],
    stored: usize,
) -> Error {
    let reason = format!(
        "The spool {} is full: {} of spool_max_bytes = {max_bytes} bytes are used ({} waiting, {} kept by running \
         processes for their next messages, {} in failed/, {} in damaged/)",
        dir.display(),
        usage.total(),
        usage.waiting,
        usage.idle,
        usage.failed,
        usage.damaged
    );
    let advice =
        "Start Kafka so that waiting messages are sent, raise spool_max_bytes, or clear failed/ and damaged/.";
    not_stored(records, stored, &reason, advice)
}

/// The system failed to store the records after the first `stored`.
pub(super) fn disk(
    dir: &Path,
    records: &[SpoolRecord],
    stored: usize,
    error: &impl Display,
) -> Error {
    let reason = format!("Cannot write to the spool {}: {error}", dir.display());
    let advice = "Free space there, or set `spool` to a directory on another disk.";
    not_stored(records, stored, &reason, advice)
}

/// The directory cannot be listed, so nothing can be replayed from it.
pub(super) fn unlisted(dir: &Path, error: &io::Error) -> Error {
    Error::delivery(
        format!(
            "Cannot list the spool {}: {error}. \
             Its messages are not sent until the user that runs PHP can read the directory.",
            dir.display()
        ),
        Vec::new(),
    )
}

fn not_stored(records: &[SpoolRecord], stored: usize, reason: &str, advice: &str) -> Error {
    let lost = &records[stored..];
    let failed = lost.iter().map(|record| FailedMessage {
        id: record.id.clone(),
        topic: record.topic.clone(),
        reason: format!("{}; not spooled: {reason}", record.reason),
        kind: Kind::Delivery,
        permanent: false,
    });
    Error::delivery(
        format!(
            "{reason}, so {} of {} messages were not stored. {advice}",
            lost.len(),
            records.len()
        ),
        failed.collect(),
    )
}
