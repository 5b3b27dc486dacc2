//! `Toporia\Realtime\EmbeddedBroker`.

use std::sync::Arc;

use ext_php_rs::prelude::*;
use ext_php_rs::types::{ZendClassObject, Zval};

use super::arguments::{self, finish};
use super::binary;
use crate::error::Error;
use crate::kafka::embedded::Embedded;

/// A Kafka for tests and first tries: librdkafka's mock cluster, in memory, in this process, over the real protocol.
#[php_class]
#[php(name = "Toporia\\Realtime\\EmbeddedBroker")]
#[php(flags = ext_php_rs::flags::ClassFlags::Final)]
pub struct EmbeddedBroker {
    inner: Arc<Embedded>,
}

#[php_impl]
impl EmbeddedBroker {
    #[php(vis = "private")]
    fn __construct() -> PhpResult<Self> {
        Err("EmbeddedBroker has no public constructor: use EmbeddedBroker::start().".into())
    }

    /// Starts one that runs until stop() or until the process ends.
    #[php(defaults(port = 0))]
    #[php(optional = port)]
    pub fn start(port: i64, host: Option<&Zval>) -> PhpResult<Zval> {
        let start = || {
            let host = arguments::optional(host, |host| {
                arguments::text(host, "EmbeddedBroker::start(): Argument #2 ($host)")
            })?;
            let port = u16::try_from(port).map_err(|_| {
                Error::configuration(format!(
                    "EmbeddedBroker::start(): $port must be from 0 to 65535, {port} given."
                ))
            })?;
            let inner = Embedded::start(host.as_deref().unwrap_or("127.0.0.1"), port)?;
            Ok(Some(super::object(Self { inner })))
        };
        finish(start()).map(|object| object.unwrap_or_else(Zval::null))
    }

    /// Where it listens, as KAFKA_BROKERS wants it.
    pub fn address(&self) -> Zval {
        binary(self.inner.address().as_bytes())
    }

    /// Creates a topic; one that exists stays as it is.
    #[php(defaults(partitions = 1))]
    pub fn create_topic(
        self_: &ZendClassObject<Self>,
        topic: &Zval,
        partitions: i64,
    ) -> PhpResult<Zval> {
        let create = || {
            let topic =
                arguments::text(topic, "EmbeddedBroker::createTopic(): Argument #1 ($topic)")?;
            let partitions = i32::try_from(partitions).ok().filter(|count| *count > 0).ok_or_else(|| {
                Error::configuration(format!("EmbeddedBroker::createTopic(): $partitions must be 1 or more, {partitions} given."))
            })?;
            self_.inner.create_topic(&topic, partitions)?;
            Ok(())
        };
        finish(create())?;
        Ok(super::zend::this())
    }

    /// Stops it; every message in it is gone. Harmless when it is stopped already.
    pub fn stop(&self) {
        self.inner.stop();
    }
}
