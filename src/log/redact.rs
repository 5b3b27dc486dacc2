//! Removes secrets from log lines: values of secret settings, credentials in URLs, private keys.

use std::borrow::Cow;

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

#[cfg(test)]
mod tests {
    use super::Secrets;

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
}
