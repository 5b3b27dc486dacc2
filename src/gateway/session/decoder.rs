//! Decodes a client's WebSocket frames into messages, within bounds. Keeps no buffer between messages.

use std::io::Cursor;

use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;

use crate::gateway::protocol::Close;

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
    let allowed = matches!(code, 1000..=1003 | 1007..=1011 | 3000..=4999);
    if !allowed {
        return Err(Close::ProtocolError);
    }
    if std::str::from_utf8(reason).is_err() {
        return Err(Close::BadData);
    }
    Ok(Some(code))
}
