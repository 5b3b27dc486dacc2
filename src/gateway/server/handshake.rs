//! The WebSocket handshake. A refused connection also gets a 101 first: after a failed HTTP handshake pusher-js waits
//! 15 s and more, while a close code tells it whether to reconnect.

use std::net::Ipv6Addr;

use base64::engine::general_purpose::STANDARD;
use base64::Engine;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::config::gateway_settings::Settings;
use crate::gateway::protocol::Close;
use crate::http::request::{query_pairs, Request};

/// Checks that the request is a handshake by RFC 6455 and returns its `Sec-WebSocket-Accept`.
///
/// # Errors
/// Status and text of the HTTP response.
pub fn accept_key(request: &Request) -> Result<String, (u16, &'static str)> {
    if request.method != "GET" {
        return Err((405, "A WebSocket handshake must be a GET request."));
    }
    if request.is_http_1_0 {
        return Err((
            400,
            "A WebSocket handshake needs HTTP/1.1. In nginx: proxy_http_version 1.1;",
        ));
    }
    if request.header("sec-websocket-version") != Some("13") {
        return Err((426, "Only WebSocket version 13 is supported."));
    }
    let key = request.header("sec-websocket-key").unwrap_or_default();
    if STANDARD.decode(key).map(|k| k.len()) != Ok(16) {
        return Err((400, "Sec-WebSocket-Key is not 16 bytes in base64."));
    }
    Ok(derive_accept_key(key.as_bytes()))
}

/// The 101 response. It is sent with the first frame: a system call of its own takes longer than all the rest.
#[must_use]
pub fn switch(accept: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: \
         {accept}\r\n\r\n"
    )
}

/// Checks the application key, the protocol version and the origin.
///
/// # Errors
/// The close code of the refusal; never one after which clients reconnect without a delay.
pub fn check(settings: &Settings, request: &Request) -> Result<(), Close> {
    let key = request.path.strip_prefix("/app/").ok_or(Close::Path)?;
    if key.is_empty() || key.contains('/') {
        return Err(Close::Path);
    }
    if key != settings.key {
        return Err(Close::NoApp);
    }
    let pairs = query_pairs(&request.query).map_err(|_| Close::VersionFormat)?;
    let protocol = pairs
        .iter()
        .find(|(name, _)| name == "protocol")
        .map(|(_, value)| value.as_str())
        .filter(|value| !value.is_empty())
        .ok_or(Close::NoProtocol)?;
    if !protocol.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Close::VersionFormat);
    }
    // Java and .NET announce 5, pysher 6; their frames are those of 7.
    if !matches!(protocol.parse::<u32>(), Ok(5..=7)) {
        return Err(Close::UnsupportedProtocol);
    }
    if !is_origin_allowed(settings, request.header("origin")) {
        return Err(Close::Unauthorized);
    }
    Ok(())
}

/// True if a connection with this `Origin` is allowed. Clients without an origin are not browsers.
#[must_use]
pub fn is_origin_allowed(settings: &Settings, origin: Option<&str>) -> bool {
    let Some(origin) = origin else {
        return !settings.require_origin;
    };
    let mut allowed = settings.allowed_origins.iter();
    if allowed.clone().any(|allowed| allowed == "*") {
        // Clients that are no browsers may send something else than an origin.
        return true;
    }
    if is_opaque(origin) {
        return allowed.any(|allowed| allowed.trim().eq_ignore_ascii_case(origin));
    }
    if settings.allowed_origins.is_empty() {
        return true;
    }
    let Some(given) = normal(origin) else {
        return false;
    };
    allowed.any(|allowed| matches(allowed, &given))
}

/// True for the origins of local files, of applications in a web view, and of sandboxed frames, which any page can
/// create: allowed only where they are listed, and under `*`.
fn is_opaque(origin: &str) -> bool {
    origin.eq_ignore_ascii_case("null") || origin.eq_ignore_ascii_case("file://")
}

/// True if the normal form `given` of an origin matches an entry of `allowed_origins`.
fn matches(allowed: &str, given: &str) -> bool {
    let Some((scheme, domain)) = wildcard(allowed) else {
        return normal(allowed).as_deref() == Some(given);
    };
    // With a host in place of the wildcard, scheme and port get their normal form.
    let Some(pattern) = normal(&format!("{scheme}://x.{domain}")) else {
        return false;
    };
    let (Some((given_scheme, given_host)), Some((scheme, host))) =
        (given.split_once("://"), pattern.split_once("://x."))
    else {
        return false;
    };
    given_scheme == scheme
        && given_host.split_once('.').is_some_and(|(label, rest)| {
            let is_label = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            !label.is_empty() && label.chars().all(is_label) && rest == host
        })
}

/// Scheme and domain of an entry such as `https://*.shop.example`.
fn wildcard(allowed: &str) -> Option<(&str, &str)> {
    let (scheme, domain) = allowed.trim().split_once("://*.")?;
    (!domain.is_empty() && !domain.starts_with(['.', ':'])).then_some((scheme, domain))
}

/// True if an entry of `allowed_origins` can match an origin.
#[must_use]
pub fn is_valid_origin(allowed: &str) -> bool {
    allowed == "*"
        || is_opaque(allowed.trim())
        || normal(allowed).is_some()
        || wildcard(allowed)
            .is_some_and(|(scheme, domain)| normal(&format!("{scheme}://x.{domain}")).is_some())
}

/// Lower case with an explicit port; `None` if it is not an origin.
fn normal(origin: &str) -> Option<String> {
    let origin = origin.trim().to_ascii_lowercase();
    let (scheme, rest) = origin.split_once("://")?;
    // The host: an IPv6 address in brackets, or a name, whose international letters browsers encode in ASCII.
    let host = match rest.strip_prefix('[') {
        Some(_) => rest.split_inclusive(']').next()?,
        None => rest.split(':').next()?,
    };
    let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    let is_host = match host.strip_prefix('[') {
        Some(address) => address.strip_suffix(']')?.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(is_name),
    };
    if !is_host || scheme.is_empty() {
        return None;
    }
    if let Some(port) = rest[host.len()..].strip_prefix(':') {
        return port.parse::<u16>().is_ok().then_some(origin);
    }
    if rest.len() > host.len() {
        return None;
    }
    match scheme {
        "http" => Some(format!("{origin}:80")),
        "https" => Some(format!("{origin}:443")),
        _ => Some(origin),
    }
}

#[cfg(test)]
mod tests {
    use super::{is_origin_allowed, is_valid_origin};
    use crate::config::gateway_settings::Settings;

    #[test]
    fn a_wildcard_stands_for_one_label() {
        let listed = Settings {
            allowed_origins: vec![
                "https://*.Shop.example".into(),
                "http://*.localhost:8000".into(),
            ],
            ..Settings::default()
        };
        for good in [
            "https://a.shop.example",
            "HTTPS://A-1.SHOP.EXAMPLE:443",
            "http://app.localhost:8000",
        ] {
            assert!(is_origin_allowed(&listed, Some(good)), "{good}");
        }
        for bad in [
            "https://shop.example",
            "https://.shop.example",
            "https://a.b.shop.example",
            "https://evilshop.example",
            "https://a.shop.example.evil.test",
            "https://evil.test#.shop.example",
            "https://evil.test/.shop.example",
            "https://evil.test:443.shop.example",
            "https://user@a.shop.example",
            "http://a.shop.example",
            "https://a.shop.example:8443",
            "http://app.localhost",
            "null",
        ] {
            assert!(!is_origin_allowed(&listed, Some(bad)), "{bad}");
        }
    }

    #[test]
    fn origins_are_compared_as_a_whole() {
        let listed = Settings {
            allowed_origins: vec![
                "https://Shop.example".into(),
                "http://localhost:8000".into(),
                "http://[::1]".into(),
            ],
            ..Settings::default()
        };
        for good in [
            "https://shop.example",
            "HTTPS://SHOP.EXAMPLE",
            "https://shop.example:443",
            "http://localhost:8000",
            "http://[::1]:80",
        ] {
            assert!(is_origin_allowed(&listed, Some(good)), "{good}");
        }
        for bad in [
            "http://shop.example",
            "https://shop.example:8443",
            "https://shop.example.evil.test",
            "https://evilshop.example",
            "https://a.shop.example",
            "null",
            "NULL",
            "",
            "https://",
            "shop.example",
            "https://shop.example/",
            "https://shop.example@evil.test",
            "http://localhost",
            "http://localhost:80000",
        ] {
            assert!(!is_origin_allowed(&listed, Some(bad)), "{bad}");
        }
        assert!(is_origin_allowed(&listed, None));
        let strict = Settings {
            require_origin: true,
            ..listed
        };
        assert!(!is_origin_allowed(&strict, None));
        let open = Settings::default();
        assert!(
            is_origin_allowed(&open, Some("https://anywhere.test"))
                && !is_origin_allowed(&open, Some("null"))
        );
        for (entry, null, file) in [
            ("https://shop.example", false, false),
            ("https://*.shop.example", false, false),
            ("null", true, false),
            ("File://", false, true),
            ("*", true, true),
        ] {
            let one = Settings {
                allowed_origins: vec![entry.into()],
                ..Settings::default()
            };
            assert_eq!(is_origin_allowed(&one, Some("Null")), null, "{entry}");
            assert_eq!(is_origin_allowed(&one, Some("file://")), file, "{entry}");
        }
        assert!(!is_origin_allowed(&open, Some("file://")));
        let any = Settings {
            allowed_origins: vec!["*".into()],
            ..Settings::default()
        };
        for unusual in ["https://a.example/", "a.example", ""] {
            assert!(is_origin_allowed(&any, Some(unusual)), "{unusual}");
        }
    }

    #[test]
    fn entries_that_match_no_page_are_invalid() {
        for entry in [
            "https://a",
            "null",
            "file://",
            "http://a:1",
            "http://[::1]:81",
            "https://xn--bcher-kva.example",
            "capacitor://localhost",
            "*",
            "https://*.a",
            "http://*.a.b:81",
        ] {
            assert!(is_valid_origin(entry), "{entry}");
        }
        for entry in [
            "a",
            "a:1",
            "https://a/",
            "https://*a",
            "https://a.*",
            "https://*.*.a",
            "https://*.",
            "https://*.:1",
            "https://a:",
            "https://a:x",
            "https://a:65536",
            "https://a b",
            "https://bücher.example",
            "http://[::1",
            "http://[::1]x",
            "http://[a]",
            "//a",
            "",
        ] {
            assert!(!is_valid_origin(entry), "{entry}");
        }
    }
}
