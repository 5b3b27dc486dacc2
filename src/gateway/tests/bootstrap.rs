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
            let begun = Instant::now();
            let node = Node::start(&config);
            let filled = begun.elapsed();
            node.settle();
            let whole = begun.elapsed();
            node.kafka.stop();
            let line = format!(
                "start {round} on {brokers}: filled after {filled:.0?}, whole after {whole:.0?}, stopped after \
                {:.0?}\n",
                begun.elapsed().saturating_sub(whole)
            );
            let _ = std::io::stderr().write_all(line.as_bytes());
            assert!(whole.as_secs() < 10);
        }
    }
}
