//! The one thread that talks to the other gateways: notes and records in, records and changes of presence out, in order.

mod hear;
mod tell;

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::post::Post;
use super::questions::{parts, Questions};
use super::view::{Effect, Timing, View, SLEPT};
use super::webhooks::Webhooks;
use super::wire::Body;
use super::{topics_of, Note, Seen};
use crate::clock::coarse_ms;
use crate::config::BrokerConfig;
use crate::error::Result;
use crate::gateway::feed::positions::Positions;
use crate::gateway::feed::ControlTopics;
use crate::gateway::hub::Hub;
use crate::gateway::presence::{Membership, NodeId};
use crate::gateway::protocol::frame::Member;
use crate::gateway::protocol::SocketId;
use crate::gateway::recovery::token::Keys;
use crate::log::Level;
use crate::process;

/// The clock is looked at this often.
const STEP: Duration = Duration::from_millis(100);
/// Notes dealt with between two looks.
const AT_ONCE: usize = 1_000;
pub(in crate::gateway::cluster) struct Actor {
    config: Arc<BrokerConfig>,
    hub: Weak<Hub>,
    positions: Arc<Positions>,
    keys: Keys,
    timing: Timing,
    seen: Arc<Seen>,
    topics: ControlTopics,
    post: Post,
    view: View,
    own: String,
    /// Numbers of this node's records: presence, client.
    sequences: [u64; 2],
    seats: HashMap<String, HashMap<SocketId, Member>>,
    channels: HashMap<String, usize>,
    greeted: bool,
    draining: bool,
    tell: bool,
    beat_at: u64,
    tick_at: u64,
    awake_at: u64,
    /// It was away: who led meanwhile is known once its own record of this number has come back.
    unheard: u64,
    questions: Questions,
    webhooks: Webhooks,
    /// The last number of each node's client events.
    clients: HashMap<String, u64>,
}

impl Actor {
    pub fn new(
        config: &Arc<BrokerConfig>,
        hub: &Arc<Hub>,
        positions: &Arc<Positions>,
        keys: Keys,
        timing: Timing,
        seen: Arc<Seen>,
    ) -> Result<Self> {
        let own = hub.node().as_str().to_owned();
        Ok(Self {
            config: Arc::clone(config),
            hub: Arc::downgrade(hub),
            positions: Arc::clone(positions),
            keys,
            timing,
            seen,
            topics: topics_of(config),
            post: Post::start(config)?,
            view: View::new(&own, timing, coarse_ms()),
            own,
            sequences: [0, 0],
            seats: HashMap::new(),
            channels: HashMap::new(),
            greeted: false,
            draining: false,
            tell: false,
            beat_at: 0,
            tick_at: 0,
            awake_at: 0,
            unheard: 0,
            questions: Questions::default(),
            webhooks: Webhooks::default(),
            clients: HashMap::new(),
        })
    }

    pub fn run(mut self, notes: &Receiver<Note>) {
        let (mut made, mut make_at) = (false, 0);
        loop {
            if !made && coarse_ms() >= make_at {
                made = self.make_topics();
                // While Kafka is away the notes come first.
                make_at = coarse_ms() + 2_000;
            }
            let mut going = match notes.recv_timeout(STEP) {
                Ok(note) => self.take(note),
                Err(RecvTimeoutError::Timeout) => true,
                Err(RecvTimeoutError::Disconnected) => false,
            };
            for note in notes.try_iter().take(AT_ONCE) {
                going &= self.take(note);
            }
            self.step();
            if !going {
                break;
            }
        }
        self.post.flush(Duration::from_secs(1));
    }

    /// Does what the view says.
    fn deal(&mut self) {
        let effects = self.view.effects();
        if effects.is_empty() {
            return;
        }
        let Some(hub) = self.hub.upgrade() else {
            return;
        };
        let now = coarse_ms();
        for effect in effects {
            match effect {
                Effect::Add { node, seat } => {
                    let node = NodeId::from(node.as_str());
                    hub.presence().add(&node, &seat.c, seat.s, &seat.m);
                }
                Effect::Remove {
                    node,
                    channel,
                    socket,
                } => {
                    let node = NodeId::from(node.as_str());
                    hub.presence().remove(&node, &channel, socket);
                }
                Effect::Replace { node, seats } => {
                    let seats: Vec<Membership> = seats.into_iter().map(Into::into).collect();
                    let node = NodeId::from(node.as_str());
                    hub.presence().replace_node(&node, &seats);
                }
                Effect::Drop { node } => {
                    self.questions.gone(&node, now);
                    self.clients.remove(&node);
                    hub.presence().drop_node(&NodeId::from(node.as_str()));
                }
                Effect::Tell => self.tell = true,
                Effect::AskGap { of } => self.send(Body::Gap { of }),
                Effect::Happened(happening) => {
                    let leads = self.leads();
                    if let Some(happening) = self.webhooks.happened(happening, leads, now) {
                        self.publish(&happening);
                    }
                }
                Effect::Asked { from, id, question } => {
                    let mut answers = parts(hub.handle_admin_request(&question)).into_iter().peekable();
                    while let Some(a) = answers.next() {
                        let last = answers.peek().is_none();
                        let to = from.clone();
                        self.send(Body::Answer { id, to, last, a });
                    }
                }
                Effect::Answered {
                    from,
                    id,
                    last,
                    answer,
                } => self.questions.answered(&from, id, last, answer, now),
                Effect::Isolated => process::current().log.say(
                    Level::Error,
                    "The gateway hears nobody over Kafka, not even itself: presence stays as it was, and it is not ready.",
                ),
                Effect::Back => {
                    self.was_away();
                    process::current()
                        .log
                        .say(Level::Notice, "The gateway hears the others over Kafka again.");
                }
            }
        }
    }

    fn publish(&mut self, happening: &super::totals::Happening) {
        let value = happening.envelope();
        let topic = self.topics.events.clone();
        self.post.send(&topic, &happening.channel, &value);
    }

    /// A process that was stopped has not seen who led meanwhile.
    fn wake_up(&mut self) {
        let now = coarse_ms();
        let before = std::mem::replace(&mut self.awake_at, now);
        if before > 0 && now.saturating_sub(before) > SLEPT {
            self.was_away();
        }
    }

    fn was_away(&mut self) {
        self.beat_at = 0;
        self.unheard = self.sequences[0] + 1;
        self.webhooks.was_away();
    }

    fn leads(&self) -> bool {
        self.view.leads() && self.view.own_sequence() >= self.unheard
    }

    /// What is due by the clock.
    fn step(&mut self) {
        self.wake_up();
        let now = coarse_ms();
        if !self.greeted && self.is_reading() {
            self.greeted = true;
            self.greet();
            self.beat_at = now + self.timing.beat;
        }
        if now >= self.tick_at {
            self.tick_at = now + 50;
            self.view.tick(now);
            self.deal();
            self.questions.settle(now);
            let leads = self.leads();
            for happening in self.webhooks.take(leads, now) {
                self.publish(&happening);
            }
            self.post.serve();
        }
        if self.greeted && !self.draining {
            if std::mem::take(&mut self.tell) {
                self.snapshot();
            }
            if now >= self.beat_at {
                self.beat_at = now + self.timing.beat;
                let m = self.seats.values().map(HashMap::len).sum();
                let c = self.channels.len();
                self.send(Body::Beat { m, c });
            }
        }
        let whole = self.view.is_whole();
        self.seen.whole.send_if_modified(|known| {
            let changes = *known != whole;
            *known = whole;
            changes
        });
        let heard = self.view.is_heard(now);
        self.seen.heard.store(heard, Ordering::Release);
        if let Some(hub) = self.hub.upgrade() {
            hub.counters().nodes.set(self.view.others().len() as u64);
        }
    }
}
