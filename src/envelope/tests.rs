//! Tests of writing, scanning and comparing envelopes.

use super::*;
use crate::error;
use std::borrow::Cow;

fn php(s: &str) -> String {
    let mut out = Vec::new();
    write_php_string(&mut out, s);
    String::from_utf8(out).unwrap()
}

fn scan(json: &str) -> Scanned<'_> {
    scan_envelope(json.as_bytes()).unwrap_or_else(|e| panic!("{json}: {e}"))
}

#[test]
fn strings_are_escaped_like_json_encode() {
    for (plain, json) in [
        ("", r#""""#),
        ("user.1", r#""user.1""#),
        ("a/b", r#""a\/b""#),
        (r#"q"\"#, r#""q\"\\""#),
        ("\u{8}\u{9}\n\u{c}\r", r#""\b\t\n\f\r""#),
        ("\0\u{1f}\u{7f}", "\"\\u0000\\u001f\u{7f}\""),
        ("đơn/é!", r#""\u0111\u01a1n\/\u00e9!""#),
        ("x😀y", r#""x\ud83d\ude00y""#),
        ("<>&'", r#""<>&'""#),
        ("\u{2028}", r#""\u2028""#),
        ("ééé", r#""\u00e9\u00e9\u00e9""#),
    ] {
        assert_eq!(php(plain), json, "{plain:?}");
        assert_eq!(serde_json::from_str::<String>(json).unwrap(), plain);
    }
}

#[test]
fn an_envelope_is_written_in_key_order_without_nulls() {
    let mut out = Vec::new();
    let data = br#"{"id":7,"note":"\u0111"}"#;
    write_envelope(
        &mut out,
        b"1-2",
        "event",
        Some("user.1"),
        Some("a/b"),
        Some(data),
        1_763_700_000,
    );
    assert_eq!(
        String::from_utf8(out).unwrap(),
        concat!(
            r#"{"id":"1-2","type":"event","channel":"user.1","event":"a\/b""#,
            r#","data":{"id":7,"note":"\u0111"},"timestamp":1763700000}"#
        )
    );
    for (data, timestamp, json) in [
        (None, 0, r#"{"id":"x","type":"ping","timestamp":0}"#),
        (
            Some(&b"null"[..]),
            -5,
            r#"{"id":"x","type":"ping","timestamp":-5}"#,
        ),
        (
            Some(b"0"),
            i64::MIN,
            r#"{"id":"x","type":"ping","data":0,"timestamp":-9223372036854775808}"#,
        ),
    ] {
        let mut out = Vec::new();
        write_envelope(&mut out, b"x", "ping", None, None, data, timestamp);
        assert_eq!(String::from_utf8(out).unwrap(), json);
    }
    let mut out = Vec::new();
    write_envelope(&mut out, b"a\"\xff", "event", None, None, None, 1);
    assert!(out.starts_with(br#"{"id":"a\"\ufffd","#));
}

#[test]
fn a_written_envelope_is_scanned() {
    let mut out = Vec::new();
    write_envelope(
        &mut out,
        b"id/1",
        "event",
        Some("đ.1"),
        Some("x"),
        Some(b"[1,{\"a\":\"]\"}]"),
        12,
    );
    let scanned = scan_envelope(&out).unwrap();
    assert_eq!(scanned.id, "id/1");
    assert_eq!(scanned.kind, EnvelopeKind::Event);
    assert_eq!(scanned.channel.as_deref(), Some("đ.1"));
    assert_eq!(scanned.event.as_deref(), Some("x"));
    assert_eq!(scanned.data, Some(&b"[1,{\"a\":\"]\"}]"[..]));
    assert_eq!(scanned.timestamp, Some(12));
}

#[test]
fn strings_without_escapes_are_borrowed() {
    let scanned = scan(r#"{"channel":"user.1","event":"a\/b"}"#);
    assert!(matches!(scanned.channel, Some(Cow::Borrowed("user.1"))));
    assert!(matches!(scanned.event, Some(Cow::Owned(ref e)) if e == "a/b"));
}

#[test]
fn keys_may_have_any_order_and_the_last_duplicate_is_used() {
    let scanned = scan(
        " {\"timestamp\" : 1.9e1 ,\"x\":[{}],\"data\":1,\"data\":{\"a\":[1, 2]} , \
         \"channel\":\"a\",\"channel\":null,\n\"\\u0069d\":\"z\",\"type\":\"pong\",\"y\":-1.5E+3,\"event\":\"\"}\t\r\n",
    );
    assert_eq!(scanned.id, "z");
    assert_eq!(scanned.kind, EnvelopeKind::Pong);
    assert_eq!(scanned.channel, None);
    assert_eq!(scanned.event.as_deref(), Some(""));
    assert_eq!(scanned.data, Some(&b"{\"a\":[1, 2]}"[..]));
    assert_eq!(scanned.timestamp, Some(19));

    let empty = scan("{}");
    assert_eq!(
        (empty.id.as_ref(), empty.kind, empty.data),
        ("", EnvelopeKind::Event, None)
    );
    let nulls = scan(r#"{"id":null,"type":null,"data":null,"timestamp":null}"#);
    assert_eq!(nulls, empty);
    assert_eq!(
        scan(r#"{"timestamp":"1763700000"}"#).timestamp,
        Some(1_763_700_000)
    );
    for kind in EnvelopeKind::ALL {
        assert_eq!(
            scan(&format!(r#"{{"type":"{}"}}"#, kind.as_str())).kind,
            kind
        );
    }
}

#[test]
fn data_of_every_type_is_returned_as_bytes() {
    for data in [
        "0",
        "-1.5e-7",
        "true",
        "false",
        r#""""#,
        r#""a\"b\\""#,
        "[]",
        "{}",
        r#"{"a":"}"}"#,
        r#"["\\",{"b":[[]]}]"#,
        r#""12345678\"90""#,
    ] {
        let json = format!("{{\"data\":{data}}}");
        assert_eq!(scan(&json).data, Some(data.as_bytes()));
        let json = format!("{{\"data\" : {data} ,\"id\":\"i\"}}");
        assert_eq!(scan(&json).data, Some(data.as_bytes()));
    }
}

#[test]
fn malformed_envelopes_are_refused() {
    let deep = |n: usize| format!("{{\"data\":{}{}}}", "[".repeat(n), "]".repeat(n));
    assert!(scan_envelope(deep(512).as_bytes()).is_ok());
    for json in [
        "",
        " ",
        "null",
        "[]",
        "\"x\"",
        "1",
        "{",
        "}",
        "{]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1",
        "{\"a\":1,}",
        "{,}",
        "{\"a\":1}}",
        "{\"a\":1} x",
        "{\"a\":1}{}",
        "{a:1}",
        "{'a':1}",
        "{\"a\":01}",
        "{\"a\":1.}",
        "{\"a\":-}",
        "{\"a\":1e}",
        "{\"a\":+1}",
        "{\"a\":.5}",
        "{\"a\":tru}",
        "{\"a\":nulll}",
        "{\"a\":NaN}",
        "{\"a\":[1}",
        "{\"a\":[}]}",
        "{\"a\":{]}",
        "{\"a\":\"x}",
        "{\"a\":\"x\\",
        "{\"a\":\"x\\\"}",
        "{\"a\":[\"x]}",
        "{\"a\" 1}",
        "{\"a\":1 \"b\":2}",
        "{\"id\":1}",
        "{\"type\":\"evil\"}",
        "{\"type\":1}",
        "{\"channel\":[]}",
        "{\"event\":{}}",
        "{\"channel\":\"a\nb\"}",
        "{\"channel\":\"\\ud800\"}",
        "{\"channel\":\"\\x\"}",
        "{\"timestamp\":true}",
        "{\"timestamp\":\"soon\"}",
        "{\"timestamp\":1e300}",
        "{\"timestamp\":[]}",
        "\u{feff}{}",
        &deep(513),
    ] {
        let error = scan_envelope(json.as_bytes()).expect_err(json);
        assert_eq!(error.kind(), error::Kind::Encoding, "{json}");
        assert!(error.message().starts_with("Not an envelope: "), "{error}");
    }
    let error = scan_envelope(b"{\"a\":\"\xff\"}").unwrap_err();
    assert!(error.message().contains("UTF-8 at byte 6"), "{error}");
    let error = scan_envelope(b"{\"a\":1,}").unwrap_err();
    assert!(
        error.message().contains("a key was expected at byte 7"),
        "{error}"
    );
}

/// Truncating a valid envelope anywhere, or changing any byte, never panics; a truncated envelope is refused.
#[test]
fn damaged_envelopes_never_panic() {
    let good = concat!(
        r#"{"id":"a\u0041","type":"event","channel":"đ","event":"e""#,
        r#","data":{"a":["\"",{}],"b":1.5},"timestamp":17}"#
    )
    .as_bytes();
    for end in 0..good.len() {
        assert!(scan_envelope(&good[..end]).is_err(), "{end}");
    }
    for at in 0..good.len() {
        for byte in [b'"', b'\\', b'{', b']', b'}', b',', 0, 0xff, b' '] {
            let mut bad = good.to_vec();
            bad[at] = byte;
            let _ = scan_envelope(&bad);
        }
    }
}

#[test]
fn json_is_compared_by_phps_rules() {
    for (a, b) in [
        ("{}", "{}"),
        (r#"{"a":1,"b":[1,2]}"#, r#"{ "b":[1, 2.0], "a":1.0 }"#),
        ("1.0", "1"),
        ("-0", "0"),
        ("1e2", "100"),
        (r#""\u00e9\/""#, r#""é/""#),
        ("{}", "[]"),
        (r#"{"0":"x","1":"y"}"#, r#"["x","y"]"#),
        ("18446744073709551616", "1.8446744073709551616e19"),
        ("not json", "not json"),
    ] {
        assert!(same_json(a.as_bytes(), b.as_bytes()), "{a} {b}");
        assert!(same_json(b.as_bytes(), a.as_bytes()), "{b} {a}");
    }
    for (a, b) in [
        ("1", "2"),
        ("1", "\"1\""),
        ("9007199254740993", "9007199254740992"),
        ("[1,2]", "[2,1]"),
        (r#"{"a":1}"#, r#"{"a":1,"b":null}"#),
        (r#"{"a":null}"#, r#"{"b":null}"#),
        ("null", "false"),
        ("[", "[ "),
        ("1 2", "1"),
        ("", "null"),
    ] {
        assert!(!same_json(a.as_bytes(), b.as_bytes()), "{a} {b}");
    }
    let deep = |n: usize, space: &str| format!("{}{space}{}", "[".repeat(n), "]".repeat(n));
    assert!(same_json(
        deep(512, "").as_bytes(),
        deep(512, " ").as_bytes()
    ));
    assert!(!same_json(
        deep(100_000, "").as_bytes(),
        deep(100_000, " ").as_bytes()
    ));
}

#[test]
fn headers_of_the_extension_are_recognised() {
    for name in [
        headers::SOCKET,
        headers::PUBLIC,
        headers::HOPS,
        headers::ORIGINAL_TOPIC,
        headers::ATTEMPTS,
    ] {
        assert!(headers::is_ours(name), "{name}");
    }
    for name in [headers::TRACE_PARENT, "x-mine", "content-type"] {
        assert!(!headers::is_ours(name), "{name}");
    }
}
