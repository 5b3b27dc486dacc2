//! The check of the `Origin` header: scheme, host and port must match an allowed origin exactly.

use crate::gateway::settings::Settings;

/// True if a connection with this `Origin` is allowed. Clients without an origin are not browsers.
#[must_use]
pub fn is_allowed(settings: &Settings, origin: Option<&str>) -> bool {
    let Some(origin) = origin else {
        return !settings.require_origin;
    };
    // Sandboxed frames and local files, which any page can create.
    if origin.eq_ignore_ascii_case("null") {
        return false;
    }
    if settings.allowed_origins.is_empty() {
        return true;
    }
    let Some(given) = normal(origin) else {
        return false;
    };
    settings
        .allowed_origins
        .iter()
        .any(|allowed| allowed == "*" || normal(allowed).as_ref() == Some(&given))
}

/// True if an entry of `allowed_origins` can match an origin.
#[must_use]
pub fn is_valid(allowed: &str) -> bool {
    allowed == "*" || normal(allowed).is_some()
}

/// Lower case with an explicit port; `None` if it is not an origin.
fn normal(origin: &str) -> Option<String> {
    let origin = origin.trim().to_ascii_lowercase();
    let (scheme, rest) = origin.split_once("://")?;
    let plain =
        !rest.is_empty() && !rest.contains(['/', '?', '#', '@', '\\', '*']) && rest.is_ascii();
    if !plain || scheme.is_empty() {
        return None;
    }
    let has_port = match rest.rfind(']') {
        Some(end) => rest[end..].contains(':'),
        None => rest.contains(':'),
    };
    if has_port {
        return Some(origin);
    }
    match scheme {
        "http" => Some(format!("{origin}:80")),
        "https" => Some(format!("{origin}:443")),
        _ => Some(origin),
    }
}

#[cfg(test)]
mod tests {
    use super::{is_allowed, is_valid};
    use crate::gateway::settings::Settings;

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
            assert!(is_allowed(&listed, Some(good)), "{good}");
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
            assert!(!is_allowed(&listed, Some(bad)), "{bad}");
        }
        for entry in ["https://a", "http://a:1", "*"] {
            assert!(is_valid(entry), "{entry}");
        }
        for entry in ["a", "a:1", "https://a/", "https://*.a", "//a", ""] {
            assert!(!is_valid(entry), "{entry}");
        }
        assert!(is_allowed(&listed, None));
        let strict = Settings {
            require_origin: true,
            ..listed
        };
        assert!(!is_allowed(&strict, None));
        let open = Settings::default();
        assert!(
            is_allowed(&open, Some("https://anywhere.test")) && !is_allowed(&open, Some("null"))
        );
    }
}
