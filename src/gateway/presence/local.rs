//! Sockets of this gateway on presence channels, and what its sockets are told of anybody.

use std::collections::HashMap;
use std::sync::Arc;

use super::room::{size, Key, Room};
use super::{Change, Presence};
use crate::gateway::connection::Socket;
use crate::gateway::hub::{Channel, Hub, JoinError, Joined};
use crate::gateway::protocol::frame::{quote_into, quoted, Member};
use crate::gateway::protocol::{Name, SocketId};

impl Presence {
    /// A socket of this gateway subscribes: the answer, and what the others hear of it, are one step.
    pub(in crate::gateway) fn join(
        &self,
        hub: &Hub,
        socket: &Arc<Socket>,
        name: &Name<'_>,
        member: &Member,
        holding: bool,
    ) -> Result<Joined, JoinError> {
        let mut rooms = self.rooms.lock();
        let key = (hub.node().clone(), socket.id);
        let room = rooms.entry(name.full.to_owned()).or_default();
        let is_new = room.user(&member.user_id).is_none() && room.owner(&key).is_none();
        let settings = hub.settings();
        let size = room.size() + size(&member.user_id, member.user_info.as_deref());
        let refused = if is_new && room.users.len() >= settings.max_members {
            Some(JoinError::TooManyMembers)
        } else if is_new && size > settings.max_presence_bytes {
            Some(JoinError::MemberListTooLarge)
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
    pub(in crate::gateway) fn leave(&self, hub: &Hub, channel: &Arc<Channel>, socket: SocketId) {
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

    pub(super) fn enter(
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

    pub(super) fn take(
        &self,
        rooms: &mut HashMap<String, Room>,
        key: &Key,
        channel: &str,
    ) -> Option<Change> {
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
        hub.send_to_members(channel, "pusher_internal:member_added", &data, except);
    }

    fn tell_removed(&self, channel: &str, user_id: &str) {
        let Some(hub) = self.hub.upgrade() else {
            return;
        };
        let data = [b"{\"user_id\":".as_slice(), &quoted(user_id), b"}"].concat();
        let data = String::from_utf8_lossy(&data);
        hub.send_to_members(channel, "pusher_internal:member_removed", &data, None);
    }
}

fn tidy(rooms: &mut HashMap<String, Room>, channel: &str) {
    if rooms.get(channel).is_some_and(|room| room.users.is_empty()) {
        rooms.remove(channel);
    }
}
