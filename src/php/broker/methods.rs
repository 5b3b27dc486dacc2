//! The methods of `Toporia\Realtime\Broker` as PHP calls them: each reads its arguments and calls the module that does
//! the work.

use ext_php_rs::prelude::*;
use ext_php_rs::types::{ZendClassObject, Zval};

use super::{style, Broker};
use crate::dispatch::{self, Style};
use crate::error::Error;
use crate::php::arguments::{self, finish, fluent};
use crate::php::callback::Hooks;
use crate::php::message::Message;
use crate::php::{
    binary, configuration, consume, fakes, int, json, logging, metrics, poll, publish, retry,
    shutdown, state, zend,
};
use crate::worker::Limits;

/// The names of the methods below, in order; the interfaces are built from a subset.
pub const METHODS: &[&str] = &[
    "publish",
    "repeats",
    "publishBatch",
    "send",
    "subscribe",
    "subscribeBatch",
    "subscribeTopic",
    "unsubscribe",
    "consume",
    "stopConsuming",
    "onAssigned",
    "onRevoked",
    "onTick",
    "onFailed",
    "retryWith",
    "pause",
    "resume",
    "seek",
    "poll",
    "ack",
    "nack",
    "stats",
    "close",
];

#[php_impl]
impl Broker {
    /// Reads the configuration; connects nothing yet.
    #[php(optional = config)]
    pub fn __construct(config: Option<&Zval>) -> PhpResult<Self> {
        zend::refuse_second_construction::<Self>()?;
        let config = configuration::given(config, "Broker::__construct(): Argument #1 ($config)");
        let config = finish(config)?;
        Ok(Self::with(state::broker_config(None, config.as_ref())?))
    }

    /// Sends a message to a channel.
    #[php(optional = key)]
    pub fn publish(
        &self,
        channel: &Zval,
        message: &Zval,
        key: Option<&Zval>,
        headers: Option<&Zval>,
    ) -> PhpResult<Zval> {
        let inner = Message::of(message, "Broker::publish(): Argument #2 ($message)")?;
        if let Some(publisher) = fakes::publisher() {
            return fakes::call(
                &publisher,
                "publish",
                &[Some(channel), Some(message), key, headers],
            );
        }
        let send = || {
            let channel = arguments::channel(channel, "Broker::publish(): Argument #1 ($channel)")?;
            let key = arguments::optional(key, |key| {
                arguments::bytes(key, "Broker::publish(): Argument #3 ($key)")
            })?;
            let headers =
                arguments::record_headers(headers, "Broker::publish(): Argument #4 ($headers)")?;
            publish::publish(
                &self.sender()?,
                &channel,
                &inner.inner,
                key.as_deref(),
                headers,
            )
        };
        let result = finish(send()).map(|id: String| binary(id.as_bytes()));
        logging::deliver_if_waiting();
        result
    }

    /// True while a callback is handling a message with the same channel, event and data.
    pub fn repeats(&self, channel: &Zval, message: &Zval) -> PhpResult<bool> {
        let inner = Message::of(message, "Broker::repeats(): Argument #2 ($message)")?;
        if let Some(fake) = fakes::fake() {
            return fakes::call(&fake, "repeats", &[Some(channel), Some(message)])
                .map(|result| result.is_true());
        }
        let repeats = || {
            let channel = arguments::channel(channel, "Broker::repeats(): Argument #1 ($channel)")?;
            Ok(crate::publish::repeats_message(
                &self.config,
                &channel,
                &inner.inner,
            ))
        };
        finish(repeats())
    }

    /// Sends many messages and waits for their acknowledgement.
    #[php(optional = flushTimeoutMs)]
    pub fn publish_batch(&self, messages: &Zval, flushTimeoutMs: Option<&Zval>) -> PhpResult<Zval> {
        let place = "Broker::publishBatch(): Argument #2 ($flushTimeoutMs)";
        let timeout = arguments::int_or(flushTimeoutMs, 10_000, place)?;
        if let Some(publisher) = fakes::publisher() {
            return fakes::call(
                &publisher,
                "publishBatch",
                &[Some(messages), Some(&int(timeout))],
            );
        }
        let timeout = arguments::milliseconds(timeout, place)?;
        finish(publish::publish_batch(self, messages, timeout))
    }

    /// Sends a record to a raw topic.
    #[php(optional = key)]
    pub fn send(
        &self,
        topic: &Zval,
        value: &Zval,
        key: Option<&Zval>,
        headers: Option<&Zval>,
        partition: Option<&Zval>,
    ) -> PhpResult<Zval> {
        let partition =
            arguments::optional_int(partition, "Broker::send(): Argument #5 ($partition)")?;
        if let Some(publisher) = fakes::publisher() {
            let partition = partition.map(int);
            return fakes::call(
                &publisher,
                "send",
                &[Some(topic), Some(value), key, headers, partition.as_ref()],
            );
        }
        let send = || {
            let topic = arguments::channel(topic, "Broker::send(): Argument #1 ($topic)")?;
            let key = arguments::optional(key, |key| {
                arguments::bytes(key, "Broker::send(): Argument #3 ($key)")
            })?;
            let headers =
                arguments::raw_headers(headers, "Broker::send(): Argument #4 ($headers)")?;
            let partition = partition.map(|number| {
                let number = i32::try_from(number).ok().filter(|number| *number >= 0);
                number.ok_or_else(|| {
                    Error::configuration(
                        "Broker::send(): $partition must be 0 or more; null selects it by the key.",
                    )
                })
            });
            let partition = partition.transpose()?;
            let sender = self.sender()?;
            let value = value.dereference();
            let send = |bytes: Option<&[u8]>| {
                publish::send_raw(&sender, &topic, bytes, key.as_deref(), headers, partition)
            };
            if value.is_null() {
                return send(None);
            }
            if let Some(text) = value.zend_str() {
                return send(Some(text.as_bytes()));
            }
            json::with_buffer(|bytes| {
                json::encode_named("value", value, bytes)?;
                send(Some(bytes))
            })
        };
        let result = finish(send()).map(|id: String| binary(id.as_bytes()));
        logging::deliver_if_waiting();
        result
    }

    /// Subscribes to a channel or a channel pattern; without a callback, for poll().
    #[php(optional = callback)]
    pub fn subscribe(
        self_: &ZendClassObject<Self>,
        channel: &Zval,
        callback: Option<&Zval>,
    ) -> PhpResult<Zval> {
        if let Some(fake) = fakes::consumer() {
            return fakes::chain(&fake, "subscribe", &[Some(channel), callback]);
        }
        fluent(self_.subscribe_channel(channel, style(callback), callback, "subscribe"))
    }

    /// Subscribes with a callback that receives lists of messages.
    pub fn subscribe_batch(
        self_: &ZendClassObject<Self>,
        channel: &Zval,
        callback: &Zval,
    ) -> PhpResult<Zval> {
        if let Some(fake) = fakes::consumer() {
            return fakes::chain(&fake, "subscribeBatch", &[Some(channel), Some(callback)]);
        }
        fluent(self_.subscribe_channel(channel, Style::Batch, Some(callback), "subscribeBatch"))
    }

    /// Subscribes to a raw topic or a topic pattern.
    #[php(optional = callback)]
    pub fn subscribe_topic(
        self_: &ZendClassObject<Self>,
        topic: &Zval,
        callback: Option<&Zval>,
    ) -> PhpResult<Zval> {
        if let Some(fake) = fakes::consumer() {
            return fakes::chain(&fake, "subscribeTopic", &[Some(topic), callback]);
        }
        let add = || {
            let topic =
                arguments::channel(topic, "Broker::subscribeTopic(): Argument #1 ($topic)")?;
            let target = dispatch::topics(&topic)?;
            self_.add(
                target,
                style(callback),
                callback,
                "Broker::subscribeTopic(): Argument #2 ($callback)",
            )
        };
        fluent(add())
    }

    /// Removes a subscription by the name it was added with.
    pub fn unsubscribe(self_: &ZendClassObject<Self>, channel: &Zval) -> PhpResult<Zval> {
        if let Some(fake) = fakes::consumer() {
            return fakes::chain(&fake, "unsubscribe", &[Some(channel)]);
        }
        let remove = || {
            let name =
                arguments::channel(channel, "Broker::unsubscribe(): Argument #1 ($channel)")?;
            if self_.subscriptions.borrow_mut().remove(&name) {
                self_.resubscribe()?;
            }
            Ok(())
        };
        fluent(remove())
    }

    /// Passes records to the callbacks until a limit is reached or it is asked to stop.
    #[php(optional = timeoutMs)]
    pub fn consume(
        self_: &ZendClassObject<Self>,
        timeoutMs: Option<&Zval>,
        batchSize: Option<&Zval>,
        maxMessages: Option<&Zval>,
        stopWhenEmpty: Option<&Zval>,
    ) -> PhpResult<i64> {
        const TIMEOUT: &str = "Broker::consume(): Argument #1 ($timeoutMs)";
        const BATCH: &str = "Broker::consume(): Argument #2 ($batchSize)";
        const MOST: &str = "Broker::consume(): Argument #3 ($maxMessages)";
        const EMPTY: &str = "Broker::consume(): Argument #4 ($stopWhenEmpty)";
        let timeout = arguments::int_or(timeoutMs, 1000, TIMEOUT)?;
        let batch = arguments::int_or(batchSize, 100, BATCH)?;
        let most = arguments::int_or(maxMessages, 0, MOST)?;
        let when_empty = arguments::boolean(stopWhenEmpty, false, EMPTY)?;
        if let Some(fake) = fakes::consumer() {
            let mut empty = Zval::new();
            empty.set_bool(when_empty);
            let numbers = [timeout, batch, most].map(int);
            let [timeout, batch, most] = &numbers;
            let args = [Some(timeout), Some(batch), Some(most), Some(&empty)];
            return fakes::run(&fake, "consume", &args).map(|handled| handled.long().unwrap_or(0));
        }
        let limits = Limits {
            wait: arguments::milliseconds(timeout, TIMEOUT)?,
            batch: usize::try_from(arguments::at_least(batch, 1, BATCH)?).unwrap_or(usize::MAX),
            max_messages: arguments::at_least(most, 0, MOST)?,
            when_empty,
        };
        finish(consume::run(self_, &zend::this(), limits))
    }

    /// Asks consume() to return after the current record.
    pub fn stop_consuming(&self) -> PhpResult<()> {
        if let Some(fake) = fakes::consumer() {
            return fakes::call(&fake, "stopConsuming", &[]).map(drop);
        }
        self.stop.request();
        Ok(())
    }

    /// Calls back when partitions are assigned to this consumer.
    pub fn on_assigned(self_: &ZendClassObject<Self>, callback: &Zval) -> PhpResult<Zval> {
        Hooks::set(
            &self_.hooks.assigned,
            callback,
            "Broker::onAssigned(): Argument #1 ($callback)",
        )?;
        Ok(zend::this())
    }

    /// Calls back when partitions are revoked.
    pub fn on_revoked(self_: &ZendClassObject<Self>, callback: &Zval) -> PhpResult<Zval> {
        Hooks::set(
            &self_.hooks.revoked,
            callback,
            "Broker::onRevoked(): Argument #1 ($callback)",
        )?;
        Ok(zend::this())
    }

    /// Calls back at an interval from within consume(), also while no records arrive.
    #[php(optional = everyMs)]
    pub fn on_tick(
        self_: &ZendClassObject<Self>,
        callback: &Zval,
        everyMs: Option<&Zval>,
    ) -> PhpResult<Zval> {
        let place = "Broker::onTick(): Argument #2 ($everyMs)";
        let every = arguments::at_least(arguments::int_or(everyMs, 1000, place)?, 0, place)?;
        Hooks::set(
            &self_.hooks.tick,
            callback,
            "Broker::onTick(): Argument #1 ($callback)",
        )?;
        self_.hooks.every_ms.set(every);
        Ok(zend::this())
    }

    /// Calls back after every failed attempt of a record.
    pub fn on_failed(self_: &ZendClassObject<Self>, callback: &Zval) -> PhpResult<Zval> {
        Hooks::set(
            &self_.hooks.failed,
            callback,
            "Broker::onFailed(): Argument #1 ($callback)",
        )?;
        Ok(zend::this())
    }

    /// Replaces the configured backoff by a retry strategy; null restores it.
    pub fn retry_with(self_: &ZendClassObject<Self>, strategy: &Zval) -> PhpResult<Zval> {
        fluent(retry::set_strategy(self_, Some(strategy)))
    }

    /// Stops fetching without giving up partitions.
    #[php(optional = topic)]
    pub fn pause(
        self_: &ZendClassObject<Self>,
        topic: Option<&Zval>,
        partition: Option<&Zval>,
    ) -> PhpResult<Zval> {
        fluent(consume::set_paused(self_, topic, partition, true, "pause"))
    }

    /// Fetches again after pause().
    #[php(optional = topic)]
    pub fn resume(
        self_: &ZendClassObject<Self>,
        topic: Option<&Zval>,
        partition: Option<&Zval>,
    ) -> PhpResult<Zval> {
        fluent(consume::set_paused(
            self_, topic, partition, false, "resume",
        ))
    }

    /// Continues from another position of an assigned partition.
    pub fn seek(
        self_: &ZendClassObject<Self>,
        topic: &Zval,
        partition: &Zval,
        position: &Zval,
    ) -> PhpResult<Zval> {
        fluent(consume::seek(self_, topic, partition, position))
    }

    /// The next message, or null if none arrives within timeoutMs.
    #[php(optional = timeoutMs)]
    pub fn poll(self_: &ZendClassObject<Self>, timeoutMs: Option<&Zval>) -> PhpResult<Zval> {
        let place = "Broker::poll(): Argument #1 ($timeoutMs)";
        let timeout = arguments::int_or(timeoutMs, 1000, place)?;
        if let Some(fake) = fakes::consumer() {
            return fakes::run(&fake, "poll", &[Some(&int(timeout))]);
        }
        let timeout = arguments::milliseconds(timeout, place)?;
        finish(poll::poll(self_, &zend::this(), timeout)).map(Option::unwrap_or_default)
    }

    /// Acknowledges a message: its offset is committed once all messages before it are acknowledged too.
    pub fn ack(self_: &ZendClassObject<Self>, message: &Zval) -> PhpResult<()> {
        let received = Message::of(message, "Broker::ack(): Argument #1 ($message)")?;
        if let Some(fake) = fakes::consumer() {
            return fakes::call(&fake, "ack", &[Some(message)]).map(drop);
        }
        finish(poll::ack(self_, &zend::this(), received))
    }

    /// Rejects a message: it is delivered again after a delay, or dead-lettered.
    #[php(optional = why)]
    pub fn nack(
        self_: &ZendClassObject<Self>,
        message: &Zval,
        why: Option<&Zval>,
    ) -> PhpResult<()> {
        let received = Message::of(message, "Broker::nack(): Argument #1 ($message)")?;
        if let Some(fake) = fakes::consumer() {
            return fakes::call(&fake, "nack", &[Some(message), why]).map(drop);
        }
        finish(poll::nack(self_, &zend::this(), received, why))
    }

    /// Counters and state of this broker's consumer.
    pub fn stats(&self) -> PhpResult<Zval> {
        metrics::broker_stats(self).map_err(|error| error.to_string().into())
    }

    /// Leaves the group and closes the connection, after flushing queued messages.
    pub fn close(&self) -> PhpResult<()> {
        finish(shutdown::close(self))
    }
}
