//! Blocks SIGTERM and SIGQUIT while a request is flushed.

/// Blocks SIGTERM and SIGQUIT on this thread until dropped.
pub struct BlockedSignals {
    previous: libc::sigset_t,
}

impl BlockedSignals {
    pub fn block() -> Self {
        // SAFETY: plain signal-mask calls on local memory.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            let mut previous: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            libc::sigaddset(&raw mut set, libc::SIGTERM);
            libc::sigaddset(&raw mut set, libc::SIGQUIT);
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, &raw mut previous);
            Self { previous }
        }
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: restores the previous mask; signals that arrived in between are delivered now.
        unsafe {
            libc::pthread_sigmask(
                libc::SIG_SETMASK,
                &raw const self.previous,
                std::ptr::null_mut(),
            )
        };
    }
}
