//! `Toporia\Realtime\Admin`: what operators ask of a cluster.

use std::cell::{Cell, RefCell};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ext_php_rs::exception::PhpException;
use ext_php_rs::prelude::*;
use ext_php_rs::types::{ArrayKey, ZendHashTable, Zval};
use ext_php_rs::zend::{bailout, ce, try_catch, CatchError};

use super::arguments::{self, finish, Trouble};
use super::callback::Callback;
use super::message::Message;
use super::{lifecycle, position, signals, state, zend};
use crate::clock::coarse_ms;
use crate::config::BrokerConfig;
use crate::error::{Error, Kind};
use crate::kafka::admin::{self as core, Halt, NewTopic, Reader, Step};
use crate::kafka::native::TopicInfo;

/// PHP's signal handlers and the log get their turn this often.
const BREATH_MS: u64 = 50;
/// While nothing arrives, signals get their turn this often.
const SLICE: Duration = Duration::from_millis(50);

thread_local! {
    /// Those with a client, to be closed at the end of the request even where a fatal error left their objects behind.
    static OPEN: RefCell<Vec<*const Admin>> = const { RefCell::new(Vec::new()) };
}

/// Looks at a cluster and changes its topics. Connects when it is used.
///
/// All state is in cells: the callback of read() may call any method of the object that is calling it.
#[php_class]
#[php(name = "Toporia\\Realtime\\Admin")]
#[php(flags = ext_php_rs::flags::ClassFlags::Final)]
pub struct Admin {
    config: Arc<BrokerConfig>,
    client: RefCell<Option<Rc<core::Admin>>>,
    reading: Cell<bool>,
    closing: Cell<bool>,
}

/// How one call ended for the engine.
#[derive(Default)]
struct Turn {
    /// A fatal error: the engine wants to go on with its end, once everything of ours is given back.
    bailed: Cell<bool>,
    breathed: Cell<Option<u64>>,
}

impl Turn {
    /// Runs code that may end in a fatal error, which jumps: nothing of ours may stand between here and there.
    fn guard<R>(&self, run: impl FnOnce() -> R) -> Result<R, Trouble> {
        match try_catch(AssertUnwindSafe(run)) {
            Ok(result) => Ok(result),
            Err(CatchError::Bailout) => {
                self.bailed.set(true);
                Err(Trouble::Pending)
            }
            Err(error) => {
                Err(
                    PhpException::new(format!("Rust panic in Admin: {error}"), 0, ce::error())
                        .into(),
                )
            }
        }
    }

    /// Signals, time limits and the log; false where PHP wants to stop.
    fn breathe(&self) -> bool {
        let now = coarse_ms();
        let due = self
            .breathed
            .get()
            .is_none_or(|last| now.saturating_sub(last) >= BREATH_MS);
        let served = self.guard(|| {
            zend::serve_interrupt();
            if due {
                signals::dispatch();
                lifecycle::deliver_log();
            }
        });
        if due {
            self.breathed.set(Some(now));
        }
        served.is_ok() && !zend::has_exception()
    }

    fn trouble(halt: Halt) -> Trouble {
        match halt {
            Halt::Error(error) => error.into(),
            Halt::Interrupted => Trouble::Pending,
        }
    }
}

impl Admin {
    /// Runs a method. A fatal error goes on from here, when nothing of ours is left on the stack.
    fn run<T: Default>(&self, method: impl FnOnce(&Turn) -> Result<T, Trouble>) -> PhpResult<T> {
        let turn = Turn::default();
        let result = method(&turn);
        if turn.bailed.get() {
            drop(result);
            self.leave();
            // SAFETY: goes on where the engine was going; what is left here needs no drop.
            unsafe { bailout() }
        }
        if self.closing.get() && !self.reading.get() {
            self.leave();
        }
        finish(result)
    }

    /// The client, made on first use and after a fork.
    fn client(&self) -> Result<Rc<core::Admin>, Error> {
        if self.closing.get() {
            return Err(Error::configuration(
                "This Admin is closed. Make a new one to go on.",
            ));
        }
        let known = self.client.borrow().clone();
        if let Some(client) = known.filter(|client| !client.is_inherited()) {
            return Ok(client);
        }
        let client = Rc::new(core::Admin::start(&self.config)?);
        *self.client.borrow_mut() = Some(Rc::clone(&client));
        OPEN.with(|open| {
            let mut open = open.borrow_mut();
            let this = std::ptr::from_ref(self);
            if !open.contains(&this) {
                open.push(this);
            }
        });
        Ok(client)
    }

    fn leave(&self) {
        let this = std::ptr::from_ref(self);
        OPEN.with(|open| open.borrow_mut().retain(|known| *known != this));
        let client = self.client.borrow_mut().take();
        drop(client);
    }

    fn read_all(
        &self,
        turn: &Turn,
        topic: &str,
        callback: &Callback,
        from: &[(i32, i64)],
    ) -> Result<i64, Trouble> {
        let breathe = || turn.breathe();
        let mut reader =
            Reader::start(&self.client()?, topic, from, &breathe).map_err(Turn::trouble)?;
        let mut count = 0;
        while !self.closing.get() {
            if !turn.breathe() {
                return Err(Trouble::Pending);
            }
            match reader.next(SLICE).map_err(Turn::trouble)? {
                Step::End => break,
                Step::Waiting => {}
                Step::Record(message) => {
                    count += 1;
                    let message = Rc::from(message);
                    let answer =
                        turn.guard(|| callback.ask(&mut [super::object(Message::new(message))]))?;
                    match answer {
                        None => return Err(Trouble::Pending),
                        Some(answer) if answer.is_false() => break,
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

/// The request ends: what is still open is closed, also where nobody can reach it any more.
pub fn close_all() {
    let open = OPEN.with(|open| std::mem::take(&mut *open.borrow_mut()));
    for admin in open {
        // SAFETY: an Admin takes itself off the list when it is dropped.
        unsafe { (*admin).leave() };
    }
}

fn encoding(error: &ext_php_rs::error::Error) -> Trouble {
    Error::new(Kind::Encoding, error.to_string()).into()
}

fn topic_argument(topic: &Zval, method: &str) -> Result<String, Trouble> {
    let place = format!("Admin::{method}(): Argument #1 ($topic)");
    arguments::text(topic, &place).map(std::borrow::Cow::into_owned)
}

/// An array of partition => offset.
fn offsets_argument(value: Option<&Zval>, place: &str) -> Result<Vec<(i32, i64)>, Trouble> {
    let Some(value) = value
        .map(Zval::dereference)
        .filter(|value| !value.is_null())
    else {
        return Ok(Vec::new());
    };
    let mut list = Vec::new();
    for (key, offset) in arguments::array(value, place)? {
        let partition = match &key {
            ArrayKey::Long(number) => i32::try_from(*number).ok().filter(|number| *number >= 0),
            _ => None,
        };
        let offset = offset.dereference();
        let offset = offset
            .long()
            .or_else(|| offset.zend_str()?.as_str().ok()?.parse().ok())
            .filter(|offset| *offset >= 0);
        let (Some(partition), Some(offset)) = (partition, offset) else {
            return Err(Error::configuration(format!(
                "{place} must be an array of partition => offset, whole numbers from 0; \"{key}\" is not so."
            ))
            .into());
        };
        list.push((partition, offset));
    }
    Ok(list)
}

/// The settings of a new topic, by name.
fn settings_argument(value: Option<&Zval>) -> Result<Vec<(String, String)>, Trouble> {
    let place = "Admin::createTopic(): Argument #4 ($config)";
    let Some(value) = value
        .map(Zval::dereference)
        .filter(|value| !value.is_null())
    else {
        return Ok(Vec::new());
    };
    let mut list = Vec::new();
    for (key, setting) in arguments::array(value, place)? {
        let setting = setting.dereference();
        let name = key.to_string();
        let text = if setting.is_bool() {
            setting.is_true().to_string()
        } else {
            arguments::text(setting, &format!("{place}[\"{name}\"]"))?.into_owned()
        };
        list.push((name, text));
    }
    Ok(list)
}

fn whole(value: i64, least: i32, place: &str) -> Result<i32, Error> {
    let number = i32::try_from(value).ok().filter(|number| *number >= least);
    number.ok_or_else(|| {
        Error::configuration(format!(
            "Admin::createTopic(): ${place} must be {least} or more, {value} given."
        ))
    })
}

fn describe(topics: &[TopicInfo]) -> ext_php_rs::error::Result<Zval> {
    let mut all = ZendHashTable::new();
    for topic in topics {
        let mut partitions = ZendHashTable::new();
        for partition in &topic.partitions {
            let numbers = |list: &[i32]| list.iter().map(|id| i64::from(*id)).collect::<Vec<_>>();
            let mut entry = ZendHashTable::new();
            entry.insert("partition", i64::from(partition.id))?;
            entry.insert("leader", i64::from(partition.leader))?;
            entry.insert("replicas", numbers(&partition.replicas))?;
            entry.insert("isr", numbers(&partition.isr))?;
            partitions.push(entry)?;
        }
        let mut entry = ZendHashTable::new();
        entry.insert("partitions", partitions)?;
        all.insert(topic.name.as_str(), entry)?;
    }
    let mut value = Zval::new();
    value.set_hashtable(all);
    Ok(value)
}

fn by_partition<T: ext_php_rs::convert::IntoZval>(
    list: Vec<(i32, T)>,
) -> ext_php_rs::error::Result<Zval> {
    let mut all = ZendHashTable::new();
    for (partition, what) in list {
        all.insert(ArrayKey::Long(i64::from(partition)), what)?;
    }
    let mut value = Zval::new();
    value.set_hashtable(all);
    Ok(value)
}

#[php_impl]
impl Admin {
    /// Reads the configuration; connects nothing yet.
    #[php(optional = config)]
    pub fn __construct(config: Option<&Zval>) -> PhpResult<Self> {
        let read = arguments::optional(config, |config| {
            arguments::array(config, "Admin::__construct(): Argument #1 ($config)")?;
            Ok(arguments::configuration(config))
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

    /// The topics of the cluster, by name.
    #[php(optional = pattern)]
    pub fn topics(&self, pattern: Option<&Zval>) -> PhpResult<Zval> {
        self.run(|turn| {
            let pattern = arguments::optional(pattern, |pattern| {
                arguments::text(pattern, "Admin::topics(): Argument #1 ($pattern)")
            })?;
            let topics = self
                .client()?
                .topics(pattern.as_deref(), &|| turn.breathe())
                .map_err(Turn::trouble)?;
            describe(&topics)
                .map_err(|error| encoding(&error))
                .map(Some)
        })
        .map(Option::unwrap_or_default)
    }

    /// Creates a topic; false where it exists.
    #[php(defaults(partitions = 1, replication = -1))]
    #[php(optional = partitions)]
    pub fn create_topic(
        &self,
        topic: &Zval,
        partitions: i64,
        replication: i64,
        config: Option<&Zval>,
    ) -> PhpResult<bool> {
        self.run(|turn| {
            let replication = if replication == -1 {
                -1
            } else {
                whole(replication, 1, "replication")?
            };
            let new = NewTopic {
                name: topic_argument(topic, "createTopic")?,
                partitions: whole(partitions, 1, "partitions")?,
                replication,
                config: settings_argument(config)?,
            };
            self.client()?
                .create_topic(&new, &|| turn.breathe())
                .map_err(Turn::trouble)
        })
    }

    /// Deletes a topic and all its records.
    pub fn delete_topic(&self, topic: &Zval) -> PhpResult<()> {
        self.run(|turn| {
            let topic = topic_argument(topic, "deleteTopic")?;
            self.client()?
                .delete_topic(&topic, &|| turn.breathe())
                .map_err(Turn::trouble)
        })
    }

    /// Where the partitions of a topic begin and end.
    pub fn offsets(&self, topic: &Zval) -> PhpResult<Zval> {
        self.run(|turn| {
            let topic = topic_argument(topic, "offsets")?;
            let spans = self
                .client()?
                .offsets(&topic, &|| turn.breathe())
                .map_err(Turn::trouble)?;
            let entries: ext_php_rs::error::Result<Vec<_>> = spans
                .iter()
                .map(|span| {
                    let mut entry = ZendHashTable::new();
                    entry.insert("beginning", span.beginning)?;
                    entry.insert("end", span.end)?;
                    Ok((span.partition, entry))
                })
                .collect();
            entries
                .and_then(by_partition)
                .map_err(|error| encoding(&error))
                .map(Some)
        })
        .map(Option::unwrap_or_default)
    }

    /// The first offsets that are not older than a time.
    pub fn offsets_at(&self, topic: &Zval, time: &Zval) -> PhpResult<Zval> {
        self.run(|turn| {
            let topic = topic_argument(topic, "offsetsAt")?;
            let ms = position::time(time, "Admin::offsetsAt(): Argument #2 ($time)")?;
            let found = self
                .client()?
                .offsets_at(&topic, ms, &|| turn.breathe())
                .map_err(Turn::trouble)?;
            by_partition(found)
                .map_err(|error| encoding(&error))
                .map(Some)
        })
        .map(Option::unwrap_or_default)
    }

    /// Hands every record of a topic to the callback.
    #[php(optional = from)]
    pub fn read(&self, topic: &Zval, callback: &Zval, from: Option<&Zval>) -> PhpResult<i64> {
        self.run(|turn| {
            let topic = topic_argument(topic, "read")?;
            let place = "Admin::read(): Argument #2 ($callback)";
            let callback = Callback::new(callback)
                .ok_or_else(|| arguments::type_error(place, "callable", callback))?;
            let from = offsets_argument(from, "Admin::read(): Argument #3 ($from)")?;
            if self.reading.replace(true) {
                return Err(Error::configuration(
                    "Admin::read(): this Admin is reading already. Use a second one inside the callback.",
                )
                .into());
            }
            let result = self.read_all(turn, &topic, &callback, &from);
            self.reading.set(false);
            result
        })
    }

    /// Deletes the records before these offsets.
    pub fn delete_records(&self, topic: &Zval, before: &Zval) -> PhpResult<()> {
        self.run(|turn| {
            let topic = topic_argument(topic, "deleteRecords")?;
            let place = "Admin::deleteRecords(): Argument #2 ($before)";
            arguments::array(before, place)?;
            let before = offsets_argument(Some(before), place)?;
            self.client()?
                .delete_records(&topic, &before, &|| turn.breathe())
                .map_err(Turn::trouble)
        })
    }

    /// Closes the connection. While reading it takes effect after the record in hand.
    pub fn close(&self) {
        self.closing.set(true);
        if !self.reading.get() {
            self.leave();
        }
    }
}
