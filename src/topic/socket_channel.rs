//! Names of socket channels: validation, kinds, and the socket channels that a broadcast reaches. And events that no
//! browser receives: their reasons, as warnings for the log of the sender and of the gateway, which otherwise only
//! counts them.

use std::fmt;

use crate::log::{Log, MinuteLog};

/// Maximum length of a channel name, in characters.
const MAX_NAME: usize = 164;
/// Maximum length of a user id, in characters.
const MAX_USER_ID: usize = 128;
const USER: &str = "#server-to-user-";

/// The kind of a channel decides what a subscription requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChannelKind {
    /// A name without a prefix: requires that the settings make it public.
    Public,
    /// `private-`: requires a signature.
    Private,
    /// `private-encrypted-`: requires a signature; the server sees no plain data.
    Encrypted,
    /// `presence-`: requires a signature over the member's data.
    Presence,
    /// `#server-to-user-{id}`: requires a sign-in with this id.
    User,
}

/// A parsed name of a socket channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name<'a> {
    /// The complete name.
    pub full: &'a str,
    /// The kind of a channel decides what a subscription requires.
    pub kind: ChannelKind,
    /// A cache channel: new subscribers receive the last event.
    pub cache: bool,
    /// The name without prefixes; for a user channel the user id.
    pub base: &'a str,
}

impl<'a> Name<'a> {
    /// Parses a name; `None` if it is invalid.
    #[must_use]
    pub fn parse(full: &'a str) -> Option<Self> {
        if let Some(base) = full.strip_prefix(USER) {
            let valid = is_user_id(base);
            return valid.then_some(Self {
                full,
                kind: ChannelKind::User,
                cache: false,
                base,
            });
        }
        if full.len() > MAX_NAME || full.is_empty() || !full.bytes().all(is_name_byte) {
            return None;
        }
        let (kind, rest) = split_prefix(full);
        let (cache, base) = match rest.strip_prefix("cache-") {
            Some(base) => (true, base),
            None => (false, rest),
        };
        Some(Self {
            full,
            kind,
            cache,
            base,
        })
    }

    /// True if client events are allowed on the channel.
    #[must_use]
    pub const fn takes_client_events(&self) -> bool {
        matches!(self.kind, ChannelKind::Private | ChannelKind::Presence)
    }
}

/// True if a browser can subscribe to a channel that a broadcast to `channel` reaches: the name is valid with one of
/// its prefixes, or without one if the channel is `public`.
#[must_use]
pub fn is_subscribable(channel: &str, public: bool) -> bool {
    if requires_auth(channel) {
        return Name::parse(channel).is_some();
    }
    // The shortest prefix leaves the most space.
    let prefix = if public { 0 } else { "private-".len() };
    !channel.is_empty() && channel.len() + prefix <= MAX_NAME && channel.bytes().all(is_name_byte)
}

fn split_prefix(full: &str) -> (ChannelKind, &str) {
    for (prefix, kind) in [
        ("private-encrypted-", ChannelKind::Encrypted),
        ("private-", ChannelKind::Private),
        ("presence-", ChannelKind::Presence),
    ] {
        if let Some(rest) = full.strip_prefix(prefix) {
            return (kind, rest);
        }
    }
    (ChannelKind::Public, full)
}

const fn is_name_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'=' | b'@' | b',' | b'.' | b';')
}

/// True for a valid user id: 1 to [`MAX_USER_ID`] characters without control characters.
#[must_use]
pub fn is_user_id(id: &str) -> bool {
    !id.is_empty() && !id.chars().any(char::is_control) && id.chars().count() <= MAX_USER_ID
}

/// True for `private-…`, `presence-…` and user channels: a broadcast to such a name reaches only the channel itself.
#[must_use]
pub fn requires_auth(channel: &str) -> bool {
    channel.starts_with("private-") || channel.starts_with("presence-") || channel.starts_with(USER)
}

/// Calls `reached` for each socket channel that a broadcast to `channel` reaches.
///
/// - `exact`: `channel` is a socket channel (HTTP API) and reaches only itself;
/// - `public`: `channel` matches a public pattern, or the record is marked public and `public_by_mark` is on. Has no
///   effect on names that require authorization.
///
/// ```text
/// target_channels("user.1", …)           private-user.1  presence-user.1  private-cache-user.1  presence-cache-user.1
/// target_channels("public.news", …)      these four, and  public.news  cache-public.news
/// target_channels("presence-chat.1", …)  presence-chat.1
/// ```
pub fn target_channels(channel: &str, exact: bool, public: bool, mut reached: impl FnMut(&str)) {
    if exact || requires_auth(channel) {
        reached(channel);
        return;
    }
    let mut name = String::with_capacity(channel.len() + 16);
    for prefix in ["private-", "presence-", "private-cache-", "presence-cache-"] {
        if prefix == "private-" && channel.starts_with("encrypted-") {
            // Would be `private-encrypted-…`: plain data must not reach an encrypted channel.
            continue;
        }
        name.clear();
        name.push_str(prefix);
        name.push_str(channel);
        reached(&name);
    }
    if public {
        reached(channel);
        name.clear();
        name.push_str("cache-");
        name.push_str(channel);
        reached(&name);
    }
}

/// Calls `source` for each broadcast channel whose records can reach the socket channel `name`, its own name first. The
/// inverse of [`target_channels`].
pub fn source_channels(name: &Name<'_>, mut source: impl FnMut(&str)) {
    source(name.full);
    if matches!(name.kind, ChannelKind::Encrypted | ChannelKind::User) {
        return;
    }
    let prefixes: &[&str] = match name.kind {
        ChannelKind::Private => &["private-", "private-cache-"],
        ChannelKind::Presence => &["presence-", "presence-cache-"],
        _ => &["cache-"],
    };
    for prefix in prefixes {
        match name.full.strip_prefix(prefix) {
            Some(plain) if !plain.is_empty() && !requires_auth(plain) => source(plain),
            _ => {}
        }
    }
}

/// True for event names reserved for the server: `pusher:`, `pusher_internal:` and `realtime:`.
#[must_use]
pub fn is_reserved_event(event: &str) -> bool {
    ["pusher:", "pusher_internal:", "realtime:"]
        .iter()
        .any(|prefix| event.starts_with(prefix))
}

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
    use super::{requires_auth, source_channels, target_channels, ChannelKind, Name, MAX_NAME, *};

    fn reached(channel: &str, exact: bool, public: bool) -> Vec<String> {
        let mut all = Vec::new();
        target_channels(channel, exact, public, |name| all.push(name.to_owned()));
        all
    }

    #[test]
    fn a_broadcast_reaches_the_documented_channels() {
        let four = |x: &str| {
            vec![
                format!("private-{x}"),
                format!("presence-{x}"),
                format!("private-cache-{x}"),
                format!("presence-cache-{x}"),
            ]
        };
        let six = |x: &str| [four(x), vec![x.to_owned(), format!("cache-{x}")]].concat();
        let own = |x: &str| vec![x.to_owned()];
        let table: Vec<(&str, bool, bool, Vec<String>)> = vec![
            ("user.1", false, false, four("user.1")),
            ("user.1", false, true, six("user.1")),
            ("public.news", false, true, six("public.news")),
            ("public.news", true, true, own("public.news")),
            ("user.1", true, false, own("user.1")),
            ("private-user.1", false, false, own("private-user.1")),
            // A private name is never public, even if a pattern matches.
            ("private-user.1", false, true, own("private-user.1")),
            ("presence-chat.1", false, true, own("presence-chat.1")),
            (
                "private-encrypted-x",
                false,
                true,
                own("private-encrypted-x"),
            ),
            ("private-cache-x", false, true, own("private-cache-x")),
            ("#server-to-user-7", false, true, own("#server-to-user-7")),
            // These names only resemble a prefix.
            ("privateer", false, false, four("privateer")),
            ("cache-x", false, false, four("cache-x")),
        ];
        for (channel, exact, public, expected) in table {
            assert_eq!(
                reached(channel, exact, public),
                expected,
                "{channel} {exact} {public}"
            );
        }
    }

    #[test]
    fn no_plain_broadcast_reaches_an_encrypted_or_a_user_channel() {
        for x in ["user.1", "x", "cache-x"] {
            for name in reached(x, false, true) {
                let kind = Name::parse(&name).unwrap().kind;
                assert!(
                    !matches!(kind, ChannelKind::Encrypted | ChannelKind::User),
                    "{name}"
                );
            }
        }
        let reaches = reached("encrypted-x", false, true);
        assert!(
            !reaches.iter().any(|n| n.starts_with("private-encrypted-")),
            "{reaches:?}"
        );
    }

    #[test]
    fn names_are_parsed_into_kind_cache_flag_and_base() {
        let table = [
            ("news", ChannelKind::Public, false, "news"),
            ("cache-news", ChannelKind::Public, true, "news"),
            ("private-a", ChannelKind::Private, false, "a"),
            ("private-cache-a", ChannelKind::Private, true, "a"),
            ("private-encrypted-a", ChannelKind::Encrypted, false, "a"),
            (
                "private-encrypted-cache-a",
                ChannelKind::Encrypted,
                true,
                "a",
            ),
            ("presence-a", ChannelKind::Presence, false, "a"),
            ("presence-cache-a", ChannelKind::Presence, true, "a"),
            ("#server-to-user-7", ChannelKind::User, false, "7"),
            ("A-z0_9=@,.;", ChannelKind::Public, false, "A-z0_9=@,.;"),
        ];
        for (full, kind, cache, base) in table {
            let name = Name::parse(full).unwrap();
            assert_eq!(
                (name.kind, name.cache, name.base),
                (kind, cache, base),
                "{full}"
            );
        }
        for bad in [
            "",
            "a\n",
            "private-a\n",
            "a b",
            "a:b",
            "#a",
            "#server-to-user-",
            "ä",
            "a/b",
            "a\0",
            "#server-to-user-a\n",
        ] {
            assert_eq!(Name::parse(bad), None, "{bad:?}");
        }
        assert!(Name::parse(&"a".repeat(MAX_NAME)).is_some());
        assert!(Name::parse(&"a".repeat(MAX_NAME + 1)).is_none());
        assert!(
            requires_auth("private-x") && requires_auth("presence-x") && !requires_auth("user.1")
        );
    }

    #[test]
    fn source_channels_are_the_inverse_of_target_channels() {
        let table: &[(&str, &[&str])] = &[
            ("private-a", &["private-a", "a"]),
            ("presence-a", &["presence-a", "a"]),
            ("private-cache-a", &["private-cache-a", "cache-a", "a"]),
            ("presence-cache-a", &["presence-cache-a", "cache-a", "a"]),
            ("cache-a", &["cache-a", "a"]),
            ("a", &["a"]),
            ("private-private-a", &["private-private-a"]),
            ("private-encrypted-a", &["private-encrypted-a"]),
            ("#server-to-user-7", &["#server-to-user-7"]),
        ];
        for (full, expected) in table {
            let mut all = Vec::new();
            source_channels(&Name::parse(full).unwrap(), |x| all.push(x.to_owned()));
            assert_eq!(&all, expected, "{full}");
            for x in &all {
                assert!(
                    reached(x, false, true).iter().any(|n| n == full),
                    "{x} {full}"
                );
            }
        }
    }

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
