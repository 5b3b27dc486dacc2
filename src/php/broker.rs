//! `Toporia\Realtime\Broker`: its configuration, clients and subscriptions, and how it leaves the consumer group.

mod methods;

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ext_php_rs::prelude::*;
use ext_php_rs::types::Zval;

use super::arguments::CallError;
use super::callback::{Callback, Hooks};
use super::{arguments, signatures, OpenObjects};
use crate::config::{BrokerConfig, Delivery};
use crate::dispatch::{self, Style, Subscription, Subscriptions, Target};
use crate::error::{Error, Result};
use crate::kafka::consumer::Consumer;
use crate::kafka::transaction::TransactionalProducer;
use crate::message::Origin;
use crate::publish::Sender;
use crate::runtime;
use crate::worker::consumers::{ConsumerMetrics, CONSUMERS};
use crate::worker::{StopSignal, WorkerCounters};
pub use methods::METHODS;

thread_local! {
    /// Brokers with a consumer.
    static OPEN: OpenObjects<Broker> = const { OpenObjects::new() };
}

/// A Kafka broker as an application sees it. Connects on first use.
///
/// All state is in cells: a callback may call any method of the broker that called it.
#[php_class]
#[php(name = "Toporia\\Realtime\\Broker")]
#[php(flags = ext_php_rs::flags::ClassFlags::Final)]
#[php(implements(ce = signatures::publisher, stub = "\\Toporia\\Realtime\\Contract\\Publisher"))]
#[php(implements(ce = signatures::consumer, stub = "\\Toporia\\Realtime\\Contract\\Consumer"))]
pub struct Broker {
    pub(super) config: Arc<BrokerConfig>,
    sender: RefCell<Option<Sender>>,
    pub(super) subscriptions: RefCell<Subscriptions<Callback>>,
    pub(super) consumer: RefCell<Option<Rc<Consumer>>>,
    pub(super) hooks: Hooks,
    pub(super) stop: StopSignal,
    pub(super) counters: Arc<WorkerCounters>,
    /// The metrics of its consumer, and when they are updated next, in ms.
    pub(super) series: RefCell<Option<Arc<ConsumerMetrics>>>,
    pub(super) next_report_ms: Cell<u64>,
    pub(super) polled: RefCell<Polled>,
    pub(super) strategy: RefCell<Option<Zval>>,
    pub(super) transaction: RefCell<Option<Rc<TransactionalProducer>>>,
    pub(super) generation: u32,
    pub(super) consuming: Cell<bool>,
    pub(super) polling: Cell<bool>,
    pub(super) closing: Cell<bool>,
    pub(super) stop_reason: Cell<Option<&'static str>>,
    /// The zvals last given to the garbage collector, which reads them after the call has returned.
    pub(super) gc_buffer: RefCell<Vec<ManuallyDrop<Zval>>>,
}

impl Broker {
    pub fn with(config: Arc<BrokerConfig>) -> Self {
        Self {
            config,
            sender: RefCell::default(),
            subscriptions: RefCell::default(),
            consumer: RefCell::default(),
            hooks: Hooks::default(),
            stop: StopSignal::default(),
            counters: Arc::default(),
            series: RefCell::default(),
            next_report_ms: Cell::new(0),
            polled: RefCell::default(),
            strategy: RefCell::default(),
            transaction: RefCell::default(),
            generation: runtime::generation(),
            consuming: Cell::new(false),
            polling: Cell::new(false),
            closing: Cell::new(false),
            stop_reason: Cell::new(None),
            gc_buffer: RefCell::default(),
        }
    }

    /// The producer client for this broker's configuration.
    pub(super) fn sender(&self) -> Result<Sender> {
        self.check_fork()?;
        let known = self.sender.borrow().clone();
        if let Some(sender) = known.filter(|sender| !sender.producer.needs_replacement()) {
            return Ok(sender);
        }
        let sender = Sender::shared(Arc::clone(&self.config))?;
        *self.sender.borrow_mut() = Some(sender.clone());
        Ok(sender)
    }

    /// Exactly-once cannot hold when two processes use one transactional.id, so an inherited broker is refused.
    fn check_fork(&self) -> Result<()> {
        if self.config.delivery == Delivery::ExactlyOnce && self.generation != runtime::generation()
        {
            return Err(Error::configuration(
                "This exactly-once broker was created before the process forked and belongs to the parent. Create a \
                new Broker in the child.",
            ));
        }
        Ok(())
    }

    /// The transactional producer of an exactly-once consumer, created on first use.
    pub(super) fn transaction(&self) -> Result<Option<Rc<TransactionalProducer>>> {
        if self.config.delivery != Delivery::ExactlyOnce {
            return Ok(None);
        }
        let mut transaction = self.transaction.borrow_mut();
        if transaction.is_none() {
            *transaction = Some(Rc::new(TransactionalProducer::start(&self.config)?));
        }
        Ok(transaction.clone())
    }

    /// The consumer, started and subscribed on first use and after a fork. `sees_ends`: the first consume() stops at
    /// the ends of partitions.
    pub(super) fn consumer(&self, sees_ends: bool) -> Result<Rc<Consumer>> {
        self.check_fork()?;
        if self.closing.get() {
            return Err(Error::configuration(
                "This broker is closed. Create a new Broker to consume again.",
            ));
        }
        let known = self.consumer.borrow().clone();
        if let Some(consumer) = known {
            if consumer.is_inherited() {
                // It belongs to the parent process. Its threads do not exist here, so it is neither used nor closed.
                self.counters.reset();
                self.series.borrow_mut().take();
                std::mem::forget(self.consumer.borrow_mut().take());
                std::mem::forget(consumer);
            } else {
                return Ok(consumer);
            }
        }
        let filters = self.subscriptions.borrow().filters(&self.config.topics);
        let consumer = Rc::new(Consumer::start(&self.config, &filters, sees_ends)?);
        *self.consumer.borrow_mut() = Some(Rc::clone(&consumer));
        *self.series.borrow_mut() = Some(CONSUMERS.current().register(
            &self.config.consumer_group,
            self.counters.clone(),
            consumer.stats.clone(),
        ));
        self.resubscribe()?;
        Ok(consumer)
    }

    /// The consumer, if it was started in this process.
    pub(super) fn running_consumer(&self) -> Option<Rc<Consumer>> {
        let consumer = self.consumer.borrow().clone();
        consumer.filter(|consumer| !consumer.is_inherited())
    }

    /// Has it closed at the end of the request.
    pub(super) fn register(&self) {
        OPEN.with(|open| open.add(self));
    }

    pub(super) fn add(
        &self,
        target: Target,
        style: Style,
        callback: Option<&Zval>,
        place: &str,
    ) -> Result<(), CallError> {
        let callback =
            match arguments::optional(callback, |value| Ok(Callback::required(value, place)?))? {
                None if style != Style::Pull => {
                    return Err(arguments::type_error(place, "callable", &Zval::null()).into());
                }
                callback => callback,
            };
        let subscription = Subscription::new(target, style, callback);
        self.subscriptions.borrow_mut().add(subscription)?;
        self.resubscribe()?;
        Ok(())
    }

    /// Passes changed subscriptions to a running consumer.
    pub(super) fn resubscribe(&self) -> Result<()> {
        if let Some(consumer) = self.running_consumer() {
            let (filters, fingerprint) = {
                let subscriptions = self.subscriptions.borrow();
                let filters = subscriptions.filters(&self.config.topics);
                (filters, subscriptions.fingerprint())
            };
            consumer.subscribe(filters, fingerprint)?;
        }
        Ok(())
    }

    pub(super) fn subscribe_channel(
        &self,
        channel: &Zval,
        style: Style,
        callback: Option<&Zval>,
        method: &str,
    ) -> Result<(), CallError> {
        let channel = arguments::channel(
            channel,
            &format!("Broker::{method}(): Argument #1 ($channel)"),
        )?;
        let target = dispatch::channels(&channel, &self.config.topics)?;
        self.add(
            target,
            style,
            callback,
            &format!("Broker::{method}(): Argument #2 ($callback)"),
        )
    }

    /// Commits handled records and leaves the group.
    pub(super) fn leave(&self) {
        let consumer = self.consumer.borrow_mut().take();
        if let Some(consumer) = consumer {
            if consumer.is_inherited() {
                std::mem::forget(consumer);
                return;
            }
            consumer
                .assignment
                .records(|all| all.requeue_all(Instant::now()));
            if let Err(error) = consumer.commits.commit_now(Duration::from_secs(3)) {
                runtime::error(error.message());
            }
            let series = self.series.borrow_mut().take();
            if let Some(series) = series {
                CONSUMERS.current().unregister(&series);
            }
            consumer.close();
        }
        self.end_transaction();
    }

    /// Aborts the open transaction; the next consume() starts another.
    pub(super) fn end_transaction(&self) {
        let transaction = self.transaction.borrow_mut().take();
        if let Some(transaction) = transaction {
            if self.generation == runtime::generation() {
                transaction.close();
            } else {
                std::mem::forget(transaction);
            }
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        OPEN.with(|open| open.remove(self));
        self.leave();
    }
}

/// Closes the brokers that are still open at the end of a request.
pub fn leave_all() {
    OPEN.with(|open| open.close(Broker::leave));
}

/// With a callback or for `poll()`.
pub fn style(callback: Option<&Zval>) -> Style {
    match callback.map(Zval::dereference) {
        Some(value) if !value.is_null() => Style::Single,
        _ => Style::Pull,
    }
}

pub type Place = (Rc<str>, i32, i64);

pub fn place(origin: &Origin) -> Place {
    (Rc::clone(&origin.topic), origin.partition, origin.offset)
}

/// The messages that the caller of `poll()` has.
#[derive(Default)]
pub struct Polled {
    /// An isolated message: no other is handed out before its acknowledgement.
    pub isolated: Option<Place>,
    /// The log says that it is waited for.
    is_reported: bool,
    /// The only message since the last commit, handed out when all results before it were acknowledged: a result that
    /// is refused is one of its own.
    pub single: Option<Place>,
}

impl Polled {
    pub fn is_single(&self, place: &Place) -> bool {
        self.single.as_ref() == Some(place)
    }

    pub fn open(&mut self, isolated: Option<Place>) {
        self.isolated = isolated;
        self.is_reported = false;
    }

    pub fn report_open(&mut self) {
        let Some((topic, partition, offset)) = &self.isolated else {
            return;
        };
        if !std::mem::replace(&mut self.is_reported, true) {
            runtime::warn(format!(
                    "Broker::poll() waits for ack() or nack() of the message in topic \"{topic}\" partition \
                     {partition} offset {offset}: Kafka refused a result, so messages are handed out one by one."
                ));
        }
    }
}
