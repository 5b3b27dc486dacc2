//! Events of the HTTP API on their way to all gateways: through Kafka, as an application's own. Whoever sent them hears that they are
//! accepted once Kafka has acknowledged them.
//!
//! A producer of its own: it neither waits behind an application's messages nor takes an application's failures for its own. One
//! thread sends what has gathered and waits for it, so that many requests share one wait.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::config::{Acks, BrokerConfig};
use crate::envelope::headers::SOCKET;
use crate::envelope::{write_end, write_event};
use crate::error::{Error, FailedMessage};
use crate::gateway::backend::ApiEvent;
use crate::gateway::feed::EXACT;
use crate::ids;
use crate::kafka::producer::delivery::Header;
use crate::kafka::producer::{Producer, ProducerRecord};
use crate::log::Level;
use crate::process;

/// A client that has never reached a broker gets so long to.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Kafka gets so long to acknowledge; then they are given up.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);
/// No more events are gathered than a flush can name.
const MAX_BATCH: usize = 500;
/// More than a flush names: whichever they were, nobody is told that theirs are there.
const MAX_REPORTED_FAILURES: usize = 1000;

/// What became of one request's events.
pub(super) type PublishResult = Result<(), String>;

struct PublishRequest {
    events: Vec<ApiEvent>,
    reply: oneshot::Sender<PublishResult>,
}

/// Who sends them. Its thread and its client are made for the first event.
pub(super) struct EventPublisher {
    config: Arc<BrokerConfig>,
    running: Mutex<Option<(Sender<PublishRequest>, JoinHandle<()>)>>,
}

impl EventPublisher {
    pub fn new(config: &Arc<BrokerConfig>) -> Self {
        Self {
            config: Arc::clone(config),
            running: Mutex::default(),
        }
    }

    /// Sends each event to the topic of its channel, in order; either all can go, or none does.
    pub fn send(&self, events: Vec<ApiEvent>) -> oneshot::Receiver<PublishResult> {
        let (reply, sent) = oneshot::channel();
        let mut running = self.running.lock();
        if running.is_none() {
            let (requests, waiting) = std::sync::mpsc::channel();
            let config = Arc::clone(&self.config);
            match process::spawn("rt-gw-api", move || run(&config, &waiting)) {
                Ok(thread) => *running = Some((requests, thread)),
                Err(error) => {
                    // Nobody waits where the request is gone.
                    let _ = reply.send(Err(error.message().to_owned()));
                    return sent;
                }
            }
        }
        if let Some((requests, _)) = &*running {
            // Where its thread is gone the reply is dropped, and that is an answer too.
            let _ = requests.send(PublishRequest { events, reply });
        }
        sent
    }

    /// Sends what has been ordered and ends.
    pub fn stop(&self) {
        let Some((requests, thread)) = self.running.lock().take() else {
            return;
        };
        drop(requests);
        if thread.join().is_err() {
            process::current().log.say(
                Level::Error,
                "The thread that sends events of the HTTP API ended with a panic.",
            );
        }
    }
}

fn run(config: &Arc<BrokerConfig>, requests: &Receiver<PublishRequest>) {
    let mut client: Option<Arc<Producer>> = None;
    while let Ok(first) = requests.recv() {
        let mut count = first.events.len();
        let mut all = vec![first];
        while count < MAX_BATCH {
            let Ok(next) = requests.try_recv() else { break };
            count += next.events.len();
            all.push(next);
        }
        let producer = client
            .take()
            .filter(|producer| !producer.needs_replacement());
        match producer.map_or_else(|| start(config), Ok) {
            Ok(producer) => {
                publish_batch(&producer, config, all);
                client = Some(producer);
            }
            Err(error) => {
                for request in all {
                    let _ = request.reply.send(Err(error.message().to_owned()));
                }
            }
        }
    }
    if let Some(producer) = client {
        producer.close(Instant::now() + ACK_TIMEOUT);
    }
}

/// The application's settings, but nothing is kept for later: who gets an error sends again.
fn start(config: &Arc<BrokerConfig>) -> Result<Arc<Producer>, Error> {
    let mut own = BrokerConfig::clone(config);
    own.spool = None;
    if own.acks == Acks::None {
        own.acks = Acks::Leader;
    }
    own.producer_overrides.set("linger.ms", "0");
    // A little less than is waited for: what failed is known to have failed then.
    let bound = ACK_TIMEOUT.as_millis() - 500;
    own.producer_overrides
        .set("message.timeout.ms", bound.to_string());
    Producer::start(Arc::new(own))
}

/// Sends them all, waits once, and tells each who waits what became of theirs.
fn publish_batch(producer: &Producer, config: &BrokerConfig, requests: Vec<PublishRequest>) {
    let until = Instant::now() + CONNECT_TIMEOUT;
    while !producer.is_reachable() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    if !producer.is_reachable() {
        for request in requests {
            let why = format!("Kafka at {} cannot be reached", config.brokers);
            let _ = request.reply.send(Err(why));
        }
        return;
    }
    let mut waiting = Vec::with_capacity(requests.len());
    for request in requests {
        match send_all(producer, config, &request.events) {
            Ok(ids) => waiting.push((ids, request.reply)),
            Err(why) => {
                let _ = request.reply.send(Err(why));
            }
        }
    }
    let flushed = producer.flush(ACK_TIMEOUT);
    let failed = flushed.as_ref().err().map_or(&[][..], Error::failed);
    let all_failed =
        flushed.is_err() && (failed.is_empty() || failed.len() >= MAX_REPORTED_FAILURES);
    let failed: HashMap<&str, &FailedMessage> =
        failed.iter().map(|one| (one.id.as_str(), one)).collect();
    for (ids, reply) in waiting {
        let lost = ids.iter().find_map(|id| failed.get(id.as_str()));
        let sent = match lost {
            Some(lost) => Err(format!(
                "Kafka at {} did not acknowledge it for topic \"{}\" ({})",
                config.brokers, lost.topic, lost.reason
            )),
            None if all_failed => Err(format!(
                "Kafka at {} did not acknowledge it",
                config.brokers
            )),
            None => Ok(()),
        };
        let _ = reply.send(sent);
    }
}

/// The ids they were sent with.
fn send_all(
    producer: &Producer,
    config: &BrokerConfig,
    events: &[ApiEvent],
) -> Result<Vec<String>, String> {
    // All topics first: either every event can go, or none does.
    let topics = events
        .iter()
        .map(|event| config.topics.topic_for(&event.channel))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| error.message().to_owned())?;
    let mut ids = Vec::with_capacity(events.len());
    for (event, topic) in events.iter().zip(&topics) {
        let (id, ms) = ids::new_id_with_time();
        let mut value = Vec::with_capacity(160 + event.data.get().len());
        write_event(&mut value, &id, &event.channel, &event.event);
        if event.data.get() != "null" {
            value.extend_from_slice(b",\"data\":");
            value.extend_from_slice(event.data.get().as_bytes());
        }
        write_end(&mut value, i64::try_from(ms / 1000).unwrap_or(0));
        let mut headers: Vec<Header> = vec![(EXACT.to_owned(), Some(b"1".to_vec()))];
        if let Some(socket) = &event.except {
            headers.push((SOCKET.to_owned(), Some(socket.to_string().into_bytes())));
        }
        let id = String::from_utf8_lossy(&id).into_owned();
        let message = ProducerRecord {
            id: &id,
            topic,
            partition: None,
            key: Some(event.channel.as_bytes()),
            value: Some(&value),
            headers: &headers,
            timestamp_ms: 0,
        };
        producer
            .send(&message)
            .map_err(|error| error.message().to_owned())?;
        ids.push(id);
    }
    Ok(ids)
}
