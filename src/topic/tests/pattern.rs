//! Tests of channel patterns, compared with a simple reference implementation.

use crate::topic::ChannelPattern;

fn pattern(text: &str) -> ChannelPattern {
    ChannelPattern::parse(text).unwrap()
}

#[test]
fn patterns_match_their_channels() {
    for (text, yes, no) in [
        ("user.1", &["user.1"][..], &["user.12", "user", ""][..]),
        (
            "user.*",
            &["user.1", "user.a_b"],
            &["user.", "user", "user.1.2", "xuser.1"],
        ),
        (
            "user.**",
            &["user.", "user.1", "user.1.2"],
            &["user", "xuser.1"],
        ),
        ("**", &["a", "a.b", ""], &[]),
        ("*", &["a"], &["a.b", ""]),
        (
            "presence-*",
            &["presence-chat"],
            &["presence-", "presence-chat.1"],
        ),
        (
            "user.*.orders",
            &["user.1.orders"],
            &["user..orders", "user.1.2.orders", "user.1.order"],
        ),
        (
            "**.end",
            &["a.end", ".end", "a.end.end"],
            &["end", "a.end.x"],
        ),
        ("*x.*y", &["ax.by", "xx.yy"], &["x.y", "axb.cy", "a.x.y"]),
        ("**x.*y", &["1x.2x.3y", "x.ay"], &["1x.2.3y", "x.y"]),
        ("a**b*c", &["abxc", "a.b.bbc", "axbxbxc"], &["abc", "ab.c"]),
        ("***", &["a", "a.b"], &["", "a."]),
    ] {
        let pattern = pattern(text);
        for channel in yes {
            assert!(pattern.matches(channel), "{text} {channel}");
        }
        for channel in no {
            assert!(!pattern.matches(channel), "{text} {channel}");
        }
    }
    assert!(pattern("user.1").is_exact() && !pattern("user.*").is_exact());
    assert!(ChannelPattern::parse("").is_err());
    assert!(ChannelPattern::parse("a.*\u{1}").is_err());
}

fn slow(pattern: &str, text: &str) -> bool {
    if let Some(rest) = pattern.strip_prefix("**") {
        return (0..=text.len()).any(|n| slow(rest, &text[n..]));
    }
    if let Some(rest) = pattern.strip_prefix('*') {
        let reach = text.find('.').unwrap_or(text.len());
        return (1..=reach).any(|n| slow(rest, &text[n..]));
    }
    match (pattern.chars().next(), text.chars().next()) {
        (None, None) => true,
        (Some(p), Some(t)) => p == t && slow(&pattern[1..], &text[1..]),
        _ => false,
    }
}

/// All strings over `letters` up to the length `longest`.
fn words(letters: &[&str], longest: usize) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut from = 0;
    for _ in 0..longest {
        let until = all.len();
        for at in from..until {
            for letter in letters {
                let word = format!("{}{letter}", all[at]);
                all.push(word);
            }
        }
        from = until;
    }
    all
}

#[test]
fn matching_agrees_with_the_reference() {
    let texts = words(&["a", "b", "."], 6);
    for text in words(&["a", "b", ".", "*", "**"], 5)
        .iter()
        .filter(|t| !t.is_empty())
    {
        let pattern = pattern(text);
        for channel in &texts {
            assert_eq!(
                pattern.matches(channel),
                slow(text, channel),
                "{text} {channel}"
            );
        }
    }
}

#[test]
fn patterns_that_overlap_and_cover() {
    let texts = words(&["a", "b", "."], 5);
    let patterns: Vec<_> = words(&["a", ".", "*", "**"], 3)
        .iter()
        .filter(|t| !t.is_empty())
        .map(|t| pattern(t))
        .collect();
    for a in &patterns {
        for b in &patterns {
            let both = texts.iter().any(|t| a.matches(t) && b.matches(t));
            assert!(!both || a.overlaps(b), "{a} meets {b}");
            if a.covers(b) {
                assert!(
                    texts.iter().all(|t| !b.matches(t) || a.matches(t)),
                    "{a} covers {b}"
                );
            }
        }
    }
    assert!(!pattern("user.*").overlaps(&pattern("order.*")));
    assert!(!pattern("user.*").overlaps(&pattern("user.*.x")));
    assert!(pattern("user.*").overlaps(&pattern("**.1")));
    for (outer, inner) in [
        ("user.*", "user.*"),
        ("**", "a.*"),
        ("user.**", "user.*.x"),
        ("*", "a*"),
    ] {
        assert!(pattern(outer).covers(&pattern(inner)), "{outer} {inner}");
    }
    for (outer, inner) in [("user.*", "user.**"), ("a*", "*"), ("user.*", "**")] {
        assert!(!pattern(outer).covers(&pattern(inner)), "{outer} {inner}");
    }
}
