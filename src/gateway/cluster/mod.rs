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
mod post;
mod publish;
mod questions;
#[cfg(test)]
mod story;
#[cfg(test)]
mod tests;
mod totals;
pub mod view;
#[cfg(test)]
mod view_tests;
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

use self::publish::Courier;
pub use self::view::Timing;
use super::admin_api::{AdminRequest, AdminResponse};
use super::feed::positions::Positions;
use super::feed::{Control, ControlTopics, Purpose};
use super::hub::Hub;
use super::protocol::frame::Member;
use super::protocol::SocketId;
use super::recovery::token::Keys;
use super::seam::{ApiEvent, BoxFuture, Cluster};
use crate::config::BrokerConfig;
use crate::error::Result;
use crate::process;

/// An event of the HTTP API is waited for so long: those before it may have their time first.
const ACKNOWLEDGED: Duration = Duration::from_secs(15);

/// What the actor hears.
enum Note {
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
    Record {
        purpose: Purpose,
        key: Vec<u8>,
        value: Vec<u8>,
        offset: i64,
        live: bool,
    },
    Ask {
        question: AdminRequest,
        reply: oneshot::Sender<AdminResponse>,
    },
    /// The gateway ends: say goodbye, tell nothing more.
    Drain,
    Stop,
}

/// What the actor lets others see.
struct Seen {
    whole: watch::Sender<bool>,
    heard: AtomicBool,
}

/// The other gateways.
pub struct Gateways {
    notes: Sender<Note>,
    seen: Arc<Seen>,
    config: Arc<BrokerConfig>,
    courier: Courier,
    waiting: Mutex<Option<Receiver<Note>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    generation: u32,
}

impl Gateways {
    /// Notes what it is told and does nothing yet; see [`Self::start`].
    #[must_use]
    pub fn new(config: &Arc<BrokerConfig>) -> Arc<Self> {
        let (notes, waiting) = std::sync::mpsc::channel();
        Arc::new(Self {
            notes,
            seen: Arc::new(Seen {
                whole: watch::Sender::new(false),
                heard: AtomicBool::new(false),
            }),
            config: Arc::clone(config),
            courier: Courier::new(config),
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
        let Some(notes) = self.waiting.lock().take() else {
            return Ok(());
        };
        let actor = actor::Actor::new(
            &self.config,
            hub,
            positions,
            keys,
            timing,
            Arc::clone(&self.seen),
        )?;
        let thread = process::spawn("rt-gw-cluster", move || actor.run(&notes))?;
        *self.thread.lock() = Some(thread);
        Ok(())
    }

    /// A record of a control topic. Called from the feed's thread.
    pub fn heard(&self, control: &Control<'_>) {
        self.note(Note::Record {
            purpose: control.purpose,
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
        self.courier.stop();
        self.note(Note::Stop);
        if let Some(thread) = self.thread.lock().take() {
            if thread.join().is_err() {
                process::current().log.say(
                    crate::log::Level::Error,
                    "The thread that talks to the other gateways ended with a panic.",
                );
            }
        }
    }

    fn note(&self, note: Note) {
        // Nobody listens after the end.
        let _ = self.notes.send(note);
    }
}

impl Drop for Gateways {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Cluster for Gateways {
    fn joined(&self, channel: &str, socket: SocketId, member: &Member, _first: bool) {
        self.note(Note::Joined {
            channel: channel.to_owned(),
            socket,
            member: member.clone(),
        });
    }

    fn left(&self, channel: &str, socket: SocketId, _user_id: &str, _last: bool) {
        self.note(Note::Left {
            channel: channel.to_owned(),
            socket,
        });
    }

    fn occupied(&self, channel: &str, sockets: usize) {
        self.note(Note::Occupied {
            channel: channel.to_owned(),
            sockets,
        });
    }

    fn client_event(&self, channel: &str, event: &str, data: &RawValue, user_id: Option<&str>) {
        self.note(Note::Client {
            channel: channel.to_owned(),
            event: event.to_owned(),
            data: data.to_owned(),
            user: user_id.map(str::to_owned),
        });
    }

    fn presence_ready(&self) -> watch::Receiver<bool> {
        self.seen.whole.subscribe()
    }

    fn publish(&self, events: Vec<ApiEvent>) -> BoxFuture<std::result::Result<(), String>> {
        let sent = self.courier.send(events);
        Box::pin(async move {
            let sent = tokio::time::timeout(ACKNOWLEDGED, sent).await;
            match sent {
                Ok(Ok(sent)) => sent,
                Ok(Err(_)) => Err("the gateway is closed".to_owned()),
                Err(_) => Err("Kafka does not answer in time".to_owned()),
            }
        })
    }

    fn ask(&self, question: AdminRequest) -> BoxFuture<AdminResponse> {
        let (reply, answer) = oneshot::channel();
        self.note(Note::Ask { question, reply });
        Box::pin(async move {
            let bound = questions::BOUND + Duration::from_secs(1);
            match tokio::time::timeout(bound, answer).await {
                Ok(Ok(answer)) => answer,
                _ => AdminResponse::default(),
            }
        })
    }

    /// What its sockets do from now on is not told any more.
    fn drain(&self) {
        self.note(Note::Drain);
    }

    fn ready(&self) -> std::result::Result<(), String> {
        if !self.seen.heard.load(Ordering::Acquire) {
            return Err("Kafka does not bring back this gateway's own heartbeats".to_owned());
        }
        if !*self.seen.whole.borrow() {
            return Err("the other gateways have not told their members yet".to_owned());
        }
        Ok(())
    }
}

/// The topics' names for a configuration.
fn topics_of(config: &BrokerConfig) -> ControlTopics {
    ControlTopics::of(config.topics.prefix())
}
