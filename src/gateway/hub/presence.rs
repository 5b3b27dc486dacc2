//! Members of presence channels on all gateways: node → channel → socket. `member_added` and `member_removed` are
//! derived here.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::{Channel, Hub, JoinError};
use crate::gateway::protocol::frame::{quote_into, quoted};
use crate::gateway::protocol::incoming::Member;
use crate::gateway::protocol::SocketId;
use crate::gateway::session::Socket;
use crate::topic::socket_channel::Name;

/// Id of a gateway, new at each start.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// Creates an id; ids sort by their time of creation.
    #[must_use]
    pub fn new() -> Self {
        Self(crate::ids::new_id().into())
    }

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

/// A change of the users of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A user's first socket was added.
    Added { channel: String, user_id: String },
    /// A user's last socket was removed.
    Removed { channel: String, user_id: String },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    pub channel: String,
    pub socket: SocketId,
    pub member: Member,
}

/// Members of all presence channels.
pub struct Presence {
    hub: Weak<Hub>,
    channels: Mutex<HashMap<String, PresenceChannel>>,
}

impl Presence {
    pub(in crate::gateway) fn new(hub: Weak<Hub>) -> Self {
        Self {
            hub,
            channels: Mutex::default(),
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
        let mut channels = self.channels.lock();
        self.add_socket(&mut channels, (node.clone(), socket), channel, member)
            .into_iter()
            .collect()
    }

    /// Another gateway's socket left.
    pub fn remove(&self, node: &NodeId, channel: &str, socket: SocketId) -> Vec<Change> {
        let mut channels = self.channels.lock();
        self.remove_socket(&mut channels, &(node.clone(), socket), channel)
            .into_iter()
            .collect()
    }

    /// Removes all sockets of another gateway.
    pub fn drop_node(&self, node: &NodeId) -> Vec<Change> {
        self.replace_node(node, &[])
    }

    /// Replaces all members of another gateway by a snapshot.
    pub fn replace_node(&self, node: &NodeId, members: &[Membership]) -> Vec<Change> {
        let mut channels = self.channels.lock();
        let wanted: HashMap<(&str, SocketId), &Member> = members
            .iter()
            .map(|m| ((m.channel.as_str(), m.socket), &m.member))
            .collect();
        let mut gone: Vec<(String, SocketId)> = Vec::new();
        for (channel, presence_channel) in channels.iter() {
            for user in &presence_channel.users {
                for (_, socket) in user
                    .sockets
                    .iter()
                    .map(|p| &p.key)
                    .filter(|(of, _)| of == node)
                {
                    let stays = wanted
                        .get(&(channel.as_str(), *socket))
                        .is_some_and(|member| member.user_id == user.id);
                    if !stays {
                        gone.push((channel.clone(), *socket));
                    }
                }
            }
        }
        // Added first: a user whose socket was replaced did not leave.
        let mut changes = Vec::new();
        for membership in members {
            let key = (node.clone(), membership.socket);
            let moved = gone.iter().any(|(channel, socket)| {
                *channel == membership.channel && *socket == membership.socket
            });
            if moved {
                changes.extend(self.remove_socket(&mut channels, &key, &membership.channel));
            }
            changes.extend(self.add_socket(
                &mut channels,
                key,
                &membership.channel,
                &membership.member,
            ));
        }
        for (channel, socket) in gone {
            let still_wanted = wanted.contains_key(&(channel.as_str(), socket));
            if !still_wanted {
                changes.extend(self.remove_socket(
                    &mut channels,
                    &(node.clone(), socket),
                    &channel,
                ));
            }
        }
        changes
    }

    /// Users of a channel on all gateways with their info (JSON), in the order in which they joined.
    #[must_use]
    pub fn members(&self, channel: &str) -> Vec<Member> {
        let channels = self.channels.lock();
        channels
            .get(channel)
            .map_or_else(Vec::new, |presence_channel| {
                presence_channel
                    .users
                    .iter()
                    .map(|user| Member {
                        user_id: user.id.clone(),
                        user_info: user.info().map(str::to_owned),
                    })
                    .collect()
            })
    }

    /// Number of users of a channel.
    #[must_use]
    pub fn count(&self, channel: &str) -> usize {
        self.channels
            .lock()
            .get(channel)
            .map_or(0, |r| r.users.len())
    }

    /// All memberships of a node's sockets.
    #[must_use]
    pub fn snapshot(&self, node: &NodeId) -> Vec<Membership> {
        let channels = self.channels.lock();
        let mut all = Vec::new();
        for (channel, presence_channel) in channels.iter() {
            for user in &presence_channel.users {
                for member_socket in &user.sockets {
                    if member_socket.key.0 == *node {
                        all.push(Membership {
                            channel: channel.clone(),
                            socket: member_socket.key.1,
                            member: Member {
                                user_id: user.id.clone(),
                                user_info: member_socket.info.as_deref().map(str::to_owned),
                            },
                        });
                    }
                }
            }
        }
        all
    }

    /// The user of a socket on a channel.
    #[must_use]
    pub fn user_of(&self, node: &NodeId, channel: &str, socket: SocketId) -> Option<String> {
        let channels = self.channels.lock();
        let presence_channel = channels.get(channel)?;
        let at = presence_channel.user_index_of(&(node.clone(), socket))?;
        Some(presence_channel.users[at].id.clone())
    }

    /// Subscribes a socket of this gateway. The member list it receives and the events of the other members are
    /// consistent.
    pub(in crate::gateway) fn join(
        &self,
        hub: &Hub,
        socket: &Arc<Socket>,
        name: &Name<'_>,
        member: &Member,
        holding: bool,
    ) -> Result<Arc<Channel>, JoinError> {
        let mut channels = self.channels.lock();
        let key = (hub.node().clone(), socket.id);
        let presence_channel = channels.entry(name.full.to_owned()).or_default();
        let is_new = presence_channel.user_index(&member.user_id).is_none()
            && presence_channel.user_index_of(&key).is_none();
        let settings = hub.settings();
        let size = presence_channel.size() + size(&member.user_id, member.user_info.as_deref());
        let refused = if is_new && presence_channel.users.len() >= settings.max_members {
            Some(JoinError::TooManyMembers)
        } else if is_new && size > settings.max_presence_bytes {
            Some(JoinError::MemberListTooLarge)
        } else {
            None
        };
        if let Some(why) = refused {
            remove_if_empty(&mut channels, name.full);
            return Err(why);
        }
        let was_there = presence_channel.user_index_of(&key).is_some();
        let first = presence_channel.add(key.clone(), member);
        let success = presence_channel.success();
        match hub.add_subscriber(socket, name, &success, holding) {
            Ok(joined) => {
                if first {
                    self.send_member_added(name.full, member, Some(socket.id));
                }
                if !was_there {
                    if let Some(cluster) = hub.cluster() {
                        cluster.joined(name.full, socket.id, member);
                    }
                }
                Ok(joined)
            }
            Err(why) => {
                if !was_there {
                    if let Some(presence_channel) = channels.get_mut(name.full) {
                        presence_channel.remove(&key);
                    }
                    remove_if_empty(&mut channels, name.full);
                }
                Err(why)
            }
        }
    }

    /// Unsubscribes a socket of this gateway.
    pub(in crate::gateway) fn leave(&self, hub: &Hub, channel: &Arc<Channel>, socket: SocketId) {
        let mut channels = self.channels.lock();
        hub.drop_subscriber(channel, socket);
        let key = (hub.node().clone(), socket);
        let Some(presence_channel) = channels.get_mut(channel.name()) else {
            return;
        };
        let Some((user, last)) = presence_channel.remove(&key) else {
            return;
        };
        remove_if_empty(&mut channels, channel.name());
        if last {
            self.send_member_removed(channel.name(), &user);
        }
        if let Some(cluster) = hub.cluster() {
            cluster.left(channel.name(), socket);
        }
    }

    fn add_socket(
        &self,
        channels: &mut HashMap<String, PresenceChannel>,
        key: SocketKey,
        channel: &str,
        member: &Member,
    ) -> Option<Change> {
        let presence_channel = channels.entry(channel.to_owned()).or_default();
        presence_channel.add(key, member).then(|| {
            self.send_member_added(channel, member, None);
            Change::Added {
                channel: channel.to_owned(),
                user_id: member.user_id.clone(),
            }
        })
    }

    fn remove_socket(
        &self,
        channels: &mut HashMap<String, PresenceChannel>,
        key: &SocketKey,
        channel: &str,
    ) -> Option<Change> {
        let (user_id, last) = channels.get_mut(channel)?.remove(key)?;
        remove_if_empty(channels, channel);
        last.then(|| {
            self.send_member_removed(channel, &user_id);
            Change::Removed {
                channel: channel.to_owned(),
                user_id,
            }
        })
    }

    fn send_member_added(&self, channel: &str, member: &Member, except: Option<SocketId>) {
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
        hub.send_to_members(channel, "pusher_internal:member_added", &data, except);
    }

    fn send_member_removed(&self, channel: &str, user_id: &str) {
        let Some(hub) = self.hub.upgrade() else {
            return;
        };
        let data = [b"{\"user_id\":".as_slice(), &quoted(user_id), b"}"].concat();
        let data = String::from_utf8_lossy(&data);
        hub.send_to_members(channel, "pusher_internal:member_removed", &data, None);
    }
}

fn remove_if_empty(channels: &mut HashMap<String, PresenceChannel>, channel: &str) {
    if channels
        .get(channel)
        .is_some_and(|presence_channel| presence_channel.users.is_empty())
    {
        channels.remove(channel);
    }
}

/// A socket of a gateway.
pub(super) type SocketKey = (NodeId, SocketId);

/// A member's socket, with the user info of its subscription.
pub(super) struct MemberSocket {
    pub key: SocketKey,
    pub info: Option<Arc<str>>,
}

/// A user with its sockets on all gateways.
pub(super) struct User {
    pub id: String,
    pub sockets: Vec<MemberSocket>,
}

impl User {
    /// The user info of the oldest socket.
    pub fn info(&self) -> Option<&str> {
        self.sockets.first()?.info.as_deref()
    }
}

#[derive(Default)]
pub(super) struct PresenceChannel {
    pub users: Vec<User>,
}

impl PresenceChannel {
    pub fn user_index(&self, id: &str) -> Option<usize> {
        self.users.iter().position(|user| user.id == id)
    }

    pub fn user_index_of(&self, key: &SocketKey) -> Option<usize> {
        self.users.iter().position(|user| {
            user.sockets
                .iter()
                .any(|member_socket| member_socket.key == *key)
        })
    }

    /// Approximate size of all members in `subscription_succeeded`, in bytes.
    pub fn size(&self) -> usize {
        self.users
            .iter()
            .map(|user| size(&user.id, user.info()))
            .sum()
    }

    /// Adds a socket; true for a user's first. A known socket is not changed.
    pub fn add(&mut self, key: SocketKey, member: &Member) -> bool {
        if self.user_index_of(&key).is_some() {
            return false;
        }
        let member_socket = MemberSocket {
            key,
            info: member.user_info.as_deref().map(Arc::from),
        };
        if let Some(at) = self.user_index(&member.user_id) {
            self.users[at].sockets.push(member_socket);
            return false;
        }
        self.users.push(User {
            id: member.user_id.clone(),
            sockets: vec![member_socket],
        });
        true
    }

    /// Removes a socket; returns its user, and whether it was the user's last socket.
    pub fn remove(&mut self, key: &SocketKey) -> Option<(String, bool)> {
        let at = self.user_index_of(key)?;
        let user = &mut self.users[at];
        user.sockets
            .retain(|member_socket| member_socket.key != *key);
        let (id, last) = (user.id.clone(), user.sockets.is_empty());
        if last {
            self.users.remove(at);
        }
        Some((id, last))
    }

    /// Data of `subscription_succeeded`: JSON in a JSON string.
    pub fn success(&self) -> Vec<u8> {
        let (mut ids, mut hash) = (Vec::new(), Vec::new());
        for user in &self.users {
            if !ids.is_empty() {
                ids.push(b',');
                hash.push(b',');
            }
            quote_into(&mut ids, user.id.as_bytes());
            quote_into(&mut hash, user.id.as_bytes());
            hash.push(b':');
            hash.extend_from_slice(user.info().unwrap_or("null").as_bytes());
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

/// Approximate size of a member in `subscription_succeeded`, in bytes.
pub(super) fn size(id: &str, info: Option<&str>) -> usize {
    2 * id.len() + info.map_or(4, str::len) + 8
}
