//! Fuzzing of everything between a socket and an action: mutated messages, truncated frames, random bytes.

use std::time::Instant;

use crate::gateway::protocol::incoming::{action, Action};
use crate::gateway::protocol::{frame, Close};
use crate::gateway::server::api;
use crate::gateway::session::decoder::{DecodedFrame, Decoder};
use crate::http::request;
use crate::topic::socket_channel::Name;

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
struct Random(u64);

impl Random {
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

/// Runs until `end` and returns the number of inputs.
pub fn run(seed: u64, end: Instant) -> u64 {
    let mut random = Random(seed);
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

fn mutated(random: &mut Random) -> Vec<u8> {
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
            if let Some(member) = wanted.channel_data.and_then(|d| frame::member(&d, 1024)) {
                assert!(!member.user_id.is_empty() && member.user_id.chars().count() <= 128);
            }
        }
        Action::ClientEvent { event, .. } => {
            *understood += 1;
            assert!(event.starts_with("client-") && event.len() <= 200);
        }
        Action::SignIn(user) => drop(frame::signed_in_user(&user.user_data)),
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
fn frames(input: &[u8], random: &mut Random, refused: &mut u64) {
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
