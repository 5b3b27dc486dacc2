//! What the actor hears: notes of the sockets, records of the other gateways.

use std::collections::HashSet;
use std::time::Duration;

use super::super::webhooks::Told;
use super::super::wire::{Body, Record, Seat};
use super::super::Note;
use super::Actor;
use crate::clock::coarse_ms;
use crate::gateway::admin_api::AdminRequest;
use crate::gateway::feed::Purpose;
use crate::gateway::protocol::frame::Member;
use crate::gateway::protocol::SocketId;
use crate::log::Level;
use crate::process;

impl Actor {
    /// False at the end.
    pub(super) fn take(&mut self, note: Note) -> bool {
        self.wake_up();
        match note {
            Note::Joined {
                channel,
                socket,
                member,
            } => self.joined(channel, socket, member),
            Note::Left { channel, socket } => self.left(&channel, socket),
            Note::Occupied { channel, sockets } => self.occupied(channel, sockets),
            Note::Client {
                channel,
                event,
                data,
                user,
            } => {
                if self.greeted && self.view.is_elsewhere(&channel) {
                    self.send_client(Body::Client {
                        c: channel,
                        e: event,
                        d: data,
                        u: user,
                    });
                }
            }
            Note::Record {
                purpose,
                key,
                value,
                offset,
                live,
            } => self.record(purpose, &key, &value, offset, live),
            Note::Ask { question, reply } => self.ask(question, reply),
            Note::Drain => {
                if self.greeted && !self.draining {
                    self.send(Body::Bye);
                    self.post.flush(Duration::from_millis(500));
                }
                self.draining = true;
            }
            Note::Stop => {
                if self.greeted && !self.draining {
                    self.send(Body::Bye);
                }
                return false;
            }
        }
        self.deal();
        true
    }

    pub(super) fn joined(&mut self, channel: String, socket: SocketId, member: Member) {
        let room = self.seats.entry(channel.clone()).or_default();
        room.insert(socket, member.clone());
        self.tell_others(Body::Join(Seat {
            c: channel,
            s: socket,
            m: member,
        }));
    }

    pub(super) fn left(&mut self, channel: &str, socket: SocketId) {
        if let Some(room) = self.seats.get_mut(channel) {
            room.remove(&socket);
            if room.is_empty() {
                self.seats.remove(channel);
            }
        }
        self.tell_others(Body::Leave {
            c: channel.to_owned(),
            s: socket,
        });
    }

    pub(super) fn occupied(&mut self, channel: String, sockets: usize) {
        if sockets == 0 {
            self.channels.remove(&channel);
        } else {
            self.channels.insert(channel.clone(), sockets);
        }
        self.tell_others(Body::Occupied {
            c: channel,
            n: sockets,
        });
    }

    /// Before the hello there is nobody to tell: the snapshot that follows it has everything. While draining nothing is told.
    pub(super) fn tell_others(&mut self, body: Body) {
        if self.greeted && !self.draining {
            self.send(body);
        }
    }

    pub(super) fn send(&mut self, body: Body) {
        self.sequences[0] += 1;
        let topic = self.topics.presence.clone();
        self.write(&topic, self.sequences[0], body);
    }

    pub(super) fn send_client(&mut self, body: Body) {
        self.sequences[1] += 1;
        let topic = self.topics.client.clone();
        self.write(&topic, self.sequences[1], body);
    }

    pub(super) fn write(&mut self, topic: &str, sequence: u64, body: Body) {
        let record = Record {
            node: self.own.clone(),
            sequence,
            body,
        };
        if let Some(value) = record.seal(topic, &self.keys) {
            // What librdkafka does not take leaves a gap in the numbers, and the others ask.
            self.post.send(topic, &self.own, &value);
        }
    }

    pub(super) fn record(
        &mut self,
        purpose: Purpose,
        key: &[u8],
        value: &[u8],
        offset: i64,
        live: bool,
    ) {
        let topic = match purpose {
            Purpose::Presence => &self.topics.presence,
            Purpose::Client => &self.topics.client,
            Purpose::Events => {
                if let Some(told) = Told::read(value) {
                    self.webhooks.saw(told, coarse_ms());
                }
                return;
            }
            Purpose::Channels => return,
        };
        let Some(record) = Record::open(topic, key, value, &self.keys) else {
            if let Some(hub) = self.hub.upgrade() {
                hub.counters().forged_control.add_one();
            }
            process::current().log.say(
                Level::Warning,
                format!("A record of topic \"{topic}\" is not signed by a gateway of this application and was ignored. Do all gateways have the same REALTIME_APP_SECRET?"),
            );
            return;
        };
        let now = coarse_ms();
        match (purpose, live) {
            (Purpose::Presence, true) => self.view.apply(record, offset, now),
            (Purpose::Presence, false) => self.view.preview(&record, now),
            (_, true) => self.client_event(record),
            (_, false) => {}
        }
    }

    pub(super) fn client_event(&mut self, record: Record) {
        let last = self.clients.entry(record.node.clone()).or_default();
        if record.node == self.own || record.sequence <= *last {
            return;
        }
        *last = record.sequence;
        let Body::Client { c, e, d, u } = record.body else {
            return;
        };
        if let Some(hub) = self.hub.upgrade() {
            hub.client_event_from_remote(&c, &e, &d, u.as_deref());
        }
    }

    pub(super) fn ask(
        &mut self,
        question: AdminRequest,
        reply: tokio::sync::oneshot::Sender<crate::gateway::admin_api::AdminResponse>,
    ) {
        let Some(hub) = self.hub.upgrade() else {
            return;
        };
        let own = hub.handle_admin_request(&question);
        let others: HashSet<String> = self.view.others().into_iter().map(str::to_owned).collect();
        let is_alone = others.is_empty() || !self.greeted || self.view.is_isolated();
        let others = if is_alone { HashSet::new() } else { others };
        let id = self.questions.put(own, others, reply, coarse_ms());
        if !is_alone {
            self.send(Body::Ask { id, q: question });
        }
    }
}
