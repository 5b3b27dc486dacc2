//! The check of the `Origin` header: scheme, host and port must match an allowed origin exactly; `*` as the first label
//! of a host stands for any one label.

use crate::config::gateway_settings::Settings;

/// True if a connection with this `Origin` is allowed. Clients without an origin are not browsers.
#[must_use]
pub fn is_allowed(settings: &Settings, origin: Option<&str>) -> bool {
    let Some(origin) = origin else {
        return !settings.require_origin;
    };
    if is_opaque(origin) {
        let mut allowed = settings.allowed_origins.iter();
        return allowed
            .any(|allowed| allowed == "*" || allowed.trim().eq_ignore_ascii_case(origin));
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
        .any(|allowed| allowed == "*" || matches(allowed, &given))
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
pub fn is_valid(allowed: &str) -> bool {
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
            assert!(is_allowed(&listed, Some(good)), "{good}");
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
            assert!(!is_allowed(&listed, Some(bad)), "{bad}");
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
        for entry in [
            "https://a",
            "null",
            "file://",
            "http://a:1",
            "*",
            "https://*.a",
            "http://*.a.b:81",
        ] {
            assert!(is_valid(entry), "{entry}");
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
            "//a",
            "",
        ] {
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
            assert_eq!(is_allowed(&one, Some("Null")), null, "{entry}");
            assert_eq!(is_allowed(&one, Some("file://")), file, "{entry}");
        }
        assert!(!is_allowed(&open, Some("file://")));
    }
}
