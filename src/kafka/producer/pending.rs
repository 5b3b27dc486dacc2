//! Messages that wait: for their topic, behind the first one of their partition, or for another client when one has a
//! fatal error. And the lookup and creation of topics, without blocking the calling thread.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode as Code;

use super::delivery_failure::{spool_or_report, Undelivered};
use super::in_flight::InFlight;
use super::pool::PRODUCERS;
use super::topic_cache::{PendingMessage, Readiness, TopicCache};
use super::topic_gate::{produce_gated, Passed, TopicGate};
use super::Producer;
use crate::config::BrokerConfig;
use crate::kafka::client::{
    self, AdminRequests, Client, ClientEvent, EventQueue, NewTopic, TopicHandle,
};
use crate::kafka::embedded::{self, EmbeddedCluster};
use crate::runtime;
use crate::spool::SpoolRecord;

/// Sends the messages of a client that wait, in its thread.
pub(super) struct WaitingMessages<'a> {
    producer: &'a Arc<Producer>,
    lookup: Option<TopicLookup>,
    /// Messages of a client with a fatal error, for the client that replaces it.
    pub unsent: Vec<Undelivered>,
}

impl<'a> WaitingMessages<'a> {
    pub const fn new(producer: &'a Arc<Producer>) -> Self {
        Self {
            producer,
            lookup: None,
            unsent: Vec::new(),
        }
    }

    /// True while a topic is being looked up or created.
    pub const fn is_busy(&self) -> bool {
        self.lookup.is_some()
    }

    /// Sends messages whose topic waited for others to be opened.
    pub fn open_topics(&mut self) {
        let producer = self.producer;
        loop {
            // The cache stays locked until all of them are sent, so that later messages cannot overtake them.
            let mut topics = producer.topics.lock();
            let Some(topic) = topics.next_to_open() else {
                return;
            };
            let messages = producer.pending.lock().take(&topic);
            if messages.is_empty() {
                // A handle would create the topic.
                continue;
            }
            let failed = send_messages(producer, &mut topics, &topic, messages);
            drop(topics);
            self.report_or_keep(failed);
        }
    }

    /// Sends messages whose topic lookup has completed.
    pub fn serve_pending(&mut self) {
        let producer = self.producer;
        if self.lookup.is_none() {
            let topics = producer.topics.lock();
            let pending = producer.pending.lock();
            let topic = pending.next_topic(|topic| !topics.is_queued(topic));
            drop((pending, topics));
            self.lookup =
                topic.map(|topic| TopicLookup::start(&producer.client, &producer.config, topic));
        }
        let Some(lookup) = self.lookup.as_mut() else {
            return;
        };
        let Some(readiness) = lookup.poll() else {
            return;
        };
        let topic = lookup.topic().to_owned();
        self.lookup = None;
        let mut failed = Vec::new();
        {
            // The cache stays locked until all of them are sent, so that later messages cannot overtake them.
            let mut topics = producer.topics.lock();
            let messages = producer.pending.lock().take(&topic);
            topics.set_readiness(&topic, readiness);
            if matches!(readiness, Readiness::Ready) {
                failed.extend(send_messages(producer, &mut topics, &topic, messages));
            } else {
                let code = Code::UnknownTopicOrPartition;
                failed.extend(messages.into_iter().map(|message| refused(message, code)));
            }
        }
        self.report_or_keep(failed);
    }

    /// Sends messages behind the first one of their partition, once that is acknowledged.
    pub fn release_gated(&mut self) {
        let producer = self.producer;
        if producer.gated.lock().is_empty() {
            return;
        }
        let mut failed = Vec::new();
        {
            let mut topics = producer.topics.lock();
            let waiting = producer.gated.lock().topics();
            for topic in waiting {
                let Some((_, Some(gate))) = topics.outlet(&topic) else {
                    continue;
                };
                if gate.release() {
                    let messages = producer.gated.lock().take(&topic);
                    failed.extend(send_messages(producer, &mut topics, &topic, messages));
                }
            }
        }
        self.report_or_keep(failed);
    }

    /// Sends the messages held back, once the predecessor has handed over its own, which come first.
    pub fn release_held(&mut self) {
        let producer = self.producer;
        let handed_over = |old: &Arc<Producer>| old.handed_over.load(Ordering::Acquire);
        if !producer.predecessor.lock().as_ref().is_none_or(handed_over) {
            return;
        }
        let mut failed = Vec::new();
        {
            let mut topics = producer.topics.lock();
            let waiting = producer.pending.lock().topics();
            for topic in waiting {
                if matches!(topics.get(&topic).readiness, Readiness::Ready) {
                    let messages = producer.pending.lock().take(&topic);
                    failed.extend(send_messages(producer, &mut topics, &topic, messages));
                }
            }
            producer.held.store(false, Ordering::Release);
        }
        producer.predecessor.lock().take();
        self.report_or_keep(failed);
    }

    /// Keeps messages that met a fatal error for the client that replaces this one, and reports the others.
    fn report_or_keep(&mut self, failed: Vec<Undelivered>) {
        let (unsent, failed): (Vec<_>, Vec<_>) = failed
            .into_iter()
            .partition(|report| report.code == Code::Fatal && !self.producer.transactional);
        if !unsent.is_empty() {
            self.producer.fatal.store(true, Ordering::Release);
            self.unsent.extend(unsent);
        }
        spool_or_report(self.producer, failed);
    }

    /// Hands the messages of a client with a fatal error to its replacement, or to the spool. Until then they count as
    /// in flight, so that no flush reports them as delivered. `replays`: this client was sending a spool.
    pub fn hand_over(&mut self, replays: bool) {
        let producer = self.producer;
        if self.unsent.is_empty() {
            if replays && !producer.closing.load(Ordering::Acquire) {
                // The spool is sent by the next client, also if nothing else is.
                drop(PRODUCERS.current().get(&producer.config));
            }
            return;
        }
        self.unsent
            .sort_by_key(|report| InFlight::sequence_of(report.opaque));
        let next = PRODUCERS.current().get(&producer.config);
        if let Ok(next) = &next {
            if producer.tracks_callback_sends() {
                next.track_callback_sends();
            }
            *producer.successor.lock() = Some(Arc::clone(next));
            if matches!(next.take_over(&self.unsent), Ok(true)) {
                for report in self.unsent.drain(..) {
                    producer.in_flight.complete(report.opaque);
                }
            }
        }
        let mut lost = Vec::new();
        for mut report in self.unsent.drain(..) {
            let sent = next
                .as_ref()
                .map_err(Clone::clone)
                .and_then(|next| next.send(&report.record.outgoing()));
            match sent {
                Ok(()) => producer.in_flight.complete(report.opaque),
                Err(error) => {
                    error.message().clone_into(&mut report.record.reason);
                    report.code = Code::Fatal;
                    lost.push(report);
                }
            }
        }
        spool_or_report(producer, lost);
    }
}

/// Sends messages that waited, or lets them wait behind the first one of their partition; returns those that
/// librdkafka does not accept.
fn send_messages(
    producer: &Producer,
    topics: &mut TopicCache,
    topic: &str,
    messages: VecDeque<PendingMessage>,
) -> Vec<Undelivered> {
    let Some((handle, gate)) = topics.outlet(topic) else {
        let code = Code::UnknownTopicOrPartition;
        let refused = messages.into_iter().map(|message| refused(message, code));
        return refused.collect();
    };
    let mut failed = Vec::new();
    for message in messages {
        match send_record(producer, handle, gate, &message.record, message.sequence) {
            Passed::Produced(Code::NoError) => {}
            Passed::Produced(code) => failed.push(refused(message, code)),
            Passed::Waits(gate) => {
                gate.waiting.fetch_add(1, Ordering::AcqRel);
                producer.gated.lock().append(message);
            }
        }
    }
    failed
}

fn refused(message: PendingMessage, code: Code) -> Undelivered {
    Undelivered {
        record: SpoolRecord {
            reason: client::describe(code),
            ..message.record
        },
        code,
        opaque: message.sequence,
    }
}

/// Sends a stored record; waits for a full queue until the client is closed.
fn send_record<'a>(
    producer: &Producer,
    handle: &TopicHandle,
    gate: Option<&'a TopicGate>,
    record: &SpoolRecord,
    opaque: u64,
) -> Passed<'a> {
    loop {
        let passed = produce_gated(handle, gate, &record.outgoing(), opaque);
        let full = matches!(passed, Passed::Produced(Code::QueueFull));
        if !full || producer.closing.load(Ordering::Acquire) {
            return passed;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Timeout of a request before it is sent again.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Wait for the cluster id; until a broker has reported it, no request can be sent.
const CONNECT_WAIT: Duration = Duration::from_millis(20);

/// A topic being looked up (auto_create_topics off) or created (on).
struct TopicLookup {
    client: Client,
    config: Arc<BrokerConfig>,
    topic: String,
    queue: EventQueue,
    requested_at: Option<Instant>,
}

impl TopicLookup {
    fn start(client: &Client, config: &Arc<BrokerConfig>, topic: String) -> Self {
        Self {
            client: client.clone(),
            config: Arc::clone(config),
            topic,
            queue: EventQueue::new(client),
            requested_at: None,
        }
    }

    fn topic(&self) -> &str {
        &self.topic
    }

    /// Makes progress without blocking for long; `Some` once the lookup has completed.
    fn poll(&mut self) -> Option<Readiness> {
        let Some(requested_at) = self.requested_at else {
            if let Some(embedded) = embedded::local(&self.config.brokers) {
                return Some(self.create_on_embedded(&embedded));
            }
            match self.client.cluster_id(CONNECT_WAIT) {
                None => return None,
                // An embedded broker of another process: no admin API and no controller. It creates topics by itself.
                Some(id) if client::is_mock(&id) => return Some(Readiness::Ready),
                Some(_) => self.send_request(),
            }
            self.requested_at = Some(Instant::now());
            return None;
        };
        let Some(response) = self.queue.poll(Duration::ZERO) else {
            if requested_at.elapsed() > REQUEST_TIMEOUT + Duration::from_secs(1) {
                self.requested_at = None;
            }
            return None;
        };
        let known = self.read(&response);
        if known.is_none() {
            // Kafka is unreachable: the request is sent again after a pause.
            self.requested_at = None;
            std::thread::sleep(Duration::from_millis(20));
        }
        known
    }

    /// The mock cluster has no admin API, but it runs in this process.
    fn create_on_embedded(&self, embedded: &EmbeddedCluster) -> Readiness {
        if self.config.auto_create_topics {
            let spec = self.config.topics.spec_for_topic(&self.topic);
            let partitions = spec.and_then(|spec| spec.partitions).unwrap_or(1);
            if let Err(error) = embedded.create_topic(&self.topic, partitions) {
                runtime::warn(error.message());
            }
        }
        Readiness::Ready
    }

    fn send_request(&self) {
        let requests = AdminRequests::new(&self.client, &self.queue, REQUEST_TIMEOUT);
        if !self.config.auto_create_topics {
            return requests.describe_topics(&[&self.topic], false);
        }
        let spec = self.config.topics.spec_for_topic(&self.topic);
        let retention = spec.and_then(|spec| spec.retention_ms);
        let config = retention.map(|ms| ("retention.ms".to_owned(), ms.to_string()));
        let to_create = NewTopic {
            name: self.topic.clone(),
            partitions: spec.and_then(|spec| spec.partitions).unwrap_or(-1),
            replication: spec.and_then(|spec| spec.replication).unwrap_or(-1),
            config: config.into_iter().collect(),
            validate_only: false,
        };
        if let Err(reason) = requests.create_topic(&to_create) {
            runtime::error(format!(
                "Topic \"{}\" cannot be created: {reason}.",
                self.topic
            ));
        }
    }

    /// Interprets the response; `None` to send the request again.
    fn read(&self, response: &ClientEvent) -> Option<Readiness> {
        if let Some((code, reason)) = response.error() {
            return self.readiness_for(code, &reason);
        }
        if self.config.auto_create_topics {
            let (code, reason) = response.topic_result();
            return self.readiness_for(code, &reason);
        }
        match response.described_topics().first() {
            Some(topic) => self.readiness_for(topic.error, &topic.error_text),
            None => Some(Readiness::Missing(Instant::now())),
        }
    }

    fn readiness_for(&self, code: Code, reason: &str) -> Option<Readiness> {
        match code {
            Code::NoError
            | Code::TopicAlreadyExists
            // An old broker, or an embedded one of another process: it creates topics by itself.
            | Code::UnsupportedFeature => Some(Readiness::Ready),
            Code::UnknownTopicOrPartition => Some(Readiness::Missing(Instant::now())),
            Code::BrokerTransportFailure
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::NotController
            | Code::LeaderNotAvailable
            | Code::BrokerDestroy => None,
            _ => {
                runtime::warn(format!("Topic \"{}\" can be neither created nor described: {reason}. \
                     Messages are sent to it nevertheless.",
                    self.topic),
                );
                Some(Readiness::Ready)
            }
        }
    }
}
