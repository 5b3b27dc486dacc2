//! Warnings about limits that only clients notice: the log names the setting, at most once a minute each.

use crate::config::gateway_settings::Settings;
use crate::log::MinuteLog;

/// A limit that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit<'a> {
    /// A subscription was refused.
    Channels,
    /// A subscription of a presence channel was refused.
    Members { channel: &'a str },
    /// A subscription of a presence channel was refused.
    MemberList { channel: &'a str },
    /// Sockets were closed with 4100.
    Queue { channel: &'a str },
    /// Cached events were removed.
    Cache,
}

#[derive(Debug, Default)]
pub struct LimitWarnings {
    channels: MinuteLog,
    members: MinuteLog,
    member_lists: MinuteLog,
    queues: MinuteLog,
    cache: MinuteLog,
}

impl LimitWarnings {
    pub fn warn(&self, limit: Limit<'_>, settings: &Settings) {
        let log = match limit {
            Limit::Channels => &self.channels,
            Limit::Members { .. } => &self.members,
            Limit::MemberList { .. } => &self.member_lists,
            Limit::Queue { .. } => &self.queues,
            Limit::Cache => &self.cache,
        };
        log.warn(&crate::runtime::current().log, || text(limit, settings));
    }
}

fn text(limit: Limit<'_>, settings: &Settings) -> String {
    let short = |name: &str| name.escape_debug().take(200).collect::<String>();
    match limit {
        Limit::Channels => format!(
            "The gateway refuses subscriptions of new channels: it has reached realtime.gateway.max_channels ({}).",
            settings.max_channels
        ),
        Limit::Members { channel } => format!(
            "The gateway refuses members of channel \"{}\": it has reached realtime.gateway.max_members ({}).",
            short(channel),
            settings.max_members
        ),
        Limit::MemberList { channel } => format!(
            "The gateway refuses members of channel \"{}\": its member list has reached \
            realtime.gateway.max_presence_bytes ({}).",
            short(channel),
            settings.max_presence_bytes
        ),
        Limit::Queue { channel } => format!(
            "The gateway closed sockets that read too slowly with 4100: an event of channel \"{}\" exceeds \
            realtime.gateway.max_queue ({} bytes). They reconnect.",
            short(channel),
            settings.max_queue
        ),
        Limit::Cache => format!(
            "The gateway removed events of cache channels: it has reached realtime.gateway.max_cache ({} bytes). New \
            subscribers of their channels get pusher:cache_miss.",
            settings.max_cache
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_warning_names_its_setting_and_channel() {
        let settings = Settings::default();
        let channel = "presence-room";
        for (limit, parts) in [
            (Limit::Channels, ["max_channels (100000)", ""]),
            (Limit::Members { channel }, ["max_members (100)", channel]),
            (
                Limit::MemberList { channel },
                ["max_presence_bytes (262144)", channel],
            ),
            (
                Limit::Queue { channel },
                ["max_queue (1048576 bytes)", channel],
            ),
            (Limit::Cache, ["max_cache (67108864 bytes)", ""]),
        ] {
            let text = text(limit, &settings);
            assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        }
    }
}
