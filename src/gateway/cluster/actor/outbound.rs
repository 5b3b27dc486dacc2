//! The control topics, hello, and snapshots: what a node tells of itself as a whole.

use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::wire::{Body, PresenceMember};
use super::Actor;
use crate::gateway::feed::positions::PartitionState as Partition;
use crate::kafka::admin::{Admin, AdminError, NewTopic};
use crate::log::Level;
use crate::process;

/// Seats and channels in one part of a snapshot, and the bytes of user info after which one is full.
const MAX_PART_ENTRIES: usize = 400;
const MAX_PART_BYTES: usize = 200 << 10;
/// Kafka gets so long to make the control topics before it is asked anew.
const CREATE_TIMEOUT: Duration = Duration::from_secs(3);

/// A part of a snapshot: seats and occupied channels.
type Part = (Vec<PresenceMember>, Vec<(String, usize)>);

impl Actor {
    /// Control topics have settings of their own, so they are made by us, before anything asks for them.
    pub(super) fn create_topics(&self) -> bool {
        let short = [("retention.ms", "600000"), ("segment.ms", "300000")];
        let short = short.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let admin = match Admin::start(&self.config) {
            Ok(admin) => admin,
            Err(error) => {
                process::current().log.say(Level::Error, error.message());
                return true;
            }
        };
        let until = Instant::now() + CREATE_TIMEOUT;
        let go_on = || Instant::now() < until;
        for (name, config) in [
            (&self.topics.presence, short.to_vec()),
            (&self.topics.client, short.to_vec()),
            (&self.topics.events, Vec::new()),
        ] {
            let topic = NewTopic {
                name: name.clone(),
                partitions: 1,
                replication: -1,
                config,
            };
            match admin.create_topic(&topic, &go_on) {
                Ok(_) => {}
                Err(AdminError::Interrupted) => return false,
                Err(AdminError::Error(error)) if error.is_retriable() && !go_on() => return false,
                Err(AdminError::Error(error)) => {
                    // It may be there already, or the broker makes it itself: an embedded one of another process does.
                    self.producer.request_metadata(name);
                    process::current().log.say(Level::Debug, error.message());
                }
            }
        }
        true
    }

    /// Hello, and what sockets did before it.
    pub(super) fn send_hello(&mut self) {
        self.send(Body::Hello);
        let mut before = Vec::new();
        for (channel, room) in &self.members {
            before.extend(room.iter().map(|(socket, member)| {
                Body::Join(PresenceMember {
                    c: channel.clone(),
                    s: *socket,
                    m: member.clone(),
                })
            }));
        }
        let channels = self.channels.iter();
        before.extend(channels.map(|(c, n)| Body::Occupied {
            c: c.clone(),
            n: *n,
        }));
        for body in before {
            self.send(body);
        }
    }

    /// True once the feed has noted where the control topics end: from then on nothing of them is missed.
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

    /// Tells everything, in parts.
    pub(super) fn snapshot(&mut self) {
        let mut all: Vec<Part> = vec![Default::default()];
        let mut bytes = 0;
        for (channel, room) in &self.members {
            for (socket, member) in room {
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
        for (channel, sockets) in &self.channels {
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
