//! Torn ends, flipped bytes, foreign files: readable records are replayed once, the rest is quarantined, nothing loops.

use super::super::format::HEADER;
use super::*;

/// A closed file of `count` records: its path and bytes.
fn written(temp: &TempDir, spool: &Spool, count: usize) -> (PathBuf, Vec<u8>) {
    temp.spool().append(&records(0, count)).unwrap();
    let path = only_file(spool);
    let bytes = fs::read(&path).unwrap();
    (path, bytes)
}

/// Start offsets of the frames of `records(0, count)`, and the end.
fn frame_ends(count: usize) -> Vec<usize> {
    (0..=count)
        .map(|n| usize::try_from(file_size(&records(0, n))).unwrap())
        .collect()
}

#[test]
fn a_truncated_file_yields_its_complete_records() {
    let temp = TempDir::new();
    let spool = temp.spool();
    let (path, bytes) = written(&temp, &spool, 3);
    let frame_ends = frame_ends(3);
    assert_eq!(frame_ends[3], bytes.len());
    let quarantine = spool.directory().join("damaged");
    for cut in 0..bytes.len() {
        fs::write(&path, &bytes[..cut]).unwrap();
        let complete = frame_ends[1..].iter().filter(|end| **end <= cut).count();
        assert_eq!(drain(&spool), ids(0, complete), "cut at {cut}");
        assert_eq!(spool.files(), 0);
        let kept = names(&quarantine);
        if cut <= frame_ends[0] || frame_ends.contains(&cut) {
            assert!(kept.is_empty(), "cut at {cut}: {kept:?}");
            continue;
        }
        let tail = kept.iter().find(|name| name.contains(".tail-")).unwrap();
        assert_eq!(
            fs::read(quarantine.join(tail)).unwrap(),
            &bytes[frame_ends[complete]..cut]
        );
        let notices = spool.take_notices();
        assert!(
            notices.len() == 1 && notices[0].contains(&format!("The {complete} records")),
            "{notices:?}"
        );
        fs::remove_dir_all(&quarantine).unwrap();
    }
}

#[test]
fn a_flipped_byte_loses_at_most_one_record() {
    let temp = TempDir::new();
    let spool = temp.spool();
    let (path, bytes) = written(&temp, &spool, 3);
    let frame_ends = frame_ends(3);
    let quarantine = spool.directory().join("damaged");
    for at in 0..bytes.len() {
        // Another test covers the version; here a wrong one does not pass the header's checksum.
        let mut changed = bytes.clone();
        changed[at] ^= 0x41;
        fs::write(&path, &changed).unwrap();
        let hit = (0..3).find(|n| (frame_ends[*n]..frame_ends[n + 1]).contains(&at));
        let expected: Vec<String> = ids(0, 3)
            .into_iter()
            .filter(|id| Some(id.parse::<usize>().unwrap()) != hit)
            .collect();
        assert_eq!(drain(&spool), expected, "byte {at}");
        assert_eq!(spool.files(), 0, "byte {at}");
        let harmless = (20..usize::try_from(HEADER).unwrap()).contains(&at);
        assert_eq!(names(&quarantine).is_empty(), harmless, "byte {at}");
        if !harmless {
            fs::remove_dir_all(&quarantine).unwrap();
        }
        let _ = spool.take_notices();
    }
}

#[test]
fn damage_is_remembered_across_an_interrupted_replay() {
    let temp = TempDir::new();
    let spool = temp.spool();
    let (path, mut bytes) = written(&temp, &spool, 5);
    let place = frame_ends(5)[1] + 20;
    bytes[place..place + 9].fill(0);
    fs::write(&path, &bytes).unwrap();
    let mut claim = spool.claim().unwrap().unwrap();
    assert_eq!(claim.next().unwrap().unwrap().id, "0");
    assert_eq!(claim.next().unwrap().unwrap().id, "2");
    claim.mark_done(2);
    drop(claim);
    assert_eq!(drain(&spool), ids(3, 5));
    let quarantine = spool.directory().join("damaged");
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(
        names(&quarantine).contains(&name),
        "{:?}",
        names(&quarantine)
    );
    // Only the progress in the header has changed.
    assert_eq!(fs::read(quarantine.join(name)).unwrap()[64..], bytes[64..]);
    assert!(spool.take_notices()[0].contains("4 records"));
    assert_eq!(drain(&temp.spool()), ids(0, 0));
}

#[test]
fn bytes_removed_or_inserted_lose_one_record() {
    let temp = TempDir::new();
    let spool = temp.spool();
    let (path, bytes) = written(&temp, &spool, 4);
    let at = frame_ends(4)[1] + 30;
    let lost = [&bytes[..at], &bytes[at + 7..]].concat();
    let added = [&bytes[..at], &vec![0xFB; 9000], &bytes[at..]].concat();
    for changed in [lost, added] {
        fs::write(&path, &changed).unwrap();
        assert_eq!(drain(&spool), ["0", "2", "3"]);
    }
}

#[test]
fn a_frame_inside_a_message_is_not_read_as_a_record() {
    let temp = TempDir::new();
    let spool = temp.spool();
    let (path, inner) = written(&temp, &spool, 1);
    fs::remove_file(path).unwrap();
    let mut carrier = record("carrier");
    carrier.value = Some(inner);
    temp.spool().append(&[carrier, record("next")]).unwrap();
    let path = only_file(&spool);
    let mut bytes = fs::read(&path).unwrap();
    let at = usize::try_from(HEADER).unwrap() + 17;
    bytes[at] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert_eq!(drain(&spool), ["next"]);
}

#[test]
fn foreign_files_are_quarantined() {
    let temp = TempDir::new();
    let spool = temp.spool();
    spool.append(&records(0, 1)).unwrap();
    spool.rotate_own();
    let dir = spool.directory();
    fs::write(dir.join("000-1.spool"), "garbage").unwrap();
    fs::write(dir.join("000-2.spool"), vec![0; 10_000]).unwrap();
    fs::write(dir.join("000-3.spool"), "").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.join("000-4.spool")).unwrap();
    fs::create_dir(dir.join("000-5.spool")).unwrap();
    assert_eq!(drain(&spool), ids(0, 1));
    assert_eq!(
        names(&dir.join("damaged")),
        ["000-1.spool", "000-1.txt", "000-2.spool", "000-2.txt"]
    );
    assert_eq!(spool.take_notices().len(), 4);
    assert!(spool.claim().unwrap().is_none());
    assert!(spool.take_notices().is_empty(), "told once");
    assert_eq!(spool.records_waiting(), 0);
}

#[test]
fn a_file_of_a_newer_version_is_left_untouched() {
    let temp = TempDir::new();
    let spool = temp.spool();
    let (path, mut bytes) = written(&temp, &spool, 1);
    bytes[8] = 2;
    let crc = crc32fast::hash(&bytes[..16]);
    bytes[16..20].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    assert!(drain(&spool).is_empty());
    assert_eq!(fs::read(&path).unwrap(), bytes);
    assert!(spool.take_notices()[0].contains("newer version"));
}
