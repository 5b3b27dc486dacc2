//! Seats and occupied channels of a node: one by one, and all at once from its snapshot.

use super::super::wire::Seat;
use super::{Assembly, Effect, View};
use crate::gateway::protocol::SocketId;

impl View {
    pub(super) fn join(&mut self, id: &str, seat: Seat, cause: &str) {
        let Some(node) = self.nodes.get_mut(id) else {
            return;
        };
        let room = node.seats.entry(seat.c.clone()).or_default();
        if room.insert(seat.s, seat.m.clone()).is_none() {
            let happened = self.totals.add_seat(&seat.c, &seat.m.user_id, cause);
            self.note(happened);
            if id != self.own {
                let node = id.to_owned();
                self.effects.push(Effect::Add { node, seat });
            }
        }
    }

    pub(super) fn leave(&mut self, id: &str, channel: &str, socket: SocketId, cause: &str) {
        let Some(node) = self.nodes.get_mut(id) else {
            return;
        };
        let Some(room) = node.seats.get_mut(channel) else {
            return;
        };
        let Some(member) = room.remove(&socket) else {
            return;
        };
        if room.is_empty() {
            node.seats.remove(channel);
        }
        let happened = self.totals.remove_seat(channel, &member.user_id, cause);
        self.note(happened);
        if id != self.own {
            self.effects.push(Effect::Remove {
                node: id.to_owned(),
                channel: channel.to_owned(),
                socket,
            });
        }
    }

    pub(super) fn occupied(&mut self, id: &str, channel: &str, sockets: usize, cause: &str) {
        let Some(node) = self.nodes.get_mut(id) else {
            return;
        };
        let before = if sockets == 0 {
            node.channels.remove(channel)
        } else {
            node.channels.insert(channel.to_owned(), sockets)
        };
        let happened = match (before, sockets) {
            (None, 1..) => self.totals.occupy(channel, cause),
            (Some(_), 0) => self.totals.vacate(channel, cause),
            _ => None,
        };
        self.note(happened);
    }

    pub(super) fn snapshot(
        &mut self,
        id: &str,
        part: u32,
        of: u32,
        seats: Vec<Seat>,
        channels: Vec<(String, usize)>,
        cause: &str,
    ) {
        let Some(node) = self.nodes.get_mut(id) else {
            return;
        };
        if node.synced {
            return;
        }
        if part == 0 {
            node.assembly = Some(Assembly::default());
        }
        let Some(assembly) = &mut node.assembly else {
            return;
        };
        if assembly.next != part {
            node.assembly = None;
            return;
        }
        assembly.next += 1;
        assembly.seats.extend(seats);
        assembly.channels.extend(channels);
        if assembly.next < of {
            return;
        }
        let Some(whole) = node.assembly.take() else {
            return;
        };
        node.synced = true;
        node.asked = None;
        self.replace(id, whole, cause);
    }

    /// New seats first: a user who is in both was never away.
    pub(super) fn replace(&mut self, id: &str, whole: Assembly, cause: &str) {
        let Some(node) = self.nodes.get_mut(id) else {
            return;
        };
        let old_seats = std::mem::take(&mut node.seats);
        let old_channels = std::mem::take(&mut node.channels);
        for seat in &whole.seats {
            let room = node.seats.entry(seat.c.clone()).or_default();
            room.insert(seat.s, seat.m.clone());
        }
        node.channels = whole.channels.into_iter().collect();
        let mut happened = Vec::new();
        for (channel, room) in &node.seats {
            for member in room.values() {
                happened.extend(self.totals.add_seat(channel, &member.user_id, cause));
            }
        }
        for channel in node.channels.keys() {
            happened.extend(self.totals.occupy(channel, cause));
        }
        happened.extend(self.totals.clear(&old_seats, &old_channels, cause));
        for one in happened {
            self.note(Some(one));
        }
        if id != self.own {
            self.effects.push(Effect::Replace {
                node: id.to_owned(),
                seats: whole.seats,
            });
        }
    }
}
