//! Callbacks for events other than records: assigned and revoked partitions, the tick, failed attempts.

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::time::Duration;

use ext_php_rs::exception::PhpException;
use ext_php_rs::types::{ZendHashTable, Zval};

use super::callback::Callback;
use super::handler::Abort;
use super::message::Message;
use super::retry::{Decision, FailureKind};
use super::{arguments, fakes};
use crate::error::{Error, Kind};
use crate::kafka::consumer::assignment::TopicPartition;
use crate::message::Message as Inner;

#[derive(Default)]
pub struct Hooks {
    pub(super) assigned: RefCell<Option<Rc<Callback>>>,
    pub(super) revoked: RefCell<Option<Rc<Callback>>>,
    pub(super) tick: RefCell<Option<Rc<Callback>>>,
    pub(super) failed: RefCell<Option<Rc<Callback>>>,
    pub(super) every_ms: Cell<u64>,
    pub(super) last_tick: Cell<Option<u64>>,
    pub(super) interrupts_polled: Cell<Option<u64>>,
    pub(super) in_tick: Cell<bool>,
    /// A failed attempt is being reported; stats() called from there counts it already.
    pub failing: Cell<bool>,
    /// Class and message of the exception of the last failed attempt.
    pub last_failure: RefCell<Option<String>>,
}

fn callback(value: &Zval, place: &str) -> Result<Rc<Callback>, PhpException> {
    Callback::new(value)
        .map(Rc::new)
        .ok_or_else(|| arguments::type_error(place, "callable", value))
}

impl Hooks {
    pub fn set_assigned(&self, value: &Zval, place: &str) -> Result<(), PhpException> {
        let old = self.assigned.replace(Some(callback(value, place)?));
        drop(old);
        Ok(())
    }

    pub fn set_revoked(&self, value: &Zval, place: &str) -> Result<(), PhpException> {
        let old = self.revoked.replace(Some(callback(value, place)?));
        drop(old);
        Ok(())
    }

    pub fn set_tick(&self, value: &Zval, every: Duration, place: &str) -> Result<(), PhpException> {
        let old = self.tick.replace(Some(callback(value, place)?));
        drop(old);
        self.every_ms
            .set(u64::try_from(every.as_millis()).unwrap_or(u64::MAX));
        Ok(())
    }

    pub fn set_failed(&self, value: &Zval, place: &str) -> Result<(), PhpException> {
        let old = self.failed.replace(Some(callback(value, place)?));
        drop(old);
        Ok(())
    }

    /// Reports a failed attempt to onFailed(). False where that callback threw.
    pub fn call_failed(&self, message: &Rc<Inner>, why: &Zval, decision: Decision) -> bool {
        let hook = self.failed.borrow().clone();
        let Some(hook) = hook else {
            return true;
        };
        let wait = decision.wait.map_or_else(Zval::null, |wait| {
            fakes::int(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX))
        });
        let message = super::object(Message::new(Rc::clone(message)));
        let mut is_transient = Zval::new();
        is_transient.set_bool(decision.kind == FailureKind::Transient);
        hook.call(&mut [message, why.shallow_clone(), wait, is_transient])
    }

    /// Adds the callables for the garbage collector.
    pub fn collect_callables(&self, list: &mut Vec<ManuallyDrop<Zval>>) {
        for hook in [&self.assigned, &self.revoked, &self.tick, &self.failed] {
            if let Ok(hook) = hook.try_borrow() {
                list.extend(hook.iter().map(|hook| hook.borrowed_zval()));
            }
        }
    }
}

fn partitions(list: &[TopicPartition], is_lost: Option<bool>) -> ext_php_rs::error::Result<Zval> {
    let mut all = ZendHashTable::new();
    for (topic, partition) in list {
        let mut entry = ZendHashTable::new();
        entry.insert("topic", topic.as_str())?;
        entry.insert("partition", i64::from(*partition))?;
        if let Some(is_lost) = is_lost {
            entry.insert("lost", is_lost)?;
        }
        all.push(entry)?;
    }
    let mut value = Zval::new();
    value.set_hashtable(all);
    Ok(value)
}

/// Calls a hook that takes a list of partitions.
pub fn call_hook(
    hook: Option<Rc<Callback>>,
    list: &[TopicPartition],
    is_lost: Option<bool>,
) -> Result<(), Abort> {
    let Some(hook) = hook else {
        return Ok(());
    };
    let list = partitions(list, is_lost)
        .map_err(|error| Abort::Error(Error::new(Kind::Encoding, error.to_string())))?;
    if hook.call(&mut [list]) {
        Ok(())
    } else {
        Err(Abort::Pending)
    }
}
