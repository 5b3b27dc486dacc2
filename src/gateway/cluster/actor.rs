//! The one thread that talks to the other gateways: notes and records in, records and changes of presence out, in order.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::post::Post;
use super::questions::{parts, Questions};
use super::view::{Effect, Timing, View};
use super::webhooks::Webhooks;
use super::wire::{Body, Record, Seat};
use super::{topics_of, Note, Seen};
use crate::clock::coarse_ms;
use crate::config::BrokerConfig;
use crate::error::Result;
use crate::gateway::feed::positions::Positions;
use crate::gateway::feed::{ControlTopics, Purpose};
use crate::gateway::hub::Hub;
use crate::gateway::presence::{Membership, NodeId};
use crate::gateway::protocol::frame::Member;
use crate::gateway::protocol::SocketId;
use crate::gateway::question::Question;
use crate::gateway::recovery::token::Keys;
use crate::kafka::admin::{Admin, Halt, NewTopic};
use crate::log::Level;
use crate::message::scan_envelope;
use crate::process;

/// The clock is looked at this often.
const STEP: Duration = Duration::from_millis(100);
/// Notes dealt with between two looks.
const AT_ONCE: usize = 1_000;
/// Seats and channels in one part of a snapshot, and the bytes of user info after which one is full.
const PART: usize = 400;
const PART_BYTES: usize = 200 << 10;
/// Kafka gets so long to make the control topics before it is asked anew.
const MAKING: Duration = Duration::from_secs(3);

/// A part of a snapshot: seats and occupied channels.
type Part = (Vec<Seat>, Vec<(String, usize)>);

pub(super) struct Actor {
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

    /// Control topics have settings of their own, so they are made by us, before anything asks for them.
    fn make_topics(&self) -> bool {
        let short = [("retention.ms", "600000"), ("segment.ms", "300000")];
        let short = short.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let admin = match Admin::start(&self.config) {
            Ok(admin) => admin,
            Err(error) => {
                process::current().log.say(Level::Error, error.message());
                return true;
            }
        };
        let until = Instant::now() + MAKING;
        let go_on = || Instant::now() < until;
        for (name, config) in [
            (&self.topics.presence, short.to_vec()),
            (&self.topics.client, short.to_vec()),
            (&self.topics.events, Vec::new()),
        ] {
            let topic = NewTopic {
                name: name.clone(),
                partitions: 1,
                replication: -1,
                config,
            };
            match admin.create_topic(&topic, &go_on) {
                Ok(_) => {}
                Err(Halt::Interrupted) => return false,
                Err(Halt::Error(error)) if error.is_retriable() && !go_on() => return false,
                Err(Halt::Error(error)) => {
                    // It may be there already, or the broker makes it itself: an embedded one of another process does.
                    self.post.touch(name);
                    process::current().log.say(Level::Debug, error.message());
                }
            }
        }
        true
    }

    /// False at the end.
    fn take(&mut self, note: Note) -> bool {
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

    fn joined(&mut self, channel: String, socket: SocketId, member: Member) {
        let room = self.seats.entry(channel.clone()).or_default();
        room.insert(socket, member.clone());
        self.tell_others(Body::Join(Seat {
            c: channel,
            s: socket,
            m: member,
        }));
    }

    fn left(&mut self, channel: &str, socket: SocketId) {
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

    fn occupied(&mut self, channel: String, sockets: usize) {
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
    fn tell_others(&mut self, body: Body) {
        if self.greeted && !self.draining {
            self.send(body);
        }
    }

    fn send(&mut self, body: Body) {
        self.sequences[0] += 1;
        let topic = self.topics.presence.clone();
        self.write(&topic, self.sequences[0], body);
    }

    fn send_client(&mut self, body: Body) {
        self.sequences[1] += 1;
        let topic = self.topics.client.clone();
        self.write(&topic, self.sequences[1], body);
    }

    fn write(&mut self, topic: &str, sequence: u64, body: Body) {
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

    fn record(&mut self, purpose: Purpose, key: &[u8], value: &[u8], offset: i64, live: bool) {
        let topic = match purpose {
            Purpose::Presence => &self.topics.presence,
            Purpose::Client => &self.topics.client,
            Purpose::Events => {
                if let Ok(scanned) = scan_envelope(value) {
                    self.webhooks.saw(scanned.id.into_owned(), coarse_ms());
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

    fn client_event(&mut self, record: Record) {
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

    fn ask(
        &mut self,
        question: Question,
        reply: tokio::sync::oneshot::Sender<crate::gateway::question::Answer>,
    ) {
        let Some(hub) = self.hub.upgrade() else {
            return;
        };
        let own = hub.answer(&question);
        let others: HashSet<String> = self.view.others().into_iter().map(str::to_owned).collect();
        let is_alone = others.is_empty() || !self.greeted || self.view.is_isolated();
        let others = if is_alone { HashSet::new() } else { others };
        let id = self.questions.put(own, others, reply, coarse_ms());
        if !is_alone {
            self.send(Body::Ask { id, q: question });
        }
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
                    let leads = self.view.leads();
                    if let Some(happening) = self.webhooks.happened(happening, leads, now) {
                        self.publish(&happening);
                    }
                }
                Effect::Asked { from, id, question } => {
                    let mut answers = parts(hub.answer(&question)).into_iter().peekable();
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
                    self.beat_at = 0;
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

    /// What is due by the clock.
    fn step(&mut self) {
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
            let leads = self.view.leads();
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

    /// Hello, and what sockets did before it.
    fn greet(&mut self) {
        self.send(Body::Hello);
        let mut before = Vec::new();
        for (channel, room) in &self.seats {
            before.extend(room.iter().map(|(socket, member)| {
                Body::Join(Seat {
                    c: channel.clone(),
                    s: *socket,
                    m: member.clone(),
                })
            }));
        }
        let channels = self.channels.iter();
        before.extend(channels.map(|(c, n)| Body::Occupied {
            c: c.clone(),
            n: *n,
        }));
        for body in before {
            self.send(body);
        }
    }

    /// True once the feed has noted where the control topics end: from then on nothing of them is missed.
    fn is_reading(&self) -> bool {
        let topics = &self.topics;
        [&topics.presence, &topics.client, &topics.events]
            .iter()
            .all(|name| {
                let topic = self.positions.find(name);
                topic.is_some_and(|topic| {
                    let parts = topic.parts();
                    let reads = |part: &Arc<crate::gateway::feed::positions::Part>| {
                        part.reads.load(Ordering::Acquire)
                            && part.next() >= part.live_from.load(Ordering::Acquire)
                    };
                    !parts.is_empty() && parts.iter().all(reads)
                })
            })
    }

    /// Tells everything, in parts.
    fn snapshot(&mut self) {
        let mut all: Vec<Part> = vec![Default::default()];
        let mut bytes = 0;
        for (channel, room) in &self.seats {
            for (socket, member) in room {
                let is_full = |part: &Part| part.0.len() >= PART || bytes >= PART_BYTES;
                if all.last().is_some_and(is_full) {
                    all.push(Default::default());
                    bytes = 0;
                }
                bytes += member.user_id.len() + member.user_info.as_ref().map_or(0, String::len);
                if let Some((seats, _)) = all.last_mut() {
                    seats.push(Seat {
                        c: channel.clone(),
                        s: *socket,
                        m: member.clone(),
                    });
                }
            }
        }
        for (channel, sockets) in &self.channels {
            if all.last().is_some_and(|part| part.1.len() >= PART) {
                all.push(Default::default());
            }
            if let Some((_, channels)) = all.last_mut() {
                channels.push((channel.clone(), *sockets));
            }
        }
        let of = u32::try_from(all.len()).unwrap_or(u32::MAX);
        for (part, (m, o)) in (0..).zip(all) {
            self.send(Body::Snapshot { part, of, m, o });
        }
    }
}
