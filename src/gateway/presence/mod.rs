//! Members of presence channels on all gateways: node → channel → socket. `member_added` and `member_removed` are
//! derived here.

mod channel;
mod local;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::hub::Hub;
use super::protocol::frame::Member;
use super::protocol::SocketId;
use channel::PresenceChannel;

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
}
