//! Events that no browser receives: their reasons, as warnings for the log of the sender and of the gateway, which
//! otherwise only counts them.

use std::fmt;

use super::socket_channel::{is_reserved_event, is_subscribable, MAX_NAME};
use crate::log::{Log, MinuteLog};

/// Why no browser receives an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The name is not valid for a socket channel, with any prefix.
    ChannelName,
    /// The event's name is reserved for the protocol.
    ReservedEvent,
    /// The data is larger than `max_event`.
    TooLarge {
        /// Size of the data, in bytes.
        bytes: usize,
        max: usize,
    },
    /// Plain data for an encrypted channel.
    PlainData,
    /// The data of the record is not JSON.
    NotJson,
}

impl Reason {
    /// The reason that lies in the name of an event or in the size of its data, for senders, the HTTP API and gateways.
    #[must_use]
    pub fn of(event: &str, bytes: usize, max: usize) -> Option<Self> {
        if bytes > max {
            Some(Self::TooLarge { bytes, max })
        } else if is_reserved_event(event) {
            Some(Self::ReservedEvent)
        } else {
            None
        }
    }
}

/// An event that no browser receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undeliverable<'a> {
    pub channel: &'a str,
    pub event: &'a str,
    pub reason: Reason,
}

impl<'a> Undeliverable<'a> {
    /// Checks an event as its sender can: `bytes` is the size of its data, `max` the gateways' `max_event`.
    #[must_use]
    pub fn check(channel: &'a str, event: &'a str, bytes: usize, max: usize) -> Option<Self> {
        let is_name = || is_subscribable(channel, true);
        let reason = Reason::of(event, bytes, max)
            .or_else(|| (!is_name()).then_some(Reason::ChannelName))?;
        Some(Self {
            channel,
            event,
            reason,
        })
    }
}

impl fmt::Display for Undeliverable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |text: &str| text.escape_debug().take(200).collect::<String>();
        write!(
            f,
            "No browser receives event \"{}\" on channel \"{}\": ",
            short(self.event),
            short(self.channel)
        )?;
        match &self.reason {
            Reason::ChannelName => write!(
                f,
                "browsers cannot subscribe to this name. A name has, with its prefix, at most {MAX_NAME} characters of \
                A-Z a-z 0-9 _ - = @ , . ; (this one has {}). PHP consumers receive the event.",
                self.channel.chars().count()
            ),
            Reason::ReservedEvent => f.write_str(
                "event names that begin with pusher:, pusher_internal: or realtime: are reserved. Rename the event.",
            ),
            Reason::TooLarge { bytes, max } => write!(
                f,
                "its data has {bytes} bytes, more than realtime.gateway.max_event ({max}). Send less, such as an id \
                that the browser requests, or raise max_event on every gateway."
            ),
            Reason::NotJson => f.write_str(
                "its data is not valid JSON. The record was not written by a client of this extension.",
            ),
            Reason::PlainData => f.write_str(
                "the channel is encrypted and the data is not. Set realtime.gateway.encryption_master_key \
                (REALTIME_ENCRYPTION_MASTER_KEY) where the event is sent.",
            ),
        }
    }
}

/// Logs each reason at most once a minute.
#[derive(Debug, Default)]
pub struct UndeliverableLog {
    names: MinuteLog,
    events: MinuteLog,
    sizes: MinuteLog,
    plain: MinuteLog,
    broken: MinuteLog,
}

impl UndeliverableLog {
    pub fn warn(&self, to: &Log, event: &Undeliverable<'_>) {
        let log = match event.reason {
            Reason::ChannelName => &self.names,
            Reason::ReservedEvent => &self.events,
            Reason::TooLarge { .. } => &self.sizes,
            Reason::PlainData => &self.plain,
            Reason::NotJson => &self.broken,
        };
        log.warn(to, || event.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_that_no_browser_receives_have_a_reason() {
        let long = "a".repeat(200);
        let table = [
            ("order.7", "paid", 10, None),
            ("private-order.7", "paid", 10, None),
            ("#server-to-user-ü", "paid", 10, None),
            ("order:7", "paid", 10, Some(Reason::ChannelName)),
            ("chat.Zürich", "paid", 10, Some(Reason::ChannelName)),
            (long.as_str(), "paid", 10, Some(Reason::ChannelName)),
            ("private-a b", "paid", 10, Some(Reason::ChannelName)),
            ("order.7", "pusher:ping", 10, Some(Reason::ReservedEvent)),
            (
                "order.7",
                "paid",
                101,
                Some(Reason::TooLarge {
                    bytes: 101,
                    max: 100,
                }),
            ),
        ];
        for (channel, event, bytes, reason) in table {
            let found = Undeliverable::check(channel, event, bytes, 100);
            if let Some(found) = &found {
                assert!(found.to_string().contains("paid") || event != "paid");
            }
            assert_eq!(found.map(|found| found.reason), reason, "{channel} {event}");
        }
    }

    #[test]
    fn a_warning_names_channel_size_and_setting() {
        let text = Undeliverable::check("order.7", "paid", 300_000, 262_144)
            .map(|event| event.to_string())
            .unwrap_or_default();
        for part in [
            "\"order.7\"",
            "\"paid\"",
            "300000",
            "realtime.gateway.max_event (262144)",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
