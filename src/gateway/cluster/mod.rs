//! Connects all gateways of an application over control topics: presence, client events, webhooks and admin requests.
//!
//! ```text
//! actor              the thread that owns all state
//!  ├ state               the nodes: a state machine without I/O
//!  ├ node                one node, and what this node announces to the others
//!  ├ webhook_events      events for webhooks
//!  └ webhooks            which of them this node writes
//! producers          write control records, and events of the HTTP API
//! wire               signed control records
//! ```
//!
//! The hub calls while it holds locks, so a call only sends a command to the actor and never waits.

mod actor;
mod node;
mod producers;
pub mod state;
#[cfg(test)]
mod tests;
mod webhook_events;
mod webhooks;
pub mod wire;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::{oneshot, watch};

use self::producers::EventPublisher;
use self::webhook_events::WebhookEvent;
use super::backend::{AdminRequest, AdminResponse, ApiEvent, BoxFuture, Cluster, SocketEvent};
use super::feed::positions::Positions;
use super::feed::{RawControlRecord, TopicRole};
use super::hub::presence::Membership;
use super::hub::Hub;
use super::protocol::incoming::Member;
use super::protocol::SocketId;
use crate::config::gateway_settings::Settings;
use crate::config::BrokerConfig;
use crate::error::{Error, Result};
use crate::runtime;

/// Maximum wait for the acknowledgement of an HTTP API event, including the events queued before it.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(15);

/// Timeouts and intervals, in ms.
#[derive(Debug, Clone, Copy)]
pub struct ClusterTiming {
    /// Also the time after which a missing snapshot is requested again.
    pub heartbeat: u64,
    /// A node without a record for this long is removed.
    pub node_timeout: u64,
    /// The members of a draining node stay this long.
    pub drain_members: u64,
    /// Maximum wait for the snapshots of the known nodes.
    pub presence_wait: u64,
}

impl ClusterTiming {
    /// Reads the timing from the settings.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        let ms = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            heartbeat: ms(settings.heartbeat),
            node_timeout: ms(settings.node_timeout),
            drain_members: ms(settings.drain_members),
            presence_wait: ms(settings.presence_wait),
        }
    }
}

/// Work that results from a record or from time.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// A member of another gateway joined.
    AddMember {
        node: String,
        member: Membership,
    },
    /// A member of another gateway left.
    RemoveMember {
        node: String,
        channel: String,
        socket: SocketId,
    },
    /// A snapshot of another gateway is complete.
    ReplaceMembers {
        node: String,
        members: Vec<Membership>,
    },
    /// Another gateway was removed.
    RemoveNode {
        node: String,
    },
    /// This gateway must send a snapshot.
    SendSnapshot,
    /// This gateway must request a snapshot.
    RequestSnapshot {
        of: String,
    },
    Webhook(WebhookEvent),
    /// The number of subscriptions of a channel changed.
    SubscriptionsChanged {
        channel: String,
    },
    /// A request of another gateway.
    AdminRequest {
        from: String,
        id: u64,
        request: AdminRequest,
    },
    /// A part of the response to this gateway's request.
    AdminResponse {
        from: String,
        /// The number of the request.
        id: u64,
        /// True for the last part.
        last: bool,
        response: AdminResponse,
    },
    /// No record arrived within the node timeout: this gateway is isolated.
    Isolated,
    Reconnected,
}

/// A command to the actor.
enum Command {
    Joined(Membership),
    Left {
        channel: String,
        socket: SocketId,
    },
    /// [`ActorStatus::changed_channels`] is no longer empty.
    ChannelsChanged,
    Client {
        channel: String,
        event: String,
        data: Box<RawValue>,
        user: Option<String>,
    },
    SocketEvent(SocketEvent),
    /// A record of a control topic.
    ControlRecord {
        role: TopicRole,
        key: Vec<u8>,
        value: Vec<u8>,
        offset: i64,
        appended_ms: Option<u64>,
        live: bool,
    },
    Request {
        request: AdminRequest,
        reply: oneshot::Sender<AdminResponse>,
    },
    /// The gateway drains: announce it, then send no more changes.
    Drain,
    Stop,
}

/// Shared with the actor.
struct ActorStatus {
    complete: watch::Sender<bool>,
    receives_own: AtomicBool,
    /// The sockets of channels that became occupied or vacated, until the actor announces them. Only the first one
    /// wakes it: that takes more CPU than an announcement.
    changed_channels: Mutex<HashMap<String, usize>>,
}

impl ActorStatus {
    fn set(&self, complete: bool, receives_own: bool) {
        self.complete.send_if_modified(|known| {
            let changes = *known != complete;
            *known = complete;
            changes
        });
        self.receives_own.store(receives_own, Ordering::Release);
    }
}

/// Connection to the other gateways.
pub struct KafkaCluster {
    commands: Sender<Command>,
    status: Arc<ActorStatus>,
    config: Arc<BrokerConfig>,
    publisher: EventPublisher,
    waiting: Mutex<Option<Receiver<Command>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    generation: u32,
}

impl KafkaCluster {
    /// Collects commands until [`Self::start`].
    #[must_use]
    pub fn new(config: &Arc<BrokerConfig>) -> Arc<Self> {
        let (commands, waiting) = std::sync::mpsc::channel();
        Arc::new(Self {
            commands,
            status: Arc::new(ActorStatus {
                complete: watch::Sender::new(false),
                receives_own: AtomicBool::new(false),
                changed_channels: Mutex::default(),
            }),
            config: Arc::clone(config),
            publisher: EventPublisher::new(config),
            waiting: Mutex::new(Some(waiting)),
            thread: Mutex::default(),
            generation: runtime::generation(),
        })
    }

    /// Starts the actor: it creates the control topics and sends a hello once `positions` shows that the feed reads
    /// them.
    ///
    /// # Errors
    /// Configuration: properties librdkafka does not take. Connection: no more threads.
    pub fn start(&self, hub: &Arc<Hub>, positions: &Arc<Positions>) -> Result<()> {
        let Some(commands) = self.waiting.lock().take() else {
            return Ok(());
        };
        let actor = actor::Actor::new(&self.config, hub, positions, Arc::clone(&self.status))?;
        let thread = runtime::spawn("rt-gw-cluster", move || actor.run(&commands))?;
        *self.thread.lock() = Some(thread);
        Ok(())
    }

    /// Handles a record of a control topic. Called from the feed's thread.
    pub fn handle_record(&self, control: &RawControlRecord<'_>) {
        self.send_command(Command::ControlRecord {
            role: control.role,
            key: control.key.to_vec(),
            value: control.value.to_vec(),
            offset: control.offset,
            appended_ms: control.appended_ms,
            live: control.live,
        });
    }

    /// Stops the thread. Idempotent; has no effect in a forked child.
    pub fn stop(&self) {
        if self.generation != runtime::generation() {
            return;
        }
        self.publisher.stop();
        self.send_command(Command::Stop);
        if let Some(thread) = self.thread.lock().take() {
            if thread.join().is_err() {
                runtime::error("The thread that connects to the other gateways panicked.");
            }
        }
    }

    fn send_command(&self, command: Command) {
        // Fails only after the actor has ended.
        let _ = self.commands.send(command);
    }
}

impl Drop for KafkaCluster {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Cluster for KafkaCluster {
    fn joined(&self, channel: &str, socket: SocketId, member: &Member) {
        self.send_command(Command::Joined(Membership {
            channel: channel.to_owned(),
            socket,
            member: member.clone(),
        }));
    }

    fn left(&self, channel: &str, socket: SocketId) {
        self.send_command(Command::Left {
            channel: channel.to_owned(),
            socket,
        });
    }

    fn occupied(&self, channel: &str, sockets: usize) {
        let mut changed = self.status.changed_channels.lock();
        let is_first = changed.is_empty();
        changed.insert(channel.to_owned(), sockets);
        drop(changed);
        if is_first {
            self.send_command(Command::ChannelsChanged);
        }
    }

    fn client_event(&self, channel: &str, event: &str, data: &RawValue, user_id: Option<&str>) {
        self.send_command(Command::Client {
            channel: channel.to_owned(),
            event: event.to_owned(),
            data: data.to_owned(),
            user: user_id.map(str::to_owned),
        });
    }

    fn socket_event(&self, event: SocketEvent) {
        self.send_command(Command::SocketEvent(event));
    }

    fn presence_ready(&self) -> watch::Receiver<bool> {
        self.status.complete.subscribe()
    }

    fn publish(&self, events: Vec<ApiEvent>) -> BoxFuture<Result<()>> {
        let sent = self.publisher.send(events);
        Box::pin(async move {
            let sent = tokio::time::timeout(PUBLISH_TIMEOUT, sent).await;
            match sent {
                Ok(Ok(sent)) => sent,
                Ok(Err(_)) => Err(Error::connection("the gateway has stopped")),
                Err(_) => Err(Error::connection("Kafka does not answer in time")),
            }
        })
    }

    fn send_admin_request(&self, request: AdminRequest) -> BoxFuture<AdminResponse> {
        let (reply, response) = oneshot::channel();
        self.send_command(Command::Request { request, reply });
        Box::pin(async move {
            let bound = RESPONSE_TIMEOUT + Duration::from_secs(1);
            match tokio::time::timeout(bound, response).await {
                Ok(Ok(response)) => response,
                _ => AdminResponse::default(),
            }
        })
    }

    /// From now on, changes of this gateway's sockets are not sent.
    fn drain(&self) {
        self.send_command(Command::Drain);
    }

    fn ready(&self) -> std::result::Result<(), String> {
        if !self.status.receives_own.load(Ordering::Acquire) {
            return Err("this gateway's own heartbeats do not arrive over Kafka".to_owned());
        }
        if !*self.status.complete.borrow() {
            return Err("the members of the other gateways are not known yet".to_owned());
        }
        Ok(())
    }
}

/// Timeout for the responses.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum channels and connections in one record.
const MAX_ENTRIES_PER_RECORD: usize = 500;

struct PendingRequest {
    id: u64,
    until: u64,
    missing: HashSet<String>,
    response: AdminResponse,
    reply: oneshot::Sender<AdminResponse>,
}

#[derive(Default)]
pub(super) struct PendingRequests {
    open: Vec<PendingRequest>,
    last: u64,
}

impl PendingRequests {
    /// Adds a request and returns its number. `own` is this gateway's response; `other_nodes` must answer.
    pub fn add(
        &mut self,
        own: AdminResponse,
        other_nodes: HashSet<String>,
        reply: oneshot::Sender<AdminResponse>,
        now: u64,
    ) -> u64 {
        self.last += 1;
        let open = PendingRequest {
            id: self.last,
            until: now + u64::try_from(RESPONSE_TIMEOUT.as_millis()).unwrap_or(0),
            missing: other_nodes,
            response: own,
            reply,
        };
        self.open.push(open);
        self.complete_finished(now);
        self.last
    }

    /// Merges a node's response.
    pub fn add_response(
        &mut self,
        from: &str,
        id: u64,
        last: bool,
        response: AdminResponse,
        now: u64,
    ) {
        let open = self.open.iter_mut().find(|open| open.id == id);
        if let Some(open) = open.filter(|open| open.missing.contains(from)) {
            open.response = std::mem::take(&mut open.response).merge(response);
            if last {
                open.missing.remove(from);
            }
        }
        self.complete_finished(now);
    }

    /// A removed node no longer has to answer.
    pub fn node_removed(&mut self, node: &str, now: u64) {
        for open in &mut self.open {
            open.missing.remove(node);
        }
        self.complete_finished(now);
    }

    /// Replies to the requests that are complete or timed out.
    pub fn complete_finished(&mut self, now: u64) {
        let (done, open) = std::mem::take(&mut self.open)
            .into_iter()
            .partition(|open| open.missing.is_empty() || now >= open.until);
        self.open = open;
        let done: Vec<PendingRequest> = done;
        for one in done {
            // Fails only if the request was cancelled.
            let _ = one.reply.send(one.response);
        }
    }
}

/// Splits a response into parts that fit into records.
pub(super) fn split_response(mut response: AdminResponse) -> Vec<AdminResponse> {
    let mut parts = Vec::new();
    let mut connections = std::mem::take(&mut response.connections).into_iter();
    let mut channels = std::mem::take(&mut response.channels).into_iter();
    loop {
        let part = AdminResponse {
            channels: channels.by_ref().take(MAX_ENTRIES_PER_RECORD).collect(),
            connections: connections.by_ref().take(MAX_ENTRIES_PER_RECORD).collect(),
            count: 0,
        };
        if part.channels.is_empty() && part.connections.is_empty() {
            break;
        }
        parts.push(part);
    }
    // The count is sent with the last part.
    match parts.last_mut() {
        Some(last) => last.count = response.count,
        None => parts.push(response),
    }
    parts
}
