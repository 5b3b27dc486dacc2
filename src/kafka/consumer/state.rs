//! State of a running consumer: its records, its subscription, the last error.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::commit::PendingPreCommit;
use super::message::FetchedMessage;
use super::records::AssignedRecords;
use crate::error::Error;
use crate::topic::TopicFilter;

/// State that changes while consuming. Borrowed briefly, never while a callback runs.
#[derive(Default)]
pub(super) struct State {
    pub records: AssignedRecords<FetchedMessage>,
    /// Seeks from inside the `assigned` callback, which take effect with the assignment.
    pub seeks: HashMap<(String, i32), i64>,
    pub assigning: bool,
    /// Partitions paused inside the `assigned` callback.
    pub pauses: Vec<(String, i32)>,
    pub waiting_for: BTreeSet<String>,
    /// Topics that appeared after subscribing.
    pub late: HashSet<String>,
    /// Partitions whose commit metadata could not be read yet.
    pub metadata_unread: Vec<(String, i32)>,
    pub known_topics: Option<HashSet<String>>,
    pub filters: Vec<TopicFilter>,
    pub last_error: Option<String>,
    /// The reason of a reported wait.
    pub wait: Option<String>,
    pub fatal_error: Option<Error>,
    /// The number of the commit whose response is pending.
    pub pending_commit: Option<usize>,
    pub pre_commit: Option<PendingPreCommit>,
    pub subscriptions: String,
    pub conflict: bool,
}

impl State {
    /// True for a topic that did not exist when the consumer subscribed.
    pub fn is_late(&self, topic: &str) -> bool {
        let unknown = |known: &HashSet<String>| !known.contains(topic);
        self.late.contains(topic) || self.known_topics.as_ref().is_some_and(unknown)
    }

    /// A commit response arrived.
    pub fn on_commit_response(&mut self, number: usize, accepted: bool) {
        if self.pending_commit == Some(number) {
            self.pending_commit = None;
        }
        if let Some(pre_commit) = &mut self.pre_commit {
            pre_commit.answer(number, accepted);
        }
    }

    /// The pre-commit, if it is complete.
    pub fn take_completed(&mut self) -> Option<PendingPreCommit> {
        self.pre_commit
            .take_if(|pre_commit| !pre_commit.is_pending())
    }
}
