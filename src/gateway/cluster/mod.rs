//! All gateways of an application as one: who is where, client events, webhooks, questions and orders, over control topics.
//!
//! ```text
//! wire       signed records            view       what is known of all nodes: a state machine
//! post       the producer              totals     first and last over all nodes
//! actor      the one thread that does everything in order
//! questions  what waits for answers    webhooks   told once        publish   events of the HTTP API
//! ```
//!
//! The sockets' side calls from under its locks, so a call only leaves a note for the actor.

mod actor;
mod control_producer;
mod event_publisher;
mod pending_requests;
#[cfg(test)]
mod simulation_tests;
pub mod state;
#[cfg(test)]
mod state_tests;
#[cfg(test)]
mod tests;
mod webhook_state;
mod webhooks;
pub mod wire;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::{oneshot, watch};

use self::event_publisher::EventPublisher;
pub use self::state::Timing;
use super::admin_api::{AdminRequest, AdminResponse};
use super::backend::{ApiEvent, BoxFuture, Cluster};
use super::feed::positions::Positions;
use super::feed::{ControlTopics, RawControlRecord, TopicRole};
use super::hub::Hub;
use super::protocol::frame::Member;
use super::protocol::SocketId;
use super::recovery::token::Keys;
use crate::config::BrokerConfig;
use crate::error::Result;
use crate::process;

/// An event of the HTTP API is waited for so long: those before it may have their time first.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(15);

/// What the actor hears.
enum Command {
    Joined {
        channel: String,
        socket: SocketId,
        member: Member,
    },
    Left {
        channel: String,
        socket: SocketId,
    },
    Occupied {
        channel: String,
        sockets: usize,
    },
    Client {
        channel: String,
        event: String,
        data: Box<RawValue>,
        user: Option<String>,
    },
    /// A record of a control topic.
    ControlRecord {
        role: TopicRole,
        key: Vec<u8>,
        value: Vec<u8>,
        offset: i64,
        live: bool,
    },
    Ask {
        request: AdminRequest,
        reply: oneshot::Sender<AdminResponse>,
    },
    /// The gateway ends: say goodbye, tell nothing more.
    Drain,
    Stop,
}

/// What the actor lets others see.
struct ActorStatus {
    complete: watch::Sender<bool>,
    heard: AtomicBool,
}

/// The other gateways.
pub struct Gateways {
    commands: Sender<Command>,
    status: Arc<ActorStatus>,
    config: Arc<BrokerConfig>,
    publisher: EventPublisher,
    waiting: Mutex<Option<Receiver<Command>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    generation: u32,
}

impl Gateways {
    /// Notes what it is told and does nothing yet; see [`Self::start`].
    #[must_use]
    pub fn new(config: &Arc<BrokerConfig>) -> Arc<Self> {
        let (commands, waiting) = std::sync::mpsc::channel();
        Arc::new(Self {
            commands,
            status: Arc::new(ActorStatus {
                complete: watch::Sender::new(false),
                heard: AtomicBool::new(false),
            }),
            config: Arc::clone(config),
            publisher: EventPublisher::new(config),
            waiting: Mutex::new(Some(waiting)),
            thread: Mutex::default(),
            generation: process::generation(),
        })
    }

    /// Makes the control topics, says hello, and goes on. `positions` says when the feed has noted where the topics ended.
    ///
    /// # Errors
    /// Configuration: properties librdkafka does not take. Connection: no more threads.
    pub fn start(
        &self,
        hub: &Arc<Hub>,
        positions: &Arc<Positions>,
        keys: Keys,
        timing: Timing,
    ) -> Result<()> {
        let Some(commands) = self.waiting.lock().take() else {
            return Ok(());
        };
        let actor = actor::Actor::new(
            &self.config,
            hub,
            positions,
            keys,
            timing,
            Arc::clone(&self.status),
        )?;
        let thread = process::spawn("rt-gw-cluster", move || actor.run(&commands))?;
        *self.thread.lock() = Some(thread);
        Ok(())
    }

    /// A record of a control topic. Called from the feed's thread.
    pub fn handle_record(&self, control: &RawControlRecord<'_>) {
        self.send_command(Command::ControlRecord {
            role: control.role,
            key: control.key.to_vec(),
            value: control.value.to_vec(),
            offset: control.offset,
            live: control.live,
        });
    }

    /// Ends the thread. Idempotent; does nothing in a forked child.
    pub fn stop(&self) {
        if self.generation != process::generation() {
            return;
        }
        self.publisher.stop();
        self.send_command(Command::Stop);
        if let Some(thread) = self.thread.lock().take() {
            if thread.join().is_err() {
                process::current().log.say(
                    crate::log::Level::Error,
                    "The thread that talks to the other gateways ended with a panic.",
                );
            }
        }
    }

    fn send_command(&self, command: Command) {
        // Nobody listens after the end.
        let _ = self.commands.send(command);
    }
}

impl Drop for Gateways {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Cluster for Gateways {
    fn joined(&self, channel: &str, socket: SocketId, member: &Member, _first: bool) {
        self.send_command(Command::Joined {
            channel: channel.to_owned(),
            socket,
            member: member.clone(),
        });
    }

    fn left(&self, channel: &str, socket: SocketId, _user_id: &str, _last: bool) {
        self.send_command(Command::Left {
            channel: channel.to_owned(),
            socket,
        });
    }

    fn occupied(&self, channel: &str, sockets: usize) {
        self.send_command(Command::Occupied {
            channel: channel.to_owned(),
            sockets,
        });
    }

    fn client_event(&self, channel: &str, event: &str, data: &RawValue, user_id: Option<&str>) {
        self.send_command(Command::Client {
            channel: channel.to_owned(),
            event: event.to_owned(),
            data: data.to_owned(),
            user: user_id.map(str::to_owned),
        });
    }

    fn presence_ready(&self) -> watch::Receiver<bool> {
        self.status.complete.subscribe()
    }

    fn publish(&self, events: Vec<ApiEvent>) -> BoxFuture<std::result::Result<(), String>> {
        let sent = self.publisher.send(events);
        Box::pin(async move {
            let sent = tokio::time::timeout(PUBLISH_TIMEOUT, sent).await;
            match sent {
                Ok(Ok(sent)) => sent,
                Ok(Err(_)) => Err("the gateway is closed".to_owned()),
                Err(_) => Err("Kafka does not answer in time".to_owned()),
            }
        })
    }

    fn ask(&self, request: AdminRequest) -> BoxFuture<AdminResponse> {
        let (reply, answer) = oneshot::channel();
        self.send_command(Command::Ask { request, reply });
        Box::pin(async move {
            let bound = pending_requests::RESPONSE_TIMEOUT + Duration::from_secs(1);
            match tokio::time::timeout(bound, answer).await {
                Ok(Ok(answer)) => answer,
                _ => AdminResponse::default(),
            }
        })
    }

    /// What its sockets do from now on is not told any more.
    fn drain(&self) {
        self.send_command(Command::Drain);
    }

    fn ready(&self) -> std::result::Result<(), String> {
        if !self.status.heard.load(Ordering::Acquire) {
            return Err("Kafka does not bring back this gateway's own heartbeats".to_owned());
        }
        if !*self.status.complete.borrow() {
            return Err("the other gateways have not told their members yet".to_owned());
        }
        Ok(())
    }
}

/// The topics' names for a configuration.
fn control_topics(config: &BrokerConfig) -> ControlTopics {
    ControlTopics::of(config.topics.prefix())
}
