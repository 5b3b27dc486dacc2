//! Replays, from the ring and from Kafka.
