//! A member of a consumer group: fetches records in batches, hands them out one by one, and commits their offsets.
//!
//! Everything takes `&self`, because a callback may call the same broker, and no borrow is held while it runs. Records
//! without a result stay in here, never on the stack: a PHP fatal error jumps over the stack, and librdkafka waits for
//! a client whose messages were not destroyed.
#![allow(unsafe_code)]

pub mod assignment;
pub mod commit;
mod idle;
mod message;
pub(crate) mod partition;
pub(crate) mod partitions;
pub mod rebalance;
pub(crate) mod records;
mod retries;
mod retry_queue;
mod status;
pub mod subscription;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::types::RDKafkaType;

use self::assignment::Assignment;
use self::commit::Commits;
use self::idle::{EndDetector, FetchWait};
use self::rebalance::{Event, Events, RebalanceListener};
use self::records::{AssignedRecords, Next};
use self::status::Waiting;
use self::subscription::Subscription;
use crate::config::{BrokerConfig, Delivery};
use crate::error::{Error, Result};
use crate::kafka::client::{
    self, partitions_of, AssignedPartitions, Client, Conf, EventQueue, KafkaMessage,
};
use crate::kafka::embedded;
use crate::kafka::oauth::TOKENS;
use crate::runtime;
use crate::runtime::clock::{bounded, coarse_ms};
use crate::topic::TopicFilter;

pub use assignment::Position;
pub use commit::PreCommit;
pub use message::{FetchedMessage, MessageId, Record};
pub use partitions::CommitMetadata;
pub use status::{GroupStats, Stats};

/// Maximum wait for a broker on this machine, to detect an embedded broker.
const LOCAL_PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// A consumer whose callbacks take long still polls this often: otherwise the group revokes its partitions after
/// `max.poll.interval.ms`, and a rebalance of other members waits for it.
const POLL_INTERVAL_MS: u64 = 1000;

pub struct Consumer {
    pub(super) client: Client,
    config: Arc<BrokerConfig>,
    queue: EventQueue,
    events: Arc<Events>,
    pub assignment: Rc<Assignment>,
    pub commits: Commits,
    pub subscription: Subscription,
    pub stats: Arc<Stats>,
    fatal_error: RefCell<Option<Error>>,
    /// Time of the last poll.
    polled: Cell<u64>,
    ends: EndDetector,
    pub waiting: Waiting,
    closed: Cell<bool>,
}

impl Consumer {
    /// Creates the client; it connects when [`Consumer::subscribe`] is called. `filters`: the topics of the first
    /// subscription. `reports_eof`: ends of partitions are reported, for consumers that stop there; it costs speed.
    ///
    /// # Errors
    /// Configuration: properties that librdkafka refuses.
    pub fn start(
        config: &Arc<BrokerConfig>,
        filters: &[TopicFilter],
        reports_eof: bool,
    ) -> Result<Self> {
        let mut properties = config.consumer_properties();
        properties.retain(|(name, _)| name != "enable.partition.eof");
        properties.push(("enable.partition.eof".to_owned(), reports_eof.to_string()));
        embedded::resolve(config, &mut properties)?;
        let refresh = "topic.metadata.refresh.interval.ms";
        let refreshes_slowly = Subscription::refreshes_slowly(filters)
            || config.consumer_overrides.get(refresh).is_some();
        if !refreshes_slowly {
            // A missing topic is queried every second.
            properties.retain(|(name, _)| name != refresh);
            properties.push((refresh.to_owned(), "1000".to_owned()));
        }
        let here = embedded::local(&config.brokers).is_some();
        if here {
            rebalance::shorten_session_timeout(config, &mut properties);
        }
        let reads_from_end = properties.iter().any(|(name, value)| {
            name == "auto.offset.reset" && matches!(value.as_str(), "latest" | "largest" | "end")
        });
        let events = Arc::<Events>::default();
        let mut client = Self::client_with(&properties, &events)?;
        let may_be_embedded = !here && config.is_local();
        let is_embedded = may_be_embedded
            && client::cluster_id_of_idle(&client, LOCAL_PROBE_TIMEOUT)
                .is_some_and(|id| client::is_mock(&id));
        if is_embedded && rebalance::shorten_session_timeout(config, &mut properties) {
            client = Self::client_with(&properties, &events)?;
        }
        let stats = Arc::<Stats>::default();
        if !client.report_responses(&stats.reachability) {
            return Err(Error::configuration(
                "librdkafka does not report responses to this extension; its version is not compatible.",
            ));
        }
        let queue = EventQueue::consumer(&client);
        let waiting = Waiting::new(&client, config, &stats);
        let fetch_wait = FetchWait::new(&client, config, &properties, here || is_embedded);
        let assignment = Rc::new(Assignment::new(&client, config, fetch_wait));
        Ok(Self {
            commits: Commits::new(&assignment, &stats),
            assignment,
            subscription: Subscription::new(&client, reads_from_end, refreshes_slowly),
            ends: EndDetector::new(&client, reports_eof, reads_from_end),
            client,
            config: Arc::clone(config),
            queue,
            events,
            stats,
            fatal_error: RefCell::default(),
            polled: Cell::new(0),
            waiting,
            closed: Cell::new(false),
        })
    }

    fn client_with(properties: &[(String, String)], events: &Arc<Events>) -> Result<Client> {
        let mut conf = Conf::new(properties, "consumer_config")?;
        conf.set_consumer_events(events);
        rebalance::watch::<Events>(properties, &mut conf)?;
        conf.into_client(RDKafkaType::RD_KAFKA_CONSUMER)
    }

    #[must_use]
    pub fn config(&self) -> &Arc<BrokerConfig> {
        &self.config
    }

    /// True in a forked child: the client belongs to the parent.
    #[must_use]
    pub fn is_inherited(&self) -> bool {
        self.client.is_inherited()
    }

    /// Subscribes to these topics, replacing what was subscribed before. `subscriptions` is the hash that goes into the
    /// metadata of commits.
    ///
    /// # Errors
    /// Configuration: a topic name or pattern that librdkafka refuses.
    pub fn subscribe(&self, filters: Vec<TopicFilter>, subscriptions: String) -> Result<()> {
        self.commits.set_subscriptions(subscriptions);
        self.subscription.replace(filters).map_err(|code| {
            let action = "Kafka's client cannot subscribe";
            client::to_error(code, action, "", &self.config.brokers)
        })
    }

    /// Fetches up to `max` records, waiting at most `wait` for the first; the number of records fetched. Fetches
    /// nothing while earlier records have not been handed out.
    pub fn fetch(&self, wait: Duration, max: usize) -> usize {
        self.serve_due();
        self.waiting.probe_broker();
        self.report_wait(coarse_ms());
        if self.assignment.records(|all| all.fetched_count()) > 0 {
            return 0;
        }
        self.polled.set(coarse_ms());
        let earlier = self.assignment.records(|all| all.begin_batch(max));
        if earlier > 0 {
            return earlier;
        }
        let wait = self.assignment.until_due(wait);
        // Waiting for a whole batch would cost latency: wait for one record, then take what is there.
        let Some(first) = self.client.poll_message(wait) else {
            let fetch_wait = &self.assignment.fetch_wait;
            fetch_wait.lengthen(|| self.assignment.count());
            return 0;
        };
        self.ends.fetched();
        self.assignment.fetch_wait.shorten();
        self.assignment.records(|all| {
            all.push_fetched(FetchedMessage::Kafka(first));
            self.fetch_more(all, max);
            all.fetched_records()
        })
    }

    /// Messages that are there already, by librdkafka's batch call: a third of the cost of asking for each.
    fn fetch_more(&self, records: &mut AssignedRecords<FetchedMessage>, max: usize) {
        if self.ends.reports_eof {
            // The batch call counts the report of an end as a record, and after a pause or a rebalance it would return
            // one record too many.
            while records.fetched_count() < max {
                let Some(next) = self.client.poll_message(Duration::ZERO) else {
                    break;
                };
                records.push_fetched(FetchedMessage::Kafka(next));
            }
            return;
        }
        self.events.in_batch.store(true, Ordering::Release);
        let room = max.saturating_sub(records.fetched_count());
        self.queue.consume_available(room, |next| {
            records.push_fetched(FetchedMessage::Kafka(next));
        });
        self.events.in_batch.store(false, Ordering::Release);
    }

    /// Hands out the next record: a due retry first. Errors and ends of partitions are processed on the way.
    pub fn next(&self) -> Option<Record> {
        let mut records = self.assignment.records.borrow_mut();
        loop {
            let next = records.next(self.assignment.retry_bounds(), Instant::now);
            let pauses = records.take_pauses();
            if !pauses.is_empty() {
                self.client.set_paused(partitions_of(&pauses), true);
            }
            match next {
                Next::Empty => return None,
                Next::Event(FetchedMessage::Kafka(message), slot) => {
                    self.on_event(&mut records, &message, slot);
                }
                Next::Event(FetchedMessage::Rejected(_), _) => {}
                Next::Record(handle) => {
                    self.stats.consumed.set(records.consumed);
                    self.stats.bytes.set(records.consumed_bytes);
                    return Some(handle);
                }
            }
        }
    }

    /// Polls if it has not for a while, although there are records to hand out; `now` is the time of `coarse_ms()`.
    #[inline]
    pub fn keep_alive(&self, now: u64) {
        if now.saturating_sub(self.polled.get()) >= POLL_INTERVAL_MS {
            self.poll_again(now);
        }
    }

    #[cold]
    fn poll_again(&self, now: u64) {
        // No record joins a batch whose commit is pending.
        if self.commits.has_pre_commit() {
            return;
        }
        self.polled.set(now);
        // With slow callbacks each poll adds a record, and fetch() may not be called for hours.
        self.serve_due();
        if let Some(next) = self.client.poll_message(Duration::ZERO) {
            let next = FetchedMessage::Kafka(next);
            // No record joins a batch that is committed before it is handled, or prolongs a transaction.
            self.assignment.records(|all| match self.config.delivery {
                Delivery::AtLeastOnce => all.push_fetched(next),
                _ => all.push_next_batch(next),
            });
        }
    }

    /// Retries requests that Kafka did not answer (seeks, and reading commit metadata), looks for missing topics, and
    /// resumes partitions that need not be held back any more.
    fn serve_due(&self) {
        if self.assignment.retry_seeks() {
            self.commits.read_metadata_again();
        }
        self.subscription.refresh_missing();
        self.assignment.resume_held_back();
    }

    /// Processes everything that librdkafka's callbacks noted.
    ///
    /// # Errors
    /// The listener's.
    pub fn serve_events<W: RebalanceListener>(&self, listener: &W) -> Result<(), W::Abort> {
        while let Some(event) = self.events.next() {
            match event {
                Event::Assign(list) => self.assign(list, listener)?,
                Event::Revoke(list) => self.revoke(&list, listener)?,
                Event::Error(code, reason) => self.on_error(code, &reason, ""),
            }
        }
        Ok(())
    }

    fn assign<W: RebalanceListener>(
        &self,
        mut list: AssignedPartitions,
        listener: &W,
    ) -> Result<(), W::Abort> {
        self.assignment.fetch_wait.shorten();
        self.stats.rebalances.add(1);
        let names = list.names();
        let committed = self.commits.of_group(&names);
        self.assignment.begin();
        for (place, (offset, metadata)) in names.iter().zip(&committed) {
            self.subscription.on_assigned(&place.0);
            let is_new = *offset < 0 && self.subscription.is_late(&place.0);
            self.assignment
                .add(place, *offset, &metadata.crashes, is_new);
        }
        self.ends.fetched();
        let outcome = listener.assigned(&names);
        if self.is_inherited() {
            // A child forked in the hook: the client has no threads here, and would wait for them for ever.
            return outcome;
        }
        let pauses = self.assignment.end(&mut list);
        self.on_assign_error(self.client.assign(&list));
        for (topic, number) in pauses {
            self.assignment.set_paused(Some(&topic), Some(number), true);
        }
        outcome
    }

    fn revoke<W: RebalanceListener>(
        &self,
        list: &AssignedPartitions,
        listener: &W,
    ) -> Result<(), W::Abort> {
        self.stats.rebalances.add(1);
        let names = list.names();
        let is_lost = self.client.has_lost_assignment();
        if !is_lost {
            // Records that are not acknowledged in time are read again by the new owner.
            let _ = self.commits.commit_now(Duration::from_secs(3));
        }
        let outcome = listener.revoked(&names, is_lost);
        if self.is_inherited() {
            return outcome;
        }
        for (topic, number) in &names {
            self.assignment.records(|all| all.remove(topic, *number));
        }
        self.waiting.restart();
        self.on_assign_error(self.client.unassign(list));
        outcome
    }

    fn on_assign_error(&self, refused: Option<String>) {
        if let Some(reason) = refused {
            let group = &self.config.consumer_group;
            runtime::warn(format!("Kafka consumer group \"{group}\": {reason}"));
            self.stats.set_last_error(reason);
        }
    }

    /// An error or the end of a partition, delivered as a message.
    fn on_event(
        &self,
        records: &mut AssignedRecords<FetchedMessage>,
        message: &KafkaMessage,
        slot: Option<usize>,
    ) {
        match message.code() {
            Code::PartitionEOF => {
                if let Some(partition) = slot.and_then(|slot| records.assigned.at(slot)) {
                    partition.reached_end(message.offset());
                }
            }
            Code::UnknownTopicOrPartition | Code::UnknownTopic => {
                self.subscription.on_missing(message.topic());
            }
            code => self.on_error(code, &message.error_text(), &message.topic()),
        }
    }

    fn on_error(&self, code: Code, reason: &str, topic: &str) {
        self.stats.reachability.on_error(code);
        if let Some(reason) = TOKENS.current().missing(&self.client) {
            // Not refused by Kafka: the token is requested again.
            let text = format!("no OAUTHBEARER token: {reason}");
            return self.stats.set_last_error(text);
        }
        self.stats.set_last_error(reason.to_owned());
        let (brokers, group) = (&self.config.brokers, &self.config.consumer_group);
        let mut doing = format!("Kafka at {brokers} refuses consumer group \"{group}\"");
        if !topic.is_empty() {
            doing = format!("{doing}, topic \"{topic}\"");
        }
        if rebalance::is_unsupported(code, reason) {
            let error = rebalance::unsupported(&doing);
            self.stats.set_last_error(error.message().to_owned());
            self.fatal_error.replace(Some(error));
        } else if rebalance::is_refusal(code, reason) {
            let error = client::to_error(code, &doing, reason, brokers);
            self.fatal_error.replace(Some(error));
        }
    }

    /// A permanent error that Kafka reported, once.
    pub fn take_fatal_error(&self) -> Option<Error> {
        self.fatal_error.take()
    }

    /// A new run begins: missing topics may exist by now, and the time to be assigned something starts again.
    pub fn begin(&self) {
        self.ends.begin();
        self.waiting.reset();
        self.waiting.restart();
        self.subscription.begin();
    }

    /// True where a rebalance waits to be processed.
    #[must_use]
    pub fn is_rebalancing(&self) -> bool {
        self.events.has_rebalance()
    }

    /// True where partitions are assigned and all of them are read to their ends.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.ends.is_at_end(&self.assignment.records)
    }

    /// Nothing is assigned and nothing will be: the topics do not exist, or the group has assigned every partition to
    /// other members.
    #[must_use]
    pub fn has_no_more(&self) -> bool {
        let is_late = self.waiting.is_late();
        self.assignment.count() == 0 && (self.subscription.has_no_topic() || is_late)
    }

    /// Called by each fetch, see [`Waiting::update`].
    fn report_wait(&self, now: u64) {
        if self.assignment.count() == 0 {
            self.waiting.update(now, || self.subscription.missing());
        } else {
            self.waiting.reset();
        }
    }

    /// Commits nothing (see [`Commits::commit_now`]), leaves the group and ends the threads, within about three
    /// seconds. Idempotent; does nothing in a forked child.
    pub fn close(&self) {
        if self.is_inherited() || self.closed.replace(true) {
            return;
        }
        self.events.closing.store(true, Ordering::Release);
        // librdkafka waits for messages that were not destroyed.
        self.assignment.records(AssignedRecords::clear);
        let close_queue = EventQueue::new(&self.client);
        self.client.leave_group(&close_queue);
        while let Some(event) = self.events.next() {
            if let Event::Assign(_) | Event::Revoke(_) = event {
                // The group waits for a response to a pending rebalance. From here on any response revokes everything;
                // before the call above, a response to an assignment would have been refused.
                self.client.unassign_all();
            }
        }
        let until = Instant::now() + bounded(Duration::from_secs(3));
        let mut closed = false;
        while !closed && Instant::now() < until {
            // As messages: prefetched records cannot be served by callbacks.
            drop(close_queue.consume(Duration::from_millis(50)));
            closed = self.client.has_left_group();
        }
        // librdkafka would wait without a bound for a group that was not left in time.
        self.client.destroy_with(if closed {
            client::NO_CONSUMER_CLOSE
        } else {
            client::NO_CONSUMER_CLOSE | client::IMMEDIATE
        });
        drop(close_queue);
        // SAFETY: its messages are gone, and a closed consumer does nothing.
        unsafe {
            self.queue.close();
            self.commits.queue.close();
            self.client.end();
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        if self.is_inherited() {
            // The messages belong to the parent's client: a child must not touch them.
            std::mem::forget(self.assignment.records.take());
        }
        self.close();
    }
}
