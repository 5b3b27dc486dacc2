//! From where a partition is read.

use super::Purpose;

/// Where a partition begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Start {
    pub from: i64,
    pub live_from: i64,
    pub not_before_ms: i64,
    pub since_ms: i64,
}

impl Start {
    /// For a broker that cannot look offsets up by time: records before it are passed over as they come.
    pub fn not_before(self, ms: i64) -> Self {
        Self {
            not_before_ms: ms,
            since_ms: ms,
            ..self
        }
    }
}

/// Where a partition begins that was there from the start. `since` is the first offset of the time that is kept; below 0 where nothing
/// is as young.
pub(super) fn first_start(
    purpose: Purpose,
    end: i64,
    since: Option<i64>,
    asked_ms: i64,
    most_kept: i64,
    keep_ms: i64,
) -> Start {
    let since = since.filter(|offset| *offset >= 0).unwrap_or(end).min(end);
    let from = match purpose {
        Purpose::Channels => since.max(end - most_kept),
        Purpose::Presence => since,
        Purpose::Client | Purpose::Events => end,
    };
    let since_ms = if from > since {
        asked_ms
    } else {
        asked_ms.saturating_sub(keep_ms)
    };
    Start {
        from,
        live_from: end,
        not_before_ms: i64::MIN,
        since_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_delivered_from_its_end_and_the_ring_gets_what_came_before() {
        let at = |purpose, end, since| first_start(purpose, end, since, 1_000_000, 100, 120_000);
        let start = at(Purpose::Channels, 50, Some(20));
        assert_eq!((start.from, start.live_from), (20, 50));
        assert_eq!(start.since_ms, 880_000);
        let nothing_young = at(Purpose::Channels, 50, Some(-1));
        assert_eq!((nothing_young.from, nothing_young.live_from), (50, 50));
        let too_much = at(Purpose::Channels, 1050, Some(20));
        assert_eq!((too_much.from, too_much.live_from), (950, 1050));
        assert_eq!(too_much.since_ms, 1_000_000);
        assert_eq!(at(Purpose::Client, 50, None).from, 50);
        assert_eq!(at(Purpose::Events, 50, Some(0)).from, 50);
        assert_eq!(at(Purpose::Presence, 5000, Some(20)).from, 20);
    }
}
