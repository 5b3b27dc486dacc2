//! Trailing comments in environment variables: `KAFKA_BROKERS=localhost:9092 # the local broker`.
//!
//! Some parsers of `.env` files keep the comment as part of the value. No setting of ours can contain a space followed
//! by `#`, except a secret.

use super::{is_secret, Environment, Value};

/// The value without a trailing comment and its quotes; `None` if it has no comment.
#[must_use]
pub fn without_comment(name: &str, value: &str) -> Option<String> {
    let text = value.trim();
    for quote in ['"', '\''] {
        // A quoted value ends at its closing quote, and may itself contain a `#`.
        if let Some((quoted, rest)) = text.strip_prefix(quote).and_then(|t| t.split_once(quote)) {
            let is_comment = rest.starts_with([' ', '\t']) && rest.trim_start().starts_with('#');
            return is_comment.then(|| quoted.to_owned());
        }
    }
    let name = name.to_ascii_lowercase();
    let secret = is_secret(&name) || name.contains("master_key");
    let is_comment = |at: usize| {
        let after = &text[at + 1..];
        let starts = at == 0 || text[..at].ends_with([' ', '\t']);
        // A secret may contain " #", but a comment usually has a space after the `#`.
        starts && (!secret || after.is_empty() || after.starts_with([' ', '\t']))
    };
    let at = text
        .match_indices('#')
        .map(|(at, _)| at)
        .find(|at| is_comment(*at))?;
    Some(text[..at].trim_end().to_owned())
}

/// Removes the comments of variables that an array reads with `env()`. A text with `#` that is not that of a variable
/// stays as it is.
pub fn remove_comments(value: &mut Value, key: &str, env: &dyn Environment) {
    match value {
        Value::Str(text) if text.contains('#') => {
            if let Some(clean) = text_of_variable(key, text, env) {
                *text = clean;
            }
        }
        Value::Map(members) => {
            for (name, member) in members {
                remove_comments(member, name, env);
            }
        }
        Value::List(items) => {
            // explode(',', env('KAFKA_BROKERS'))
            let texts = items.iter().map(|item| match item {
                Value::Str(text) => Some(text.as_str()),
                _ => None,
            });
            let text = texts.collect::<Option<Vec<_>>>().unwrap_or_default();
            let text = text.join(",");
            let clean = text
                .contains('#')
                .then(|| text_of_variable(key, &text, env));
            if let Some(clean) = clean.flatten() {
                *items = clean.split(',').map(Value::from).collect();
                return;
            }
            for item in items {
                remove_comments(item, key, env);
            }
        }
        _ => {}
    }
}

fn text_of_variable(key: &str, text: &str, env: &dyn Environment) -> Option<String> {
    let is_same = |raw: &str| {
        let parts = raw.split(',').map(str::trim);
        parts.eq(text.split(',').map(str::trim))
    };
    let variables = env.variables().into_iter();
    let (name, clean) = variables
        .filter(|(_, raw)| is_same(raw))
        .find_map(|(name, raw)| {
            let clean = without_comment(&format!("{name} {key}"), &raw)?;
            Some((name, clean))
        })?;
    env.warn_of_comment(&name);
    Some(clean)
}

#[cfg(test)]
mod tests {
    use super::without_comment;

    #[test]
    fn a_trailing_comment_is_removed() {
        for (name, value, expected) in [
            (
                "KAFKA_BROKERS",
                "localhost:9092 # local",
                Some("localhost:9092"),
            ),
            ("KAFKA_BROKERS", "a:1,b:2\t#x", Some("a:1,b:2")),
            ("KAFKA_BROKERS", "# not set", Some("")),
            ("KAFKA_BROKERS", "\"a:1\" # quoted", Some("a:1")),
            ("KAFKA_BROKERS", "'a:1'  #quoted", Some("a:1")),
            ("KAFKA_SASL_PASSWORD", "hunter2 # secret", Some("hunter2")),
            ("KAFKA_SASL_PASSWORD", "# none", Some("")),
        ] {
            let clean = without_comment(name, value);
            assert_eq!(clean.as_deref(), expected, "{name}={value}");
        }
    }

    #[test]
    fn values_without_a_comment_are_unchanged() {
        for (name, value) in [
            ("KAFKA_BROKERS", "localhost:9092"),
            ("KAFKA_TOPIC_PREFIX", "a#b"),
            ("KAFKA_SASL_PASSWORD", "hunter #2"),
            ("KAFKA_SASL_PASSWORD", "#hunter"),
            ("REALTIME_ENCRYPTION_MASTER_KEY", "abc #def="),
            ("APP_NAME", "\"my # shop\""),
            ("APP_NAME", ""),
        ] {
            assert_eq!(without_comment(name, value), None, "{name}={value}");
        }
    }
}
