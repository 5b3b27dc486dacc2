//! What this gateway knows of all gateways: a state machine over their records and the clock. It does nothing itself; what is to be
//! done comes out as effects.
//!
//! All gateways read the same records in the same order, this one's own among them, so all come to the same state.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::totals::{Happening, Totals};
use super::wire::{Body, Record, Seat};
use crate::gateway::protocol::frame::Member;
use crate::gateway::protocol::SocketId;
use crate::gateway::question::{Answer, Question};
use crate::gateway::settings::Settings;

/// The numbers, in ms.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Between two heartbeats.
    pub beat: u64,
    /// A node that is silent for so long is gone.
    pub silent: u64,
    /// The members of a node that ended in order stay for so long.
    pub drain: u64,
    /// Presence waits so long for the nodes heard from.
    pub settle: u64,
    /// A snapshot that did not come is asked for again after this.
    pub again: u64,
}

impl Timing {
    /// As the settings have them.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        let ms = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            beat: ms(settings.heartbeat),
            silent: ms(settings.node_timeout),
            drain: ms(settings.drain_members),
            settle: ms(settings.presence_wait),
            again: ms(settings.heartbeat),
        }
    }
}

/// A tick that comes this much late means that the whole process slept, ms.
const SLEPT: u64 = 3_000;
/// So many nodes that are gone are remembered, so that their old records do not bring them back.
const GRAVES: usize = 1_000;

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// A seat of another gateway was taken.
    Add {
        /// Whose.
        node: String,
        /// Which.
        seat: Seat,
    },
    /// A seat of another gateway is free.
    Remove {
        /// Whose.
        node: String,
        /// The channel.
        channel: String,
        /// The socket.
        socket: SocketId,
    },
    /// Everything another gateway has was told anew.
    Replace {
        /// Whose.
        node: String,
        /// Its seats.
        seats: Vec<Seat>,
    },
    /// Another gateway is gone.
    Drop {
        /// Which.
        node: String,
    },
    /// This gateway is to tell all it has.
    Tell,
    /// This gateway is to ask a node for all it has.
    AskGap {
        /// Which.
        of: String,
    },
    /// Something for the webhooks.
    Happened(Happening),
    /// A question of another gateway.
    Asked {
        /// Who asks.
        from: String,
        /// Its number.
        id: u64,
        /// What.
        question: Question,
    },
    /// An answer to a question of this gateway.
    Answered {
        /// Who answers.
        from: String,
        /// The question's number.
        id: u64,
        /// True for the last part.
        last: bool,
        /// What.
        answer: Answer,
    },
    /// Nobody was heard for long: this is the one that is cut off.
    Isolated,
    /// Somebody is heard again.
    Back,
}

#[derive(Debug, Default)]
struct Node {
    sequence: u64,
    heard: u64,
    /// Nothing of it is missing.
    synced: bool,
    /// When its snapshot was asked for.
    asked: Option<u64>,
    leaving: Option<u64>,
    assembly: Option<Assembly>,
    seats: HashMap<String, HashMap<SocketId, Member>>,
    channels: HashMap<String, usize>,
}

#[derive(Debug, Default)]
struct Assembly {
    next: u32,
    seats: Vec<Seat>,
    channels: Vec<(String, usize)>,
}

/// The state.
pub struct View {
    own: String,
    timing: Timing,
    nodes: BTreeMap<String, Node>,
    graves: VecDeque<(String, u64)>,
    totals: Totals,
    heard_any: u64,
    heard_own: Option<u64>,
    /// When the own hello came back.
    greeted: Option<u64>,
    settled: bool,
    isolated: bool,
    ticked: Option<u64>,
    effects: Vec<Effect>,
}

impl View {
    /// Knows nobody yet.
    #[must_use]
    pub fn new(own: &str, timing: Timing, now: u64) -> Self {
        Self {
            own: own.to_owned(),
            timing,
            nodes: BTreeMap::new(),
            graves: VecDeque::new(),
            totals: Totals::default(),
            heard_any: now,
            heard_own: None,
            greeted: None,
            settled: false,
            isolated: false,
            ticked: None,
            effects: Vec::new(),
        }
    }

    /// What is to be done since the last time.
    pub fn effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// True once every node heard from has told its members, and while this gateway is not cut off.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.settled && !self.isolated
    }

    /// True while this gateway's own records come back to it.
    #[must_use]
    pub fn is_heard(&self, now: u64) -> bool {
        self.heard_own
            .is_some_and(|heard| now.saturating_sub(heard) < self.timing.silent)
    }

    /// True where nobody was heard for long.
    #[must_use]
    pub fn is_isolated(&self) -> bool {
        self.isolated
    }

    /// Other nodes that are alive.
    #[must_use]
    pub fn others(&self) -> Vec<&str> {
        let others = self.nodes.iter();
        others
            .filter(|(id, node)| **id != self.own && node.leaving.is_none())
            .map(|(id, _)| id.as_str())
            .collect()
    }

    /// True where this is the lowest live node, which speaks for all.
    #[must_use]
    pub fn leads(&self) -> bool {
        let mut alive = self.nodes.iter().filter(|(_, n)| n.leaving.is_none());
        self.is_whole() && alive.next().is_some_and(|(id, _)| *id == self.own)
    }

    /// True where another node has told of sockets on this channel.
    #[must_use]
    pub fn is_elsewhere(&self, channel: &str) -> bool {
        self.nodes
            .iter()
            .any(|(id, node)| *id != self.own && node.channels.contains_key(channel))
    }

    /// A record that was there before this gateway started: its node may be alive.
    pub fn preview(&mut self, record: &Record, now: u64) {
        if matches!(record.body, Body::Bye) {
            self.nodes.remove(&record.node);
            self.bury(&record.node, record.sequence);
            return;
        }
        if self.grave(&record.node) >= record.sequence {
            return;
        }
        let node = self.nodes.entry(record.node.clone()).or_default();
        node.sequence = node.sequence.max(record.sequence);
        node.heard = now;
    }

    /// A record, in the order of the topic.
    pub fn apply(&mut self, record: Record, offset: i64, now: u64) {
        let Record {
            node: id,
            sequence,
            body,
        } = record;
        if !self.accept(&id, sequence, &body, now) {
            return;
        }
        self.listen(&id, now);
        let cause = offset.to_string();
        match body {
            Body::Hello => self.hello(&id, now),
            Body::Beat { m, c } => self.beat(&id, m, c, now),
            Body::Join(seat) => self.join(&id, seat, &cause),
            Body::Leave { c, s } => self.leave(&id, &c, s, &cause),
            Body::Occupied { c, n } => self.occupied(&id, &c, n, &cause),
            Body::Snapshot { part, of, m, o } => self.snapshot(&id, part, of, m, o, &cause),
            Body::Gap { of } => {
                if of == self.own {
                    self.effects.push(Effect::Tell);
                }
            }
            Body::Bye => {
                let until = now + self.timing.drain;
                if let Some(node) = self.nodes.get_mut(&id) {
                    node.leaving = Some(until);
                }
            }
            Body::Ask { id: number, q } => {
                if id != self.own {
                    self.effects.push(Effect::Asked {
                        from: id,
                        id: number,
                        question: q,
                    });
                }
            }
            Body::Answer {
                id: number,
                to,
                last,
                a,
            } => {
                if to == self.own {
                    self.effects.push(Effect::Answered {
                        from: id,
                        id: number,
                        last,
                        answer: a,
                    });
                }
            }
            // Not on this topic.
            Body::Client { .. } => {}
        }
    }

    /// False for a record that was seen before. A gap in the numbers means that something of the node is missing.
    fn accept(&mut self, id: &str, sequence: u64, body: &Body, now: u64) -> bool {
        let begins = matches!(body, Body::Hello) && sequence == 1;
        match self.nodes.get_mut(id) {
            Some(node) if sequence <= node.sequence => return false,
            Some(node) => {
                if sequence > node.sequence + 1 {
                    node.synced = false;
                    node.assembly = None;
                }
                node.sequence = sequence;
                node.heard = now;
            }
            None => {
                if self.grave(id) >= sequence {
                    return false;
                }
                let node = Node {
                    sequence,
                    heard: now,
                    synced: begins,
                    ..Node::default()
                };
                self.nodes.insert(id.to_owned(), node);
            }
        }
        // A snapshot under way is no reason to ask for one.
        if !matches!(body, Body::Snapshot { .. } | Body::Hello | Body::Bye) {
            self.ask_again(id, now);
        }
        true
    }

    /// Asks for what is missing of a node, unless that was done just now, or our own hello does it.
    fn ask_again(&mut self, id: &str, now: u64) {
        let Some(greeted) = self.greeted else {
            return;
        };
        let again = self.timing.again;
        let Some(node) = self.nodes.get_mut(id) else {
            return;
        };
        let asked = node.asked.unwrap_or(greeted);
        let is_new = node.asked.is_none() && now.saturating_sub(greeted) >= again;
        if node.synced || !(is_new || now.saturating_sub(asked) >= again) {
            return;
        }
        node.asked = Some(now);
        self.effects.push(if id == self.own {
            Effect::Tell
        } else {
            Effect::AskGap { of: id.to_owned() }
        });
    }

    fn listen(&mut self, id: &str, now: u64) {
        self.heard_any = now;
        if id == self.own {
            self.heard_own = Some(now);
        }
        if std::mem::take(&mut self.isolated) {
            // The others were not silent, we were deaf.
            self.forgive(now);
            self.effects.push(Effect::Back);
        }
    }

    fn forgive(&mut self, now: u64) {
        self.heard_any = now;
        for node in self.nodes.values_mut() {
            node.heard = now;
        }
    }

    fn hello(&mut self, id: &str, now: u64) {
        if let Some(node) = self.nodes.get_mut(id) {
            node.synced = true;
        }
        if id == self.own {
            self.greeted = Some(now);
        } else if self.greeted.is_some() {
            self.effects.push(Effect::Tell);
        }
    }

    fn beat(&mut self, id: &str, seats: usize, channels: usize, now: u64) {
        if let Some(node) = self.nodes.get_mut(id) {
            let counted: usize = node.seats.values().map(HashMap::len).sum();
            if node.synced && (counted != seats || node.channels.len() != channels) {
                node.synced = false;
                self.ask_again(id, now);
            }
        }
    }

    fn join(&mut self, id: &str, seat: Seat, cause: &str) {
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

    fn leave(&mut self, id: &str, channel: &str, socket: SocketId, cause: &str) {
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

    fn occupied(&mut self, id: &str, channel: &str, sockets: usize, cause: &str) {
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

    fn snapshot(
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
    fn replace(&mut self, id: &str, whole: Assembly, cause: &str) {
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

    /// The clock: who is gone, who may go, whether presence is whole.
    pub fn tick(&mut self, now: u64) {
        let slept = self
            .ticked
            .replace(now)
            .is_some_and(|before| now.saturating_sub(before) > SLEPT);
        if slept {
            // We were stopped, not they: what they wrote meanwhile is still on its way.
            self.forgive(now);
        }
        if self.isolated {
            return;
        }
        let silent = self.timing.silent;
        if now.saturating_sub(self.heard_any) >= silent {
            self.isolated = true;
            self.effects.push(Effect::Isolated);
            return;
        }
        let gone: Vec<String> = self
            .nodes
            .iter()
            .filter(|(id, node)| {
                let is_left = node.leaving.is_some_and(|until| now >= until);
                let is_silent = now.saturating_sub(node.heard) >= silent;
                **id != self.own && (is_left || is_silent)
            })
            .map(|(id, _)| id.clone())
            .collect();
        for id in gone {
            self.lose(&id);
        }
        if let (false, Some(greeted)) = (self.settled, self.greeted) {
            let all = self.nodes.values().all(|node| node.synced);
            self.settled = all || now.saturating_sub(greeted) >= self.timing.settle;
        }
        let unsynced: Vec<String> = self
            .nodes
            .iter()
            .filter(|(_, node)| !node.synced)
            .map(|(id, _)| id.clone())
            .collect();
        for id in unsynced {
            self.ask_again(&id, now);
        }
    }

    fn lose(&mut self, id: &str) {
        let Some(node) = self.nodes.remove(id) else {
            return;
        };
        self.bury(id, node.sequence);
        // The same on every gateway, though each finds it out by its own clock.
        let cause = format!("gone {id}");
        let happened = self.totals.clear(&node.seats, &node.channels, &cause);
        for one in happened {
            self.note(Some(one));
        }
        self.effects.push(Effect::Drop {
            node: id.to_owned(),
        });
    }

    fn note(&mut self, happened: Option<Happening>) {
        // What was so before we came has been told by others.
        if self.settled {
            self.effects.extend(happened.map(Effect::Happened));
        }
    }

    fn bury(&mut self, id: &str, sequence: u64) {
        self.graves.retain(|(known, _)| known != id);
        self.graves.push_back((id.to_owned(), sequence));
        if self.graves.len() > GRAVES {
            self.graves.pop_front();
        }
    }

    fn grave(&self, id: &str) -> u64 {
        let mut graves = self.graves.iter();
        graves
            .find(|(known, _)| known == id)
            .map_or(0, |(_, sequence)| *sequence)
    }
}
