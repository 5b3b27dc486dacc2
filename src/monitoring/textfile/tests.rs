//! Several processes in one directory: running, exited, killed, with damaged files.

use super::{Textfile, PROM_FILE};
use crate::metrics::catalog as c;
use crate::metrics::snapshot::Snapshot;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn directory(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("textfile-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("a directory");
    path
}

fn sent(count: u64, queued: f64) -> Snapshot {
    let mut snapshot = Snapshot::default();
    snapshot.count(c::PRODUCER_MESSAGES.name, Vec::new(), count);
    snapshot.gauge(&c::PRODUCER_QUEUE, Vec::new(), queued);
    snapshot
}

fn shown(directory: &Path, name: &str) -> Option<String> {
    let text = fs::read_to_string(directory.join(PROM_FILE)).ok()?;
    let line = text.lines().find(|line| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(' '))
    })?;
    line.rsplit(' ').next().map(str::to_owned)
}

#[test]
fn running_and_exited_processes_are_summed() {
    let place = directory("sum");
    let total = || shown(&place, "realtime_producer_messages_total");
    let queue = || shown(&place, "realtime_producer_queue_messages");
    let mut one = Textfile::new(&place);
    let mut two = Textfile::new(&place);
    one.loop_tick(10_000, &|| sent(3, 1.0));
    two.loop_tick(10_000, &|| sent(4, 2.0));
    assert_eq!(
        (total().as_deref(), queue().as_deref()),
        (Some("7"), Some("3.0"))
    );
    assert_eq!(shown(&place, "realtime_processes").as_deref(), Some("2.0"));
    // One exits cleanly; the other is killed: its lock is free and its state file remains.
    one.finish(&sent(5, 0.0));
    two.alive = None;
    for round in 0..3 {
        Textfile::new(&place).finish(&sent(1, 9.0));
        assert_eq!(total(), Some((5 + 4 + 1 + round).to_string()));
    }
    assert_eq!(queue(), None, "no process runs");
    let left: Vec<_> = fs::read_dir(place.join(".realtime"))
        .expect("a list")
        .flatten()
        .map(|e| e.file_name())
        .collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn a_process_killed_while_aggregating_is_not_counted_twice() {
    let place = directory("twice");
    let mut one = Textfile::new(&place);
    one.loop_tick(10_000, &|| sent(3, 1.0));
    let state = one.state_of(&one.id);
    let bytes = fs::read(&state).expect("its state");
    one.alive = None;
    Textfile::new(&place).finish(&sent(0, 0.0));
    // Simulates a process that was killed before it removed the state file.
    fs::write(&state, bytes).expect("back");
    Textfile::new(&place).finish(&sent(0, 0.0));
    assert_eq!(
        shown(&place, "realtime_producer_messages_total").as_deref(),
        Some("3")
    );
    assert!(!state.exists());
}

#[test]
fn damaged_state_files_are_skipped() {
    let place = directory("damaged");
    fs::create_dir(place.join(".realtime")).expect("a directory");
    for (name, bytes) in [
        ("1-a.json", "{"),
        ("2-b.json", ""),
        ("ended.json", "[1]"),
        (
            "3-c.json",
            "{\"families\":[[\"no_such\",[[[],{\"Count\":1}]]]]}",
        ),
    ] {
        fs::write(place.join(".realtime").join(name), bytes).expect("written");
    }
    Textfile::new(&place).finish(&sent(2, 0.0));
    assert_eq!(
        shown(&place, "realtime_producer_messages_total").as_deref(),
        Some("2")
    );
}

#[test]
fn requests_write_at_most_once_a_second() {
    let place = directory("often");
    let mut one = Textfile::new(&place);
    one.request_ended(10_000, &|| sent(1, 0.0));
    one.request_ended(10_500, &|| sent(2, 0.0));
    assert_eq!(
        shown(&place, "realtime_producer_messages_total").as_deref(),
        Some("1")
    );
    std::thread::sleep(Duration::from_millis(1010));
    one.request_ended(11_600, &|| sent(3, 0.0));
    assert_eq!(
        shown(&place, "realtime_producer_messages_total").as_deref(),
        Some("3")
    );
}

#[test]
fn a_missing_directory_logs_a_warning() {
    let place = Path::new("/nonexistent/textfile");
    Textfile::new(place).finish(&sent(1, 0.0));
    let mut one = Textfile::new(place);
    one.loop_tick(1, &|| sent(1, 0.0));
    assert!(crate::runtime::current()
        .log
        .drain()
        .iter()
        .any(|line| line.text.contains("metrics_textfile")));
}
