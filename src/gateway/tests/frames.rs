//! Invalid WebSocket frames, and unusual valid ones: the Autobahn cases that apply to this server. Fuzzing of
//! everything between a socket and an action: mutated messages, truncated frames, random bytes. What frames make the
//! process keep in memory.

use std::process::Command;

use serde_json::{json, Map, Value};

use super::*;
use crate::gateway::protocol::frame::{DecodedFrame, Decoder};
use crate::gateway::protocol::incoming::{action, member, signed_in_user, Action};
use crate::gateway::protocol::{frame, Close};
use crate::gateway::server::api;
use crate::http::request;
use crate::topic::socket_channel::Name;

#[test]
fn fragments_together_are_limited_in_size_and_number() {
    let gateway = gateway(|_| {});
    let mut client = TestClient::connect(&gateway);
    client.frame(0x01, &[b'x'; 10_000]);
    client.frame(0x00, &[b'x'; 6_000]);
    client.frame(0x00, &[b'x'; 1_000]);
    assert_eq!(client.expect_close(), 1009);
    // The header is sufficient: the payload is not awaited.
    let mut client = TestClient::connect(&gateway);
    client.write(&[
        0x81, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1, 2, 3, 4,
    ]);
    assert_eq!(client.expect_close(), 1009);
}

#[test]
fn invalid_frames_close_the_connection_with_the_right_code() {
    let gateway = gateway(|_| {});
    let cases: &[(&str, &[u8], u16)] = &[
        (
            "RSV1, as compression has it",
            &[0xC1, 0x80, 0, 0, 0, 0],
            1002,
        ),
        ("RSV2", &[0xA1, 0x80, 0, 0, 0, 0], 1002),
        ("RSV3", &[0x91, 0x80, 0, 0, 0, 0], 1002),
        ("RSV on a control frame", &[0xC9, 0x80, 0, 0, 0, 0], 1002),
        ("unmasked", &[0x81, 0x02, b'{', b'}'], 1002),
        ("binary", &[0x82, 0x81, 0, 0, 0, 0, 1], 1003),
        ("reserved data opcode", &[0x83, 0x80, 0, 0, 0, 0], 1002),
        ("reserved control opcode", &[0x8B, 0x80, 0, 0, 0, 0], 1002),
        ("fragmented ping", &[0x09, 0x80, 0, 0, 0, 0], 1002),
        ("long ping", &[0x89, 0xFE, 0, 126, 0, 0, 0, 0], 1002),
        ("continuation of nothing", &[0x80, 0x80, 0, 0, 0, 0], 1002),
        (
            "a message within a message",
            &[0x01, 0x80, 0, 0, 0, 0, 0x81, 0x80, 0, 0, 0, 0],
            1002,
        ),
        ("not UTF-8", &[0x81, 0x82, 0, 0, 0, 0, 0xC3, 0x28], 1007),
        (
            "a surrogate",
            &[0x81, 0x83, 0, 0, 0, 0, 0xED, 0xA0, 0x80],
            1007,
        ),
        (
            "an overlong slash",
            &[0x81, 0x82, 0, 0, 0, 0, 0xC0, 0xAF],
            1007,
        ),
        ("half a code in a close", &[0x88, 0x81, 0, 0, 0, 0, 3], 1002),
        ("a code that is none", &[0x88, 0x82, 0, 0, 0, 0, 0, 0], 1002),
        (
            "a reserved code",
            &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xED],
            1002,
        ),
        (
            "a reason that is not UTF-8",
            &[0x88, 0x83, 0, 0, 0, 0, 0x03, 0xE8, 0xFF],
            1007,
        ),
    ];
    for (case, bytes, code) in cases {
        let mut client = TestClient::connect(&gateway);
        client.write(bytes);
        assert_eq!(client.expect_close(), *code, "{case}");
    }
    eventually("all are removed", || gateway.hub().sockets().is_empty());
}

#[test]
fn unusual_valid_frames_are_accepted() {
    let gateway = gateway(|_| {});
    let mut client = TestClient::connect(&gateway);
    let ping = json!({"event": "pusher:ping", "data": "é"}).to_string();
    let (a, b) = ping.as_bytes().split_at(ping.len() - 3);
    // Fragments that split a character, with a ping in between and an empty fragment.
    client.frame(0x01, a);
    client.frame(0x89, b"between");
    assert_eq!(
        client.next(Duration::from_secs(5)),
        Frame::Pong(b"between".to_vec())
    );
    client.frame(0x00, b"");
    client.frame(0x80, b);
    assert_eq!(client.event()["event"], "pusher:pong");
    // Byte by byte.
    let mut frame = vec![0x81, 0x80 | u8::try_from(ping.len()).unwrap(), 0, 0, 0, 0];
    frame.extend(ping.as_bytes());
    for byte in &frame {
        client.write(&[*byte]);
    }
    assert_eq!(client.event()["event"], "pusher:pong");
    // Many frames in one write; an unsolicited pong; a ping with the maximum payload.
    let mut many = frame.repeat(3);
    many.extend([0x8A, 0x80, 0, 0, 0, 0]);
    client.write(&many);
    for _ in 0..3 {
        assert_eq!(client.event()["event"], "pusher:pong");
    }
    client.frame(0x89, &[7; 125]);
    assert_eq!(
        client.next(Duration::from_secs(5)),
        Frame::Pong(vec![7; 125])
    );
    // A close without a code.
    client.frame(0x88, b"");
    assert_eq!(client.expect_close(), 1000);
}

#[test]
fn a_close_is_answered_with_its_own_code() {
    let gateway = gateway(|_| {});
    for code in [
        1000_u16, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999,
        4000, 4999,
    ] {
        let mut client = TestClient::connect(&gateway);
        client.frame(
            0x88,
            &[&code.to_be_bytes()[..], "bye é".as_bytes()].concat(),
        );
        // Frames after a close are ignored.
        client.send("pusher:ping", &json!({}));
        assert_eq!(client.expect_close(), code);
    }
    for code in [
        0_u16, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535,
    ] {
        let mut client = TestClient::connect(&gateway);
        client.frame(0x88, &code.to_be_bytes());
        assert_eq!(client.expect_close(), 1002, "{code}");
    }
    // The maximum reason, and one byte more.
    let mut client = TestClient::connect(&gateway);
    client.frame(0x88, &[&[0x03, 0xE8][..], &[b'x'; 123]].concat());
    assert_eq!(client.expect_close(), 1000);
    let mut client = TestClient::connect(&gateway);
    client.frame(0x88, &[&[0x03, 0xE8][..], &[b'x'; 124]].concat());
    assert_eq!(client.expect_close(), 1002);
    // In the middle of a message.
    let mut client = TestClient::connect(&gateway);
    client.frame(0x01, b"{\"event\"");
    client.frame(0x88, &[0x0B, 0xB8]);
    assert_eq!(client.expect_close(), 3000);
}

const SEEDS: &[&str] = &[
    r#"{"event":"pusher:subscribe","data":{"channel":"private-a","auth":"k:00","channel_data":"{\"user_id\":1}"}}"#,
    r#"{"event":"pusher:signin","data":{"auth":"k:00","user_data":"{\"id\":\"1\"}"}}"#,
    r#"{"event":"client-x","channel":"presence-a","data":{"a":[1,2,{"b":null}]},"user_id":"1"}"#,
    r#"{"event":"realtime:resume","data":{"private-a":"token"}}"#,
    r#"{"event":"pusher:ping","data":{}}"#,
    "GET /app/key?protocol=7&a=%20b HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: \
     Upgrade\r\nContent-Length: 3\r\n\r\n",
];

/// A xorshift generator: the same sequence for the same seed.
struct Xorshift(u64);

impl Xorshift {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, most: usize) -> usize {
        usize::try_from(self.next() % (most.max(1) as u64)).unwrap()
    }

    fn byte(&mut self) -> u8 {
        // Often a byte with a meaning in JSON or HTTP.
        const MEANING: &[u8] = b"{}[]\":,\\\0\n\r%&=-#u0123456789\x7f\x80\xff\xc3";
        if self.below(2) == 0 {
            MEANING[self.below(MEANING.len())]
        } else {
            self.next().to_le_bytes()[0]
        }
    }
}

/// Fuzzes until `end` and returns the number of inputs.
fn fuzz(seed: u64, end: Instant) -> u64 {
    let mut random = Xorshift(seed);
    let mut rounds = 0;
    let (mut understood, mut refused) = (0_u64, 0_u64);
    while Instant::now() < end {
        for _ in 0..256 {
            let input = mutated(&mut random);
            texts(&input, &mut understood);
            frames(&input, &mut random, &mut refused);
            rounds += 1;
        }
    }
    assert!(
        understood > 0 && refused > 0,
        "{understood} {refused} of {rounds}"
    );
    rounds
}

fn mutated(random: &mut Xorshift) -> Vec<u8> {
    let mut bytes = SEEDS[random.below(SEEDS.len())].as_bytes().to_vec();
    for _ in 0..random.below(8) {
        let at = random.below(bytes.len());
        match random.below(6) {
            0 if !bytes.is_empty() => bytes[at] = random.byte(),
            1 => bytes.insert(at, random.byte()),
            2 if !bytes.is_empty() => drop(bytes.remove(at)),
            3 => bytes.truncate(at),
            4 => {
                let part = bytes[at..].to_vec();
                bytes.extend(part);
            }
            _ => {
                let fill = random.byte();
                let many = random.below(2000);
                bytes.splice(at..at, std::iter::repeat_n(fill, many));
            }
        }
    }
    bytes
}

/// Feeds all parsers of client text.
fn texts(input: &[u8], understood: &mut u64) {
    let _ = request::parse(input, 8192);
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    match action(text, 32) {
        Action::Subscribe(wanted) => {
            *understood += 1;
            if let Some(name) = Name::parse(&wanted.channel) {
                assert!(name.full.ends_with(name.base));
            }
            if let Some(member) = wanted.channel_data.and_then(|d| member(&d, 1024)) {
                assert!(!member.user_id.is_empty() && member.user_id.chars().count() <= 128);
            }
        }
        Action::ClientEvent { event, .. } => {
            *understood += 1;
            assert!(event.starts_with("client-") && event.len() <= 200);
        }
        Action::SignIn(user) => drop(signed_in_user(&user.user_data)),
        _ => {}
    }
    if let Ok(pairs) = crate::http::request::query_pairs(text) {
        let _ = api::signed_text("POST", "/", &pairs);
    }
    // Whatever the input, encoded events are valid JSON.
    let event = frame::event(text, text, Some(&frame::quoted(text)), Some(text));
    let head = if event.len() < 128 { 2 } else { 4 };
    if event.len() < 65_000 {
        let json: serde_json::Value = serde_json::from_slice(&event[head..]).unwrap();
        assert_eq!(json["event"], text);
    }
}

/// Feeds the input to the decoder as frames, fragmented and partly corrupted.
fn frames(input: &[u8], random: &mut Xorshift, refused: &mut u64) {
    let mut bytes = Vec::new();
    for piece in input.chunks(1 + random.below(400)) {
        let last = random.below(3) == 0;
        bytes.push((u8::from(last) << 7) | u8::from(random.below(4) > 0));
        let mut head = Vec::new();
        frame::header(&mut head, 1, piece.len());
        head[1] |= 0x80;
        bytes.extend(&head[1..]);
        bytes.extend([0; 4]);
        bytes.extend(piece);
    }
    if random.below(2) == 0 && !bytes.is_empty() {
        let at = random.below(bytes.len());
        bytes[at] = random.byte();
    }
    let mut decoder = Decoder::default();
    let mut end = None;
    let mut fed = bytes.as_mut_slice();
    while !fed.is_empty() && end.is_none() {
        let cut = 1 + random.below(fed.len());
        let (now, later) = fed.split_at_mut(cut);
        let mut longest = 0;
        let result = decoder.feed(now, 4096, |frame| {
            if let DecodedFrame::Text(text) = frame {
                longest = longest.max(text.len());
            }
            Ok(())
        });
        assert!(longest <= 4096);
        end = result.err();
        fed = later;
    }
    if let Some(close) = end {
        assert!(matches!(
            close,
            Close::ProtocolError | Close::Unsupported | Close::TooBig | Close::BadData
        ));
        *refused += 1;
    }
}

#[test]
fn random_input_never_panics() {
    // A loop with a fixed seed; REALTIME_FUZZ_SECONDS runs it longer.
    let seconds = std::env::var("REALTIME_FUZZ_SECONDS")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(1);
    let end = Instant::now() + Duration::from_secs(seconds);
    assert!(fuzz(0x5eed, end) > 0);
}

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
            .args(["--exact", &format!("gateway::tests::frames::{test}")])
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
                client.unsubscribe(&channel);
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
