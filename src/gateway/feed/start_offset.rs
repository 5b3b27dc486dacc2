//! Start offsets of partitions.

use std::collections::HashMap;

use rdkafka::error::RDKafkaErrorCode as Code;

use super::{Key, OffsetSpec, TopicRole};

/// Start of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StartOffset {
    pub from: i64,
    pub live_from: i64,
    pub not_before_ms: i64,
    pub since_ms: i64,
}

impl StartOffset {
    /// For a broker that cannot look up offsets by time: the reader skips records before `ms`.
    pub fn not_before(self, ms: i64) -> Self {
        Self {
            not_before_ms: ms,
            since_ms: ms,
            ..self
        }
    }
}

/// Start of a partition that exists at startup. `since` is the first offset within the history; negative if all records
/// are older.
pub(super) fn initial_start(
    role: TopicRole,
    end: i64,
    since: Option<i64>,
    requested_ms: i64,
    max_history_records: i64,
    history_ms: i64,
) -> StartOffset {
    let since = since.filter(|offset| *offset >= 0).unwrap_or(end).min(end);
    let from = match role {
        TopicRole::Channels => since.max(end - max_history_records),
        TopicRole::Presence => since,
        TopicRole::Client | TopicRole::Events => end,
    };
    let since_ms = if from > since {
        requested_ms
    } else {
        requested_ms.saturating_sub(history_ms)
    };
    StartOffset {
        from,
        live_from: end,
        not_before_ms: i64::MIN,
        since_ms,
    }
}

/// Start and end offsets of partitions found later; `None` if no broker answers. The start is the offset of
/// `offset_spec`, or the end if there is none.
///
/// The end is requested first: a record written between the two requests is found by its time, or lies behind the end.
/// In the other order it would be missed, and the first message of a new topic lost.
pub(super) fn late_start_offsets(
    mut send_admin_request: impl FnMut(OffsetSpec) -> Result<HashMap<Key, i64>, Code>,
    offset_spec: OffsetSpec,
) -> Option<HashMap<Key, (i64, i64)>> {
    let ends = send_admin_request(OffsetSpec::End).ok()?;
    let found = send_admin_request(offset_spec).ok()?;
    let both = ends.into_iter().filter_map(|(key, end)| {
        let first = *found.get(&key)?;
        Some((key, (if first < 0 { end } else { first }, end)))
    });
    Some(both.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A partition whose records have these timestamps; one more is written after each request.
    fn start_while_writing(mut log: Vec<i64>, offset_spec: OffsetSpec) -> Option<(i64, i64)> {
        let key = ("t".to_owned(), 0);
        let offset = |place: usize| i64::try_from(place).expect("small");
        let starts = late_start_offsets(
            |offset_spec| {
                let response = match offset_spec {
                    OffsetSpec::Beginning => 0,
                    OffsetSpec::End => offset(log.len()),
                    OffsetSpec::Since(ms) => log.iter().position(|t| *t >= ms).map_or(-1, offset),
                };
                log.push(1_000);
                Ok(HashMap::from([(key.clone(), response)]))
            },
            offset_spec,
        );
        starts.and_then(|starts| starts.get(&key).copied())
    }

    #[test]
    fn records_written_during_offset_queries_are_read() {
        // A new topic: its first record is written between the requests, or after both.
        assert_eq!(
            start_while_writing(vec![], OffsetSpec::Since(900)),
            Some((0, 0))
        );
        // An old topic that becomes visible: only recent records.
        assert_eq!(
            start_while_writing(vec![1, 2, 3], OffsetSpec::Since(900)),
            Some((3, 3))
        );
        assert_eq!(
            start_while_writing(vec![1, 950, 960], OffsetSpec::Since(900)),
            Some((1, 3))
        );
        // The producer's clock is behind: found by the end offset.
        assert_eq!(
            start_while_writing(vec![1, 2, 3], OffsetSpec::Since(5_000)),
            Some((3, 3))
        );
        assert_eq!(
            start_while_writing(vec![1, 2], OffsetSpec::Beginning),
            Some((0, 2))
        );
    }

    #[test]
    fn partitions_without_an_offset_are_queried_again() {
        let (here, away) = (("t".to_owned(), 0), ("t".to_owned(), 1));
        let starts = late_start_offsets(
            |offset_spec| {
                let mut response = HashMap::from([(here.clone(), 7)]);
                if offset_spec == OffsetSpec::End {
                    response.insert(away.clone(), 9);
                }
                Ok(response)
            },
            OffsetSpec::Since(0),
        );
        assert_eq!(starts, Some(HashMap::from([(here, (7, 7))])));
        let silent = |_| Err(Code::OperationTimedOut);
        assert_eq!(late_start_offsets(silent, OffsetSpec::Since(0)), None);
    }

    #[test]
    fn initial_start_is_the_end_minus_the_history() {
        let at = |role, end, since| initial_start(role, end, since, 1_000_000, 100, 120_000);
        let start = at(TopicRole::Channels, 50, Some(20));
        assert_eq!((start.from, start.live_from), (20, 50));
        assert_eq!(start.since_ms, 880_000);
        let all_old = at(TopicRole::Channels, 50, Some(-1));
        assert_eq!((all_old.from, all_old.live_from), (50, 50));
        let too_much = at(TopicRole::Channels, 1050, Some(20));
        assert_eq!((too_much.from, too_much.live_from), (950, 1050));
        assert_eq!(too_much.since_ms, 1_000_000);
        assert_eq!(at(TopicRole::Client, 50, None).from, 50);
        assert_eq!(at(TopicRole::Events, 50, Some(0)).from, 50);
        assert_eq!(at(TopicRole::Presence, 5000, Some(20)).from, 20);
    }
}
