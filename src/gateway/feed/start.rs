//! From where a partition is read.

use std::collections::HashMap;

use rdkafka_sys::bindings::rd_kafka_resp_err_t as Code;

use super::{Key, Purpose, Which};

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

/// Beginning and end of partitions that are found late; `None` where nobody answers. The beginning is the first offset that `which`
/// asks for, or the end where there is none.
///
/// The end is asked for first: a record that is written between the two questions is found by its time, or lies behind the end. The
/// other way round it would be neither, and the first message of a new topic was lost.
pub(super) fn late_starts(
    mut ask: impl FnMut(Which) -> Result<HashMap<Key, i64>, Code>,
    which: Which,
) -> Option<HashMap<Key, (i64, i64)>> {
    let ends = ask(Which::End).ok()?;
    let found = ask(which).ok()?;
    let both = ends.into_iter().filter_map(|(key, end)| {
        let first = *found.get(&key)?;
        Some((key, (if first < 0 { end } else { first }, end)))
    });
    Some(both.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A partition whose records have these timestamps; one more is written after each question.
    fn written_meanwhile(mut log: Vec<i64>, which: Which) -> Option<(i64, i64)> {
        let key = ("t".to_owned(), 0);
        let offset = |place: usize| i64::try_from(place).expect("small");
        let starts = late_starts(
            |which| {
                let answer = match which {
                    Which::Beginning => 0,
                    Which::End => offset(log.len()),
                    Which::Since(ms) => log.iter().position(|t| *t >= ms).map_or(-1, offset),
                };
                log.push(1_000);
                Ok(HashMap::from([(key.clone(), answer)]))
            },
            which,
        );
        starts.and_then(|starts| starts.get(&key).copied())
    }

    #[test]
    fn what_is_written_while_it_is_asked_is_read() {
        // A new topic: its first record comes between the questions, or after both.
        assert_eq!(written_meanwhile(vec![], Which::Since(900)), Some((0, 0)));
        // An old topic that appears: only what is young, from the one on that was written meanwhile.
        assert_eq!(
            written_meanwhile(vec![1, 2, 3], Which::Since(900)),
            Some((3, 3))
        );
        assert_eq!(
            written_meanwhile(vec![1, 950, 960], Which::Since(900)),
            Some((1, 3))
        );
        // Its clock is behind: found by the end alone.
        assert_eq!(
            written_meanwhile(vec![1, 2, 3], Which::Since(5_000)),
            Some((3, 3))
        );
        assert_eq!(
            written_meanwhile(vec![1, 2], Which::Beginning),
            Some((0, 2))
        );
    }

    #[test]
    fn a_partition_that_one_question_is_not_answered_for_is_asked_for_again() {
        let (here, away) = (("t".to_owned(), 0), ("t".to_owned(), 1));
        let starts = late_starts(
            |which| {
                let mut answer = HashMap::from([(here.clone(), 7)]);
                if which == Which::End {
                    answer.insert(away.clone(), 9);
                }
                Ok(answer)
            },
            Which::Since(0),
        );
        assert_eq!(starts, Some(HashMap::from([(here, (7, 7))])));
        let silent = |_| Err(Code::RD_KAFKA_RESP_ERR__TIMED_OUT);
        assert_eq!(late_starts(silent, Which::Since(0)), None);
    }

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
