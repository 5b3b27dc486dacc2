//! Members of presence channels on all gateways: node → channel → socket. `member_added` and `member_removed` are
//! derived here.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::channel::Channel;
use super::channels::{Channels, JoinError};
use crate::gateway::protocol::frame::{quote_into, quoted};
use crate::gateway::protocol::incoming::Member;
use crate::gateway::protocol::SocketId;
use crate::gateway::session::Socket;
use crate::topic::socket_channel::Name;

/// A socket's membership of a presence channel. The short names keep control records small.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    #[serde(rename = "c")]
    pub channel: String,
    #[serde(rename = "s")]
    pub socket: SocketId,
    #[serde(rename = "m")]
    pub member: Member,
}

/// The id of a gateway and a socket of it.
type SocketKey = (Arc<str>, SocketId);

/// A user with its sockets on all gateways, in the order of their subscriptions, each with the user info of its
/// subscription.
struct User {
    id: String,
    sockets: Vec<(SocketKey, Option<String>)>,
}

impl User {
    /// The user info of the oldest socket.
    fn info(&self) -> Option<&str> {
        self.sockets.first()?.1.as_deref()
    }
}

/// The users of a channel, in the order in which they joined.
#[derive(Default)]
struct PresenceChannel(Vec<User>);

impl PresenceChannel {
    fn has_user(&self, id: &str) -> bool {
        self.0.iter().any(|user| user.id == id)
    }

    fn index_of(&self, key: &SocketKey) -> Option<usize> {
        let has = |user: &User| user.sockets.iter().any(|(known, _)| known == key);
        self.0.iter().position(has)
    }

    /// Approximate size of all members in `subscription_succeeded`, in bytes.
    fn size(&self) -> usize {
        let users = self.0.iter();
        users.map(|user| size(&user.id, user.info())).sum()
    }

    /// Adds a socket; true for a user's first. A known socket is not changed.
    fn add(&mut self, key: SocketKey, member: &Member) -> bool {
        if self.index_of(&key).is_some() {
            return false;
        }
        let socket = (key, member.user_info.clone());
        if let Some(user) = self.0.iter_mut().find(|user| user.id == member.user_id) {
            user.sockets.push(socket);
            return false;
        }
        self.0.push(User {
            id: member.user_id.clone(),
            sockets: vec![socket],
        });
        true
    }

    /// Removes a socket; returns its user, and whether it was the user's last socket.
    fn remove(&mut self, key: &SocketKey) -> Option<(String, bool)> {
        let at = self.index_of(key)?;
        let user = &mut self.0[at];
        user.sockets.retain(|(known, _)| known != key);
        let (id, last) = (user.id.clone(), user.sockets.is_empty());
        if last {
            self.0.remove(at);
        }
        Some((id, last))
    }

    /// Data of `subscription_succeeded`: JSON in a JSON string.
    fn success(&self) -> Vec<u8> {
        let (mut ids, mut hash) = (Vec::new(), Vec::new());
        for user in &self.0 {
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
        json.extend_from_slice(format!("}},\"count\":{}}}}}", self.0.len()).as_bytes());
        let mut literal = Vec::with_capacity(json.len() + json.len() / 8);
        quote_into(&mut literal, &json);
        literal
    }
}

/// Approximate size of a member in `subscription_succeeded`, in bytes.
fn size(id: &str, info: Option<&str>) -> usize {
    2 * id.len() + info.map_or(4, str::len) + 8
}

type Members = HashMap<String, PresenceChannel>;

/// Members of all presence channels.
pub struct Presence {
    channels: Arc<Channels>,
    /// This gateway.
    node: Arc<str>,
    members: Mutex<Members>,
}

impl Presence {
    pub(super) fn new(channels: &Arc<Channels>, node: Arc<str>) -> Self {
        Self {
            channels: Arc::clone(channels),
            node,
            members: Mutex::default(),
        }
    }

    /// Another gateway's socket joined.
    pub fn add(&self, node: &str, channel: &str, socket: SocketId, member: &Member) {
        let mut members = self.members.lock();
        self.add_socket(&mut members, (node.into(), socket), channel, member);
    }

    /// Another gateway's socket left.
    pub fn remove(&self, node: &str, channel: &str, socket: SocketId) {
        let mut members = self.members.lock();
        self.remove_socket(&mut members, &(node.into(), socket), channel);
    }

    /// Replaces all members of another gateway by a snapshot.
    pub fn replace_node(&self, node: &str, snapshot: &[Membership]) {
        let mut members = self.members.lock();
        let wanted: HashMap<(&str, SocketId), &str> = snapshot
            .iter()
            .map(|m| ((m.channel.as_str(), m.socket), m.member.user_id.as_str()))
            .collect();
        let mut gone: Vec<(String, SocketId)> = Vec::new();
        for (channel, presence_channel) in members.iter() {
            for user in &presence_channel.0 {
                let of_node = user.sockets.iter().filter(|((of, _), _)| **of == *node);
                for ((_, socket), _) in of_node {
                    if wanted.get(&(channel.as_str(), *socket)) != Some(&user.id.as_str()) {
                        gone.push((channel.clone(), *socket));
                    }
                }
            }
        }
        // Added first: a user whose socket was replaced did not leave.
        for one in snapshot {
            let key = (node.into(), one.socket);
            let is_one = |(channel, socket): &(String, SocketId)| {
                *channel == one.channel && *socket == one.socket
            };
            if gone.iter().any(is_one) {
                self.remove_socket(&mut members, &key, &one.channel);
            }
            self.add_socket(&mut members, key, &one.channel, &one.member);
        }
        for (channel, socket) in gone {
            if !wanted.contains_key(&(channel.as_str(), socket)) {
                self.remove_socket(&mut members, &(node.into(), socket), &channel);
            }
        }
    }

    /// Users of a channel on all gateways with their info (JSON), in the order in which they joined.
    #[must_use]
    pub fn members(&self, channel: &str) -> Vec<Member> {
        let members = self.members.lock();
        let users = members.get(channel).into_iter().flat_map(|of| &of.0);
        users
            .map(|user| Member {
                user_id: user.id.clone(),
                user_info: user.info().map(str::to_owned),
            })
            .collect()
    }

    /// Number of users of a channel.
    #[must_use]
    pub fn count(&self, channel: &str) -> usize {
        let members = self.members.lock();
        members.get(channel).map_or(0, |of| of.0.len())
    }

    /// The user of a socket of this gateway on a channel.
    #[must_use]
    pub fn user_of(&self, channel: &str, socket: SocketId) -> Option<String> {
        let members = self.members.lock();
        let presence_channel = members.get(channel)?;
        let at = presence_channel.index_of(&(Arc::clone(&self.node), socket))?;
        Some(presence_channel.0[at].id.clone())
    }

    /// Subscribes a socket of this gateway. The member list it receives and the events of the other members are
    /// consistent.
    pub(super) fn join(
        &self,
        socket: &Arc<Socket>,
        name: &Name<'_>,
        member: &Member,
        holding: bool,
    ) -> Result<Arc<Channel>, JoinError> {
        let mut members = self.members.lock();
        let key = (Arc::clone(&self.node), socket.id);
        let presence_channel = members.entry(name.full.to_owned()).or_default();
        let was_there = presence_channel.index_of(&key).is_some();
        let settings = self.channels.settings();
        let size = presence_channel.size() + size(&member.user_id, member.user_info.as_deref());
        if !was_there && !presence_channel.has_user(&member.user_id) {
            let refused = if presence_channel.0.len() >= settings.max_members {
                Some(JoinError::TooManyMembers)
            } else if size > settings.max_presence_bytes {
                Some(JoinError::MemberListTooLarge)
            } else {
                None
            };
            if let Some(why) = refused {
                remove_if_empty(&mut members, name.full);
                return Err(why);
            }
        }
        let first = presence_channel.add(key.clone(), member);
        let success = presence_channel.success();
        let joined = self
            .channels
            .add_subscriber(socket, name, &success, holding);
        if joined.is_err() {
            if !was_there {
                presence_channel.remove(&key);
                remove_if_empty(&mut members, name.full);
            }
            return joined;
        }
        if first {
            self.send_member_added(name.full, member, Some(socket.id));
        }
        if !was_there {
            if let Some(cluster) = self.channels.cluster() {
                cluster.joined(name.full, socket.id, member);
            }
        }
        joined
    }

    /// Unsubscribes a socket of this gateway.
    pub(super) fn leave(&self, channel: &Arc<Channel>, socket: SocketId) {
        let mut members = self.members.lock();
        self.channels.drop_subscriber(channel, socket);
        let key = (Arc::clone(&self.node), socket);
        if self.remove_socket(&mut members, &key, channel.name()) {
            if let Some(cluster) = self.channels.cluster() {
                cluster.left(channel.name(), socket);
            }
        }
    }

    fn add_socket(&self, members: &mut Members, key: SocketKey, channel: &str, member: &Member) {
        let presence_channel = members.entry(channel.to_owned()).or_default();
        if presence_channel.add(key, member) {
            self.send_member_added(channel, member, None);
        }
    }

    /// False if the socket was no member.
    fn remove_socket(&self, members: &mut Members, key: &SocketKey, channel: &str) -> bool {
        let of_channel = members.get_mut(channel);
        let Some((user, last)) = of_channel.and_then(|of| of.remove(key)) else {
            return false;
        };
        remove_if_empty(members, channel);
        if last {
            let data = [b"{\"user_id\":".as_slice(), &quoted(&user), b"}"].concat();
            let data = String::from_utf8_lossy(&data);
            let event = "pusher_internal:member_removed";
            self.channels
                .send_to_subscribers(channel, event, &data, None);
        }
        true
    }

    fn send_member_added(&self, channel: &str, member: &Member, except: Option<SocketId>) {
        let mut data = b"{\"user_id\":".to_vec();
        quote_into(&mut data, member.user_id.as_bytes());
        if let Some(info) = &member.user_info {
            data.extend_from_slice(b",\"user_info\":");
            data.extend_from_slice(info.as_bytes());
        }
        data.push(b'}');
        let data = String::from_utf8_lossy(&data);
        let event = "pusher_internal:member_added";
        self.channels
            .send_to_subscribers(channel, event, &data, except);
    }
}

fn remove_if_empty(members: &mut Members, channel: &str) {
    if members.get(channel).is_some_and(|of| of.0.is_empty()) {
        members.remove(channel);
    }
}
