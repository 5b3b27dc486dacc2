//! Torn ends, flipped bytes, foreign files: readable records are replayed once, the rest is quarantined, nothing loops.

use std::ffi::CString;
use std::io::ErrorKind;

use super::super::file::OwnFile;
use super::super::format::HEADER;
use super::*;
use crate::error::Kind;

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

fn limit_files_to(bytes: u64) {
    let limit = libc::rlimit {
        rlim_cur: bytes,
        rlim_max: bytes,
    };
    // SAFETY: reads the struct it is given; called in a child only.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) };
    assert_eq!(result, 0);
}

/// Mounts a file system of `bytes` on `dir`, visible to this (forked) process only. False without the privilege to
/// mount.
fn mount_small(dir: &Path, bytes: u64) -> bool {
    let path = CString::new(dir.to_str().unwrap()).unwrap();
    let options = CString::new(format!("size={bytes}")).unwrap();
    // SAFETY: strings that end in NUL; no pointer is kept.
    unsafe {
        libc::geteuid() == 0
            && libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(
                c"none".as_ptr(),
                c"/".as_ptr(),
                std::ptr::null(),
                libc::MS_REC | libc::MS_PRIVATE,
                std::ptr::null(),
            ) == 0
            && libc::mount(
                c"none".as_ptr(),
                path.as_ptr(),
                c"tmpfs".as_ptr(),
                0,
                options.as_ptr().cast(),
            ) == 0
    }
}

fn remount_read_only(dir: &Path) {
    let path = CString::new(dir.to_str().unwrap()).unwrap();
    let flags = libc::MS_REMOUNT | libc::MS_RDONLY;
    // SAFETY: as above.
    let result = unsafe {
        libc::mount(
            c"none".as_ptr(),
            path.as_ptr(),
            std::ptr::null(),
            flags,
            std::ptr::null(),
        )
    };
    assert_eq!(result, 0);
}

/// Appends until the disk is full, then checks that exactly the acknowledged records are stored, and that appending
/// works again.
fn fill_and_drain(temp: &TempDir) {
    let spool = temp.spool();
    let mut stored = 0;
    let error = loop {
        let mut batch = records(stored, stored + 50);
        for record in &mut batch {
            record.value = Some(vec![b'x'; 700]);
        }
        if stored == 100 {
            // Larger than the small disk, and than the limit used if nothing can be mounted.
            batch[20].value = Some(vec![b'x'; 400_000]);
        }
        match spool.append(&batch) {
            Ok(()) => stored += 50,
            Err(error) => {
                stored += 50 - error.failed().len();
                assert_eq!(error.failed()[0].id, stored.to_string());
                break error;
            }
        }
    };
    assert_eq!(error.kind(), Kind::Delivery);
    assert!(
        error.message().contains("Cannot write to the spool"),
        "{error}"
    );
    assert_eq!(stored, 120);
    assert_eq!(drain(&temp.spool()), ids(0, stored));
    assert!(
        spool.take_notices().is_empty(),
        "no torn end is left behind"
    );
    spool.append(&records(0, 5)).unwrap();
}

#[test]
fn a_full_disk_keeps_complete_records_and_names_the_others() {
    let temp = TempDir::new();
    let child = Child::run(|| {
        let small = mount_small(&temp.0, 384 * 1024);
        if !small {
            limit_files_to(200_000);
        }
        fill_and_drain(&temp);
        if small {
            let spool = temp.spool();
            remount_read_only(&temp.0);
            let error = spool.append(&records(0, 1)).unwrap_err();
            assert_eq!(error.kind(), Kind::Configuration);
            assert!(error.message().contains("Read-only"), "{error}");
        }
    });
    assert_eq!(child.wait(), 0);
}

#[test]
fn quarantine_on_a_full_disk_loses_nothing() {
    let temp = TempDir::new();
    let child = Child::run(|| {
        let spool = temp.spool();
        let mut batch = records(0, 3);
        batch[2].value = Some(vec![b'x'; 60_000]);
        spool.append(&batch).unwrap();
        spool.rotate_own();
        let path = only_file(&spool);
        let length = fs::metadata(&path).unwrap().len();
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(length - 100).unwrap();
        limit_files_to(2000);
        assert_eq!(drain(&spool), ids(0, 2));
        let kept = names(&spool.directory().join("damaged"));
        assert!(kept.contains(&path.file_name().unwrap().to_str().unwrap().to_owned()));
        assert_eq!(spool.files(), 0);

        let mut large = record("large");
        large.value = Some(vec![b'x'; 1500]);
        temp.spool().append(&[large]).unwrap();
        let mut claim = spool.claim().unwrap().unwrap();
        let mut bad = claim.next().unwrap().unwrap();
        claim.fail(&bad, "no").unwrap();
        bad.id = "more".to_owned();
        assert!(claim.fail(&bad, "no").is_err());
        claim.finish().unwrap();
        let failed = spool.directory().join("failed");
        let text = fs::read_to_string(failed.join(&names(&failed)[0])).unwrap();
        assert_eq!(text.lines().count(), 1);
    });
    assert_eq!(child.wait(), 0);
}

#[test]
fn a_file_size_limit_does_not_kill_the_process() {
    let temp = TempDir::new();
    let child = Child::run(|| {
        limit_files_to(file_size(&records(0, 3)) + 20);
        let spool = temp.spool();
        spool.append(&records(0, 5)).unwrap();
        assert_eq!(spool.files(), 2, "each at the limit");
        let mut large = records(5, 8);
        large[1].value = Some(vec![0; 10_000]);
        let error = spool.append(&large).unwrap_err();
        assert_eq!(error.failed().len(), 2);
        assert!(error.message().contains("File too large"), "{error}");
        drop(spool);
        assert_eq!(drain(&temp.spool()), ids(0, 6));
    });
    assert_eq!(child.wait(), 0);
}

#[test]
fn a_short_write_leaves_no_partial_record() {
    let temp = TempDir::new();
    let dir = temp.0.clone();
    let child = Child::run(|| {
        // SAFETY: makes the limit an error of write(), in the middle of a record.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
        let limit = file_size(&records(0, 3)) + 20;
        limit_files_to(limit);
        let mut file = OwnFile::create(&dir).unwrap();
        let batch = file.batch(&records(0, 5));
        let appended = file.write(&batch, 5);
        assert_eq!(appended.error.unwrap().kind(), ErrorKind::FileTooLarge);
        assert_eq!(appended.stored, 3);
        let length = fs::metadata(file.path()).unwrap().len();
        assert_eq!(length, file_size(&records(0, 3)));
        file.sync(&batch, 3).unwrap();
    });
    assert_eq!(child.wait(), 0);
}
