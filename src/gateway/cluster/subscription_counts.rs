//! The number of subscriptions of a channel on all gateways, for its subscribers (`pusher_internal:subscription_count`)
//! and as a webhook of the leader (`subscription_count`).

use std::collections::{HashMap, HashSet};

use super::control_producer::ControlProducer;
use super::socket_events::webhook_envelope;
use crate::config::gateway_settings::{EventKind, Settings};
use crate::gateway::hub::Hub;
use crate::ids::new_id;
use crate::topic::socket_channel::{ChannelKind, Name};

/// Channels with more subscriptions are told at intervals, because each change is sent to every subscriber.
const LARGE: usize = 100;
const LARGE_INTERVAL_MS: u64 = 5_000;

/// The channels whose count changed.
pub(super) struct SubscriptionCounts {
    tells_subscribers: bool,
    has_webhook: bool,
    due: HashSet<String>,
    /// The times at which the counts of large channels were sent.
    large: HashMap<String, u64>,
}

impl SubscriptionCounts {
    pub fn new(settings: &Settings) -> Self {
        Self {
            tells_subscribers: settings.subscription_count,
            has_webhook: settings.has_webhook(EventKind::SubscriptionCount),
            due: HashSet::new(),
            large: HashMap::new(),
        }
    }

    /// The count of a channel changed. Presence channels have `member_added` and `member_removed`.
    pub fn changed(&mut self, channel: String) {
        let is_presence =
            Name::parse(&channel).is_none_or(|name| name.kind == ChannelKind::Presence);
        if (self.tells_subscribers || self.has_webhook) && !is_presence {
            self.due.insert(channel);
        }
    }

    /// Takes the channels to send now, with their counts.
    pub fn take_due(&mut self, now: u64, count: impl Fn(&str) -> usize) -> Vec<(String, usize)> {
        let (mut send, mut wait) = (Vec::new(), HashSet::new());
        for channel in std::mem::take(&mut self.due) {
            let count = count(&channel);
            if count <= LARGE {
                self.large.remove(&channel);
            } else {
                let last = self.large.get(&channel).copied();
                if last.is_some_and(|at| now.saturating_sub(at) < LARGE_INTERVAL_MS) {
                    wait.insert(channel);
                    continue;
                }
                self.large.insert(channel.clone(), now);
            }
            send.push((channel, count));
        }
        self.due = wait;
        send
    }

    /// Sends a count to the subscribers of this gateway, and as the leader to the webhooks.
    pub fn send(
        &self,
        channel: &str,
        count: usize,
        hub: &Hub,
        producer: &mut ControlProducer,
        is_leader: bool,
    ) {
        let data = format!("{{\"subscription_count\":{count}}}");
        if self.tells_subscribers {
            hub.send_to_members(channel, "pusher_internal:subscription_count", &data, None);
        }
        if self.has_webhook && is_leader {
            let kind = EventKind::SubscriptionCount;
            let value = webhook_envelope(&new_id(), kind, channel, Some(data.as_bytes()));
            producer.send_webhook(channel, &value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_channels_are_told_at_intervals() {
        let settings = Settings {
            subscription_count: true,
            ..Settings::default()
        };
        let mut counts = SubscriptionCounts::new(&settings);
        let change = |counts: &mut SubscriptionCounts, count, now| {
            counts.changed("private-a".to_owned());
            counts.changed("presence-a".to_owned());
            counts.take_due(now, |_| count)
        };
        let one = |count| vec![("private-a".to_owned(), count)];
        assert_eq!(change(&mut counts, 100, 1_000), one(100));
        assert_eq!(change(&mut counts, 99, 1_001), one(99));
        assert_eq!(change(&mut counts, 101, 1_002), one(101));
        assert_eq!(change(&mut counts, 102, 1_003), []);
        assert_eq!(counts.take_due(6_001, |_| 103), []);
        assert_eq!(counts.take_due(6_002, |_| 104), one(104));
        assert_eq!(counts.take_due(99_000, |_| 105), []);
        let mut off = SubscriptionCounts::new(&Settings::default());
        assert_eq!(change(&mut off, 1, 1_000), []);
    }
}
