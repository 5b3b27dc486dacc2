//! Decodes a chunked request body within bounds. Trailers are not read: the connection closes after the response.

use super::RequestError;

/// Maximum length of the line with a chunk's size, extensions included.
const MAX_SIZE_LINE: usize = 256;

/// A body that arrives in chunks.
pub struct ChunkedBody {
    body: Vec<u8>,
    /// Received and not decoded yet.
    input: Vec<u8>,
    /// Bytes received, with the chunks' framing.
    received: usize,
    max: usize,
}

impl ChunkedBody {
    /// A body of at most `max` bytes, of which `received` arrived with the head.
    #[must_use]
    pub fn new(received: Vec<u8>, max: usize) -> Self {
        Self {
            body: Vec::new(),
            received: received.len(),
            input: received,
            max,
        }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.received += bytes.len();
        self.input.extend_from_slice(bytes);
    }

    /// Decodes what has arrived; the body once it is complete.
    ///
    /// # Errors
    /// [`RequestError::Status`]: 413 for too many bytes, 400 for anything that is not a chunk.
    pub fn take(&mut self) -> Result<Option<Vec<u8>>, RequestError> {
        let too_large = RequestError::Status(
            413,
            "The request body is too large (realtime.gateway.max_body).",
        );
        let malformed = RequestError::Status(400, "The body is not chunked as HTTP defines it.");
        let mut at = 0;
        let complete = loop {
            let rest = &self.input[at..];
            // httparse takes an empty line for size 0.
            if rest.first().is_some_and(|byte| !byte.is_ascii_hexdigit()) {
                return Err(malformed);
            }
            let Ok(parsed) = httparse::parse_chunk_size(rest) else {
                return Err(malformed);
            };
            let httparse::Status::Complete((start, size)) = parsed else {
                if rest.len() > MAX_SIZE_LINE {
                    return Err(malformed);
                }
                break false;
            };
            if size == 0 {
                break true;
            }
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            if size > self.max - self.body.len() {
                return Err(too_large);
            }
            let Some(chunk) = rest.get(start..start + size + 2) else {
                break false;
            };
            let (data, end) = chunk.split_at(size);
            if end != b"\r\n" {
                return Err(malformed);
            }
            self.body.extend_from_slice(data);
            at += start + size + 2;
        };
        self.input.drain(..at);
        if complete {
            return Ok(Some(std::mem::take(&mut self.body)));
        }
        // Framing of chunks of a few bytes each: the body is within the bound, what was sent is not.
        if self.received > self.max.saturating_mul(8).saturating_add(MAX_SIZE_LINE) {
            return Err(too_large);
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body or the status, for input that arrives `step` bytes at a time.
    fn decode(input: &[u8], step: usize) -> Result<Option<Vec<u8>>, u16> {
        let mut body = ChunkedBody::new(Vec::new(), 64);
        for part in input.chunks(step) {
            body.push(part);
            match body.take() {
                Ok(None) => {}
                Ok(found) => return Ok(found),
                Err(RequestError::Status(status, _)) => return Err(status),
                Err(other) => panic!("{other:?}"),
            }
        }
        Ok(None)
    }

    type Decoded = Result<Option<&'static [u8]>, u16>;

    #[test]
    fn chunks_are_joined_however_they_arrive() {
        let table: [(&[u8], Decoded); 14] = [
            (b"3\r\nabc\r\n0\r\n\r\n", Ok(Some(b"abc"))),
            (
                b"3;a=b\r\nabc\r\n2\r\n\r\n\r\n0\r\nX: y\r\n\r\n",
                Ok(Some(b"abc\r\n")),
            ),
            (b"0\r\n\r\n", Ok(Some(b""))),
            (b"00003\r\nabc\r\n0\r\n\r\n", Ok(Some(b"abc"))),
            (b"3\r\nabc\r\n", Ok(None)),
            (b"3\r\nab", Ok(None)),
            (b"3\r\nabcd\r\n0\r\n\r\n", Err(400)),
            (b"x\r\nabc\r\n0\r\n\r\n", Err(400)),
            (b"-1\r\nabc\r\n0\r\n\r\n", Err(400)),
            (b"\r\nabc\r\n0\r\n\r\n", Err(400)),
            (b"3 3\r\nabc\r\n0\r\n\r\n", Err(400)),
            (b"41\r\n", Err(413)),
            (b"FFFFFFFFFFFFFFFF\r\n", Err(413)),
            (b"FFFFFFFFFFFFFFFFF\r\n", Err(400)),
        ];
        for (input, expected) in table {
            for step in [1, 2, 1000] {
                let found = decode(input, step);
                let expected = expected.map(|body| body.map(<[u8]>::to_vec));
                assert_eq!(
                    found,
                    expected,
                    "{:?} by {step}",
                    String::from_utf8_lossy(input)
                );
            }
        }
    }

    #[test]
    fn framing_is_bounded() {
        let extension = [b"1;".as_slice(), &[b'a'; 300]].concat();
        assert_eq!(decode(&extension, 1), Err(400));
        let mut many = Vec::new();
        for _ in 0..64 {
            many.extend_from_slice(format!("1;{}\r\nx\r\n", "a".repeat(100)).as_bytes());
        }
        assert_eq!(decode(&many, 7), Err(413));
    }
}
