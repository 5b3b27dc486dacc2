//! `Toporia\Realtime\Admin`: inspects and changes a cluster.

mod results;
mod session;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ext_php_rs::prelude::*;
use ext_php_rs::types::Zval;

use super::arguments::{self, finish};
use super::callback::Callback;
use super::{configuration, consume, state, zend, OpenObjects};
use crate::config::BrokerConfig;
use crate::error::Error;
use crate::kafka::admin::{self as core, NewTopic};
use crate::topic::{ChannelPattern, TopicFilter};
use session::Call;

thread_local! {
    /// Objects with a client.
    static OPEN: OpenObjects<Admin> = const { OpenObjects::new() };
}

/// Inspects a cluster and changes its topics. Connects on first use.
///
/// All state is in cells: the callback of read() may call any method of the object that called it.
#[php_class]
#[php(name = "Toporia\\Realtime\\Admin")]
#[php(flags = ext_php_rs::flags::ClassFlags::Final)]
pub struct Admin {
    config: Arc<BrokerConfig>,
    client: RefCell<Option<Rc<core::Admin>>>,
    reading: Cell<bool>,
    closing: Cell<bool>,
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Closes all clients at the end of the request, including those of unreachable objects.
pub fn close_all() {
    OPEN.with(|open| open.close(Admin::leave));
}

#[php_impl]
impl Admin {
    /// Reads the configuration; connects nothing yet.
    #[php(optional = config)]
    pub fn __construct(config: Option<&Zval>) -> PhpResult<Self> {
        zend::refuse_second_construction::<Self>()?;
        let read = arguments::optional(config, |config| {
            arguments::array(config, "Admin::__construct(): Argument #1 ($config)")?;
            Ok(configuration::read(config)?)
        });
        let config = finish(read)?.filter(
            |config| !matches!(config, crate::config::Value::List(list) if list.is_empty()),
        );
        Ok(Self {
            config: state::broker_config(None, config.as_ref())?,
            client: RefCell::default(),
            reading: Cell::new(false),
            closing: Cell::new(false),
        })
    }

    /// The resolved configuration of this object; connects nothing.
    pub fn configuration(&self) -> PhpResult<Zval> {
        self.run(|_| {
            let monitor = state::monitor_config()?;
            session::array_result(results::configuration(&self.config, &monitor))
        })
        .map(Option::unwrap_or_default)
    }

    /// The topics that a subscription to these channels reads, without asking Kafka which of them exist.
    pub fn topics_of(&self, channels: &Zval) -> PhpResult<Zval> {
        self.run(|_| {
            let mut topics = Vec::new();
            for channel in session::names(channels, "topicsOf", "channels")? {
                let pattern = ChannelPattern::parse(&channel)?;
                let found = self.config.topics.topics_for_subscription(&pattern);
                let names = found.into_iter().map(TopicFilter::into_name);
                topics.extend(
                    names
                        .filter(|name| !topics.contains(name))
                        .collect::<Vec<_>>(),
                );
            }
            session::array_result(topics.try_into())
        })
        .map(Option::unwrap_or_default)
    }

    /// Connects to one broker and reports the steps that passed and the one that failed.
    #[php(defaults(timeoutMs = 5000))]
    #[php(optional = timeoutMs)]
    pub fn probe(&self, address: &Zval, timeoutMs: i64) -> PhpResult<Zval> {
        self.run(|call| {
            let address = arguments::text(address, "Admin::probe(): Argument #1 ($address)")?;
            let timeout = session::integer(timeoutMs, 100, "probe(): $timeoutMs")?;
            let timeout = Duration::from_millis(u64::from(timeout.unsigned_abs()));
            let found = core::probe(&self.config, &address, timeout, &|| call.poll_interrupts());
            session::array_result(results::probe(&found.map_err(Call::error)?))
        })
        .map(Option::unwrap_or_default)
    }

    /// The topics of the cluster, by name.
    #[php(optional = pattern)]
    pub fn topics(&self, pattern: Option<&Zval>) -> PhpResult<Zval> {
        self.query(
            |admin, poll_interrupts| {
                let pattern = arguments::optional(pattern, |pattern| {
                    arguments::text(pattern, "Admin::topics(): Argument #1 ($pattern)")
                })?;
                Ok(admin.topics(pattern.as_deref(), poll_interrupts))
            },
            |topics| results::topics(topics),
        )
    }

    /// The brokers, the controller and the id of the cluster.
    pub fn cluster(&self) -> PhpResult<Zval> {
        self.query(
            |admin, poll_interrupts| Ok(admin.cluster(poll_interrupts)),
            results::cluster,
        )
    }

    /// All consumer groups of the cluster.
    pub fn groups(&self) -> PhpResult<Zval> {
        self.query(
            |admin, poll_interrupts| Ok(admin.groups(poll_interrupts)),
            |groups| results::groups(groups),
        )
    }

    /// The state and the members of a consumer group.
    pub fn group(&self, group: &Zval) -> PhpResult<Zval> {
        self.query(
            |admin, poll_interrupts| {
                Ok(admin.group(&session::group(group, "group")?, poll_interrupts))
            },
            results::group,
        )
    }

    /// The state and the members of several groups, by name.
    pub fn describe_groups(&self, groups: &Zval) -> PhpResult<Zval> {
        self.query(
            |admin, poll_interrupts| {
                let groups = session::names(groups, "describeGroups", "groups")?;
                Ok(admin.describe_groups(&groups, poll_interrupts))
            },
            |groups| results::all_groups(groups),
        )
    }

    /// The committed offsets of a consumer group.
    pub fn group_offsets(&self, group: &Zval) -> PhpResult<Zval> {
        self.query(
            |admin, poll_interrupts| {
                let group = session::group(group, "groupOffsets")?;
                Ok(admin.group_offsets(&group, poll_interrupts))
            },
            |commits| results::commits(commits),
        )
    }

    /// What the members of a consumer group subscribe to.
    pub fn subscriptions(&self, group: &Zval) -> PhpResult<Zval> {
        self.query(
            |admin, poll_interrupts| {
                let group = session::group(group, "subscriptions")?;
                Ok(admin.subscriptions(&group, poll_interrupts))
            },
            results::subscriptions,
        )
    }

    /// The committed offsets of several groups, by name.
    pub fn offsets_of_groups(&self, groups: &Zval) -> PhpResult<Zval> {
        self.query(
            |admin, poll_interrupts| {
                let groups = session::names(groups, "offsetsOfGroups", "groups")?;
                Ok(admin.offsets_of_groups(&groups, poll_interrupts))
            },
            |commits| results::all_commits(commits),
        )
    }

    /// The settings of a topic as the brokers report them.
    pub fn topic_config(&self, topic: &Zval) -> PhpResult<Zval> {
        self.query(
            |admin, poll_interrupts| {
                let topic = session::topic(topic, "topicConfig")?;
                Ok(admin.topic_config(&topic, poll_interrupts))
            },
            |settings| results::settings(settings),
        )
    }

    /// The operations on topics that this client is authorized for.
    pub fn operations(&self, topics: &Zval) -> PhpResult<Zval> {
        self.query(
            |admin, poll_interrupts| {
                let topics = session::names(topics, "operations", "topics")?;
                Ok(admin.authorized_operations(&topics, poll_interrupts))
            },
            |operations| results::operations(operations),
        )
    }

    /// Creates a topic; false if it exists.
    #[php(defaults(partitions = 1, replication = -1, validateOnly = false))]
    #[php(optional = partitions)]
    pub fn create_topic(
        &self,
        topic: &Zval,
        partitions: i64,
        replication: i64,
        config: Option<&Zval>,
        validateOnly: bool,
    ) -> PhpResult<bool> {
        self.run(|call| {
            let replication = if replication == -1 {
                -1
            } else {
                session::integer(replication, 1, "createTopic(): $replication")?
            };
            let new = NewTopic {
                name: session::topic(topic, "createTopic")?,
                partitions: session::integer(partitions, 1, "createTopic(): $partitions")?,
                replication,
                config: session::settings(config)?,
                validate_only: validateOnly,
            };
            self.client()?
                .create_topic(&new, &|| call.poll_interrupts())
                .map_err(Call::error)
        })
    }

    /// Increases the number of partitions of a topic.
    pub fn create_partitions(&self, topic: &Zval, total: i64) -> PhpResult<()> {
        self.run(|call| {
            let topic = session::topic(topic, "createPartitions")?;
            let total = session::integer(total, 1, "createPartitions(): $total")?;
            self.client()?
                .create_partitions(&topic, total, &|| call.poll_interrupts())
                .map_err(Call::error)
        })
    }

    /// Deletes a topic and all its records.
    pub fn delete_topic(&self, topic: &Zval) -> PhpResult<()> {
        self.run(|call| {
            let topic = session::topic(topic, "deleteTopic")?;
            self.client()?
                .delete_topic(&topic, &|| call.poll_interrupts())
                .map_err(Call::error)
        })
    }

    /// The first and last offsets of a topic's partitions.
    pub fn offsets(&self, topic: &Zval) -> PhpResult<Zval> {
        self.query(
            |admin, poll_interrupts| {
                let topic = session::topic(topic, "offsets")?;
                Ok(admin.offsets(&topic, poll_interrupts))
            },
            |offset_ranges| results::offset_ranges(offset_ranges),
        )
    }

    /// The first and last offsets of several topics, by name.
    pub fn offsets_of_topics(&self, topics: &Zval) -> PhpResult<Zval> {
        self.query(
            |admin, poll_interrupts| {
                let topics = session::names(topics, "offsetsOfTopics", "topics")?;
                Ok(admin.offsets_of(&topics, poll_interrupts))
            },
            |topics| results::all_offset_ranges(topics),
        )
    }

    /// The first offsets at or after a time.
    pub fn offsets_at(&self, topic: &Zval, time: &Zval) -> PhpResult<Zval> {
        self.query(
            |admin, poll_interrupts| {
                let topic = session::topic(topic, "offsetsAt")?;
                let ms = consume::time(time, "Admin::offsetsAt(): Argument #2 ($time)")?;
                Ok(admin.offsets_at(&topic, ms, poll_interrupts))
            },
            |found| results::by_partition(found.iter().copied()),
        )
    }

    /// Passes every record of a topic to the callback.
    #[php(optional = from)]
    pub fn read(&self, topic: &Zval, callback: &Zval, from: Option<&Zval>) -> PhpResult<i64> {
        self.run(|call| {
            let topic = session::topic(topic, "read")?;
            let place = "Admin::read(): Argument #2 ($callback)";
            let callback = Callback::new(callback)
                .ok_or_else(|| arguments::type_error(place, "callable", callback))?;
            let from = session::offsets(from, "Admin::read(): Argument #3 ($from)")?;
            if self.reading.replace(true) {
                return Err(Error::configuration(
                    "Admin::read(): this Admin is reading already. Use a second Admin inside the callback.",
                )
                .into());
            }
            let result = self.read_all(call, &topic, &callback, &from);
            self.reading.set(false);
            result
        })
    }

    /// Deletes the records before these offsets.
    pub fn delete_records(&self, topic: &Zval, before: &Zval) -> PhpResult<()> {
        self.run(|call| {
            let topic = session::topic(topic, "deleteRecords")?;
            let place = "Admin::deleteRecords(): Argument #2 ($before)";
            arguments::array(before, place)?;
            let before = session::offsets(Some(before), place)?;
            self.client()?
                .delete_records(&topic, &before, &|| call.poll_interrupts())
                .map_err(Call::error)
        })
    }

    /// Closes the connection. While reading it takes effect after the current record.
    pub fn close(&self) {
        self.closing.set(true);
        if !self.reading.get() {
            self.leave();
        }
    }
}
