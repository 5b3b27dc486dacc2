//! The consumer as a [`Source`] of the worker.

use std::time::Duration;

use super::assignment::RebalanceListener;
use super::records::Attempt;
use super::{Consumer, PreCommit, Record};
use crate::error::{Error, Result};
use crate::worker::{join_timed_out, Item, Source};

impl Item for Record {
    fn topic(&self) -> &str {
        &self.topic
    }

    fn value(&self) -> Option<&[u8]> {
        Self::value(self)
    }

    fn same_partition(&self, other: &Self) -> bool {
        self.slot == other.slot
    }

    fn place(&self) -> (String, i32, i64) {
        (self.topic.to_string(), self.partition, self.offset)
    }

    fn crashes(&self) -> u32 {
        self.crashes
    }

    fn is_isolated(&self) -> bool {
        self.isolated
    }

    fn was_handled(&self) -> bool {
        self.was_handled
    }
}

impl Source for Consumer {
    type Item = Record;

    fn fetch(&self, wait: Duration, most: usize) -> usize {
        Self::fetch(self, wait, most)
    }

    fn has_records(&self) -> bool {
        Self::has_records(self)
    }

    fn next(&self) -> Option<Record> {
        Self::next(self)
    }

    fn complete(&self, item: &Record) {
        Self::complete(self, item);
    }

    fn requeue(&self, item: &Record, attempt: Attempt) {
        Self::requeue(self, item, attempt);
    }

    fn schedule_retry(&self, item: &Record, attempt: Attempt, wait: Duration) {
        Self::schedule_retry(self, item, attempt, wait);
    }

    fn keep_alive(&self) {
        Self::keep_alive(self);
    }

    fn is_rebalancing(&self) -> bool {
        self.events.has_rebalance()
    }

    fn serve_events<W: RebalanceListener>(&self, listener: &W) -> Result<(), W::Abort> {
        Self::serve_events(self, listener)
    }

    fn commit_if_due(&self, now: u64) -> Result<()> {
        Self::commit_if_due(self, now)
    }

    fn commit_now(&self, bound: Duration) -> Result<()> {
        Self::commit_now(self, bound)
    }

    fn results(&self, wait: Duration) -> Result<bool> {
        Self::callback_results(std::time::Instant::now() + wait)
    }

    fn read_again(&self, isolated: bool) {
        if isolated {
            self.isolate();
        }
        self.rewind();
    }

    fn has_isolated(&self) -> bool {
        Self::has_isolated(self)
    }

    fn pre_commit(&self, bound: Duration) -> PreCommit {
        Self::pre_commit(self, bound)
    }

    fn discard_fetched(&self) -> (u64, Vec<String>) {
        Self::discard_fetched(self)
    }

    fn take_fatal_error(&self) -> Option<Error> {
        Self::take_fatal_error(self)
    }

    fn is_at_end(&self) -> bool {
        Self::is_at_end(self)
    }

    fn has_no_more(&self) -> bool {
        self.is_unassigned() && (self.no_topic_exists() || join_timed_out(self.connected_at()))
    }
}
