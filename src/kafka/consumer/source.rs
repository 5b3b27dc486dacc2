//! The consumer as the worker sees it.

use std::time::Duration;

use super::assignment::Watcher;
use super::{Ahead, Consumer, Record};
use crate::error::{Error, Result};
use crate::worker::{waited_long, Item, Source};

impl Item for Record {
    fn topic(&self) -> &str {
        &self.topic
    }

    fn value(&self) -> Option<&[u8]> {
        Self::value(self)
    }

    fn is_beside(&self, other: &Self) -> bool {
        self.slot == other.slot
    }

    fn place(&self) -> (String, i32, i64) {
        (self.topic.to_string(), self.partition, self.offset)
    }

    fn deaths(&self) -> u32 {
        self.deaths
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

    fn done(&self, item: &Record) {
        Self::done(self, item);
    }

    fn put_back(&self, item: &Record, failed: bool) {
        Self::put_back(self, item, failed);
    }

    fn park(&self, item: &Record, wait: Duration) {
        Self::park(self, item, wait);
    }

    fn tend(&self) {
        Self::tend(self);
    }

    fn serve_events<W: Watcher>(&self, watcher: &W) -> Result<(), W::Abort> {
        Self::serve_events(self, watcher)
    }

    fn commit_if_due(&self, now: u64) -> Result<()> {
        Self::commit_if_due(self, now)
    }

    fn commit_now(&self, bound: Duration) -> Result<()> {
        Self::commit_now(self, bound)
    }

    fn commit_ahead(&self, bound: Duration) -> Ahead {
        Self::commit_ahead(self, bound)
    }

    fn drop_hand(&self) -> (u64, Vec<String>) {
        Self::drop_hand(self)
    }

    fn refused(&self) -> Option<Error> {
        Self::refused(self)
    }

    fn is_at_end(&self) -> bool {
        Self::is_at_end(self)
    }

    fn is_idle_for_good(&self) -> bool {
        self.is_unassigned() && (self.waits_for_everything() || waited_long(self.connected_at()))
    }
}
