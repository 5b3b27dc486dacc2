//! A full disk, a file size limit, a read-only file system.

use std::ffi::CString;
use std::io::ErrorKind;

use super::super::file::OwnFile;
use super::*;
use crate::error::Kind;

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
