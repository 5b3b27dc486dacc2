//! Members of presence channels on all gateways: node → channel → socket. Who was added and who removed is derived here, never told.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::connection::Socket;
use super::hub::{Channel, Hub, Joined, Refused};
use super::protocol::frame::{quote_into, quoted, Member};
use super::protocol::{Name, SocketId};

/// Id of a gateway, new at each start.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// A new one; ids sort by the time they were made.
    #[must_use]
    pub fn new() -> Self {
        Self(crate::ids::new_id().into())
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for NodeId {
    fn default() -> Self {
        Self::new()
    }
}

impl From<&str> for NodeId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a change of sockets means for users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A user's first socket.
    Added {
        /// The channel.
        channel: String,
        /// The user.
        user_id: String,
    },
    /// A user's last socket is gone.
    Removed {
        /// The channel.
        channel: String,
        /// The user.
        user_id: String,
    },
}

/// One socket's membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The presence channel.
    pub channel: String,
    /// The socket.
    pub socket: SocketId,
    /// Who it is.
    pub member: Member,
}

type Key = (NodeId, SocketId);

/// A channel: users in the order they came, each with its sockets in the order they came.
#[derive(Default)]
struct Room {
    users: Vec<(String, Vec<(Key, Option<Arc<str>>)>)>,
}

/// Members of all presence channels.
pub struct Presence {
    hub: Weak<Hub>,
    rooms: Mutex<HashMap<String, Room>>,
}

impl Room {
    fn user(&self, id: &str) -> Option<usize> {
        self.users.iter().position(|(user, _)| user == id)
    }

    fn owner(&self, key: &Key) -> Option<usize> {
        self.users
            .iter()
            .position(|(_, sockets)| sockets.iter().any(|(k, _)| k == key))
    }

    /// What the members take in an answer, in bytes.
    fn size(&self) -> usize {
        self.users
            .iter()
            .map(|(user, sockets)| {
                2 * user.len()
                    + sockets
                        .first()
                        .and_then(|s| s.1.as_ref())
                        .map_or(4, |i| i.len())
                    + 8
            })
            .sum()
    }

    /// Enters a socket; true for a user's first. A socket that is there already stays what it is.
    fn add(&mut self, key: Key, member: &Member) -> bool {
        if self.owner(&key).is_some() {
            return false;
        }
        let entry = (key, member.user_info.as_deref().map(Arc::from));
        match self.user(&member.user_id) {
            Some(at) => {
                self.users[at].1.push(entry);
                false
            }
            None => {
                self.users.push((member.user_id.clone(), vec![entry]));
                true
            }
        }
    }

    /// Takes a socket out: its user, and whether it was the last.
    fn remove(&mut self, key: &Key) -> Option<(String, bool)> {
        let at = self.owner(key)?;
        let (user, sockets) = &mut self.users[at];
        sockets.retain(|(k, _)| k != key);
        let (user, last) = (user.clone(), sockets.is_empty());
        if last {
            self.users.remove(at);
        }
        Some((user, last))
    }

    /// Data of the answer to a subscription: JSON in a JSON string.
    fn success(&self) -> Vec<u8> {
        let (mut ids, mut hash) = (Vec::new(), Vec::new());
        for (user, sockets) in &self.users {
            if !ids.is_empty() {
                ids.push(b',');
                hash.push(b',');
            }
            quote_into(&mut ids, user.as_bytes());
            quote_into(&mut hash, user.as_bytes());
            hash.push(b':');
            let info = sockets.first().and_then(|(_, info)| info.as_deref());
            hash.extend_from_slice(info.unwrap_or("null").as_bytes());
        }
        let mut json = b"{\"presence\":{\"ids\":[".to_vec();
        json.extend(ids);
        json.extend_from_slice(b"],\"hash\":{");
        json.extend(hash);
        json.extend_from_slice(format!("}},\"count\":{}}}}}", self.users.len()).as_bytes());
        let mut literal = Vec::with_capacity(json.len() + json.len() / 8);
        quote_into(&mut literal, &json);
        literal
    }
}

impl Presence {
    pub(super) fn new(hub: Weak<Hub>) -> Self {
        Self {
            hub,
            rooms: Mutex::default(),
        }
    }

    /// Another gateway's socket joined.
    pub fn add(
        &self,
        node: &NodeId,
        channel: &str,
        socket: SocketId,
        member: &Member,
    ) -> Vec<Change> {
        let mut rooms = self.rooms.lock();
        self.enter(&mut rooms, (node.clone(), socket), channel, member)
            .into_iter()
            .collect()
    }

    /// Another gateway's socket left.
    pub fn remove(&self, node: &NodeId, channel: &str, socket: SocketId) -> Vec<Change> {
        let mut rooms = self.rooms.lock();
        self.take(&mut rooms, &(node.clone(), socket), channel)
            .into_iter()
            .collect()
    }

    /// Another gateway is gone with all its sockets.
    pub fn drop_node(&self, node: &NodeId) -> Vec<Change> {
        self.replace_node(node, &[])
    }

    /// Another gateway told all its members: whoever is not among them is gone, whoever is new is added.
    pub fn replace_node(&self, node: &NodeId, members: &[Membership]) -> Vec<Change> {
        let mut rooms = self.rooms.lock();
        let wanted: HashMap<(&str, SocketId), &Member> = members
            .iter()
            .map(|m| ((m.channel.as_str(), m.socket), &m.member))
            .collect();
        let mut gone: Vec<(String, SocketId)> = Vec::new();
        for (channel, room) in rooms.iter() {
            for (user, sockets) in &room.users {
                for ((of, socket), _) in sockets.iter().filter(|((of, _), _)| of == node) {
                    let stays = wanted
                        .get(&(channel.as_str(), *socket))
                        .is_some_and(|member| member.user_id == *user);
                    if !stays {
                        gone.push((channel.clone(), *socket));
                    }
                    debug_assert_eq!(of, node);
                }
            }
        }
        // Added first: a user who only moved from one socket to another was never away.
        let mut changes = Vec::new();
        for membership in members {
            let key = (node.clone(), membership.socket);
            let moved = gone.iter().any(|(channel, socket)| {
                *channel == membership.channel && *socket == membership.socket
            });
            if moved {
                changes.extend(self.take(&mut rooms, &key, &membership.channel));
            }
            changes.extend(self.enter(&mut rooms, key, &membership.channel, &membership.member));
        }
        for (channel, socket) in gone {
            let still_wanted = wanted.contains_key(&(channel.as_str(), socket));
            if !still_wanted {
                changes.extend(self.take(&mut rooms, &(node.clone(), socket), &channel));
            }
        }
        changes
    }

    /// Users of a channel and their info (JSON), in the order they came, of all gateways.
    #[must_use]
    pub fn members(&self, channel: &str) -> Vec<Member> {
        let rooms = self.rooms.lock();
        rooms.get(channel).map_or_else(Vec::new, |room| {
            room.users
                .iter()
                .map(|(user, sockets)| Member {
                    user_id: user.clone(),
                    user_info: sockets
                        .first()
                        .and_then(|(_, i)| i.as_deref())
                        .map(str::to_owned),
                })
                .collect()
        })
    }

    /// How many users a channel has.
    #[must_use]
    pub fn count(&self, channel: &str) -> usize {
        self.rooms.lock().get(channel).map_or(0, |r| r.users.len())
    }

    /// Every membership of a node's sockets.
    #[must_use]
    pub fn snapshot(&self, node: &NodeId) -> Vec<Membership> {
        let rooms = self.rooms.lock();
        let mut all = Vec::new();
        for (channel, room) in rooms.iter() {
            for (user, sockets) in &room.users {
                for ((of, socket), info) in sockets {
                    if of == node {
                        all.push(Membership {
                            channel: channel.clone(),
                            socket: *socket,
                            member: Member {
                                user_id: user.clone(),
                                user_info: info.as_deref().map(str::to_owned),
                            },
                        });
                    }
                }
            }
        }
        all
    }

    /// The user that a socket is on a channel.
    #[must_use]
    pub fn user_of(&self, node: &NodeId, channel: &str, socket: SocketId) -> Option<String> {
        let rooms = self.rooms.lock();
        let room = rooms.get(channel)?;
        let at = room.owner(&(node.clone(), socket))?;
        Some(room.users[at].0.clone())
    }

    /// A socket of this gateway subscribes: the answer, and what the others hear of it, are one step.
    pub(super) fn join(
        &self,
        hub: &Hub,
        socket: &Arc<Socket>,
        name: &Name<'_>,
        member: &Member,
        holding: bool,
    ) -> Result<Joined, Refused> {
        let mut rooms = self.rooms.lock();
        let key = (hub.node().clone(), socket.id);
        let room = rooms.entry(name.full.to_owned()).or_default();
        let is_new = room.user(&member.user_id).is_none() && room.owner(&key).is_none();
        let settings = hub.settings();
        let size = room.size()
            + 2 * member.user_id.len()
            + member.user_info.as_ref().map_or(4, String::len)
            + 8;
        let refused = if is_new && room.users.len() >= settings.max_members {
            Some(Refused::TooManyMembers)
        } else if is_new && size > settings.max_presence_bytes {
            Some(Refused::TooLarge)
        } else {
            None
        };
        if let Some(why) = refused {
            tidy(&mut rooms, name.full);
            return Err(why);
        }
        let was_there = room.owner(&key).is_some();
        let first = room.add(key.clone(), member);
        let success = room.success();
        match hub.add_subscriber(socket, name, &success, holding) {
            Ok(joined) => {
                if first {
                    self.tell_added(name.full, member, Some(socket.id));
                }
                if !was_there {
                    if let Some(cluster) = hub.cluster() {
                        cluster.joined(name.full, socket.id, member, first);
                    }
                }
                Ok(joined)
            }
            Err(why) => {
                if !was_there {
                    if let Some(room) = rooms.get_mut(name.full) {
                        room.remove(&key);
                    }
                    tidy(&mut rooms, name.full);
                }
                Err(why)
            }
        }
    }

    /// A socket of this gateway unsubscribes.
    pub(super) fn leave(&self, hub: &Hub, channel: &Arc<Channel>, socket: SocketId) {
        let mut rooms = self.rooms.lock();
        hub.drop_subscriber(channel, socket);
        let key = (hub.node().clone(), socket);
        let Some(room) = rooms.get_mut(channel.name()) else {
            return;
        };
        let Some((user, last)) = room.remove(&key) else {
            return;
        };
        tidy(&mut rooms, channel.name());
        if last {
            self.tell_removed(channel.name(), &user);
        }
        if let Some(cluster) = hub.cluster() {
            cluster.left(channel.name(), socket, &user, last);
        }
    }

    fn enter(
        &self,
        rooms: &mut HashMap<String, Room>,
        key: Key,
        channel: &str,
        member: &Member,
    ) -> Option<Change> {
        let room = rooms.entry(channel.to_owned()).or_default();
        room.add(key, member).then(|| {
            self.tell_added(channel, member, None);
            Change::Added {
                channel: channel.to_owned(),
                user_id: member.user_id.clone(),
            }
        })
    }

    fn take(&self, rooms: &mut HashMap<String, Room>, key: &Key, channel: &str) -> Option<Change> {
        let (user_id, last) = rooms.get_mut(channel)?.remove(key)?;
        tidy(rooms, channel);
        last.then(|| {
            self.tell_removed(channel, &user_id);
            Change::Removed {
                channel: channel.to_owned(),
                user_id,
            }
        })
    }

    fn tell_added(&self, channel: &str, member: &Member, except: Option<SocketId>) {
        let Some(hub) = self.hub.upgrade() else {
            return;
        };
        let mut data = b"{\"user_id\":".to_vec();
        quote_into(&mut data, member.user_id.as_bytes());
        if let Some(info) = &member.user_info {
            data.extend_from_slice(b",\"user_info\":");
            data.extend_from_slice(info.as_bytes());
        }
        data.push(b'}');
        let data = String::from_utf8_lossy(&data);
        hub.tell_members(channel, "pusher_internal:member_added", &data, except);
    }

    fn tell_removed(&self, channel: &str, user_id: &str) {
        let Some(hub) = self.hub.upgrade() else {
            return;
        };
        let data = [b"{\"user_id\":".as_slice(), &quoted(user_id), b"}"].concat();
        let data = String::from_utf8_lossy(&data);
        hub.tell_members(channel, "pusher_internal:member_removed", &data, None);
    }
}

fn tidy(rooms: &mut HashMap<String, Room>, channel: &str) {
    if rooms.get(channel).is_some_and(|room| room.users.is_empty()) {
        rooms.remove(channel);
    }
}
