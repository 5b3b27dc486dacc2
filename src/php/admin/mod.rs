//! `Toporia\Realtime\Admin`: inspects and changes a cluster.

mod values;

use std::cell::{Cell, RefCell};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ext_php_rs::boxed::ZBox;
use ext_php_rs::prelude::*;
use ext_php_rs::types::{ZendHashTable, Zval};
use ext_php_rs::zend::{bailout, ce, try_catch, CatchError};

use super::arguments::{self, finish, CallError};
use super::callback::Callback;
use super::message::Message;
use super::{configuration, consume, logging, signals, state, zend, OpenObjects};
use crate::config::BrokerConfig;
use crate::error::Error;
use crate::kafka::admin::{
    self as core, groups, offsets, topics, AdminError, AdminResult, NewTopic, PollInterrupts,
    ReadStep, TopicReader,
};
use crate::runtime::clock::coarse_ms;
use crate::topic::{ChannelPattern, TopicFilter};

/// While no records arrive, interrupts are polled this often.
const SLICE: Duration = Duration::from_millis(50);

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

impl Admin {
    /// Runs a method. A fatal error continues from here, when no value of ours is left on the stack.
    fn run<T: Default>(&self, method: impl FnOnce(&Call) -> Result<T, CallError>) -> PhpResult<T> {
        let call = Call::default();
        let result = method(&call);
        if call.bailed_out.get() {
            drop(result);
            self.leave();
            // SAFETY: continues the engine's own bailout; nothing left here needs to be dropped.
            unsafe { bailout() }
        }
        if self.closing.get() && !self.reading.get() {
            self.leave();
        }
        finish(result)
    }

    /// Sends a request to the cluster and converts the result to an array.
    fn query<T>(
        &self,
        request: impl FnOnce(&core::Admin, PollInterrupts<'_>) -> Result<AdminResult<T>, CallError>,
        to_array: impl FnOnce(&T) -> ext_php_rs::error::Result<ZBox<ZendHashTable>>,
    ) -> PhpResult<Zval> {
        self.run(|call| {
            let found = request(&*self.client()?, &|| call.poll_interrupts())?;
            values::array_result(to_array(&found.map_err(Call::error)?))
        })
    }

    /// The client, created on first use and after a fork.
    fn client(&self) -> Result<Rc<core::Admin>, Error> {
        if self.closing.get() {
            return Err(Error::configuration(
                "This Admin is closed. Create another one.",
            ));
        }
        let known = self.client.borrow().clone();
        if let Some(client) = known.filter(|client| !client.is_inherited()) {
            return Ok(client);
        }
        let client = Rc::new(core::Admin::start(&self.config)?);
        *self.client.borrow_mut() = Some(Rc::clone(&client));
        OPEN.with(|open| open.add(self));
        Ok(client)
    }

    fn leave(&self) {
        OPEN.with(|open| open.remove(self));
        let client = self.client.borrow_mut().take();
        drop(client);
    }

    fn read_all(
        &self,
        call: &Call,
        topic: &str,
        callback: &Callback,
        from: &[(i32, i64)],
    ) -> Result<i64, CallError> {
        let poll_interrupts = || call.poll_interrupts();
        let mut reader = TopicReader::start(&self.client()?, topic, from, &poll_interrupts)
            .map_err(Call::error)?;
        let mut count = 0;
        while !self.closing.get() {
            if !call.poll_interrupts() {
                return Err(CallError::Pending);
            }
            match reader.next(SLICE).map_err(Call::error)? {
                ReadStep::End => break,
                ReadStep::Waiting => {}
                ReadStep::Record(message) => {
                    count += 1;
                    let message = Rc::from(message);
                    let result = call.guard(|| {
                        callback.call_for_result(&mut [super::object(Message::new(message))])
                    })?;
                    match result {
                        None => return Err(CallError::Pending),
                        Some(result) if result.is_false() => break,
                        Some(_) => {}
                    }
                }
            }
        }
        Ok(count)
    }
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
        let config = configuration::given(config, "Admin::__construct(): Argument #1 ($config)");
        let config = finish(config)?;
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
            values::array_result(values::configuration(&self.config, &monitor))
        })
    }

    /// The topics that a subscription to these channels reads, without asking Kafka which of them exist.
    pub fn topics_of(&self, channels: &Zval) -> PhpResult<Zval> {
        self.run(|_| {
            let mut topics = Vec::new();
            for channel in values::names_argument(channels, "topicsOf", "channels")? {
                let pattern = ChannelPattern::parse(&channel)?;
                let found = self.config.topics.topics_for_subscription(&pattern);
                let names = found.into_iter().map(TopicFilter::into_name);
                topics.extend(
                    names
                        .filter(|name| !topics.contains(name))
                        .collect::<Vec<_>>(),
                );
            }
            values::array_result(topics.try_into())
        })
    }

    /// Connects to one broker and reports the steps that passed and the one that failed.
    #[php(optional = timeoutMs)]
    pub fn probe(&self, address: &Zval, timeoutMs: Option<&Zval>) -> PhpResult<Zval> {
        self.run(|call| {
            let address = arguments::text(address, "Admin::probe(): Argument #1 ($address)")?;
            let place = "Admin::probe(): Argument #2 ($timeoutMs)";
            let timeoutMs = arguments::int_or(timeoutMs, 5000, place)?;
            let timeout = values::integer_argument(timeoutMs, 100, place)?;
            let timeout = Duration::from_millis(u64::from(timeout.unsigned_abs()));
            let found = core::probe(&self.config, &address, timeout, &|| call.poll_interrupts());
            values::array_result(values::probe(&found.map_err(Call::error)?))
        })
    }

    /// The topics of the cluster, by name.
    #[php(optional = pattern)]
    pub fn topics(&self, pattern: Option<&Zval>) -> PhpResult<Zval> {
        self.query(
            |admin, poll_interrupts| {
                let pattern = arguments::optional(pattern, |pattern| {
                    arguments::text(pattern, "Admin::topics(): Argument #1 ($pattern)")
                })?;
                Ok(topics::list(admin, pattern.as_deref(), poll_interrupts))
            },
            |topics| values::topics(topics),
        )
    }

    /// The brokers, the controller and the id of the cluster.
    pub fn cluster(&self) -> PhpResult<Zval> {
        self.query(
            |admin, poll_interrupts| Ok(topics::cluster(admin, poll_interrupts)),
            values::cluster,
        )
    }

    /// All consumer groups of the cluster.
    pub fn groups(&self) -> PhpResult<Zval> {
        self.query(
            |admin, poll_interrupts| Ok(groups::list(admin, poll_interrupts)),
            |groups| values::groups(groups),
        )
    }

    /// The state and the members of a consumer group.
    pub fn group(&self, group: &Zval) -> PhpResult<Zval> {
        self.query(
            |admin, poll_interrupts| {
                Ok(groups::describe(
                    admin,
                    &values::group_argument(group, "group")?,
                    poll_interrupts,
                ))
            },
            values::group,
        )
    }

    /// The state and the members of several groups, by name.
    pub fn describe_groups(&self, groups: &Zval) -> PhpResult<Zval> {
        self.query(
            |admin, poll_interrupts| {
                let groups = values::names_argument(groups, "describeGroups", "groups")?;
                Ok(groups::describe_all(admin, &groups, poll_interrupts))
            },
            |groups| values::all_groups(groups),
        )
    }

    /// The committed offsets of a consumer group.
    pub fn group_offsets(&self, group: &Zval) -> PhpResult<Zval> {
        self.query(
            |admin, poll_interrupts| {
                let group = values::group_argument(group, "groupOffsets")?;
                Ok(groups::committed(admin, &group, poll_interrupts))
            },
            |commits| values::commits(commits),
        )
    }

    /// What the members of a consumer group subscribe to.
    pub fn subscriptions(&self, group: &Zval) -> PhpResult<Zval> {
        self.query(
            |admin, poll_interrupts| {
                let group = values::group_argument(group, "subscriptions")?;
                Ok(groups::subscriptions(admin, &group, poll_interrupts))
            },
            values::subscriptions,
        )
    }

    /// The committed offsets of several groups, by name.
    pub fn offsets_of_groups(&self, groups: &Zval) -> PhpResult<Zval> {
        self.query(
            |admin, poll_interrupts| {
                let groups = values::names_argument(groups, "offsetsOfGroups", "groups")?;
                Ok(groups::committed_of_all(admin, &groups, poll_interrupts))
            },
            |commits| values::all_commits(commits),
        )
    }

    /// The settings of a topic as the brokers report them.
    pub fn topic_config(&self, topic: &Zval) -> PhpResult<Zval> {
        self.query(
            |admin, poll_interrupts| {
                let topic = values::topic_argument(topic, "topicConfig")?;
                Ok(topics::config(admin, &topic, poll_interrupts))
            },
            |settings| values::settings(settings),
        )
    }

    /// The operations on topics that this client is authorized for.
    pub fn operations(&self, topics: &Zval) -> PhpResult<Zval> {
        self.query(
            |admin, poll_interrupts| {
                let topics = values::names_argument(topics, "operations", "topics")?;
                Ok(topics::authorized_operations(
                    admin,
                    &topics,
                    poll_interrupts,
                ))
            },
            |operations| values::operations(operations),
        )
    }

    /// Creates a topic; false if it exists.
    #[php(optional = partitions)]
    pub fn create_topic(
        &self,
        topic: &Zval,
        partitions: Option<&Zval>,
        replication: Option<&Zval>,
        config: Option<&Zval>,
        validateOnly: Option<&Zval>,
    ) -> PhpResult<bool> {
        self.run(|call| {
            const PARTITIONS: &str = "Admin::createTopic(): Argument #2 ($partitions)";
            const REPLICATION: &str = "Admin::createTopic(): Argument #3 ($replication)";
            const VALIDATE: &str = "Admin::createTopic(): Argument #5 ($validateOnly)";
            let partitions = arguments::int_or(partitions, 1, PARTITIONS)?;
            let replication = arguments::int_or(replication, -1, REPLICATION)?;
            let replication = if replication == -1 {
                -1
            } else {
                values::integer_argument(replication, 1, REPLICATION)?
            };
            let new = NewTopic {
                name: values::topic_argument(topic, "createTopic")?,
                partitions: values::integer_argument(partitions, 1, PARTITIONS)?,
                replication,
                config: values::settings_argument(config)?,
                validate_only: arguments::boolean(validateOnly, false, VALIDATE)?,
            };
            let admin = self.client()?;
            topics::create(&admin, &new, &|| call.poll_interrupts()).map_err(Call::error)
        })
    }

    /// Increases the number of partitions of a topic.
    pub fn create_partitions(&self, topic: &Zval, total: &Zval) -> PhpResult<()> {
        self.run(|call| {
            let place = "Admin::createPartitions(): Argument #2 ($total)";
            let total = arguments::int(total, place)?;
            let topic = values::topic_argument(topic, "createPartitions")?;
            let total = values::integer_argument(total, 1, place)?;
            let admin = self.client()?;
            topics::create_partitions(&admin, &topic, total, &|| call.poll_interrupts())
                .map_err(Call::error)
        })
    }

    /// Deletes a topic and all its records.
    pub fn delete_topic(&self, topic: &Zval) -> PhpResult<()> {
        self.run(|call| {
            let topic = values::topic_argument(topic, "deleteTopic")?;
            let admin = self.client()?;
            topics::delete(&admin, &topic, &|| call.poll_interrupts()).map_err(Call::error)
        })
    }

    /// The first and last offsets of a topic's partitions.
    pub fn offsets(&self, topic: &Zval) -> PhpResult<Zval> {
        self.query(
            |admin, poll_interrupts| {
                let topic = values::topic_argument(topic, "offsets")?;
                Ok(offsets::of_topic(admin, &topic, poll_interrupts))
            },
            |offset_ranges| values::offset_ranges(offset_ranges),
        )
    }

    /// The first and last offsets of several topics, by name.
    pub fn offsets_of_topics(&self, topics: &Zval) -> PhpResult<Zval> {
        self.query(
            |admin, poll_interrupts| {
                let topics = values::names_argument(topics, "offsetsOfTopics", "topics")?;
                Ok(offsets::of_topics(admin, &topics, poll_interrupts))
            },
            |topics| values::all_offset_ranges(topics),
        )
    }

    /// The first offsets at or after a time.
    pub fn offsets_at(&self, topic: &Zval, time: &Zval) -> PhpResult<Zval> {
        self.query(
            |admin, poll_interrupts| {
                let topic = values::topic_argument(topic, "offsetsAt")?;
                let ms = consume::time(time, "Admin::offsetsAt(): Argument #2 ($time)")?;
                Ok(offsets::at_time(admin, &topic, ms, poll_interrupts))
            },
            |found| values::by_partition(found.iter().copied()),
        )
    }

    /// Passes every record of a topic to the callback.
    #[php(optional = from)]
    pub fn read(&self, topic: &Zval, callback: &Zval, from: Option<&Zval>) -> PhpResult<i64> {
        self.run(|call| {
            let topic = values::topic_argument(topic, "read")?;
            let place = "Admin::read(): Argument #2 ($callback)";
            let callback = Callback::new(callback)
                .ok_or_else(|| arguments::type_error(place, "callable", callback))?;
            let from = values::offsets_argument(from, "Admin::read(): Argument #3 ($from)")?;
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
            let topic = values::topic_argument(topic, "deleteRecords")?;
            let place = "Admin::deleteRecords(): Argument #2 ($before)";
            arguments::array(before, place)?;
            let before = values::offsets_argument(Some(before), place)?;
            let admin = self.client()?;
            offsets::delete_records(&admin, &topic, &before, &|| call.poll_interrupts())
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

/// How often PHP's signal handlers run and log lines are delivered.
const INTERRUPT_INTERVAL_MS: u64 = 50;

/// The state of one call.
#[derive(Default)]
pub struct Call {
    /// A fatal error occurred: the engine's bailout continues once all values of the call are dropped.
    pub bailed_out: Cell<bool>,
    interrupts_polled: Cell<Option<u64>>,
}

impl Call {
    /// Runs code that may end in a fatal error, which is a longjmp: no value that needs to be dropped may live between
    /// here and there.
    pub fn guard<R>(&self, run: impl FnOnce() -> R) -> Result<R, CallError> {
        match try_catch(AssertUnwindSafe(run)) {
            Ok(result) => Ok(result),
            Err(CatchError::Bailout) => {
                self.bailed_out.set(true);
                Err(CallError::Pending)
            }
            Err(error) => {
                Err(
                    PhpException::new(format!("Rust panic in Admin: {error}"), 0, ce::error())
                        .into(),
                )
            }
        }
    }

    /// Polls signals, the time limit and the log; false if PHP wants to stop.
    pub fn poll_interrupts(&self) -> bool {
        let now = coarse_ms();
        let due = self
            .interrupts_polled
            .get()
            .is_none_or(|last| now.saturating_sub(last) >= INTERRUPT_INTERVAL_MS);
        let served = self.guard(|| {
            zend::serve_interrupt();
            if due {
                signals::dispatch();
                logging::deliver();
            }
        });
        if due {
            self.interrupts_polled.set(Some(now));
        }
        served.is_ok() && !zend::has_exception()
    }

    /// The error of a method whose request failed in the core.
    pub fn error(error: AdminError) -> CallError {
        match error {
            AdminError::Error(error) => error.into(),
            AdminError::Interrupted => CallError::Pending,
        }
    }
}
