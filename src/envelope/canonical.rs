//! The quick way through an envelope written as this crate writes it; everything else takes the general way in `scan.rs`.
//!
//! Nearly every record is one of ours, and the general way costs three times as much. What is taken here, the general way
//! would read the same; wherever the two could differ, this one gives up and says nothing.

use super::bytes::end_of_run;
use super::scan::{Scanned, Scanner};
use super::EnvelopeKind;
use std::borrow::Cow;

impl<'a> Scanner<'a> {
    /// The envelope, if its keys are ours, in our order, without spaces and escapes. The scanner stands anywhere afterwards.
    #[inline]
    pub(super) fn canonical(&mut self) -> Option<Scanned<'a>> {
        self.literal(br#"{"id":""#)?;
        let id = self.plain_string()?;
        self.literal(br#","type":"event""#)?;
        let channel = match self.literal(br#","channel":""#) {
            Some(()) => Some(self.plain_string()?),
            None => None,
        };
        let event = match self.literal(br#","event":""#) {
            Some(()) => Some(self.plain_string()?),
            None => None,
        };
        let data = match self.literal(br#","data":"#) {
            Some(()) => Some(self.value().ok()?).filter(|data| *data != b"null"),
            None => None,
        };
        self.literal(br#","timestamp":"#)?;
        let timestamp = self.digits()?;
        self.literal(b"}")?;
        (self.at == self.bytes.len()).then_some(Scanned {
            id,
            kind: EnvelopeKind::Event,
            channel,
            event,
            data,
            timestamp: Some(timestamp),
        })
    }

    #[inline]
    fn literal<const N: usize>(&mut self, wanted: &[u8; N]) -> Option<()> {
        if self.bytes.get(self.at..)?.first_chunk::<N>()? != wanted {
            return None;
        }
        self.at += N;
        Some(())
    }

    /// A string without escapes whose first quote is behind us.
    #[inline]
    fn plain_string(&mut self) -> Option<Cow<'a, str>> {
        let from = self.at;
        let end = end_of_run(self.bytes, from);
        if self.bytes.get(end) != Some(&b'"') {
            return None;
        }
        self.at = end + 1;
        self.text.get(from..end).map(Cow::Borrowed)
    }

    /// A whole number of 1 to 18 digits: fits without a check.
    #[inline]
    fn digits(&mut self) -> Option<i64> {
        let from = self.at;
        let mut number = 0_i64;
        while let Some(digit) = self.bytes.get(self.at).filter(|byte| byte.is_ascii_digit()) {
            number = number * 10 + i64::from(digit - b'0');
            self.at += 1;
            if self.at - from > 18 {
                return None;
            }
        }
        let leading_zero = self.bytes.get(from) == Some(&b'0') && self.at - from > 1;
        (self.at > from && !leading_zero).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::Scanner;

    fn scanner(bytes: &[u8]) -> Option<Scanner<'_>> {
        let text = std::str::from_utf8(bytes).ok()?;
        Some(Scanner { text, bytes, at: 0 })
    }

    const WHOLE: &[u8] = br#"{"id":"019a9f5e","type":"event","channel":"user.1","event":"Y_y","data":{"a":[1,"]}",null],"b":"x"},"timestamp":1763700000}"#;

    #[test]
    fn takes_what_is_ours() {
        let found = scanner(WHOLE)
            .and_then(|mut ours| ours.canonical())
            .expect("an envelope");
        assert_eq!(found.channel.as_deref(), Some("user.1"));
        assert_eq!(found.data, Some(&br#"{"a":[1,"]}",null],"b":"x"}"#[..]));
        for part in [
            &br#"{"id":"a","type":"event","timestamp":0}"#[..],
            br#"{"id":"","type":"event","event":"e","data":null,"timestamp":5}"#,
        ] {
            let mut ours = scanner(part).expect("text");
            assert!(ours.canonical().is_some());
        }
    }

    #[test]
    fn never_says_other_than_the_general_way() {
        let mut taken = 0;
        for at in 0..WHOLE.len() {
            for byte in *b"\"\\{}[]:,0 9-e\n\x01Yy_az\x7f" {
                for length in [WHOLE.len(), at + 1] {
                    let mut bytes = WHOLE[..length].to_vec();
                    bytes[at] = byte;
                    let Some(mut ours) = scanner(&bytes) else {
                        continue;
                    };
                    if let Some(quick) = ours.canonical() {
                        taken += 1;
                        ours.at = 0;
                        assert_eq!(ours.envelope(), Ok(quick));
                    }
                }
            }
        }
        assert!(taken > 500, "{taken}");
    }
}
