//! Memory that sockets make the process keep, measured in a process of its own. One test per kind of frame.

use std::process::Command;

use serde_json::{json, Map, Value};

use super::*;

const SOCKETS: usize = 40;
/// Growth that is not the sockets' state: allocator, thread stacks, the test's own buffers.
const NOISE: usize = 6 << 20;

/// Runs `attack` in a process of its own and asserts that each of [`SOCKETS`] connections costs at most
/// `max_per_socket` bytes.
fn assert_bounded(
    test: &str,
    max_per_socket: usize,
    change: impl FnOnce(&mut Settings),
    attack: impl Fn(&mut TestClient, usize),
) {
    const CHILD: &str = "REALTIME_TEST_MEMORY";
    if std::env::var_os(CHILD).is_none() {
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("gateway::tests::memory::{test}")])
            .env(CHILD, "1")
            .status()
            .unwrap();
        assert!(status.success(), "{test} in its own process");
        return;
    }
    let gateway = gateway(|settings| {
        settings.messages_per_second = 1_000_000;
        settings.message_burst = 1_000_000;
        change(settings);
    });
    let mut clients: Vec<TestClient> = (0..SOCKETS)
        .map(|_| TestClient::connect(&gateway))
        .collect();
    let received = || gateway.hub().counters().messages_received.get();
    let before = resident();
    for (i, client) in clients.iter_mut().enumerate() {
        attack(client, i);
    }
    let mut last = received();
    loop {
        std::thread::sleep(Duration::from_millis(300));
        if received() == last {
            break;
        }
        last = received();
    }
    let grown = resident().saturating_sub(before).saturating_sub(NOISE);
    assert!(
        grown / SOCKETS <= max_per_socket,
        "{} bytes per socket, {last} messages",
        grown / SOCKETS
    );
}

/// Resident memory of this process, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[test]
fn made_up_resume_tokens_are_not_kept() {
    assert_bounded(
        "made_up_resume_tokens_are_not_kept",
        64 << 10,
        |_| {},
        |client, socket| {
            for frame in 0..100 {
                let channel = format!("public.{socket}.{frame}");
                let tokens = Map::from_iter([(channel, Value::from("x".repeat(15_000)))]);
                client.send("realtime:resume", &json!(tokens));
            }
        },
    );
}

#[test]
fn small_frames_to_a_client_that_does_not_read_count_with_their_overhead() {
    assert_bounded(
        "small_frames_to_a_client_that_does_not_read_count_with_their_overhead",
        (256 + 128) << 10,
        |s| s.max_queue = 256 << 10,
        |client, _| {
            // Written in large batches; the pongs are not read.
            let mut batch = Vec::new();
            for _ in 0..100 {
                batch.extend([0x89, 0x80, 0, 0, 0, 0]);
            }
            client
                .stream
                .set_write_timeout(Some(Duration::from_millis(500)))
                .unwrap();
            for _ in 0..2000 {
                client.write(&batch);
            }
        },
    );
}

#[test]
fn incomplete_messages_are_limited_to_the_message_size() {
    assert_bounded(
        "incomplete_messages_are_limited_to_the_message_size",
        96 << 10,
        |_| {},
        |client, _| {
            client.frame(0x01, &[b'x'; 8000]);
            client.frame(0x00, &[b'x'; 8000]);
            // The header of a frame that is never completed.
            client.write(&[0x80, 0xFE, 0x01, 0x70, 0, 0, 0, 0, b'x', b'x']);
        },
    );
}

#[test]
fn subscribing_and_unsubscribing_leaves_nothing_behind() {
    assert_bounded(
        "subscribing_and_unsubscribing_leaves_nothing_behind",
        128 << 10,
        |s| s.max_queue = 64 << 10,
        |client, socket| {
            client.send("realtime:resume", &json!({}));
            for i in 0..400 {
                let channel = format!("public.{socket}.{i}.{}", "x".repeat(120));
                client.send("pusher:subscribe", &json!({"channel": channel}));
                client.send("pusher:unsubscribe", &json!({"channel": channel}));
            }
        },
    );
}

#[test]
fn presence_members_are_limited_by_the_subscriptions() {
    assert_bounded(
        "presence_members_are_limited_by_the_subscriptions",
        512 << 10,
        |s| s.presence_joins = 1000,
        |client, socket| {
            let info = "x".repeat(1000);
            for i in 0..300 {
                let member = format!("{{\"user_id\":{socket},\"user_info\":\"{info}\"}}");
                client.send_subscribe(&format!("presence-{socket}.{i}"), Some(&member));
            }
        },
    );
}
