//! Server-sent events: a connection's frames as an event stream, whose `id` is the position on all channels.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::gateway::protocol::frame;

/// The `id` after which a client that reconnects is answered with 204, so that it does not reconnect again.
pub const CLOSED: &str = "closed";
/// Maximum length of an `id`, in bytes: clients send it back in a header, which proxies limit to 8 KB with the URL.
const MAX_ID: usize = 4096;

/// Encodes one connection's frames.
#[derive(Default)]
pub(super) struct EventStream {
    /// Tokens by channel; all of them are in each `id`.
    tokens: BTreeMap<String, String>,
}

impl EventStream {
    /// A WebSocket frame as an event: text as `data`, a ping as a comment, others as nothing.
    pub fn encode(frame: &[u8]) -> Bytes {
        let header = match frame.get(1) {
            Some(126) => 4,
            Some(127) => 10,
            _ => 2,
        };
        let payload = frame.get(header..).unwrap_or_default();
        match frame.first().map(|first| first & 0xf) {
            Some(0x1) => {
                let mut out = Vec::with_capacity(payload.len() + 8);
                out.extend_from_slice(b"data: ");
                // A line break ends the field. In JSON it can only stand between tokens, in the data of client events.
                out.extend(payload.iter().map(|byte| match byte {
                    b'\n' | b'\r' => b' ',
                    other => *other,
                }));
                out.extend_from_slice(b"\n\n");
                out.into()
            }
            Some(0x9) => Bytes::from_static(b":\n\n"),
            _ => Bytes::new(),
        }
    }

    /// The `id` after these tokens have changed. Channels whose tokens do not fit are left out; they are answered with
    /// `recovered: false` after a reconnect.
    pub fn id(&mut self, changed: Vec<(String, String)>) -> Bytes {
        self.tokens.extend(changed);
        let mut left = MAX_ID - 2;
        let object = frame::token_object(self.tokens.iter().filter(|(channel, token)| {
            // With their quotes, a colon and a comma.
            let rest = left.checked_sub(channel.len() + token.len() + 6);
            left = rest.unwrap_or(left);
            rest.is_some()
        }));
        [b"id: ", object.as_slice(), b"\n\n"].concat().into()
    }

    /// The end of the stream. `is_final`: the client must not reconnect.
    pub fn end(is_final: bool) -> Bytes {
        if is_final {
            format!("id: {CLOSED}\n\n").into()
        } else {
            Bytes::from_static(b":\n\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_every_length_are_encoded_as_data() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let text = "x".repeat(length);
            let encoded = EventStream::encode(&frame::text(text.as_bytes()));
            assert_eq!(encoded, format!("data: {text}\n\n"));
        }
        assert_eq!(EventStream::encode(&frame::ping()), ":\n\n");
        assert_eq!(EventStream::encode(&frame::close(4200, "restart")), "");
    }

    #[test]
    fn line_breaks_between_the_tokens_of_json_do_not_end_the_event() {
        let encoded = EventStream::encode(&frame::text(b"{\"a\":\r\n1}"));
        assert_eq!(encoded, "data: {\"a\":  1}\n\n");
    }

    #[test]
    fn an_id_has_the_positions_of_all_channels_within_its_limit() {
        let mut stream = EventStream::default();
        stream.id(vec![("a".into(), "1".into())]);
        let id = stream.id(vec![("b".into(), "2".into()), ("a".into(), "3".into())]);
        assert_eq!(id, "id: {\"a\":\"3\",\"b\":\"2\"}\n\n");
        let many = (0..100).map(|n| (format!("c{n}"), "t".repeat(150)));
        assert!(stream.id(many.collect()).len() <= MAX_ID + 8);
    }
}
