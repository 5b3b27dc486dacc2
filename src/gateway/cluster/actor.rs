//! The thread that connects to the other gateways: it receives commands and records, and sends records and presence
//! changes, in order.

use std::collections::{HashMap, HashSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::node::Announcements;
use super::producers::ControlProducer;
use super::state::{ClusterState, SUSPENDED_AFTER};
use super::webhook_events::{envelope, CacheMisses, SubscriptionCounts, WebhookEvent};
use super::webhooks::{SentWebhook, Webhooks};
use super::wire::{Body, ControlRecord};
use super::{split_response, ActorStatus, ClusterTiming, Command, Effect, PendingRequests};
use crate::config::gateway_settings::{EventKind, Settings};
use crate::config::BrokerConfig;
use crate::error::Result;
use crate::gateway::backend::{AdminRequest, AdminResponse, SocketEvent};
use crate::gateway::feed::positions::Positions;
use crate::gateway::feed::TopicRole;
use crate::gateway::hub::presence::Membership;
use crate::gateway::hub::Hub;
use crate::gateway::protocol::SocketId;
use crate::gateway::replay::token::Keys;
use crate::ids::unix_ms;
use crate::log::Level;
use crate::runtime;
use crate::runtime::clock::coarse_ms;

/// Maximum time between two ticks.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Maximum commands between two ticks.
const MAX_COMMANDS: usize = 1_000;

pub(super) struct Actor {
    hub: Weak<Hub>,
    positions: Arc<Positions>,
    timing: ClusterTiming,
    status: Arc<ActorStatus>,
    producer: ControlProducer,
    state: ClusterState,
    own: String,
    announcements: Announcements,
    hello_sent: bool,
    draining: bool,
    snapshot_due: bool,
    heartbeat_at: u64,
    tick_at: u64,
    last_awake: u64,
    /// After an absence this node can be the leader once its own record with this number has been read: by then it has
    /// read everything that an interim leader wrote.
    leader_after_sequence: u64,
    requests: PendingRequests,
    webhooks: Webhooks,
    settings: Arc<Settings>,
    cache_misses: CacheMisses,
    counts: SubscriptionCounts,
    /// Last sequence number of each node on the client topic.
    client_sequences: HashMap<String, u64>,
}

impl Actor {
    pub fn new(
        config: &Arc<BrokerConfig>,
        hub: &Arc<Hub>,
        positions: &Arc<Positions>,
        status: Arc<ActorStatus>,
    ) -> Result<Self> {
        let own = hub.node().to_owned();
        let keys = Keys::new(&hub.settings().secrets, "toporia_realtime control");
        let timing = ClusterTiming::of(hub.settings());
        Ok(Self {
            hub: Arc::downgrade(hub),
            positions: Arc::clone(positions),
            timing,
            status,
            producer: ControlProducer::start(config, own.clone(), keys)?,
            state: ClusterState::new(&own, timing, coarse_ms()),
            own,
            announcements: Announcements::new(Instant::now()),
            hello_sent: false,
            draining: false,
            snapshot_due: false,
            heartbeat_at: 0,
            tick_at: 0,
            last_awake: 0,
            leader_after_sequence: 0,
            requests: PendingRequests::default(),
            webhooks: Webhooks::default(),
            settings: Arc::clone(hub.settings()),
            cache_misses: CacheMisses::new(Instant::now()),
            counts: SubscriptionCounts::new(hub.settings()),
            client_sequences: HashMap::new(),
        })
    }

    pub fn run(mut self, commands: &Receiver<Command>) {
        let (mut topics_created, mut retry_topics_at) = (false, 0);
        loop {
            if !topics_created && coarse_ms() >= retry_topics_at {
                topics_created = self.producer.create_topics();
                // While Kafka is unreachable, commands are not delayed further.
                retry_topics_at = coarse_ms() + 2_000;
            }
            let due_in = self.announcements_due_in().unwrap_or(POLL_INTERVAL);
            let mut going = match commands.recv_timeout(due_in.min(POLL_INTERVAL)) {
                Ok(command) => self.handle_command(command),
                Err(RecvTimeoutError::Timeout) => true,
                Err(RecvTimeoutError::Disconnected) => false,
            };
            for command in commands.try_iter().take(MAX_COMMANDS) {
                going &= self.handle_command(command);
            }
            self.tick();
            if !going {
                break;
            }
        }
        self.producer.flush(Duration::from_secs(1));
    }

    /// Carries out the effects of the state machine.
    fn apply_effects(&mut self) {
        let effects = self.state.effects();
        if effects.is_empty() {
            return;
        }
        let Some(hub) = self.hub.upgrade() else {
            return;
        };
        let now = coarse_ms();
        for effect in effects {
            match effect {
                Effect::AddMember { node, member } => {
                    hub.presence().add(&node, &member.channel, member.socket, &member.member);
                }
                Effect::RemoveMember { node, channel, socket } => {
                    hub.presence().remove(&node, &channel, socket);
                }
                Effect::ReplaceMembers { node, members } => {
                    hub.presence().replace_node(&node, &members);
                }
                Effect::RemoveNode { node } => {
                    self.requests.node_removed(&node, now);
                    self.client_sequences.remove(&node);
                    hub.presence().replace_node(&node, &[]);
                }
                Effect::SendSnapshot => self.snapshot_due = true,
                Effect::RequestSnapshot { of } => self.producer.send(Body::Gap { of }),
                Effect::Webhook(event) => {
                    let is_leader = self.is_leader();
                    if let Some(event) = self.webhooks.add(event, is_leader, now) {
                        self.publish(&event);
                    }
                }
                Effect::SubscriptionsChanged { channel } => self.counts.changed(channel),
                Effect::AdminRequest { from, id, request } => {
                    let responses = split_response(hub.handle_admin_request(&request));
                    let count = responses.len();
                    for (i, a) in responses.into_iter().enumerate() {
                        let (to, last) = (from.clone(), i + 1 == count);
                        self.producer.send(Body::Response { id, to, last, a });
                    }
                }
                Effect::AdminResponse { from, id, last, response } => {
                    self.requests.add_response(&from, id, last, response, now);
                }
                Effect::Isolated => runtime::error(
                    "The gateway receives no records from any gateway over Kafka, not even its own: presence is frozen \
                    and the gateway is not ready.",
                ),
                Effect::Reconnected => {
                    self.after_absence();
                    let text = "The gateway receives records of the other gateways over Kafka again.";
                    runtime::current().log.write(Level::Notice, text);
                }
            }
        }
    }

    fn publish(&mut self, event: &WebhookEvent) {
        if self.settings.has_webhook(event.kind) {
            let value = event.envelope();
            self.producer.send_webhook(&event.channel, &value);
        }
    }

    /// Writes an event of an own socket. Each gateway writes those of its sockets; the others ignore them.
    fn publish_socket_event(&mut self, event: &SocketEvent) {
        let is_due = match event {
            SocketEvent::CacheMiss { channel } => {
                let misses = &mut self.cache_misses;
                misses.is_due(channel, coarse_ms(), Instant::now())
            }
            SocketEvent::ClientEvent { .. } => true,
        };
        if is_due {
            let (channel, value) = envelope(event);
            self.producer.send_webhook(channel, &value);
        }
    }

    /// Detects that the process was suspended: another node may have been the leader.
    fn detect_suspension(&mut self) {
        let now = coarse_ms();
        let before = std::mem::replace(&mut self.last_awake, now);
        if before > 0 && now.saturating_sub(before) > SUSPENDED_AFTER {
            self.after_absence();
        }
    }

    fn after_absence(&mut self) {
        self.heartbeat_at = 0;
        self.leader_after_sequence = self.producer.last_sequence() + 1;
        self.webhooks.after_absence();
    }

    fn is_leader(&self) -> bool {
        self.state.is_leader() && self.state.own_sequence() >= self.leader_after_sequence
    }

    /// Does everything that is due by time.
    fn tick(&mut self) {
        self.detect_suspension();
        let now = coarse_ms();
        if !self.hello_sent && self.positions.reach_ends(&self.producer.topics) {
            self.hello_sent = true;
            self.producer.send(Body::Hello);
            self.take_changed_channels();
            for body in self.announcements.announce_all() {
                self.producer.send(body);
            }
            self.heartbeat_at = now + self.timing.heartbeat;
        }
        self.announce_channels();
        if now >= self.tick_at {
            self.tick_at = now + 50;
            self.state.tick(now);
            self.apply_effects();
            self.requests.complete_finished(now);
            let is_leader = self.is_leader();
            if let Some(hub) = self.hub.upgrade() {
                let due = self
                    .counts
                    .take_due(now, |channel| self.state.subscriptions(channel));
                for (channel, count) in due {
                    self.counts
                        .send(&channel, count, &hub, &mut self.producer, is_leader);
                }
            }
            let mut due = self.webhooks.take_due(is_leader, now);
            // Every live node is heard within this time.
            let settle = self.timing.heartbeat + 500;
            let state = &self.state;
            let is_present = |sent: &SentWebhook, at: u64| {
                state.is_present(&sent.channel, sent.user.as_deref(), at)
            };
            due.extend(
                self.webhooks
                    .take_contradicted(is_leader, now, settle, is_present),
            );
            for event in due {
                self.publish(&event);
            }
            self.producer.poll();
        }
        if self.is_active() {
            if std::mem::take(&mut self.snapshot_due) {
                for body in self.announcements.snapshot() {
                    self.producer.send(body);
                }
            }
            if now >= self.heartbeat_at {
                self.heartbeat_at = now + self.timing.heartbeat;
                self.producer.send(self.announcements.heartbeat());
            }
        }
        let receives_own = self.state.receives_own_records(now);
        self.status.set(self.state.is_complete(), receives_own);
        if let Some(hub) = self.hub.upgrade() {
            hub.counters()
                .nodes
                .set(self.state.other_nodes().len() as u64);
        }
    }

    /// Handles a command; false for the last one.
    fn handle_command(&mut self, command: Command) -> bool {
        self.detect_suspension();
        match command {
            Command::Joined(member) => self.joined(member),
            Command::Left { channel, socket } => self.left(channel, socket),
            // They are announced with the next tick, if that is due.
            Command::ChannelsChanged => {}
            Command::Client {
                channel,
                event,
                data,
                user,
            } => {
                if self.hello_sent && self.state.has_remote_subscribers(&channel) {
                    self.producer.send_client(Body::Client {
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
                if self.is_active() {
                    self.producer.send(Body::Bye);
                    self.producer.flush(Duration::from_millis(500));
                }
                self.draining = true;
            }
            Command::Stop => {
                if self.is_active() {
                    self.producer.send(Body::Bye);
                }
                return false;
            }
        }
        self.apply_effects();
        true
    }

    fn joined(&mut self, member: Membership) {
        self.announcements.join(&member);
        if self.is_active() {
            // Webhooks report a channel before its members.
            self.take_changed_channels();
            if let Some((c, n)) = self
                .announcements
                .take_first(&member.channel, Instant::now())
            {
                self.producer.send(Body::Occupied { c, n });
            }
            self.producer.send(Body::Join(member));
        }
    }

    fn left(&mut self, channel: String, socket: SocketId) {
        self.announcements.leave(&channel, socket);
        if self.is_active() {
            self.producer.send(Body::Leave {
                c: channel,
                s: socket,
            });
        }
    }

    /// Changes are sent: not before the hello, which is followed by all members, and not while draining.
    fn is_active(&self) -> bool {
        self.hello_sent && !self.draining
    }

    /// Time until the next announcement; `None` if none is waiting. Before the hello there are none, because all
    /// channels follow it.
    fn announcements_due_in(&self) -> Option<Duration> {
        let is_waiting =
            || self.announcements.is_waiting() || !self.status.changed_channels.lock().is_empty();
        (self.is_active() && is_waiting()).then(|| self.announcements.due_in(Instant::now()))
    }

    fn take_changed_channels(&mut self) {
        let changed = std::mem::take(&mut *self.status.changed_channels.lock());
        for (channel, sockets) in changed {
            self.announcements.set(channel, sockets);
        }
    }

    /// Sends the due announcements. Changes that are not announced are taken too: channels that clients occupy and
    /// vacate would fill the table.
    fn announce_channels(&mut self) {
        if !self.is_active() {
            self.take_changed_channels();
        }
        if self.announcements_due_in() != Some(Duration::ZERO) {
            return;
        }
        self.take_changed_channels();
        for (c, n) in self.announcements.take_due(Instant::now()) {
            self.producer.send(Body::Occupied { c, n });
        }
    }

    fn record(
        &mut self,
        role: TopicRole,
        key: &[u8],
        value: &[u8],
        offset: i64,
        appended_ms: Option<u64>,
        live: bool,
    ) {
        let topic = match role {
            TopicRole::Presence => &self.producer.topics.presence,
            TopicRole::Client => &self.producer.topics.client,
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
        let record = match ControlRecord::open(topic, key, value, &self.producer.keys, written_ms) {
            Ok(record) => record,
            // Counted once: records from before the start were counted by the gateways that read them live.
            Err(_) if !live => return,
            Err(reason) => {
                if let Some(hub) = self.hub.upgrade() {
                    hub.counters().forged_control.add_one();
                }
                let text = format!("A record of topic \"{topic}\" was ignored: {reason}");
                runtime::warn(text);
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

    fn client_event(&mut self, record: ControlRecord) {
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
            hub.channels()
                .client_event_from_remote(&c, &e, &d, u.as_deref());
        }
    }

    fn send_admin_request(&mut self, request: AdminRequest, reply: oneshot::Sender<AdminResponse>) {
        let Some(hub) = self.hub.upgrade() else {
            return;
        };
        let own = hub.handle_admin_request(&request);
        let mut other_nodes: HashSet<String> = self
            .state
            .other_nodes()
            .into_iter()
            .map(str::to_owned)
            .collect();
        if !self.hello_sent || self.state.is_isolated() {
            other_nodes.clear();
        }
        let is_alone = other_nodes.is_empty();
        let id = self.requests.add(own, other_nodes, reply, coarse_ms());
        if !is_alone {
            self.producer.send(Body::Request { id, q: request });
        }
    }
}
