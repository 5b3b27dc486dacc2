//! The text of a line. Secrets are removed from it: values of secret settings, credentials in URLs, private keys.
//! Without a PSR logger it is written to standard error as logfmt, or as one JSON object per line.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Line;

/// The replacement for a secret.
const MASK: &str = "***";
/// A setting whose name contains one of these has a secret value.
const SECRET_NAMES: [&str; 12] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "jaas",
    "oauthbearer.config",
    "master_key",
    "api_key",
    "apikey",
    "access_token",
    "authorization",
    ".pem",
];
/// Shorter secrets are not searched for: they would match parts of ordinary words.
const MIN_SECRET_LENGTH: usize = 4;
/// Maximum number of remembered secrets.
const MAX_SECRETS: usize = 64;
/// Names of a list that a text shows.
const NAMES_SHOWN: usize = 10;

/// The known secrets of this process, replaced wherever they occur.
#[derive(Debug, Default)]
pub struct Secrets(Vec<String>);

impl Secrets {
    /// Replaces this secret in every line from now on.
    pub fn remember(&mut self, secret: &str) {
        let secret = secret.trim();
        if secret.len() < MIN_SECRET_LENGTH || self.0.iter().any(|known| known == secret) {
            return;
        }
        if self.0.len() == MAX_SECRETS {
            self.0.remove(0);
        }
        self.0.push(secret.to_owned());
        // Longest first: a secret may be the prefix of another.
        self.0.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    }

    /// The text with all secrets replaced.
    #[must_use]
    pub fn clean<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for secret in &self.0 {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), MASK).into();
            }
        }
        clean(text)
    }
}

/// Replaces secrets that are recognised by their form.
fn clean(text: Cow<'_, str>) -> Cow<'_, str> {
    let text = if text.contains("-----BEGIN ") {
        keys(&text).into()
    } else {
        text
    };
    let text = if text.contains("://") {
        addresses(&text).into()
    } else {
        text
    };
    let lower = text.to_ascii_lowercase();
    if SECRET_NAMES.iter().any(|name| lower.contains(name)) {
        return settings(&text, &lower).into();
    }
    text
}

/// Replaces PEM blocks, `-----BEGIN …` to `-----END …-----`.
fn keys(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("-----BEGIN ") {
        clean.push_str(&rest[..start]);
        clean.push_str(MASK);
        let block = &rest[start..];
        rest = block
            .find("-----END ")
            .and_then(|end| {
                let after = end + "-----END ".len();
                block[after..]
                    .find("-----")
                    .map(|close| &block[after + close + 5..])
            })
            .unwrap_or_default();
    }
    clean.push_str(rest);
    clean
}

/// Replaces user and password in `scheme://user:password@host`.
fn addresses(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let (before, after) = rest.split_at(start + 3);
        clean.push_str(before);
        let end = after
            .find(|c: char| {
                c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\'' | '<' | '>')
            })
            .unwrap_or(after.len());
        // The last `@`: a password may contain one.
        if let Some(at) = after[..end].rfind('@') {
            clean.push_str(MASK);
            rest = &after[at..];
        } else {
            rest = after;
        }
    }
    clean.push_str(rest);
    clean
}

/// Replaces the value of a secret setting in `name = value`, `name: value`, `"name":"value"` and `name="value"`.
fn settings(text: &str, lower: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut done = 0;
    while let Some((name_end, value)) = next_value(text, lower, done) {
        let Some((start, end)) = value else {
            clean.push_str(&text[done..name_end]);
            done = name_end;
            continue;
        };
        clean.push_str(&text[done..start]);
        clean.push_str(MASK);
        done = end;
    }
    clean.push_str(&text[done..]);
    clean
}

/// The end of the next secret name, and the range of its value, if one follows.
fn next_value(text: &str, lower: &str, from: usize) -> Option<(usize, Option<(usize, usize)>)> {
    let place = SECRET_NAMES
        .iter()
        .filter_map(|name| lower[from..].find(name).map(|at| from + at + name.len()))
        .min()?;
    let bytes = text.as_bytes();
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let name_end = place
        + bytes[place..]
            .iter()
            .take_while(|byte| is_name(byte))
            .count();
    let mut at = name_end;
    if matches!(bytes.get(at), Some(b'"' | b'\'')) {
        at += 1;
    }
    let skip = |at: usize| at + bytes[at..].iter().take_while(|byte| **byte == b' ').count();
    at = skip(at);
    if !matches!(bytes.get(at), Some(b'=' | b':')) {
        return Some((name_end, None));
    }
    // Also PHP's "=>".
    at += 1 + usize::from(bytes.get(at + 1) == Some(&b'>'));
    at = skip(at);
    let quote = bytes
        .get(at)
        .copied()
        .filter(|byte| matches!(byte, b'"' | b'\''));
    let start = at + usize::from(quote.is_some());
    let length = if let Some(quote) = quote {
        // Up to the next unescaped quote.
        let mut escaped = false;
        bytes[start..]
            .iter()
            .take_while(|byte| {
                let ends = **byte == quote && !escaped;
                escaped = **byte == b'\\' && !escaped;
                !ends
            })
            .count()
    } else {
        // `Basic dXNlcg==` is two words; any other value ends at a separator.
        let word = |from: usize| {
            bytes[from..]
                .iter()
                .take_while(|byte| {
                    !byte.is_ascii_whitespace() && !matches!(byte, b',' | b';' | b'&' | b')' | b'}')
                })
                .count()
        };
        let first = word(start);
        let is_scheme = ["basic", "bearer"].contains(&&lower[start..start + first]);
        if is_scheme {
            let second = skip(start + first);
            second - start + word(second)
        } else {
            first
        }
    };
    if length == 0 {
        return Some((start.max(name_end), None));
    }
    Some((name_end, Some((start, start + length))))
}

/// The format of lines on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// `time=… level=… msg="…" …`
    #[default]
    Logfmt,
    /// `{"time":"…","level":"…","message":"…",…}`
    Json,
}

/// ISO 8601 in UTC, to the millisecond.
#[must_use]
pub fn iso(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs();
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01, so that the leap day is the last day of the year.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60,
        since.subsec_millis()
    )
}

/// The formatted line with its line break.
#[must_use]
pub fn formatted(line: &Line, format: Format, process: u32) -> String {
    let fields = line
        .context
        .iter()
        .map(|(name, value)| (*name, value.as_str()));
    let process = process.to_string();
    let mut text = String::with_capacity(line.text.len() + 96);
    match format {
        Format::Logfmt => {
            let _ = write!(
                text,
                "time={} level={} msg=",
                iso(line.at),
                line.level.as_str()
            );
            value(&mut text, &line.text, true);
            for (name, field) in fields.chain([("pid", process.as_str())]) {
                let _ = write!(text, " {name}=");
                value(&mut text, field, false);
            }
        }
        Format::Json => {
            let head = [
                ("time", iso(line.at)),
                ("level", line.level.as_str().to_owned()),
            ];
            text.push('{');
            for (name, field) in head
                .iter()
                .map(|(name, field)| (*name, field.as_str()))
                .chain([("message", line.text.as_str())])
                .chain(fields)
            {
                let _ = write!(text, "\"{name}\":{},", quoted(field));
            }
            let _ = write!(text, "\"pid\":{process}}}");
        }
    }
    text.push('\n');
    text
}

fn value(text: &mut String, value: &str, always: bool) {
    let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '=' | '\\');
    if !always && !value.is_empty() && value.chars().all(is_plain) {
        text.push_str(value);
        return;
    }
    text.push_str(&quoted(value));
}

/// A JSON string: line breaks are escaped, so the output is always one line.
fn quoted(value: &str) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// A list of names in a text: `a, b and 12 more`.
pub fn names<'a>(all: impl ExactSizeIterator<Item = &'a String>) -> String {
    let more = all.len().saturating_sub(NAMES_SHOWN);
    let shown: Vec<&str> = all.take(NAMES_SHOWN).map(String::as_str).collect();
    let shown = shown.join(", ");
    if more == 0 {
        return shown;
    }
    format!("{shown} and {more} more")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::{formatted, iso, Format, Secrets};
    use crate::log::{Level, Line};

    fn clean(text: &str) -> String {
        Secrets::default().clean(text).into_owned()
    }

    #[test]
    fn values_of_secret_settings_are_hidden() {
        for (text, expected) in [
            ("  sasl.password = hunter2", "  sasl.password = ***"),
            ("ssl.key.password: a,b", "ssl.key.password: ***,b"),
            (
                r#"{"password":"a\"b c","user":"x"}"#,
                r#"{"password":"***","user":"x"}"#,
            ),
            ("KAFKA_SASL_PASSWORD=x y", "KAFKA_SASL_PASSWORD=*** y"),
            (
                r#"username="u" password="p w" x"#,
                r#"username="u" password="***" x"#,
            ),
            ("['secret' => 'abc', 1]", "['secret' => '***', 1]"),
            ("?client_secret=abc&x=1", "?client_secret=***&x=1"),
            (
                "Authorization: Basic dXNlcg== end",
                "Authorization: *** end",
            ),
            ("SSL.KEY.PASSWORD=Ü", "SSL.KEY.PASSWORD=***"),
            ("password=", "password="),
            ("password=\"unclosed", "password=\"***"),
            ("password: a, secret: b", "password: ***, secret: ***"),
        ] {
            assert_eq!(clean(text), expected);
        }
    }

    #[test]
    fn passwords_in_addresses_are_hidden() {
        for (text, expected) in [
            ("https://u:p@host/x", "https://***@host/x"),
            (
                "at http://u:p@ss@host:1, and redis://token@r",
                "at http://***@host:1, and redis://***@r",
            ),
            ("https://host/a@b", "https://host/a@b"),
            ("nothing://", "nothing://"),
        ] {
            assert_eq!(clean(text), expected);
        }
    }

    #[test]
    fn private_keys_are_hidden() {
        let text = "x -----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY----- y";
        assert_eq!(clean(text), "x *** y");
        assert_eq!(clean("-----BEGIN X-----abc"), "***");
    }

    #[test]
    fn ordinary_lines_stay_as_they_are() {
        for text in [
            "Cannot reach Kafka at localhost:9092 (connection refused).",
            "the password is missing",
            "SASL/PLAIN: authentication failed",
            "realtime.gateway.secrets must be a list",
        ] {
            assert_eq!(clean(text), text);
        }
    }

    #[test]
    fn known_secrets_are_found_anywhere() {
        let mut secrets = Secrets::default();
        for secret in ["hunter2", "hunter2-long", "abc", " "] {
            secrets.remember(secret);
        }
        assert_eq!(
            secrets.clean("tried hunter2-long, then hunter2 and abc"),
            "tried ***, then *** and abc"
        );
        for n in 0..200 {
            secrets.remember(&format!("secret{n:04}"));
        }
        assert!(secrets.0.len() <= super::MAX_SECRETS);
    }

    #[test]
    fn times_are_iso_8601() {
        for (ms, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_763_700_000_123, "2025-11-21T04:40:00.123Z"),
            (4_102_444_799_999, "2099-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(iso(UNIX_EPOCH + Duration::from_millis(ms)), expected);
        }
    }

    #[test]
    fn line_breaks_are_escaped() {
        let said = Line {
            level: Level::Warning,
            text: "two\nlines \"x\"".to_owned(),
            at: UNIX_EPOCH,
            context: vec![
                ("facility", "FAIL".to_owned()),
                ("client", "a b".to_owned()),
            ],
            from_librdkafka: true,
        };
        assert_eq!(
            formatted(&said, Format::Logfmt, 7),
            "time=1970-01-01T00:00:00.000Z level=warning msg=\"two\\nlines \\\"x\\\"\" facility=FAIL client=\"a b\" \
             pid=7\n"
        );
        assert_eq!(
            formatted(&said, Format::Json, 7),
            "{\"time\":\"1970-01-01T00:00:00.000Z\",\"level\":\"warning\",\"message\":\"two\\nlines \
             \\\"x\\\"\",\"facility\":\"FAIL\",\"client\":\"a b\",\"pid\":7}\n"
        );
    }
}
