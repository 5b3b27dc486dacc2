//! One presence channel: users in the order in which they joined, each with its sockets in the order of their
//! subscriptions.

use std::sync::Arc;

use super::{Member, NodeId};
use crate::gateway::protocol::frame::quote_into;
use crate::gateway::protocol::SocketId;

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
