//! Commands of the hub and records of the other gateways.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::super::webhooks::SentWebhook;
use super::super::wire::{Body, ControlRecord, PresenceMember, RecordError};
use super::super::Command;
use super::Actor;
use crate::clock::coarse_ms;
use crate::config::gateway_settings::EventKind;
use crate::gateway::backend::AdminRequest;
use crate::gateway::feed::TopicRole;
use crate::gateway::protocol::frame::Member;
use crate::gateway::protocol::SocketId;
use crate::ids::unix_ms;
use crate::log::Level;
use crate::process;

impl Actor {
    /// Handles a command; false for the last one.
    pub(super) fn handle_command(&mut self, command: Command) -> bool {
        self.detect_suspension();
        match command {
            Command::Joined {
                channel,
                socket,
                member,
            } => self.joined(channel, socket, member),
            Command::Left { channel, socket } => self.left(&channel, socket),
            // They are announced with the next tick, if that is due.
            Command::ChannelsChanged => {}
            Command::Client {
                channel,
                event,
                data,
                user,
            } => {
                if self.hello_sent && self.state.has_remote_subscribers(&channel) {
                    self.send_client(Body::Client {
                        c: channel,
                        e: event,
                        d: data,
                        u: user,
                    });
                }
            }
            Command::SocketEvent(event) => self.publish_socket_event(&event),
            Command::ControlRecord {
                role,
                key,
                value,
                offset,
                appended_ms,
                live,
            } => self.record(role, &key, &value, offset, appended_ms, live),
            Command::Request { request, reply } => self.send_admin_request(request, reply),
            Command::Drain => {
                if self.hello_sent && !self.draining {
                    self.send(Body::Bye);
                    self.producer.flush(Duration::from_millis(500));
                }
                self.draining = true;
            }
            Command::Stop => {
                if self.hello_sent && !self.draining {
                    self.send(Body::Bye);
                }
                return false;
            }
        }
        self.apply_effects();
        true
    }

    pub(super) fn joined(&mut self, channel: String, socket: SocketId, member: Member) {
        let channel_members = self.members.entry(channel.clone()).or_default();
        channel_members.insert(socket, member.clone());
        if self.hello_sent && !self.draining {
            // Webhooks report a channel before its members.
            self.take_changed_channels();
            if let Some((c, n)) = self.channels.take_first(&channel, Instant::now()) {
                self.send(Body::Occupied { c, n });
            }
        }
        self.send_if_active(Body::Join(PresenceMember {
            c: channel,
            s: socket,
            m: member,
        }));
    }

    pub(super) fn left(&mut self, channel: &str, socket: SocketId) {
        if let Some(channel_members) = self.members.get_mut(channel) {
            channel_members.remove(&socket);
            if channel_members.is_empty() {
                self.members.remove(channel);
            }
        }
        self.send_if_active(Body::Leave {
            c: channel.to_owned(),
            s: socket,
        });
    }

    /// Time until the next announcement; `None` if none is waiting. Before the hello there are none, because all
    /// channels follow it.
    pub(super) fn announcements_due_in(&self) -> Option<Duration> {
        let is_announcing = self.hello_sent && !self.draining;
        let is_waiting =
            || self.channels.is_waiting() || !self.status.changed_channels.lock().is_empty();
        (is_announcing && is_waiting()).then(|| self.channels.due_in(Instant::now()))
    }

    pub(super) fn take_changed_channels(&mut self) {
        let changed = std::mem::take(&mut *self.status.changed_channels.lock());
        for (channel, sockets) in changed {
            self.channels.set(channel, sockets);
        }
    }

    /// Sends the due announcements. Changes that are not announced are taken too: channels that clients occupy and
    /// vacate would fill the table.
    pub(super) fn announce_channels(&mut self) {
        if !self.hello_sent || self.draining {
            self.take_changed_channels();
        }
        if self.announcements_due_in() != Some(Duration::ZERO) {
            return;
        }
        self.take_changed_channels();
        for (c, n) in self.channels.take_due(Instant::now()) {
            self.send(Body::Occupied { c, n });
        }
    }

    /// Sends a change. Not before the hello, because the hello is followed by all members, and not while draining.
    pub(super) fn send_if_active(&mut self, body: Body) {
        if self.hello_sent && !self.draining {
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
        let record = ControlRecord {
            node: self.own.clone(),
            sequence,
            issued_ms: unix_ms(),
            body,
        };
        if let Some(value) = record.seal(topic, &self.keys) {
            // A record that librdkafka rejects leaves a gap in the numbers, and the others request a snapshot.
            self.producer.send(topic, &self.own, &value);
        }
    }

    pub(super) fn record(
        &mut self,
        role: TopicRole,
        key: &[u8],
        value: &[u8],
        offset: i64,
        appended_ms: Option<u64>,
        live: bool,
    ) {
        let topic = match role {
            TopicRole::Presence => &self.topics.presence,
            TopicRole::Client => &self.topics.client,
            TopicRole::Events => {
                match SentWebhook::read(value) {
                    Some(sent) if sent.kind == EventKind::CacheMiss => {
                        self.cache_misses.record(&sent.channel, coarse_ms());
                    }
                    Some(sent) => self.webhooks.record_sent(sent, coarse_ms()),
                    None => {}
                }
                return;
            }
            TopicRole::Channels => return,
        };
        let written_ms = appended_ms.unwrap_or_else(unix_ms);
        let record = match ControlRecord::open(topic, key, value, &self.keys, written_ms) {
            Ok(record) => record,
            // Counted once: records from before the start were counted by the gateways that read them live.
            Err(_) if !live => return,
            Err(reason) => {
                if let Some(hub) = self.hub.upgrade() {
                    hub.counters().forged_control.add_one();
                }
                let why = match reason {
                    RecordError::Forged => {
                        "it is not signed by a gateway of this application. Do all gateways have the same \
                        REALTIME_APP_SECRET?"
                    }
                    RecordError::Stale => {
                        "it was issued more than 30 s before or after it was written. Are the clocks of all servers \
                        synchronized (NTP)?"
                    }
                };
                let text = format!("A record of topic \"{topic}\" was ignored: {why}");
                process::current().log.write(Level::Warning, text);
                return;
            }
        };
        let now = coarse_ms();
        match (role, live) {
            (TopicRole::Presence, true) => self.state.apply(record, offset, now),
            (TopicRole::Presence, false) => self.state.apply_history(&record, now),
            (_, true) => self.client_event(record),
            (_, false) => {}
        }
    }

    pub(super) fn client_event(&mut self, record: ControlRecord) {
        let last = self
            .client_sequences
            .entry(record.node.clone())
            .or_default();
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

    pub(super) fn send_admin_request(
        &mut self,
        request: AdminRequest,
        reply: tokio::sync::oneshot::Sender<crate::gateway::backend::AdminResponse>,
    ) {
        let Some(hub) = self.hub.upgrade() else {
            return;
        };
        let own = hub.handle_admin_request(&request);
        let other_nodes: HashSet<String> = self
            .state
            .other_nodes()
            .into_iter()
            .map(str::to_owned)
            .collect();
        let is_alone = other_nodes.is_empty() || !self.hello_sent || self.state.is_isolated();
        let other_nodes = if is_alone {
            HashSet::new()
        } else {
            other_nodes
        };
        let id = self.requests.add(own, other_nodes, reply, coarse_ms());
        if !is_alone {
            self.send(Body::Request { id, q: request });
        }
    }
}
