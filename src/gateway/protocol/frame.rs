//! WebSocket frames: encodes the server's messages as complete frames, and decodes the frames of a client, within
//! bounds. [`super::incoming`] parses the messages of clients.

use std::io::Cursor;

use bytes::Bytes;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;

use super::Close;
use crate::envelope::end_of_run;
use crate::gateway::broadcast::Broadcast;

/// `text` as a JSON string.
#[must_use]
pub fn quoted(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 16);
    quote_into(&mut out, text.as_bytes());
    out
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends `bytes` (UTF-8) as a JSON string, with the minimal escaping that JSON requires.
pub fn quote_into(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    let mut at = 0;
    loop {
        let end = end_of_run(bytes, at);
        out.extend_from_slice(&bytes[at..end]);
        let Some(&b) = bytes.get(end) else {
            break;
        };
        at = end + 1;
        match b {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', b]),
            b'\n' => out.extend_from_slice(b"\\n"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(b >> 4)]);
                out.push(HEX[usize::from(b & 15)]);
            }
        }
    }
    out.push(b'"');
}

/// An unmasked text frame with `json` as its payload.
#[must_use]
pub fn text(json: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(json.len() + 10);
    header(&mut out, 0x1, json.len());
    out.extend_from_slice(json);
    Bytes::from(out)
}

/// Appends the header of an unmasked final frame.
pub fn header(out: &mut Vec<u8>, opcode: u8, len: usize) {
    out.push(0x80 | opcode);
    if let Ok(small) = u8::try_from(len) {
        if small < 126 {
            out.push(small);
            return;
        }
    }
    if let Ok(middle) = u16::try_from(len) {
        out.push(126);
        out.extend_from_slice(&middle.to_be_bytes());
    } else {
        out.push(127);
        out.extend_from_slice(&(len as u64).to_be_bytes());
    }
}

/// A JSON object of channels and their tokens.
#[must_use]
pub fn token_object<'a>(tokens: impl IntoIterator<Item = (&'a String, &'a String)>) -> Vec<u8> {
    let mut json = b"{".to_vec();
    for (channel, token) in tokens {
        if json.len() > 1 {
            json.push(b',');
        }
        quote_into(&mut json, channel.as_bytes());
        json.push(b':');
        quote_into(&mut json, token.as_bytes());
    }
    json.push(b'}');
    json
}

/// An event on a channel. `data` is encoded JSON (for broadcasts a JSON string that contains JSON); `user_id` is the
/// sender of a client event on a presence channel.
#[must_use]
pub fn event(event: &str, channel: &str, data: Option<&[u8]>, user_id: Option<&str>) -> Bytes {
    let mut json =
        Vec::with_capacity(event.len() + channel.len() + data.map_or(0, <[u8]>::len) + 48);
    json.extend_from_slice(b"{\"event\":");
    quote_into(&mut json, event.as_bytes());
    json.extend_from_slice(b",\"channel\":");
    quote_into(&mut json, channel.as_bytes());
    if let Some(data) = data {
        json.extend_from_slice(b",\"data\":");
        json.extend_from_slice(data);
    }
    if let Some(user) = user_id {
        json.extend_from_slice(b",\"user_id\":");
        quote_into(&mut json, user.as_bytes());
    }
    json.push(b'}');
    text(&json)
}

/// A broadcast on a channel: its data is a JSON string, which contains JSON unless the broadcast is a text.
#[must_use]
pub fn broadcast(broadcast: &Broadcast, channel: &str) -> Bytes {
    // Quotes of the data are escaped.
    let mut json =
        Vec::with_capacity(broadcast.bytes() + broadcast.bytes() / 4 + channel.len() + 64);
    json.extend_from_slice(b"{\"event\":");
    quote_into(&mut json, broadcast.event().as_bytes());
    json.extend_from_slice(b",\"channel\":");
    quote_into(&mut json, channel.as_bytes());
    json.extend_from_slice(b",\"data\":");
    if broadcast.is_text {
        json.extend_from_slice(broadcast.data().as_bytes());
    } else {
        quote_into(&mut json, broadcast.data().as_bytes());
    }
    json.push(b'}');
    text(&json)
}

/// An event of the connection, without a channel. `data` is encoded JSON.
#[must_use]
pub fn connection_event(event: &str, data: &[u8]) -> Bytes {
    let mut json = Vec::with_capacity(event.len() + data.len() + 32);
    json.extend_from_slice(b"{\"event\":");
    quote_into(&mut json, event.as_bytes());
    json.extend_from_slice(b",\"data\":");
    json.extend_from_slice(data);
    json.push(b'}');
    text(&json)
}

/// `pusher:error` with a code and a message.
#[must_use]
pub fn error(code: u16, message: &str) -> Bytes {
    let mut data = format!("{{\"code\":{code},\"message\":").into_bytes();
    quote_into(&mut data, message.as_bytes());
    data.push(b'}');
    connection_event("pusher:error", &data)
}

/// `pusher:subscription_error` on a channel: 400 for an invalid name, 401 for a bad signature, 403 for a channel that
/// is not allowed, other 4xx for limits.
#[must_use]
pub fn subscription_error(channel: &str, status: u16, error: &str) -> Bytes {
    let kind = match status {
        400 => "InvalidChannel",
        401 => "AuthError",
        403 => "Forbidden",
        _ => "LimitReached",
    };
    let mut data = format!("{{\"type\":\"{kind}\",\"error\":").into_bytes();
    quote_into(&mut data, error.as_bytes());
    data.extend_from_slice(format!(",\"status\":{status}}}").as_bytes());
    event("pusher:subscription_error", channel, Some(&data), None)
}

/// A ping frame without a payload.
#[must_use]
pub fn ping() -> Bytes {
    let mut out = Vec::with_capacity(2);
    header(&mut out, 0x9, 0);
    Bytes::from(out)
}

/// A close frame; the reason is truncated to 123 bytes.
#[must_use]
pub fn close(code: u16, reason: &str) -> Bytes {
    let mut cut = reason.len().min(123);
    while !reason.is_char_boundary(cut) {
        cut -= 1;
    }
    let mut out = Vec::with_capacity(cut + 4);
    header(&mut out, 0x8, cut + 2);
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(&reason.as_bytes()[..cut]);
    Bytes::from(out)
}

/// Maximum header of a frame: two bytes, eight of extended length, four of mask.
const MAX_HEADER: usize = 14;
/// Maximum payload of a control frame (RFC 6455, 5.5).
const MAX_CONTROL_PAYLOAD: u64 = 125;

/// A decoded frame or message.
#[derive(Debug, PartialEq, Eq)]
pub enum DecodedFrame {
    /// A complete text message.
    Text(String),
    /// A ping; the pong repeats its payload.
    Ping(Vec<u8>),
    Pong,
    /// A fragment of a message that is not complete yet.
    Fragment,
    /// A close frame with its code, if it has one.
    Close(Option<u16>),
}

/// Decodes frames and joins fragments.
#[derive(Default)]
pub struct Decoder {
    /// Bytes of an incomplete frame.
    partial_frame: Vec<u8>,
    /// Payload of the fragments so far.
    fragments: Option<Vec<u8>>,
}

impl Decoder {
    /// Decodes `input` and calls `on_frame` for each frame in order, until it returns an error.
    ///
    /// # Errors
    /// The close code for the connection: a frame that violates the protocol, is binary, too large or not UTF-8.
    pub fn feed(
        &mut self,
        input: &mut [u8],
        max: usize,
        mut on_frame: impl FnMut(DecodedFrame) -> Result<(), Close>,
    ) -> Result<(), Close> {
        if self.partial_frame.is_empty() {
            let used = self.decode_frames(input, max, &mut on_frame)?;
            self.partial_frame.extend_from_slice(&input[used..]);
        } else {
            let mut all = std::mem::take(&mut self.partial_frame);
            all.extend_from_slice(input);
            let used = self.decode_frames(&mut all, max, &mut on_frame)?;
            if used > 0 {
                all.drain(..used);
                all.shrink_to_fit();
            }
            self.partial_frame = all;
        }
        Ok(())
    }

    fn decode_frames(
        &mut self,
        input: &mut [u8],
        max: usize,
        on_frame: &mut impl FnMut(DecodedFrame) -> Result<(), Close>,
    ) -> Result<usize, Close> {
        let mut used = 0;
        while used < input.len() {
            let mut cursor = Cursor::new(&input[used..]);
            let Some((header, length)) =
                FrameHeader::parse(&mut cursor).map_err(|_| Close::ProtocolError)?
            else {
                debug_assert!(input.len() - used < MAX_HEADER);
                break;
            };
            self.check_header(&header, length, max)?;
            let from = used + usize::try_from(cursor.position()).map_err(|_| Close::TooBig)?;
            let length = usize::try_from(length).map_err(|_| Close::TooBig)?;
            let Some(payload) = input.get_mut(from..from + length) else {
                break;
            };
            let mask = header.mask.ok_or(Close::ProtocolError)?;
            for (i, byte) in payload.iter_mut().enumerate() {
                *byte ^= mask[i & 3];
            }
            used = from + length;
            on_frame(self.decode_frame(&header, payload)?)?;
        }
        Ok(used)
    }

    /// Checks everything that the header shows, before any payload is buffered.
    fn check_header(&self, header: &FrameHeader, length: u64, max: usize) -> Result<(), Close> {
        if header.rsv1 || header.rsv2 || header.rsv3 || header.mask.is_none() {
            return Err(Close::ProtocolError);
        }
        let before = self.fragments.as_ref().map_or(0, Vec::len);
        match header.opcode {
            OpCode::Control(_) if length > MAX_CONTROL_PAYLOAD || !header.is_final => {
                Err(Close::ProtocolError)
            }
            OpCode::Data(Data::Binary) => Err(Close::Unsupported),
            OpCode::Data(kind) if (kind == Data::Continue) != self.fragments.is_some() => {
                Err(Close::ProtocolError)
            }
            OpCode::Data(_) if length.saturating_add(before as u64) > max as u64 => {
                Err(Close::TooBig)
            }
            OpCode::Control(_) | OpCode::Data(_) => Ok(()),
        }
    }

    fn decode_frame(
        &mut self,
        header: &FrameHeader,
        payload: &[u8],
    ) -> Result<DecodedFrame, Close> {
        match header.opcode {
            OpCode::Control(Control::Ping) => Ok(DecodedFrame::Ping(payload.to_vec())),
            OpCode::Control(Control::Pong) => Ok(DecodedFrame::Pong),
            OpCode::Control(_) => close_code(payload).map(DecodedFrame::Close),
            OpCode::Data(_) => {
                let mut message = self.fragments.take().unwrap_or_default();
                message.extend_from_slice(payload);
                if !header.is_final {
                    self.fragments = Some(message);
                    return Ok(DecodedFrame::Fragment);
                }
                String::from_utf8(message)
                    .map(DecodedFrame::Text)
                    .map_err(|_| Close::BadData)
            }
        }
    }
}

fn close_code(payload: &[u8]) -> Result<Option<u16>, Close> {
    let Some((code, reason)) = payload.split_at_checked(2) else {
        // Empty, or only half of a code.
        return if payload.is_empty() {
            Ok(None)
        } else {
            Err(Close::ProtocolError)
        };
    };
    let code = u16::from_be_bytes([code[0], code[1]]);
    let allowed = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
    if !allowed {
        return Err(Close::ProtocolError);
    }
    if std::str::from_utf8(reason).is_err() {
        return Err(Close::BadData);
    }
    Ok(Some(code))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn frames_have_the_right_length_and_escape_strings() {
        for (len, head) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let frame = text(&vec![b'x'; len]);
            assert_eq!(frame.len(), len + head);
            assert_eq!(frame[0], 0x81);
        }
        let frame = event("a\"b", "c\\d", Some(b"\"{}\""), Some("u\n"));
        let json: serde_json::Value = serde_json::from_slice(&frame[2..]).unwrap();
        assert_eq!(json["event"], "a\"b");
        assert_eq!(json["channel"], "c\\d");
        assert_eq!(json["data"], "{}");
        assert_eq!(json["user_id"], "u\n");
        let close = close(4200, &"ä".repeat(100));
        assert_eq!(&close[2..4], &4200_u16.to_be_bytes());
        assert!(close.len() <= 127 && std::str::from_utf8(&close[4..]).is_ok());
    }
}
