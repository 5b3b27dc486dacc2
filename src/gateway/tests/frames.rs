//! Invalid WebSocket frames, and unusual valid ones: the Autobahn cases that apply to this server.

use serde_json::json;

use super::*;

fn text_frame(len: usize, fill: u8) -> Vec<u8> {
    vec![fill; len]
}

#[test]
fn fragments_together_are_limited_in_size_and_number() {
    let gateway = gateway(|_| {});
    let mut client = TestClient::connect(&gateway);
    client.frame(0x01, &text_frame(10_000, b'x'));
    client.frame(0x00, &text_frame(6_000, b'x'));
    client.frame(0x00, &text_frame(1_000, b'x'));
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
        1000_u16, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999,
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
