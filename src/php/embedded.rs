//! `Toporia\Realtime\EmbeddedBroker`: the PHP class around the embedded cluster.

use std::sync::Arc;

use ext_php_rs::prelude::*;
use ext_php_rs::types::{ZendClassObject, Zval};

use super::arguments::{self, finish, fluent, within, CallError};
use super::binary;
use crate::kafka::embedded::{self, EmbeddedCluster, Fault, RequestKind};

/// A Kafka for tests and first steps: librdkafka's mock cluster, in memory, in this process, over the real protocol.
#[php_class]
#[php(name = "Toporia\\Realtime\\EmbeddedBroker")]
#[php(flags = ext_php_rs::flags::ClassFlags::Final)]
pub struct EmbeddedBroker {
    inner: Arc<EmbeddedCluster>,
}

/// The mock cluster allocates every partition in memory.
const MAX_PARTITIONS: i64 = 10_000;

#[php_impl]
impl EmbeddedBroker {
    #[php(vis = "private")]
    fn __construct() -> PhpResult<Self> {
        Err("EmbeddedBroker has no public constructor: use EmbeddedBroker::start().".into())
    }

    /// Starts a cluster that runs until stop() or until the process ends.
    #[php(optional = port)]
    pub fn start(port: Option<&Zval>, host: Option<&Zval>) -> PhpResult<Zval> {
        let start = || {
            let host = arguments::optional(host, |host| {
                arguments::text(host, "EmbeddedBroker::start(): Argument #2 ($host)")
            })?;
            let place = "EmbeddedBroker::start(): Argument #1 ($port)";
            let port = arguments::int_or(port, 0, place)?;
            let port = within(port, 0, i64::from(u16::MAX), place)?;
            let port = u16::try_from(port).unwrap_or(0);
            let inner = EmbeddedCluster::start(host.as_deref().unwrap_or("127.0.0.1"), port)?;
            Ok(super::object(Self { inner }))
        };
        finish(start())
    }

    /// The cluster of `brokers: embedded`, started if it is not running.
    pub fn shared() -> PhpResult<Zval> {
        let shared = || {
            let inner = embedded::shared_cluster()?;
            Ok(super::object(Self { inner }))
        };
        finish(shared())
    }

    /// Its address, in the form of KAFKA_BROKERS.
    pub fn address(&self) -> Zval {
        binary(self.inner.address().as_bytes())
    }

    /// Creates a topic; an existing topic is left unchanged.
    #[php(optional = partitions)]
    pub fn create_topic(
        self_: &ZendClassObject<Self>,
        topic: &Zval,
        partitions: Option<&Zval>,
    ) -> PhpResult<Zval> {
        let create = || {
            let topic =
                arguments::channel(topic, "EmbeddedBroker::createTopic(): Argument #1 ($topic)")?;
            let place = "EmbeddedBroker::createTopic(): Argument #2 ($partitions)";
            let partitions = arguments::int_or(partitions, 1, place)?;
            let partitions = within(partitions, 1, MAX_PARTITIONS, place)?;
            let partitions = i32::try_from(partitions).unwrap_or(1);
            self_.inner.create_topic(&topic, partitions)?;
            Ok(())
        };
        fluent(create())
    }

    /// Answers the next N requests of a kind with an error.
    #[php(optional = times)]
    pub fn fail_next(
        self_: &ZendClassObject<Self>,
        request: &Zval,
        error: &Zval,
        times: Option<&Zval>,
    ) -> PhpResult<Zval> {
        let fail = || {
            let request = arguments::text(
                request,
                "EmbeddedBroker::failNext(): Argument #1 ($request)",
            )?;
            let error = arguments::text(error, "EmbeddedBroker::failNext(): Argument #2 ($error)")?;
            let place = "EmbeddedBroker::failNext(): Argument #3 ($times)";
            let times = arguments::int_or(times, 1, place)?;
            let times = within(times, 1, embedded::MAX_TIMES, place)?;
            let times = usize::try_from(times).unwrap_or(1);
            self_
                .inner
                .fail_next(RequestKind::parse(&request)?, Fault::parse(&error)?, times)?;
            Ok(())
        };
        fluent(fail())
    }

    /// Answers requests for this topic with that error; null ends it.
    pub fn fail_topic(
        self_: &ZendClassObject<Self>,
        topic: &Zval,
        error: &Zval,
    ) -> PhpResult<Zval> {
        let fail = || {
            let topic =
                arguments::channel(topic, "EmbeddedBroker::failTopic(): Argument #1 ($topic)")?;
            let fault = arguments::optional(Some(error), |error| {
                let error =
                    arguments::text(error, "EmbeddedBroker::failTopic(): Argument #2 ($error)")?;
                Ok(Fault::parse(&error)?)
            })?;
            self_.inner.fail_topic(&topic, fault)?;
            Ok(())
        };
        fluent(fail())
    }

    /// Delays every response by N milliseconds; 0 ends it.
    pub fn set_latency(self_: &ZendClassObject<Self>, ms: &Zval) -> PhpResult<Zval> {
        let set = || {
            let place = "EmbeddedBroker::setLatency(): Argument #1 ($ms)";
            let ms = within(
                arguments::int(ms, place)?,
                0,
                embedded::MAX_LATENCY_MS,
                place,
            )?;
            self_.inner.set_latency(i32::try_from(ms).unwrap_or(0))?;
            Ok(())
        };
        fluent(set())
    }

    /// Closes every connection and accepts none until up().
    pub fn down(self_: &ZendClassObject<Self>) -> PhpResult<Zval> {
        fluent(self_.inner.set_up(false).map_err(CallError::from))
    }

    /// Accepts connections again after down().
    pub fn up(self_: &ZendClassObject<Self>) -> PhpResult<Zval> {
        fluent(self_.inner.set_up(true).map_err(CallError::from))
    }

    /// Removes all injected faults.
    pub fn clear_faults(self_: &ZendClassObject<Self>) -> PhpResult<Zval> {
        fluent(self_.inner.clear_faults().map_err(CallError::from))
    }

    /// Stops the cluster and discards its messages. Does nothing if it is stopped already.
    pub fn stop(&self) {
        self.inner.stop();
    }
}
