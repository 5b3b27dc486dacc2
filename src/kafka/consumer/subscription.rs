//! The subscribed topics: which of them are missing, and which appeared after subscribing.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashSet};
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::TopicPartitionList;

use crate::kafka::client::{self, Client};
use crate::topic::TopicFilter;

/// A list of so many topics each second takes a hundredth of a core and more.
const MANY_TOPICS: usize = 100;

const fn is_pattern(filter: &TopicFilter) -> bool {
    matches!(filter, TopicFilter::Regex(_))
}

pub struct Subscription {
    client: Client,
    /// A consumer that reads from the end reads later topics from their beginning.
    reads_from_end: bool,
    /// A missing topic is not found by the periodic refresh of metadata within a second.
    refreshes_slowly: bool,
    refreshed: Cell<Instant>,
    topics: RefCell<Topics>,
}

#[derive(Default)]
struct Topics {
    filters: Vec<TopicFilter>,
    missing: BTreeSet<String>,
    /// Topics that appeared after subscribing.
    late: HashSet<String>,
    /// Those that existed then, if the subscription has patterns.
    known: Option<HashSet<String>>,
}

impl Subscription {
    pub(super) fn new(client: &Client, reads_from_end: bool, refreshes_slowly: bool) -> Self {
        Self {
            client: client.clone(),
            reads_from_end,
            refreshes_slowly,
            refreshed: Cell::new(Instant::now()),
            topics: RefCell::default(),
        }
    }

    /// True where the periodic refresh of metadata is to be slow. A missing topic is looked up each second, but not
    /// every topic of the cluster because of a pattern, nor hundreds that are all there.
    pub(super) fn refreshes_slowly(filters: &[TopicFilter]) -> bool {
        filters.len() >= MANY_TOPICS || filters.iter().any(is_pattern)
    }

    /// Replaces what was subscribed before.
    ///
    /// # Errors
    /// librdkafka's reason to refuse a name or pattern.
    pub(super) fn replace(&self, filters: Vec<TopicFilter>) -> Result<(), Code> {
        let mut list = TopicPartitionList::new();
        for filter in &filters {
            let (TopicFilter::Exact(name) | TopicFilter::Regex(name)) = filter;
            list.add_topic_unassigned(name);
        }
        {
            let mut topics = self.topics.borrow_mut();
            if topics.filters == filters {
                return Ok(());
            }
            // librdkafka reports a missing topic once, also if it is subscribed again.
            let is_wanted = |topic: &String| filters.contains(&TopicFilter::Exact(topic.clone()));
            topics.missing.retain(is_wanted);
            topics.filters = filters;
        }
        self.snapshot();
        self.client.subscribe(&list)
    }

    /// Notes the topics that exist already, before patterns are subscribed. It also waits for a broker: librdkafka,
    /// which lists the topics for a pattern, tries again after two seconds if only the coordinator is connected.
    fn snapshot(&self) {
        if !self.topics.borrow().filters.iter().any(is_pattern) {
            return;
        }
        let bound = if self.reads_from_end { 2000 } else { 500 };
        let topics = client::topic_names(&self.client, Duration::from_millis(bound));
        if self.reads_from_end {
            self.topics.borrow_mut().known = topics;
        }
    }

    /// True for a topic that did not exist when a consumer that reads from the end subscribed: every record in it is
    /// new.
    pub(super) fn is_late(&self, topic: &str) -> bool {
        let topics = self.topics.borrow();
        let unknown = |known: &HashSet<String>| !known.contains(topic);
        let is_late = topics.late.contains(topic) || topics.known.as_ref().is_some_and(unknown);
        self.reads_from_end && is_late
    }

    /// librdkafka does not find the topic.
    pub(super) fn on_missing(&self, topic: String) {
        let mut topics = self.topics.borrow_mut();
        if topics.filters.contains(&TopicFilter::Exact(topic.clone())) {
            topics.late.insert(topic.clone());
            topics.missing.insert(topic);
        }
    }

    /// A partition of the topic was assigned.
    pub(super) fn on_assigned(&self, topic: &str) {
        self.topics.borrow_mut().missing.remove(topic);
    }

    /// A new run begins: missing topics may exist by now.
    pub(super) fn begin(&self) {
        if !self.is_incomplete() {
            return;
        }
        if let Some(names) = client::topic_names(&self.client, Duration::from_secs(1)) {
            let mut topics = self.topics.borrow_mut();
            topics.missing.retain(|topic| !names.contains(topic));
        }
    }

    /// A missing exact topic is queried every second, also if the periodic refresh is slow (see above, or an interval
    /// of the application).
    pub(super) fn refresh_missing(&self) {
        if self.refreshed.get().elapsed() < Duration::from_secs(1) {
            return;
        }
        self.refreshed.set(Instant::now());
        if self.refreshes_slowly && self.is_incomplete() {
            // A full list makes librdkafka evaluate its subscription again.
            let bound = Duration::from_millis(200);
            drop(client::topic_names(&self.client, bound));
        }
    }

    /// Subscribed topics that do not exist yet.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        self.topics.borrow().missing.iter().cloned().collect()
    }

    fn is_incomplete(&self) -> bool {
        !self.topics.borrow().missing.is_empty()
    }

    /// True where every subscribed topic is missing.
    pub(super) fn has_no_topic(&self) -> bool {
        let topics = self.topics.borrow();
        let is_missing = |filter: &TopicFilter| match filter {
            TopicFilter::Exact(name) => topics.missing.contains(name),
            TopicFilter::Regex(_) => false,
        };
        !topics.filters.is_empty() && topics.filters.iter().all(is_missing)
    }
}
