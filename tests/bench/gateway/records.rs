//! Measures a record that no socket of this gateway subscribes to: a gateway reads all records of its prefix, and most
//! are for the clients of others.

use std::sync::Arc;
use std::time::Duration;

use toporia_realtime::gateway::bootstrap::single_node;
use toporia_realtime::gateway::broadcast::BroadcastHeaders;
use toporia_realtime::gateway::broadcast::{At, Broadcast};
use toporia_realtime::gateway::replay::replay_buffer::ReplayBuffer;
use toporia_realtime::topic::TopicMap;

use crate::contenders::settings;
use crate::meter::cpu;

const RECORDS: usize = 2_000_000;
const TOPIC: &str = "realtime.all";

/// Passes records of this many channels to a gateway as its feed does. Returns CPU in µs per record, and KB of memory.
fn run(channels: usize) -> (f64, u64) {
    let before = crate::meter::rss_kb();
    let settings = settings();
    let topics = TopicMap::grouped("realtime", Vec::new(), TOPIC, None);
    let max_event = settings.max_event;
    let replay_buffer = ReplayBuffer::new(settings.replay_window, settings.replay_memory);
    replay_buffer.start_partition((0, 0), 0, 0);
    let gateway = single_node(settings).expect("a gateway");
    // librdkafka's records are in the processor's cache: one value, in which the channel's digits are replaced.
    let mut value = format!(
        "{{\"id\":\"01a22c76-28ea-7133-9c12-000000000000\",\"type\":\"event\",\"channel\":\"user.000000\",\
         \"event\":\"order.created\",\"data\":{},\"timestamp\":1796042270}}",
        super::data_of(0, 20)
    )
    .into_bytes();
    let digits = value
        .windows(5)
        .position(|w| w == b"user.")
        .expect("a channel")
        + 5;
    // Another channel each time, in no order.
    let mut next = 0;
    let mut select_next = move |value: &mut [u8]| {
        next = (next + 7919) % channels;
        let mut rest = next;
        for digit in value[digits..digits + 6].iter_mut().rev() {
            *digit = b"0123456789"[rest % 10];
            rest /= 10;
        }
    };
    let begun = cpu();
    for _ in 0..RECORDS {
        select_next(&mut value);
        std::hint::black_box(&value);
    }
    let reading = cpu() - begun;
    let begun = cpu();
    for offset in 0..RECORDS {
        select_next(&mut value);
        let at = At {
            topic: 0,
            partition: 0,
            offset: i64::try_from(offset).unwrap_or(0),
        };
        let read = Broadcast::from_record(
            TOPIC,
            &value,
            BroadcastHeaders::default(),
            &topics,
            max_event,
            Some(at),
        );
        let broadcast = Arc::new(read.expect("a broadcast"));
        replay_buffer.push(&broadcast, 1_796_042_270_000);
        gateway.hub().channels().deliver(&broadcast);
    }
    let used = (cpu() - begun - reading) * 1e6 / RECORDS as f64;
    let memory = crate::meter::rss_kb().saturating_sub(before);
    gateway.stop(Duration::ZERO);
    (used, memory)
}

pub fn print() {
    println!("\nRecords of about 260 bytes without a subscriber: CPU per record, librdkafka's part excluded");
    for channels in [1_000, 200_000] {
        let (used, memory) = run(channels);
        println!("{channels} channels: {used:.2} µs, {} MB", memory / 1024);
    }
}
