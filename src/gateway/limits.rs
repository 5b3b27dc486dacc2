//! Rate limits, and warnings about limits that only clients notice: the log names the setting, at most once a minute
//! each.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::config::gateway_settings::Settings;
use crate::log::MinuteLog;

/// Token bucket: a steady rate with a burst.
#[derive(Debug)]
pub struct TokenBucket {
    tokens: f64,
    per_second: f64,
    burst: f64,
    last: Instant,
}

impl TokenBucket {
    /// Creates a full bucket.
    #[must_use]
    pub fn new(per_second: f64, burst: u32, now: Instant) -> Self {
        Self {
            tokens: f64::from(burst),
            per_second,
            burst: f64::from(burst),
            last: now,
        }
    }

    /// Takes a token, also from an empty bucket, and returns the time until the bucket is no longer overdrawn.
    pub fn charge(&mut self, now: Instant) -> Duration {
        self.refill(now);
        self.tokens -= 1.0;
        Duration::from_secs_f64((-self.tokens).max(0.0) / self.per_second)
    }

    /// As [`Self::charge`] for a bucket that several connections share: the time is at most `most`, and the debt is
    /// forgiven beyond it, so that what some overdraw delays the others for a bounded time.
    pub fn charge_at_most(&mut self, now: Instant, most: Duration) -> Duration {
        let delay = self.charge(now);
        self.tokens = self.tokens.max(-most.as_secs_f64() * self.per_second);
        delay.min(most)
    }

    /// Takes a token; false when the bucket is empty.
    pub fn take(&mut self, now: Instant) -> bool {
        self.refill(now);
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.last).as_secs_f64();
        // The time between an earlier `now` and the last one must not count twice.
        self.last = self.last.max(now);
        self.tokens = (self.tokens + passed * self.per_second).min(self.burst);
    }
}

/// Sliding window: at most N events within a duration.
#[derive(Debug, Default)]
pub struct SlidingWindow {
    times: VecDeque<Instant>,
}

impl SlidingWindow {
    /// True if one more event would be within the limit.
    pub fn allows(&mut self, most: u32, within: Duration, now: Instant) -> bool {
        while self
            .times
            .front()
            .is_some_and(|t| now.saturating_duration_since(*t) >= within)
        {
            self.times.pop_front();
        }
        self.times.len() < most as usize
    }

    /// Records an event. Only the newest `most` are kept, which are sufficient for [`Self::allows`] with the same
    /// limit.
    pub fn count(&mut self, most: u32, now: Instant) {
        self.times.push_back(now);
        while self.times.len() > most as usize {
            self.times.pop_front();
        }
    }
}

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
    fn a_token_bucket_allows_its_burst_and_then_its_rate() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(50.0, 200, start);
        assert_eq!((0..500).filter(|_| bucket.take(start)).count(), 200);
        let second = start + Duration::from_secs(1);
        assert_eq!((0..500).filter(|_| bucket.take(second)).count(), 50);
        let hour = start + Duration::from_secs(3600);
        assert_eq!((0..500).filter(|_| bucket.take(hour)).count(), 200);
    }

    #[test]
    fn a_time_in_the_past_refills_a_bucket_only_once() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(50.0, 200, start);
        let now = start + Duration::from_secs(3600);
        assert_eq!((0..500).filter(|_| bucket.take(now)).count(), 200);
        assert!(!bucket.take(start));
        assert!(!bucket.take(now));
    }

    #[test]
    fn an_overdrawn_bucket_reports_how_long_to_wait() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(50.0, 10, start);
        assert!((0..10).all(|_| bucket.charge(start).is_zero()));
        assert_eq!(bucket.charge(start), Duration::from_millis(20));
        let later = start + Duration::from_millis(40);
        assert!(bucket.charge(later).is_zero());
    }

    #[test]
    fn events_leave_the_sliding_window() {
        let start = Instant::now();
        let ten = Duration::from_secs(10);
        let mut window = SlidingWindow::default();
        for i in 0..5 {
            let now = start + Duration::from_secs(i);
            assert!(window.allows(5, ten, now));
            window.count(5, now);
        }
        assert!(!window.allows(5, ten, start + Duration::from_secs(9)));
        assert!(window.allows(5, ten, start + Duration::from_secs(10)));
    }

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
