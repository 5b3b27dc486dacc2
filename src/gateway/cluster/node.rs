//! One node as its records describe it.

use std::collections::{HashMap, VecDeque};

use super::wire::PresenceMember;
use crate::gateway::protocol::frame::Member;
use crate::gateway::protocol::SocketId;

/// Number of removed nodes that are remembered.
const MAX_REMOVED_NODES: usize = 1_000;

#[derive(Debug, Default)]
pub(super) struct Node {
    pub sequence: u64,
    pub last_seen: u64,
    /// Time of the last record that was read from the node.
    pub heard_at: u64,
    /// No record of the node is missing.
    pub synced: bool,
    /// Time of the last request for its snapshot.
    pub snapshot_requested: Option<u64>,
    pub leaving_until: Option<u64>,
    partial_snapshot: Option<PartialSnapshot>,
    pub members: HashMap<String, HashMap<SocketId, Member>>,
    pub channels: HashMap<String, usize>,
}

#[derive(Debug, Default)]
pub(super) struct PartialSnapshot {
    next: u32,
    pub members: Vec<PresenceMember>,
    pub channels: Vec<(String, usize)>,
}

impl Node {
    /// True for a node that is not known to leave.
    pub fn is_alive(&self) -> bool {
        self.leaving_until.is_none()
    }

    /// A record of this number was read. A gap in the numbers means that records are missing.
    pub fn read(&mut self, sequence: u64, now: u64) {
        if sequence > self.sequence + 1 {
            self.synced = false;
            self.partial_snapshot = None;
        }
        self.sequence = sequence;
        self.last_seen = now;
        self.heard_at = now;
    }

    /// True if the numbers of a heartbeat are those of what was read.
    pub fn has(&self, members: usize, channels: usize) -> bool {
        let counted: usize = self.members.values().map(HashMap::len).sum();
        counted == members && self.channels.len() == channels
    }

    /// True if the user is on the channel, or without a user any socket.
    pub fn is_present(&self, channel: &str, user: Option<&str>) -> bool {
        let Some(user) = user else {
            return self.channels.contains_key(channel);
        };
        let sockets = self.members.get(channel);
        sockets.is_some_and(|all| all.values().any(|member| member.user_id == user))
    }

    /// Adds a member; false if the socket was one before.
    pub fn join(&mut self, member: &PresenceMember) -> bool {
        let channel_members = self.members.entry(member.c.clone()).or_default();
        channel_members.insert(member.s, member.m.clone()).is_none()
    }

    pub fn leave(&mut self, channel: &str, socket: SocketId) -> Option<Member> {
        let channel_members = self.members.get_mut(channel)?;
        let member = channel_members.remove(&socket)?;
        if channel_members.is_empty() {
            self.members.remove(channel);
        }
        Some(member)
    }

    /// Sets the number of sockets on a channel and returns the one before.
    pub fn occupy(&mut self, channel: &str, sockets: usize) -> Option<usize> {
        if sockets == 0 {
            self.channels.remove(channel)
        } else {
            self.channels.insert(channel.to_owned(), sockets)
        }
    }

    /// Adds a part of a snapshot; returns the snapshot after its last part.
    pub fn add_part(
        &mut self,
        part: u32,
        of: u32,
        members: Vec<PresenceMember>,
        channels: Vec<(String, usize)>,
    ) -> Option<PartialSnapshot> {
        if self.synced {
            return None;
        }
        if part == 0 {
            self.partial_snapshot = Some(PartialSnapshot::default());
        }
        let mut snapshot = self.partial_snapshot.take()?;
        if snapshot.next != part {
            return None;
        }
        snapshot.next += 1;
        snapshot.members.extend(members);
        snapshot.channels.extend(channels);
        if snapshot.next < of {
            self.partial_snapshot = Some(snapshot);
            return None;
        }
        self.synced = true;
        self.snapshot_requested = None;
        Some(snapshot)
    }
}

/// The last sequence numbers of removed nodes, so that old records do not add them again.
#[derive(Debug, Default)]
pub(super) struct RemovedNodes(VecDeque<(String, u64)>);

impl RemovedNodes {
    pub fn add(&mut self, id: &str, sequence: u64) {
        self.0.retain(|(known, _)| known != id);
        self.0.push_back((id.to_owned(), sequence));
        if self.0.len() > MAX_REMOVED_NODES {
            self.0.pop_front();
        }
    }

    /// 0 for a node that was not removed.
    pub fn sequence(&self, id: &str) -> u64 {
        let mut removed = self.0.iter();
        removed
            .find(|(known, _)| known == id)
            .map_or(0, |(_, sequence)| *sequence)
    }
}
