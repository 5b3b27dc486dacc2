//! Startup time of a gateway's Kafka side.

use std::io::Write;
use std::time::Instant;

use super::test_brokers::{brokers, config, unique, Node, Sender};

#[test]
fn a_gateway_starts_within_seconds() {
    for brokers in brokers() {
        let config = config(&brokers, &unique("start"));
        let sender = Sender::start(&config);
        for channel in 0..20 {
            sender.send(&format!("user.{channel}"), "e", "1");
        }
        sender.flush();
        for round in 0..3 {
            let started = Instant::now();
            let node = Node::start(&config);
            let filled = started.elapsed();
            node.wait_for_presence();
            let ready = started.elapsed();
            node.kafka.stop();
            let line = format!(
                "start {round} on {brokers}: filled after {filled:.0?}, whole after {ready:.0?}, stopped after \
                {:.0?}\n",
                started.elapsed().saturating_sub(ready)
            );
            let _ = std::io::stderr().write_all(line.as_bytes());
            assert!(ready.as_secs() < 10);
        }
    }
}
