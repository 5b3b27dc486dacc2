//! In-memory state of a spool, one per fork generation.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::Arc;

use once_cell::race::OnceBox;
use parking_lot::Mutex;

use super::file::OwnFile;
use super::sys;

/// Maximum number of notices kept; the oldest are dropped.
const MAX_NOTICES: usize = 100;

/// The open file of this process, and pending notices.
#[derive(Debug, Default)]
pub(super) struct SpoolState {
    pub own: Mutex<Option<OwnFile>>,
    /// Files in use at the last claim that found none.
    pub held: AtomicUsize,
    notices: Mutex<Vec<String>>,
    /// Files for which a notice exists already.
    notified: Mutex<HashSet<PathBuf>>,
}

impl SpoolState {
    /// Adds a message for the administrator; see [`SpoolState::take_notices`].
    pub(super) fn notice(&self, text: String) {
        let mut notices = self.notices.lock();
        if notices.len() >= MAX_NOTICES {
            notices.remove(0);
        }
        notices.push(text);
    }

    /// Adds a notice once per file, because each claim finds the file again.
    pub(super) fn notice_once(&self, path: &Path, text: String) {
        let mut notified = self.notified.lock();
        if notified.len() < MAX_NOTICES && notified.insert(path.to_owned()) {
            self.notice(text);
        }
    }

    pub(super) fn take_notices(&self) -> Vec<String> {
        std::mem::take(&mut *self.notices.lock())
    }

    /// Called before a reference is dropped. In a child (`ours` is false) the state belongs to the parent and may have
    /// been inconsistent at the fork: it is leaked on purpose.
    pub(super) fn keep_in_child(self: &Arc<Self>, ours: bool) {
        if !ours {
            std::mem::forget(Arc::clone(self));
        }
    }
}

/// The state of this generation and of earlier ones. The latter are never touched again: another thread of the parent
/// may have held their locks at the fork.
#[derive(Debug)]
pub(super) struct Generations {
    number: u32,
    state: Arc<SpoolState>,
    next: OnceBox<Self>,
}

impl Generations {
    pub(super) fn new() -> Self {
        Self {
            number: sys::generation(),
            state: Arc::default(),
            next: OnceBox::new(),
        }
    }

    /// State of the running process.
    pub(super) fn current(&self) -> &Arc<SpoolState> {
        let now = sys::generation();
        let mut place = self;
        while place.number != now {
            place = place.next.get_or_init(|| Box::new(Self::new()));
        }
        &place.state
    }
}

impl Drop for Generations {
    fn drop(&mut self) {
        self.state.keep_in_child(self.number == sys::generation());
    }
}
