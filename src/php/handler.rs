//! The worker's handler for PHP: converts records to Messages, calls callbacks, polls interrupts.

use std::rc::Rc;

use ext_php_rs::exception::PhpException;
use ext_php_rs::types::{ZendHashTable, Zval};

use super::arguments::Abort;
use super::broker::Broker;
use super::callback::{self, call_hook, Callback};
use super::message::{message_of, origin_of, Message, ReceivedMessages};
use super::retry::{Decision, FailureKind};
use super::signals::{self, Delivered};
use super::{logging, metrics, retry, shutdown, tracing, zend};
use crate::config::Delivery;
use crate::dead_letter::{self, DeadLetter};
use crate::dispatch::Subscription;
use crate::envelope::{headers, Scanned};
use crate::error::{Error, Kind, Result};
use crate::kafka::consumer::rebalance::{RebalanceListener, TopicPartition};
use crate::kafka::consumer::{MessageId, Record};
use crate::loop_guard::HandlingGuard;
use crate::message::Header;
use crate::message::Message as Inner;
use crate::runtime;
use crate::worker::{Handler, Outcome};

/// How often PHP's signal handlers run and log lines are delivered.
const INTERRUPT_INTERVAL_MS: u64 = 50;

/// A broker that is consuming, with its `$this`.
pub struct PhpHandler<'a> {
    pub broker: &'a Broker,
    pub this: &'a Zval,
    /// The process that consumes; another one after a fork in a callback.
    generation: u32,
    /// It consumes in a Fiber that was being destroyed already.
    in_destroyed_fiber: bool,
    received: ReceivedMessages,
}

impl<'a> PhpHandler<'a> {
    pub fn new(broker: &'a Broker, this: &'a Zval) -> Self {
        Self {
            broker,
            this,
            generation: runtime::generation(),
            in_destroyed_fiber: zend::is_fiber_destroyed(),
            received: ReceivedMessages::default(),
        }
    }

    /// The error of a child that was forked in a callback and returned from it into the parent's loop.
    #[inline]
    fn fork_error(&self) -> Option<Abort> {
        if runtime::generation() == self.generation {
            return None;
        }
        if zend::has_exception() {
            return Some(Abort::Pending);
        }
        Some(Abort::Error(Error::configuration(
            "The process forked in a callback, and the child returned into the loop of its parent's Broker. End \
             the child \
             with exit(), or create a new Broker in it.",
        )))
    }

    /// The Fiber that consumes was dropped while a callback or hook had suspended it. Its code unwinds, unless a
    /// `finally` has discarded that: the loop must not continue, as no later callback could suspend.
    #[inline]
    fn fiber_dropped(&self) -> Option<Abort> {
        if self.in_destroyed_fiber || !zend::is_fiber_destroyed() {
            return None;
        }
        if !zend::has_exception() {
            zend::throw_graceful_exit();
        }
        Some(Abort::Pending)
    }

    /// A callback or hook that was cut off from outside: `before` was taken before it was called.
    fn interrupted(&self, before: Delivered) -> Option<Outcome<Abort>> {
        if let Some(abort) = self.fiber_dropped() {
            return Some(Outcome::Interrupted(abort));
        }
        let by_signal = if zend::is_exiting() {
            before.any_since()
        } else {
            zend::has_exception() && before.stop_since()
        };
        by_signal.then_some(Outcome::Interrupted(Abort::Pending))
    }

    /// True for a record that was replayed for another group.
    fn is_for_others(&self, list: &[Header]) -> bool {
        let wanted = list.iter().find(|(name, _)| name == headers::REPLAY_GROUP);
        wanted.is_some_and(|(_, group)| {
            group.as_deref() != Some(self.broker.config.consumer_group.as_bytes())
        })
    }

    /// Decides what happens to a record whose callback threw.
    fn on_failure(&self, message: &Rc<Inner>, item: &Record, before: Delivered) -> Outcome<Abort> {
        if let Some(interrupted) = self.interrupted(before) {
            return interrupted;
        }
        self.outcome_of(message, item, Some(before))
    }

    /// The outcome of the pending exception; `None`: Kafka refuses the results, and another attempt would not help.
    fn outcome_of(
        &self,
        message: &Rc<Inner>,
        item: &Record,
        before: Option<Delivered>,
    ) -> Outcome<Abort> {
        let broker = self.broker;
        if zend::is_exiting() {
            return self.stop_if_exiting(Outcome::Stop(Abort::Pending));
        }
        if callback::is_promise_refused() {
            return Outcome::Stop(Abort::Pending);
        }
        if dead_letter::is_topic(&broker.config, &item.topic) {
            return Outcome::Stop(Abort::Pending);
        }
        let Some(why) = zend::pending_object() else {
            return Outcome::Stop(Abort::Pending);
        };
        zend::clear_exception();
        let cause = retry::cause(&why);
        let (class, reason) = (zend::class_of(&cause), zend::message_of(&cause));
        let chain = zend::chain_of(&cause);
        let last = format!("{class}: {reason}");
        drop(broker.hooks.last_failure.replace(Some(last)));
        let config = &broker.config;
        let place = format!(
            "topic \"{}\" partition {} offset {}",
            item.topic, item.partition, item.offset
        );
        let log = |what: &str| {
            runtime::warn(format!("The callback of {place} failed ({what}): {chain}"));
        };
        broker.hooks.failing.set(true);
        let decision = self.decide(message, &why, &cause, before.is_none());
        broker.hooks.failing.set(false);
        if let Some(interrupted) = before.and_then(|before| self.interrupted(before)) {
            return interrupted;
        }
        let decision = match decision {
            Ok(decision) => decision,
            Err(abort) => return self.stop_if_exiting(Outcome::Stop(abort)),
        };
        let permanent = decision.kind == FailureKind::Permanent;
        match decision.wait {
            Some(wait) => {
                let is_transient = decision.kind == FailureKind::Transient;
                log(&format!(
                    "{}attempt {}, next one in {} ms",
                    if is_transient { "transient, " } else { "" },
                    item.attempt,
                    wait.as_millis()
                ));
                if is_transient {
                    Outcome::Transient(wait)
                } else {
                    Outcome::Retry(wait)
                }
            }
            None if config.delivery == Delivery::AtMostOnce => {
                log("not retried: delivery is at-most-once");
                Outcome::Dropped { permanent }
            }
            None if !config.dlq => {
                zend::throw(why);
                Outcome::Stop(Abort::Pending)
            }
            None => Outcome::DeadLetter(DeadLetter {
                class,
                reason: if decision.is_expired {
                    let limit = config.transient_max_seconds;
                    format!("{reason} (transient for {limit} s: transient_max_seconds)")
                } else {
                    reason
                },
                chain,
                attempts: item.attempt,
                headers_only: false,
                permanent,
            }),
        }
    }

    /// Decides about the next attempt. Calls onFailed(). `is_final`: Kafka refuses the results of this record.
    fn decide(
        &self,
        message: &Rc<Inner>,
        why: &Zval,
        cause: &Zval,
        is_final: bool,
    ) -> Result<Decision, Abort> {
        let broker = self.broker;
        let decision = match broker.config.delivery {
            _ if is_final => Decision::give_up(FailureKind::Permanent),
            Delivery::AtMostOnce => Decision::give_up(retry::kind_of(&broker.config, cause)),
            _ => retry::decide(broker, message, why)?,
        };
        if broker.hooks.call_failed(message, cause, decision) {
            Ok(decision)
        } else {
            Err(Abort::Pending)
        }
    }

    /// The retry strategy or onFailed() may have ended the process too.
    fn stop_if_exiting(&self, outcome: Outcome<Abort>) -> Outcome<Abort> {
        if !zend::is_exiting() {
            return outcome;
        }
        let consumer = self.broker.consumer.borrow().clone();
        if let Some(consumer) = consumer {
            shutdown::on_fatal_error(self.broker, &consumer);
        }
        Outcome::Exiting(Abort::Pending)
    }

    /// Calls a callback, inside the trace of its records where tracing is on.
    fn call(&self, callback: &Callback, argument: &mut [Zval; 1]) -> bool {
        if !tracing::is_on() {
            return callback.call(argument);
        }
        let messages = argument[0].shallow_clone();
        tracing::in_trace(&messages, &self.broker.config.consumer_group, || {
            callback.call(argument)
        })
    }

    #[inline]
    fn mark_handling(&self, messages: &[Rc<Inner>]) -> HandlingGuard {
        match messages {
            // Marked also without the loop guard: sends of the callback belong to these records.
            _ if !self.broker.config.loop_guard => HandlingGuard::many(Vec::new()),
            [one] => HandlingGuard::one(Rc::clone(one)),
            many => HandlingGuard::many(many.to_vec()),
        }
    }

    fn tick(&self, now: u64) -> Result<(), Abort> {
        let hooks = &self.broker.hooks;
        let due = hooks
            .last_tick
            .get()
            .is_none_or(|last| now.saturating_sub(last) >= hooks.every_ms.get());
        let hook = hooks.tick.borrow().clone();
        if let Some(hook) = hook.filter(|_| due && !hooks.in_tick.get()) {
            hooks.last_tick.set(Some(now));
            hooks.in_tick.set(true);
            let returned = hook.call(&mut [self.this.shallow_clone()]);
            hooks.in_tick.set(false);
            if !returned {
                return Err(Abort::Pending);
            }
        }
        Ok(())
    }
}

impl RebalanceListener for PhpHandler<'_> {
    type Abort = Abort;

    fn assigned(&self, list: &[TopicPartition]) -> Result<(), Abort> {
        self.broker.counters.timing.interrupted();
        let hook = self.broker.hooks.assigned.borrow().clone();
        call_hook(hook, list, None)?;
        self.fork_error().map_or(Ok(()), Err)
    }

    fn revoked(&self, list: &[TopicPartition], is_lost: bool) -> Result<(), Abort> {
        self.broker.counters.timing.interrupted();
        let hook = self.broker.hooks.revoked.borrow().clone();
        call_hook(hook, list, Some(is_lost))?;
        self.fork_error().map_or(Ok(()), Err)
    }
}

impl Handler<MessageId> for PhpHandler<'_> {
    type Callback = Callback;

    fn handle(
        &self,
        subscription: &Rc<Subscription<Callback>>,
        item: &Record,
        envelope: Option<&Scanned<'_>>,
    ) -> Outcome<Abort> {
        let Some(callback) = &subscription.callback else {
            return Outcome::Handled;
        };
        let (object, message) = self.received.receive(item, envelope);
        let mut object = [object];
        if !message.headers.is_empty() && self.is_for_others(&message.headers) {
            return Outcome::Skipped;
        }
        let _handling = self.mark_handling(std::slice::from_ref(&message));
        let before = Delivered::now();
        let returned = self.call(callback, &mut object);
        if let Some(abort) = self.fork_error() {
            return Outcome::Exiting(abort);
        }
        if let Some(abort) = self.fiber_dropped() {
            return Outcome::Interrupted(abort);
        }
        if returned {
            let [object] = object;
            self.received.release(object);
            return Outcome::Handled;
        }
        self.on_failure(&message, item, before)
    }

    fn handle_batch(
        &self,
        subscription: &Rc<Subscription<Callback>>,
        items: &[Record],
    ) -> (usize, Outcome<Abort>) {
        let Some(callback) = &subscription.callback else {
            return (items.len(), Outcome::Handled);
        };
        let mut messages = Vec::with_capacity(items.len());
        for item in items {
            // The envelope was scanned when the record was routed; for a list it is scanned again rather than kept
            // borrowed.
            let envelope = item
                .value()
                .and_then(|value| crate::envelope::scan_envelope(value).ok());
            let origin = origin_of(item, envelope.as_ref());
            messages.push(message_of(item, envelope.as_ref(), origin));
        }
        let mut list = ZendHashTable::with_capacity(u32::try_from(messages.len()).unwrap_or(0));
        for message in &messages {
            let object = super::object(Message::new(Rc::clone(message)));
            if let Err(error) = list.push(object) {
                let error = Error::new(Kind::Encoding, error.to_string());
                return (0, Outcome::Stop(Abort::Error(error)));
            }
        }
        let argument = super::array(list);
        let _handling = self.mark_handling(&messages);
        let before = Delivered::now();
        let returned = self.call(callback, &mut [argument]);
        if let Some(abort) = self.fork_error() {
            return (0, Outcome::Exiting(abort));
        }
        if let Some(abort) = self.fiber_dropped() {
            return (0, Outcome::Interrupted(abort));
        }
        if returned {
            return (items.len(), Outcome::Handled);
        }
        let place = super::exceptions::pending_batch_index().min(items.len() - 1);
        match self.on_failure(&messages[place], &items[place], before) {
            Outcome::Interrupted(abort) => (0, Outcome::Interrupted(abort)),
            outcome => (place, outcome),
        }
    }

    fn wants(&self, item: &Record) -> bool {
        !self.is_for_others(&item.headers())
    }

    fn retries_exhausted(&self, item: &Record) -> Option<DeadLetter> {
        let config = &self.broker.config;
        if item.crashes == 0 || item.counted_attempt() - 1 <= config.max_retries || !config.dlq {
            return None;
        }
        Some(DeadLetter {
            class: dead_letter::FATAL.to_owned(),
            reason: format!(
                "its callback ended the process by exit or a fatal error in attempt {}",
                item.crashes
            ),
            chain: String::new(),
            attempts: item.attempt - 1,
            headers_only: false,
            permanent: true,
        })
    }

    fn not_an_envelope(&self, reason: &Error) -> DeadLetter {
        DeadLetter {
            class: "Toporia\\Realtime\\Exception\\EncodingException".to_owned(),
            reason: reason.message().to_owned(),
            chain: String::new(),
            attempts: 0,
            headers_only: false,
            permanent: true,
        }
    }

    fn undelivered(&self, item: &Record, error: Error) -> Outcome<Abort> {
        let envelope = item
            .value()
            .and_then(|value| crate::envelope::scan_envelope(value).ok());
        let origin = origin_of(item, envelope.as_ref());
        let message = message_of(item, envelope.as_ref(), origin);
        PhpException::from(error).throw();
        self.outcome_of(&message, item, None)
    }

    fn dead_letter(&self, item: &Record, dead_letter: &DeadLetter) -> Result<()> {
        shutdown::write_dead_letter(self.broker, item, dead_letter)
    }

    fn poll_interrupts(&self, now: u64) -> Result<(), Abort> {
        let deferred = !self.broker.stop.is_holding() && signals::deliver_deferred();
        zend::serve_interrupt();
        let hooks = &self.broker.hooks;
        let is_due = hooks
            .interrupts_polled
            .get()
            .is_none_or(|last| now.saturating_sub(last) >= INTERRUPT_INTERVAL_MS);
        if is_due || deferred {
            hooks.interrupts_polled.set(Some(now));
            self.broker.counters.timing.interrupted();
            signals::dispatch();
            if zend::has_exception() {
                return Err(Abort::Pending);
            }
            logging::deliver();
            metrics::loop_tick(self.broker, now);
            self.tick(now)?;
        }
        if let Some(abort) = self.fork_error() {
            return Err(abort);
        }
        if let Some(abort) = self.fiber_dropped() {
            return Err(abort);
        }
        if zend::has_exception() {
            return Err(Abort::Pending);
        }
        Ok(())
    }

    fn fail(&self, error: Error) -> Abort {
        Abort::Error(error)
    }
}
