//! Sockets of this gateway on presence channels, and the events that its sockets receive.

use std::collections::HashMap;
use std::sync::Arc;

use super::channel::{size, PresenceChannel, SocketKey};
use super::{Change, Presence};
use crate::gateway::hub::{Channel, Hub, JoinError, Joined};
use crate::gateway::protocol::frame::{quote_into, quoted, Member};
use crate::gateway::protocol::SocketId;
use crate::gateway::session::Socket;
use crate::topic::socket_channel::Name;

impl Presence {
    /// Subscribes a socket of this gateway. The member list it receives and the events of the other members are
    /// consistent.
    pub(in crate::gateway) fn join(
        &self,
        hub: &Hub,
        socket: &Arc<Socket>,
        name: &Name<'_>,
        member: &Member,
        holding: bool,
    ) -> Result<Joined, JoinError> {
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
                        cluster.joined(name.full, socket.id, member, first);
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
            cluster.left(channel.name(), socket, &user, last);
        }
    }

    pub(super) fn add_socket(
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

    pub(super) fn remove_socket(
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
