//! The gateway's counters: atomics, shown by `/metrics` and `stats()`.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter or a gauge.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn add_one(&self) {
        self.add(1);
    }

    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Subtracts `n`; for gauges only.
    pub fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident: $kind:literal,)+) => {
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[doc = $doc])+ pub $name: Count,)+
        }

        impl Counters {
            /// Name, kind (`counter` or `gauge`), help text and value of each counter.
            #[must_use]
            pub fn all(&self) -> Vec<(&'static str, &'static str, &'static str, u64)> {
                vec![$((stringify!($name), $kind, concat!($($doc),+).trim_ascii(), self.$name.get()),)+]
            }
        }
    };
}

counters! {
    /// Open WebSocket connections.
    connections: "gauge",
    /// WebSocket connections accepted.
    connections_accepted: "counter",
    /// WebSocket connections refused.
    connections_refused: "counter",
    /// Invalid HTTP handshakes and requests.
    bad_requests: "counter",
    /// Handshakes that timed out.
    handshake_timeouts: "counter",
    /// Channels with at least one socket.
    channels: "gauge",
    /// Subscriptions of all sockets.
    subscriptions: "gauge",
    /// Subscriptions refused with an error.
    subscriptions_refused: "counter",
    /// Messages read from sockets.
    messages_received: "counter",
    /// Messages that were malformed or over a limit.
    messages_refused: "counter",
    /// Broadcasts passed to the hub.
    broadcasts: "counter",
    /// Broadcasts without a subscribed socket.
    broadcasts_unheard: "counter",
    /// Frames queued for sockets.
    frames_queued: "counter",
    /// Frames written to sockets.
    frames_sent: "counter",
    /// Bytes written to sockets.
    bytes_sent: "counter",
    /// System calls that wrote to sockets.
    writes: "counter",
    /// Sockets closed because they read too slowly.
    slow_clients: "counter",
    /// Sockets closed because they did not answer a ping.
    silent_clients: "counter",
    /// Client events relayed.
    client_events: "counter",
    /// Client events refused with an error.
    client_events_refused: "counter",
    /// Events with reserved names, refused.
    reserved_events: "counter",
    /// Records whose channel belongs to another topic, skipped.
    topic_mismatch: "counter",
    /// Records that are not broadcasts.
    bad_records: "counter",
    /// Broadcasts over the size limit, skipped.
    oversized_events: "counter",
    /// Broadcasts with plain data to an encrypted channel, skipped.
    plain_to_encrypted: "counter",
    /// Records read from Kafka.
    records: "counter",
    /// Offsets out of range.
    offsets_lost: "counter",
    /// HTTP API requests answered.
    api_requests: "counter",
    /// HTTP API requests refused.
    api_refused: "counter",
    /// Channels recovered after a reconnect.
    recovered: "counter",
    /// Channels that could not be recovered.
    not_recovered: "counter",
    /// Bytes of cached events.
    cache_bytes: "gauge",
    /// Cached events evicted to free space.
    cache_evictions: "counter",
    /// Other gateways alive.
    nodes: "gauge",
    /// Control records ignored: wrong signature, or issued more than 30 s before they were written.
    forged_control: "counter",
    /// Connections held back because file descriptors ran short.
    descriptors_short: "counter",
}

#[cfg(test)]
mod tests {
    use super::Counters;

    #[test]
    fn every_counter_has_a_name_and_a_help_text() {
        let counters = Counters::default();
        counters.broadcasts.add(3);
        let all = counters.all();
        assert!(all.iter().all(|(name, kind, words, _)| {
            !name.is_empty() && !words.is_empty() && matches!(*kind, "counter" | "gauge")
        }));
        assert!(all
            .iter()
            .any(|(name, _, _, value)| (*name, *value) == ("broadcasts", 3)));
    }
}
