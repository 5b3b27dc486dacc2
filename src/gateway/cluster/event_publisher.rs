//! Publishes events of the HTTP API through Kafka, like an application's own events. The request is answered after
//! Kafka's acknowledgement.
//!
//! The producer is separate from the application's, so that neither waits for the other or reports the other's
//! failures. One thread sends all queued requests and flushes once, so that concurrent requests share the wait.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::config::{Acks, BrokerConfig};
use crate::envelope::headers::SOCKET;
use crate::error::{Error, FailedMessage};
use crate::gateway::backend::ApiEvent;
use crate::gateway::broadcast::EXACT;
use crate::ids;
use crate::kafka::producer::Producer;
use crate::log::Level;
use crate::message::Header;
use crate::publish::Event;
use crate::runtime;

/// Timeout for the first connection to a broker.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Timeout for Kafka's acknowledgement.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum events in one flush, less than a flush can report as failed.
const MAX_BATCH: usize = 500;
/// With this many reported failures the list may be incomplete, so all requests of the batch fail.
const MAX_REPORTED_FAILURES: usize = 1000;

/// The result for the events of one request.
pub(super) type PublishResult = Result<(), Error>;

struct PublishRequest {
    events: Vec<ApiEvent>,
    reply: oneshot::Sender<PublishResult>,
}

/// Publishes events. The thread and the client are started with the first event.
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

    /// Sends each event to the topic of its channel, in order. If one channel is invalid, none is sent.
    pub fn send(&self, events: Vec<ApiEvent>) -> oneshot::Receiver<PublishResult> {
        let (reply, sent) = oneshot::channel();
        let mut running = self.running.lock();
        if running.is_none() {
            let (requests, waiting) = std::sync::mpsc::channel();
            let config = Arc::clone(&self.config);
            match runtime::spawn("rt-gw-api", move || run(&config, &waiting)) {
                Ok(thread) => *running = Some((requests, thread)),
                Err(error) => {
                    // Fails only if the request was cancelled.
                    let _ = reply.send(Err(error));
                    return sent;
                }
            }
        }
        if let Some((requests, _)) = &*running {
            // If the thread has ended, the reply is dropped, which the receiver sees as an error.
            let _ = requests.send(PublishRequest { events, reply });
        }
        sent
    }

    /// Sends the queued requests and stops the thread.
    pub fn stop(&self) {
        let Some((requests, thread)) = self.running.lock().take() else {
            return;
        };
        drop(requests);
        if thread.join().is_err() {
            runtime::current().log.write(
                Level::Error,
                "The thread that publishes events of the HTTP API panicked.",
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
                    let _ = request.reply.send(Err(error.clone()));
                }
            }
        }
    }
    if let Some(producer) = client {
        producer.close(Instant::now() + ACK_TIMEOUT);
    }
}

/// The application's settings without the spool: a caller that receives an error sends again.
fn start(config: &Arc<BrokerConfig>) -> Result<Arc<Producer>, Error> {
    let mut own = BrokerConfig::clone(config);
    own.spool = None;
    if own.acks == Acks::None {
        own.acks = Acks::Leader;
    }
    own.producer_overrides.set("linger.ms", "0");
    // Less than the flush timeout, so that failures are known when the flush ends.
    let bound = ACK_TIMEOUT.as_millis() - 500;
    own.producer_overrides
        .set("message.timeout.ms", bound.to_string());
    Producer::start(Arc::new(own))
}

/// Sends all requests, flushes once, and replies to each request.
fn publish_batch(producer: &Producer, config: &BrokerConfig, requests: Vec<PublishRequest>) {
    let until = Instant::now() + CONNECT_TIMEOUT;
    while !producer.is_reachable() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    if !producer.is_reachable() {
        for request in requests {
            let why = format!("Kafka at {} cannot be reached", config.brokers);
            let _ = request.reply.send(Err(Error::connection(why)));
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
            Some(lost) => Err(Error::connection(format!(
                "Kafka at {} did not acknowledge it for topic \"{}\" ({})",
                config.brokers, lost.topic, lost.reason
            ))),
            None if all_failed => Err(Error::connection(format!(
                "Kafka at {} did not acknowledge it",
                config.brokers
            ))),
            None => Ok(()),
        };
        let _ = reply.send(sent);
    }
}

/// Sends the events of one request; returns their ids.
fn send_all(
    producer: &Producer,
    config: &BrokerConfig,
    events: &[ApiEvent],
) -> Result<Vec<String>, Error> {
    // All topics first, so that an invalid channel prevents every event of the request.
    let topics = events
        .iter()
        .map(|event| config.topics.topic_for(&event.channel))
        .collect::<Result<Vec<_>, _>>()?;
    let mut ids = Vec::with_capacity(events.len());
    for (event, topic) in events.iter().zip(&topics) {
        let made = ids::new_id_with_time();
        let mut headers: Vec<Header> = vec![(EXACT.to_owned(), Some(b"1".to_vec()))];
        if let Some(socket) = &event.except {
            headers.push((SOCKET.to_owned(), Some(socket.to_string().into_bytes())));
        }
        let data = event.data.get();
        let sent = Event {
            channel: &event.channel,
            event: &event.event,
            data_json: (data != "null").then_some(data.as_bytes()),
            key: None,
            headers: &headers,
        };
        let mut envelope = Vec::with_capacity(160 + data.len());
        sent.send(topic, &made, &mut envelope, |record| producer.send(record))?;
        ids.push(made.0.as_str().to_owned());
    }
    Ok(ids)
}
