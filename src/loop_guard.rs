//! Compares messages that a callback sends with the records it is handling, so that a consumer which broadcasts what it
//! consumed does not feed itself for ever.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::Ordering;

use crate::envelope::{headers, same_json};
use crate::error::{Error, Kind, Result};
use crate::message::Message;
use crate::runtime::{self, current_fiber, is_fiber_suspended};

/// A running callback.
struct Entry {
    number: u64,
    fiber: usize,
    handled: Handled,
}

enum Handled {
    One(Rc<Message>),
    Many(Vec<Rc<Message>>),
}

impl Handled {
    fn messages(&self) -> &[Rc<Message>] {
        match self {
            Self::One(message) => std::slice::from_ref(message),
            Self::Many(messages) => messages,
        }
    }
}

/// The callbacks of this thread that are running.
struct Handling {
    /// One entry per running callback; callbacks nest when one consumes from a second broker. In Fibers an
    /// outer one may end first, so each removes its own entry.
    callbacks: RefCell<Vec<Entry>>,
    /// Number of the last callback.
    last: Cell<u64>,
}

thread_local! {
    /// True while a message of poll() is being handled, and the number of running callbacks. Read for every message
    /// sent, so apart from what has a destructor.
    static ACTIVE: Cell<(bool, usize)> = const { Cell::new((false, 0)) };
    static HANDLING: Handling = const {
        Handling {
            callbacks: RefCell::new(Vec::new()),
            last: Cell::new(0),
        }
    };
}

/// Marks the records of a callback as being handled until it is dropped.
pub struct HandlingGuard {
    number: u64,
}

impl HandlingGuard {
    #[must_use]
    pub fn one(message: Rc<Message>) -> Self {
        Self::push(Handled::One(message))
    }

    #[must_use]
    pub fn many(messages: Vec<Rc<Message>>) -> Self {
        Self::push(Handled::Many(messages))
    }

    fn push(messages: Handled) -> Self {
        let fiber = current_fiber();
        HANDLING.with(|handling| {
            let mut stack = handling.callbacks.borrow_mut();
            let number = handling.last.get() + 1;
            handling.last.set(number);
            stack.push(Entry {
                number,
                fiber,
                handled: messages,
            });
            ACTIVE.set((ACTIVE.get().0, stack.len()));
            Self { number }
        })
    }
}

impl Drop for HandlingGuard {
    fn drop(&mut self) {
        HANDLING.with(|handling| {
            let mut stack = handling.callbacks.borrow_mut();
            if stack
                .last()
                .is_some_and(|entry| entry.number == self.number)
            {
                stack.pop();
            } else {
                stack.retain(|entry| entry.number != self.number);
            }
            ACTIVE.set((ACTIVE.get().0, stack.len()));
        });
    }
}

/// Marks whether a message returned by poll() is being handled, until the next poll().
pub fn set_polled(polled: bool) {
    ACTIVE.set((polled, ACTIVE.get().1));
}

/// True while a record is being handled: messages sent now must be delivered before its offset is committed.
#[inline]
#[must_use]
pub fn is_handling() -> bool {
    let (polled, callbacks) = ACTIVE.get();
    polled || (callbacks > 0 && innermost().is_some())
}

/// The number of the innermost callback that is not suspended in a Fiber.
fn innermost() -> Option<u64> {
    let (number, fiber) = HANDLING.with(|handling| {
        let stack = handling.callbacks.borrow();
        stack.last().map(|entry| (entry.number, entry.fiber))
    })?;
    if fiber == 0 {
        return Some(number);
    }
    let all: Vec<_> = HANDLING.with(|handling| {
        let stack = handling.callbacks.borrow();
        let entries = stack.iter().rev();
        entries.map(|entry| (entry.number, entry.fiber)).collect()
    });
    let running = all
        .into_iter()
        .find(|(_, fiber)| !is_fiber_suspended(*fiber));
    running.map(|(number, _)| number)
}

/// Calls `read` with the records of the innermost callback.
fn with_innermost<R>(read: impl FnOnce(&[Rc<Message>]) -> Option<R>) -> Option<R> {
    let number = innermost()?;
    HANDLING.with(|handling| {
        let stack = handling.callbacks.borrow();
        let entry = stack.iter().rfind(|entry| entry.number == number)?;
        read(entry.handled.messages())
    })
}

/// Clears all marks after a fatal error, which ends callbacks without unwinding.
pub fn clear() {
    ACTIVE.set((false, 0));
    HANDLING.with(|handling| {
        handling.callbacks.borrow_mut().clear();
    });
}

/// The id of a record being handled that has exactly this content, if any; counted as dropped.
#[must_use]
pub fn repeats(channel: &str, event: &str, data_json: Option<&[u8]>) -> Option<String> {
    with_innermost(|messages| {
        let same = messages.iter().find(|message| {
            message.channel() == Some(channel)
                && message.event() == Some(event)
                && match (message.data_json(), data_json) {
                    (None, None) => true,
                    (Some(theirs), Some(ours)) => same_json(theirs, ours),
                    _ => false,
                }
        })?;
        runtime::current()
            .counters
            .loop_dropped
            .fetch_add(1, Ordering::Relaxed);
        Some(same.id().into_owned())
    })
}

/// How many times a message sent now was published again by its own consumer: one more than the record being handled, 0
/// outside a callback.
///
/// # Errors
/// HopLimit: more than `max_hops`.
pub fn hops(max_hops: u32) -> Result<u32> {
    let hops = with_innermost(|messages| {
        let hops = messages.iter().map(|message| hops_of(message) + 1);
        hops.max()
    });
    match hops {
        Some(hops) if hops > max_hops => Err(Error::new(
            Kind::HopLimit,
            format!(
                "Not sent: the record being handled was already published again by its own consumer {max_hops} times \
                (max_hops). \
                 Two consumers probably publish to each other."
            ),
        )),
        hops => Ok(hops.unwrap_or(0)),
    }
}

fn hops_of(message: &Message) -> u32 {
    let header = message
        .headers
        .iter()
        .find(|(name, _)| name == headers::HOPS);
    header
        .and_then(|(_, value)| std::str::from_utf8(value.as_deref()?).ok()?.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{hops, repeats, HandlingGuard, Message};

    #[test]
    fn only_an_identical_message_counts_as_a_repeat() {
        let message = Message::new(Some("user.1"), "paid", Some(br#"{"a":1,"b":"x\/y"}"#));
        let id = message.id().into_owned();
        assert_eq!(repeats("user.1", "paid", Some(b"{}")), None);
        let guard = HandlingGuard::one(message.into());
        assert_eq!(
            repeats("user.1", "paid", Some(br#"{"b":"x/y","a":1}"#)),
            Some(id)
        );
        assert_eq!(
            repeats("user.2", "paid", Some(br#"{"a":1,"b":"x\/y"}"#)),
            None
        );
        assert_eq!(repeats("user.1", "paid", None), None);
        drop(guard);
        assert_eq!(
            repeats("user.1", "paid", Some(br#"{"b":"x/y","a":1}"#)),
            None
        );
    }

    #[test]
    fn hops_are_counted_up_to_max_hops() {
        assert_eq!(hops(8), Ok(0));
        let old = Message::new(Some("a"), "e", None)
            .with_headers(vec![("x-realtime-hops".into(), Some(b"7".to_vec()))]);
        let _guard = HandlingGuard::many(vec![old.into()]);
        assert_eq!(hops(8), Ok(8));
        assert!(hops(7).is_err());
    }
}
