//! The thread that connects to the other gateways: it receives commands and records, and sends records and presence
//! changes, in order.

mod announcements;
mod inbound;
mod outbound;
mod subscription_counts;

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use self::announcements::ChannelAnnouncements;
use self::subscription_counts::SubscriptionCounts;
use super::control_producer::ControlProducer;
use super::pending_requests::{split_response, PendingRequests};
use super::socket_events::{self, CacheMisses};
use super::state::{ClusterState, Effect, Timing, SUSPENDED_AFTER};
use super::webhooks::{SentWebhook, Webhooks};
use super::wire::Body;
use super::{control_topics, ActorStatus, Command};
use crate::clock::coarse_ms;
use crate::config::gateway_settings::EventKind;
use crate::config::BrokerConfig;
use crate::error::Result;
use crate::gateway::backend::SocketEvent;
use crate::gateway::feed::positions::Positions;
use crate::gateway::feed::ControlTopics;
use crate::gateway::hub::Hub;
use crate::gateway::presence::{Membership, NodeId};
use crate::gateway::protocol::frame::Member;
use crate::gateway::protocol::SocketId;
use crate::gateway::replay::token::Keys;
use crate::log::Level;
use crate::process;

/// Maximum time between two ticks.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Maximum commands between two ticks.
const MAX_COMMANDS: usize = 1_000;
pub(in crate::gateway::cluster) struct Actor {
    config: Arc<BrokerConfig>,
    hub: Weak<Hub>,
    positions: Arc<Positions>,
    keys: Keys,
    timing: Timing,
    status: Arc<ActorStatus>,
    topics: ControlTopics,
    producer: ControlProducer,
    state: ClusterState,
    own: String,
    /// Last sequence numbers of this node: presence topic, client topic.
    sequences: [u64; 2],
    members: HashMap<String, HashMap<SocketId, Member>>,
    channels: ChannelAnnouncements,
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
    webhook_events: Vec<EventKind>,
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
        keys: Keys,
        timing: Timing,
        status: Arc<ActorStatus>,
    ) -> Result<Self> {
        let own = hub.node().as_str().to_owned();
        Ok(Self {
            config: Arc::clone(config),
            hub: Arc::downgrade(hub),
            positions: Arc::clone(positions),
            keys,
            timing,
            status,
            topics: control_topics(config),
            producer: ControlProducer::start(config)?,
            state: ClusterState::new(&own, timing, coarse_ms()),
            own,
            sequences: [0, 0],
            members: HashMap::new(),
            channels: ChannelAnnouncements::new(Instant::now()),
            hello_sent: false,
            draining: false,
            snapshot_due: false,
            heartbeat_at: 0,
            tick_at: 0,
            last_awake: 0,
            leader_after_sequence: 0,
            requests: PendingRequests::default(),
            webhooks: Webhooks::default(),
            webhook_events: hub.settings().webhook_events.clone(),
            cache_misses: CacheMisses::new(Instant::now()),
            counts: SubscriptionCounts::new(hub.settings()),
            client_sequences: HashMap::new(),
        })
    }

    pub fn run(mut self, commands: &Receiver<Command>) {
        let (mut topics_created, mut retry_topics_at) = (false, 0);
        loop {
            if !topics_created && coarse_ms() >= retry_topics_at {
                topics_created = self.create_topics();
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
                    let node = NodeId::from(node.as_str());
                    hub.presence().add(&node, &member.c, member.s, &member.m);
                }
                Effect::RemoveMember {
                    node,
                    channel,
                    socket,
                } => {
                    let node = NodeId::from(node.as_str());
                    hub.presence().remove(&node, &channel, socket);
                }
                Effect::ReplaceMembers { node, members } => {
                    let members: Vec<Membership> = members.into_iter().map(Into::into).collect();
                    let node = NodeId::from(node.as_str());
                    hub.presence().replace_node(&node, &members);
                }
                Effect::RemoveNode { node } => {
                    self.requests.node_removed(&node, now);
                    self.client_sequences.remove(&node);
                    hub.presence().drop_node(&NodeId::from(node.as_str()));
                }
                Effect::SendSnapshot => self.snapshot_due = true,
                Effect::RequestSnapshot { of } => self.send(Body::Gap { of }),
                Effect::Webhook(event) => {
                    let is_leader = self.is_leader();
                    if let Some(event) = self.webhooks.add(event, is_leader, now) {
                        self.publish(&event);
                    }
                }
                Effect::SubscriptionsChanged { channel } => self.counts.changed(channel),
                Effect::AdminRequest { from, id, request } => {
                    let mut responses = split_response(hub.handle_admin_request(&request)).into_iter().peekable();
                    while let Some(a) = responses.next() {
                        let last = responses.peek().is_none();
                        let to = from.clone();
                        self.send(Body::Response { id, to, last, a });
                    }
                }
                Effect::AdminResponse {
                    from,
                    id,
                    last,
                    response,
                } => self.requests.add_response(&from, id, last, response, now),
                Effect::Isolated => process::current().log.write(
                    Level::Error,
                    "The gateway receives no records from any gateway over Kafka, not even its own: presence is frozen \
                    and the gateway is not ready.",
                ),
                Effect::Reconnected => {
                    self.after_absence();
                    process::current()
                        .log
                        .write(Level::Notice, "The gateway receives records of the other gateways over Kafka again.");
                }
            }
        }
    }

    fn publish(&mut self, event: &super::webhook_state::WebhookEvent) {
        if !self.webhook_events.contains(&event.kind) {
            return;
        }
        let value = event.envelope();
        let topic = self.topics.events.clone();
        self.producer.send(&topic, &event.channel, &value);
    }

    /// Writes an event of an own socket. Each gateway writes those of its sockets; the others ignore them.
    fn publish_socket_event(&mut self, event: &SocketEvent) {
        if let SocketEvent::CacheMiss { channel } = event {
            if !self
                .cache_misses
                .is_due(channel, coarse_ms(), Instant::now())
            {
                return;
            }
        }
        let (channel, value) = socket_events::envelope(event);
        let topic = self.topics.events.clone();
        self.producer.send(&topic, channel, &value);
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
        self.leader_after_sequence = self.sequences[0] + 1;
        self.webhooks.after_absence();
    }

    fn is_leader(&self) -> bool {
        self.state.is_leader() && self.state.own_sequence() >= self.leader_after_sequence
    }

    /// Does everything that is due by time.
    fn tick(&mut self) {
        self.detect_suspension();
        let now = coarse_ms();
        if !self.hello_sent && self.is_reading() {
            self.hello_sent = true;
            self.send_hello();
            self.heartbeat_at = now + self.timing.heartbeat;
        }
        self.announce_channels();
        if now >= self.tick_at {
            self.tick_at = now + 50;
            self.state.tick(now);
            self.apply_effects();
            self.requests.complete_finished(now);
            self.send_subscription_counts(now);
            let is_leader = self.is_leader();
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
        if self.hello_sent && !self.draining {
            if std::mem::take(&mut self.snapshot_due) {
                self.snapshot();
            }
            if now >= self.heartbeat_at {
                self.heartbeat_at = now + self.timing.heartbeat;
                let m = self.members.values().map(HashMap::len).sum();
                let c = self.channels.announced().len();
                self.send(Body::Heartbeat { m, c });
            }
        }
        let complete = self.state.is_complete();
        self.status.complete.send_if_modified(|known| {
            let changes = *known != complete;
            *known = complete;
            changes
        });
        let receives_own = self.state.receives_own_records(now);
        self.status
            .receives_own
            .store(receives_own, Ordering::Release);
        if let Some(hub) = self.hub.upgrade() {
            hub.counters()
                .nodes
                .set(self.state.other_nodes().len() as u64);
        }
    }
}
