//! Creates the control topics; sends the hello and snapshots.

use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::wire::{Body, PresenceMember};
use super::Actor;
use crate::gateway::feed::positions::PartitionState as Partition;
use crate::gateway::feed::ControlTopics;
use crate::kafka::admin::{Admin, AdminError, NewTopic};
use crate::log::Level;
use crate::process;

/// Maximum members and channels in one part of a snapshot, and the bytes of user info after which a part is full.
const MAX_PART_ENTRIES: usize = 400;
const MAX_PART_BYTES: usize = 200 << 10;
/// Timeout for creating the control topics, before the next attempt.
const CREATE_TIMEOUT: Duration = Duration::from_secs(3);

/// A part of a snapshot: members and occupied channels.
type Part = (Vec<PresenceMember>, Vec<(String, usize)>);

impl Actor {
    /// Creates the control topics with their settings, before a metadata request creates them automatically. False to
    /// retry.
    pub(super) fn create_topics(&self) -> bool {
        let admin = match Admin::start(&self.config) {
            Ok(admin) => admin,
            Err(error) => {
                process::current().log.write(Level::Error, error.message());
                return true;
            }
        };
        let until = Instant::now() + CREATE_TIMEOUT;
        let in_time = || Instant::now() < until;
        for (name, config) in topic_settings(&self.topics) {
            let topic = NewTopic {
                name: name.clone(),
                partitions: 1,
                replication: -1,
                config,
                validate_only: false,
            };
            match admin.create_topic(&topic, &in_time) {
                Ok(_) => {}
                Err(AdminError::Interrupted) => return false,
                Err(AdminError::Error(error)) if error.is_retriable() && !in_time() => {
                    return false
                }
                Err(AdminError::Error(error)) => {
                    // The topic may exist, or the broker creates it automatically, as the embedded broker of another
                    // process does.
                    self.producer.request_metadata(&topic.name);
                    process::current().log.write(Level::Debug, error.message());
                }
            }
        }
        true
    }

    /// Sends the hello, followed by all members and channels.
    pub(super) fn send_hello(&mut self) {
        self.send(Body::Hello);
        let mut before = Vec::new();
        for (channel, channel_members) in &self.members {
            before.extend(channel_members.iter().map(|(socket, member)| {
                Body::Join(PresenceMember {
                    c: channel.clone(),
                    s: *socket,
                    m: member.clone(),
                })
            }));
        }
        self.take_changed_channels();
        let channels = self.channels.announce_all();
        before.extend(channels.into_iter().map(|(c, n)| Body::Occupied { c, n }));
        for body in before {
            self.send(body);
        }
    }

    /// True once the feed reads the control topics from their ends, so that no record is missed.
    pub(super) fn is_reading(&self) -> bool {
        let topics = &self.topics;
        [&topics.presence, &topics.client, &topics.events]
            .iter()
            .all(|name| {
                let topic = self.positions.find(name);
                topic.is_some_and(|topic| {
                    let partitions = topic.partitions();
                    let reads = |partition: &Arc<Partition>| {
                        partition.is_active.load(Ordering::Acquire)
                            && partition.next() >= partition.live_from.load(Ordering::Acquire)
                    };
                    !partitions.is_empty() && partitions.iter().all(reads)
                })
            })
    }

    /// Sends a snapshot in parts.
    pub(super) fn snapshot(&mut self) {
        let mut all: Vec<Part> = vec![Default::default()];
        let mut bytes = 0;
        for (channel, channel_members) in &self.members {
            for (socket, member) in channel_members {
                let is_full =
                    |part: &Part| part.0.len() >= MAX_PART_ENTRIES || bytes >= MAX_PART_BYTES;
                if all.last().is_some_and(is_full) {
                    all.push(Default::default());
                    bytes = 0;
                }
                bytes += member.user_id.len() + member.user_info.as_ref().map_or(0, String::len);
                if let Some((members, _)) = all.last_mut() {
                    members.push(PresenceMember {
                        c: channel.clone(),
                        s: *socket,
                        m: member.clone(),
                    });
                }
            }
        }
        for (channel, sockets) in self.channels.announced() {
            if all
                .last()
                .is_some_and(|part| part.1.len() >= MAX_PART_ENTRIES)
            {
                all.push(Default::default());
            }
            if let Some((_, channels)) = all.last_mut() {
                channels.push((channel.clone(), *sockets));
            }
        }
        let of = u32::try_from(all.len()).unwrap_or(u32::MAX);
        for (part, (m, o)) in (0..).zip(all) {
            self.send(Body::Snapshot { part, of, m, o });
        }
    }
}

/// Every topic that gateways create has a retention. Control records are useless after minutes; webhooks stay for a
/// week, so that a consumer can be down over a weekend.
///
/// Kafka stamps the control records: a writer cannot choose the time that a receiver compares with the time of issue.
fn topic_settings(topics: &ControlTopics) -> [(String, Vec<(String, String)>); 3] {
    let settings = |all: &[(&str, &str)]| {
        let all = all.iter();
        all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect::<Vec<_>>()
    };
    let control = settings(&[
        ("retention.ms", "600000"),
        ("segment.ms", "300000"),
        ("message.timestamp.type", "LogAppendTime"),
    ]);
    let webhooks = settings(&[("retention.ms", "604800000")]);
    [
        (topics.presence.clone(), control.clone()),
        (topics.client.clone(), control),
        (topics.events.clone(), webhooks),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_created_topic_has_a_retention() {
        for (name, settings) in topic_settings(&ControlTopics::of("realtime")) {
            let retention = settings.iter().find(|(key, _)| key == "retention.ms");
            let retention = retention.and_then(|(_, value)| value.parse::<u64>().ok());
            assert!(retention.is_some_and(|ms| ms <= 604_800_000), "{name}");
        }
    }
}
