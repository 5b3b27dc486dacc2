//! One node as its records describe it; and the own node, whose members and occupied channels are announced to the
//! other nodes at a bounded rate.
//!
//! The first change is announced immediately. Those that follow within [`INTERVAL`] wait for its end, and share one
//! request to Kafka: sockets that subscribe one after the other, each to a channel of its own, would otherwise need one
//! each. Above the rate, changes wait too; a channel that returns to its announced state while it waits is not
//! announced at all. Clients that toggle subscriptions therefore cannot flood the control topic or `__events`.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use super::wire::Body;
use crate::gateway::hub::presence::Membership;
use crate::gateway::limits::TokenBucket;
use crate::gateway::protocol::incoming::Member;
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
    pub members: Vec<Membership>,
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
    pub fn join(&mut self, member: &Membership) -> bool {
        let channel_members = self.members.entry(member.channel.clone()).or_default();
        channel_members
            .insert(member.socket, member.member.clone())
            .is_none()
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
        members: Vec<Membership>,
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

/// Between two writes of announcements.
const INTERVAL: Duration = Duration::from_millis(25);
const RATE: f64 = 200.0;
/// Announcements in a burst, such as all channels of the clients that reconnect after a restart.
const BURST: u32 = 5_000;
/// Maximum members and channels in one part of a snapshot, and the bytes of user info after which a part is full.
const MAX_PART_ENTRIES: usize = 400;
const MAX_PART_BYTES: usize = 200 << 10;

/// A channel and its number of sockets; 0 when it was vacated.
type Announcement = (String, usize);
/// A part of a snapshot: members and occupied channels.
type Part = (Vec<Membership>, Vec<(String, usize)>);

/// Members and occupied channels of this node, and the channels that were announced.
pub(super) struct Announcements {
    own: Node,
    announced: HashMap<String, usize>,
    /// Channels whose state differs from the announced one.
    waiting: HashSet<String>,
    rate: TokenBucket,
    last: Option<Instant>,
}

impl Announcements {
    pub fn new(now: Instant) -> Self {
        Self {
            own: Node::default(),
            announced: HashMap::new(),
            waiting: HashSet::new(),
            rate: TokenBucket::new(RATE, BURST, now),
            last: None,
        }
    }

    pub fn join(&mut self, member: &Membership) {
        self.own.join(member);
    }

    pub fn leave(&mut self, channel: &str, socket: SocketId) {
        self.own.leave(channel, socket);
    }

    /// The sockets of a channel became `sockets`.
    pub fn set(&mut self, channel: String, sockets: usize) {
        self.own.occupy(&channel, sockets);
        if self.announced.get(&channel).copied().unwrap_or(0) == sockets {
            self.waiting.remove(&channel);
        } else {
            self.waiting.insert(channel);
        }
    }

    /// True if changes are waiting.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Time until the next announcements may be written.
    pub fn due_in(&self, now: Instant) -> Duration {
        self.last.map_or(Duration::ZERO, |last| {
            INTERVAL.saturating_sub(now.duration_since(last))
        })
    }

    /// The announcement of a channel that others do not know yet, before its first member is announced.
    pub fn take_first(&mut self, channel: &str, now: Instant) -> Option<Announcement> {
        let is_first = self.waiting.contains(channel) && !self.announced.contains_key(channel);
        if !is_first || !self.rate.take(now) {
            return None;
        }
        self.waiting.remove(channel);
        Some(self.announce(channel.to_owned()))
    }

    /// The announcements that are due.
    pub fn take_due(&mut self, now: Instant) -> Vec<Announcement> {
        let mut due = Vec::new();
        if self.waiting.is_empty() || !self.due_in(now).is_zero() {
            return due;
        }
        self.last = Some(now);
        while !self.waiting.is_empty() && self.rate.take(now) {
            let Some(channel) = self.waiting.iter().next().cloned() else {
                break;
            };
            self.waiting.remove(&channel);
            due.push(self.announce(channel));
        }
        due
    }

    /// All members and occupied channels, for a node that announces them for the first time.
    pub fn announce_all(&mut self) -> Vec<Body> {
        self.waiting.clear();
        self.announced.clone_from(&self.own.channels);
        let members = self
            .own
            .members
            .iter()
            .flat_map(|(channel, channel_members)| {
                channel_members.iter().map(|(socket, member)| {
                    Body::Join(Membership {
                        channel: channel.clone(),
                        socket: *socket,
                        member: member.clone(),
                    })
                })
            });
        let channels = self.own.channels.iter().map(|(c, n)| Body::Occupied {
            c: c.clone(),
            n: *n,
        });
        members.chain(channels).collect()
    }

    /// The numbers of members and of channels that the other nodes know.
    pub fn heartbeat(&self) -> Body {
        Body::Heartbeat {
            m: self.own.members.values().map(HashMap::len).sum(),
            c: self.announced.len(),
        }
    }

    /// All members and announced channels, in the parts of a snapshot.
    pub fn snapshot(&self) -> Vec<Body> {
        let mut all: Vec<Part> = vec![Default::default()];
        let mut bytes = 0;
        for (channel, channel_members) in &self.own.members {
            for (socket, member) in channel_members {
                let is_full =
                    |part: &Part| part.0.len() >= MAX_PART_ENTRIES || bytes >= MAX_PART_BYTES;
                if all.last().is_some_and(is_full) {
                    all.push(Default::default());
                    bytes = 0;
                }
                bytes += member.user_id.len() + member.user_info.as_ref().map_or(0, String::len);
                if let Some((members, _)) = all.last_mut() {
                    members.push(Membership {
                        channel: channel.clone(),
                        socket: *socket,
                        member: member.clone(),
                    });
                }
            }
        }
        for (channel, sockets) in &self.announced {
            if all
                .last()
                .is_some_and(|part| part.1.len() >= MAX_PART_ENTRIES)
            {
                all.push(Default::default());
            }
            if let Some((_, channels)) = all.last_mut() {
                channels.push((channel.clone(), *sockets));
            }
        }
        let of = u32::try_from(all.len()).unwrap_or(u32::MAX);
        let parts = (0..).zip(all);
        parts
            .map(|(part, (m, o))| Body::Snapshot { part, of, m, o })
            .collect()
    }

    fn announce(&mut self, channel: String) -> Announcement {
        let sockets = self.own.channels.get(&channel).copied().unwrap_or(0);
        if sockets == 0 {
            self.announced.remove(&channel);
        } else {
            self.announced.insert(channel.clone(), sockets);
        }
        (channel, sockets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn toggled_channels_are_announced_at_a_bounded_rate() {
        let start = Instant::now();
        let mut channels = Announcements::new(start);
        let mut records = 0;
        // 200 sockets, each with 40 toggles a second, for 20 s.
        for step in 0..2_000_u64 {
            let now = start + Duration::from_millis(10 * step);
            for toggle in 0..80 {
                let channel = format!("public.{}-{}", step / 10 * 10, toggle);
                channels.set(channel, usize::try_from(step % 2).unwrap_or(0));
            }
            records += channels.take_due(now).len();
        }
        assert!(records <= 5_000 + 20 * 200, "{records}");
        // Afterwards the others learn the current state.
        channels.set("public.last".to_owned(), 1);
        let mut now = start + Duration::from_secs(20);
        while !channels.waiting.is_empty() {
            now += Duration::from_secs(1);
            channels.take_due(now);
        }
        assert_eq!(channels.announced, channels.own.channels);
    }

    #[test]
    fn changes_in_quick_succession_are_announced_together() {
        let start = Instant::now();
        let mut channels = Announcements::new(start);
        assert!(!channels.is_waiting() && channels.due_in(start).is_zero());
        let mut writes = Vec::new();
        for ms in 0..100 {
            let now = start + Duration::from_millis(ms);
            channels.set(format!("user.{ms}"), 1);
            let due = channels.take_due(now);
            if !due.is_empty() {
                writes.push(due.len());
            }
        }
        assert_eq!(writes, [1, 25, 25, 25]);
        let now = start + Duration::from_millis(99);
        assert!(channels.is_waiting());
        assert_eq!(channels.due_in(now), Duration::from_millis(1));
        assert_eq!(channels.take_due(now + INTERVAL).len(), 24);
    }

    #[test]
    fn an_unknown_channel_is_announced_before_its_first_member() {
        let now = Instant::now();
        let mut channels = Announcements::new(now);
        assert_eq!(channels.take_first("a", now), None);
        channels.set("a".to_owned(), 1);
        channels.set("b".to_owned(), 1);
        assert_eq!(channels.take_first("a", now), Some(("a".to_owned(), 1)));
        assert_eq!(channels.take_due(now), [("b".to_owned(), 1)]);
        // The number of a known channel waits for the others.
        channels.set("a".to_owned(), 2);
        assert_eq!(channels.take_first("a", now), None);
        assert!(channels.is_waiting());
    }

    #[test]
    fn a_single_change_is_announced_at_the_next_call() {
        let now = Instant::now();
        let mut channels = Announcements::new(now);
        channels.set("a".to_owned(), 2);
        assert_eq!(channels.take_due(now), [("a".to_owned(), 2)]);
        assert_eq!(channels.take_due(now), []);
        channels.set("a".to_owned(), 0);
        channels.set("b".to_owned(), 1);
        channels.set("b".to_owned(), 0);
        assert_eq!(channels.take_due(now + INTERVAL), [("a".to_owned(), 0)]);
        assert!(channels.announced.is_empty());
    }
}
