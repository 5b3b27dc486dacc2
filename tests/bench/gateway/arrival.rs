//! The kernel's receive timestamps of a socket (`Documentation/networking/timestamping.rst` of Linux), so that a reader
//! that waits for a core does not count as the server's time.

use std::io;
use std::mem::{size_of_val, MaybeUninit};
use std::os::fd::AsRawFd;

/// Enables the kernel's timestamp for each segment.
pub fn ask_for(socket: &impl AsRawFd) {
    let flags = libc::SOF_TIMESTAMPING_RX_SOFTWARE | libc::SOF_TIMESTAMPING_SOFTWARE;
    // SAFETY: a live socket and local memory.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPING,
            (&raw const flags).cast(),
            u32::try_from(size_of_val(&flags)).expect("short"),
        )
    };
    assert_eq!(done, 0, "the kernel gives timestamps");
}

/// Reads; returns the number of bytes, and the time of the last one (Unix ns, 0 if the kernel reports none).
pub fn read(socket: &impl AsRawFd, buffer: &mut [u8]) -> io::Result<(usize, u64)> {
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let mut control = [0_u64; 32];
    // SAFETY: a zeroed message header is an empty one; all its pointers are to locals that outlive the calls.
    unsafe {
        let mut message: libc::msghdr = MaybeUninit::zeroed().assume_init();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        let got = libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0);
        let Ok(got) = usize::try_from(got) else {
            return Err(io::Error::last_os_error());
        };
        let mut came = 0;
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            let about = &*header;
            if about.cmsg_level == libc::SOL_SOCKET
                && about.cmsg_type == libc::SCM_TIMESTAMPING
                && about.cmsg_len >= 16
            {
                // Three times of two 64-bit numbers: the first is the software timestamp.
                let time = libc::CMSG_DATA(header).cast::<[[u8; 8]; 2]>().read();
                let [seconds, ns] = time.map(u64::from_ne_bytes);
                came = seconds * 1_000_000_000 + ns;
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
        Ok((got, came))
    }
}
