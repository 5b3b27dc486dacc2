//! Signatures of the HTTP API: HMAC over method, path and sorted query, which contains the MD5 of the body.

use md5::{Digest, Md5};

use crate::config::gateway_settings::Settings;
use crate::gateway::protocol::auth;
use crate::http::request::{decode, Request};

/// The text that is signed: `METHOD\npath\nname=value&…`, names in lower case and sorted, without `auth_signature`.
#[must_use]
pub fn signed_text(method: &str, path: &str, pairs: &[(String, String)]) -> String {
    let mut parts: Vec<(String, &str)> = pairs
        .iter()
        .filter(|(name, _)| name != "auth_signature")
        .map(|(name, value)| (name.to_lowercase(), value.as_str()))
        .collect();
    parts.sort();
    let query: Vec<String> = parts
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    format!("{}\n{path}\n{}", method.to_uppercase(), query.join("&"))
}

/// Checks the signature of a request head. A request with a body needs `body_md5`, which [`check_body`] compares.
///
/// # Errors
/// A text for the response, which reveals nothing about the expected signature.
pub fn check(
    settings: &Settings,
    request: &Request,
    pairs: &[(String, String)],
    unix_seconds: u64,
) -> Result<(), &'static str> {
    let get = |wanted: &str| value(pairs, wanted);
    if get("auth_key") != Some(settings.key.as_str()) {
        return Err("auth_key is not this application's key");
    }
    if get("auth_version") != Some("1.0") {
        return Err("auth_version must be 1.0");
    }
    let time: u64 = get("auth_timestamp")
        .filter(|t| t.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|t| t.parse().ok())
        .ok_or("auth_timestamp is missing")?;
    if time.abs_diff(unix_seconds) > settings.api_clock_skew.as_secs() {
        return Err("auth_timestamp is too far from the server's clock");
    }
    if get("body_md5").is_none() && (request.content_length > 0 || request.is_chunked) {
        return Err("body_md5 is missing");
    }
    let path = decode(&request.path).ok_or("the path is not UTF-8")?;
    let given = get("auth_signature").unwrap_or_default();
    // Clients sign the path either percent-encoded or decoded.
    let as_sent = signed_text(&request.method, &request.path, pairs);
    let decoded = signed_text(&request.method, &path, pairs);
    if auth::is_signed(&settings.secrets, &as_sent, given)
        || auth::is_signed(&settings.secrets, &decoded, given)
    {
        Ok(())
    } else {
        Err("auth_signature is invalid")
    }
}

/// Compares `body_md5` with the MD5 of the bytes received.
///
/// # Errors
/// A text for the response.
pub fn check_body(pairs: &[(String, String)], body: &[u8]) -> Result<(), &'static str> {
    match value(pairs, "body_md5") {
        Some(given) if given != hex::encode(Md5::digest(body)) => {
            Err("body_md5 does not match the body received")
        }
        None if !body.is_empty() => Err("body_md5 is missing"),
        _ => Ok(()),
    }
}

fn value<'a>(pairs: &'a [(String, String)], wanted: &str) -> Option<&'a str> {
    let mut all = pairs.iter();
    all.find(|(name, _)| name == wanted)
        .map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::request::query_pairs;

    #[test]
    fn the_signature_matches_pushers_published_example() {
        let query = "auth_key=278d425bdf160c739803&auth_timestamp=1353088179&auth_version=1.0\
                     &body_md5=ec365a775a4cd0599faeb73354201b6f";
        let pairs = query_pairs(query).unwrap();
        let text = signed_text("POST", "/apps/3/events", &pairs);
        assert_eq!(text, format!("POST\n/apps/3/events\n{query}"));
        assert_eq!(
            auth::signature("7ad3773142a6692b25b8", &text),
            "da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c"
        );
        let body = r#"{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}"#;
        assert_eq!(
            hex::encode(Md5::digest(body)),
            "ec365a775a4cd0599faeb73354201b6f"
        );
    }

    #[test]
    fn queries_are_decoded_and_duplicates_rejected() {
        assert_eq!(
            query_pairs("a=%20b&c").unwrap(),
            [("a".into(), " b".into()), ("c".into(), String::new())]
        );
        for bad in ["a=1&a=2", "a=1&%61=2", "a=%zz", "a=%2", "a=%ff", "a=%+1"] {
            assert!(query_pairs(bad).is_err(), "{bad}");
        }
    }
}
