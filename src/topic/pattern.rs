//! Channel patterns: `user.1` matches itself, `user.*` one segment, `user.**` any suffix.

use super::{check_channel, validate_kafka_topic, TopicFilter, TopicMap};
use crate::error::Result;
use std::fmt;

/// A channel name or pattern. `*` matches one or more characters except a dot, `**` zero or more of any characters.
///
/// ```text
/// let pattern = ChannelPattern::parse("user.*")?;
/// assert!(pattern.matches("user.1") && !pattern.matches("user.1.orders"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ChannelPattern {
    text: String,
    shape: Shape,
}

/// Common shapes that are matched without interpreting the pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Shape {
    Exact,
    /// The only star is a trailing `*`.
    Segment,
    /// The only stars are a trailing `**`.
    Rest,
    General,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Byte(u8),
    /// `*`
    Segment,
    /// `**`
    Any,
}

impl ChannelPattern {
    /// Parses a channel name or pattern.
    ///
    /// # Errors
    /// [`crate::error::Kind::InvalidChannel`] for an invalid channel name, except that `*` is allowed.
    pub fn parse(text: &str) -> Result<Self> {
        check_channel(text, true)?;
        Ok(Self::of(text))
    }

    /// Parses a topic name or pattern; topic names may be longer than channel names.
    ///
    /// # Errors
    /// [`crate::error::Kind::InvalidChannel`] for an invalid topic name, except that `*` is allowed.
    pub fn parse_topic(text: &str) -> Result<Self> {
        validate_kafka_topic(&text.replace('*', "x"))?;
        Ok(Self::of(text))
    }

    /// librdkafka's regular expression for a topic pattern.
    pub(crate) fn topic_regex(&self) -> String {
        let escaped = self
            .text
            .replace('.', "\\.")
            .replace("**", "\u{1}")
            .replace('*', "[^.]+");
        format!("^{}$", escaped.replace('\u{1}', ".+"))
    }

    /// True if channels of this pattern can be in this topic: its pattern is converted to a topic pattern by the rule
    /// for channels.
    pub(crate) fn may_be_in(&self, map: &TopicMap, topic: &str) -> bool {
        const STAR: &str = "0STAR0";
        let filters = map.topics_for_subscription(self);
        if filters
            .iter()
            .any(|filter| matches!(filter, TopicFilter::Exact(name) if name == topic))
        {
            return true;
        }
        let regex = filters
            .iter()
            .any(|filter| matches!(filter, TopicFilter::Regex(_)));
        regex
            && map
                .topic_for(&self.text.replace('*', STAR))
                .and_then(|sample| Self::parse(&sample.replace(STAR, "*")))
                .is_ok_and(|topics| topics.matches(topic))
    }

    fn of(text: &str) -> Self {
        let stars = text.bytes().filter(|&b| b == b'*').count();
        let shape = match stars {
            0 => Shape::Exact,
            1 if text.ends_with('*') => Shape::Segment,
            2 if text.ends_with("**") => Shape::Rest,
            _ => Shape::General,
        };
        Self {
            text: text.to_owned(),
            shape,
        }
    }

    /// True for a name without `*`.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.shape == Shape::Exact
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// True if `channel` is this name or matches this pattern. Does not allocate.
    #[must_use]
    pub fn matches(&self, channel: &str) -> bool {
        match self.shape {
            Shape::Exact => self.text == channel,
            Shape::Segment => channel
                .strip_prefix(&self.text[..self.text.len() - 1])
                .is_some_and(|rest| !rest.is_empty() && !rest.contains('.')),
            Shape::Rest => channel.starts_with(&self.text[..self.text.len() - 2]),
            Shape::General => matches_general(self.text.as_bytes(), channel.as_bytes()),
        }
    }

    pub(super) fn tokens(&self) -> Vec<Token> {
        let bytes = self.text.as_bytes();
        let mut tokens = Vec::with_capacity(bytes.len());
        let mut at = 0;
        while at < bytes.len() {
            let (token, width) = token_at(bytes, at);
            tokens.push(token);
            at += width;
        }
        tokens
    }

    /// True if a channel exists that matches both patterns.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        overlap(&self.tokens(), &other.tokens())
    }

    /// True only if every channel that matches `other` also matches this pattern. May return false although it is the
    /// case.
    pub(super) fn covers(&self, other: &Self) -> bool {
        covers(&self.tokens(), &other.tokens())
    }
}

impl fmt::Display for ChannelPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn token_at(pattern: &[u8], at: usize) -> (Token, usize) {
    match (pattern[at], pattern.get(at + 1)) {
        (b'*', Some(b'*')) => (Token::Any, 2),
        (b'*', _) => (Token::Segment, 1),
        (byte, _) => (Token::Byte(byte), 1),
    }
}

/// Matches with two backtracking points: the last `*` of the segment and the last `**`. Earlier stars never need to be
/// revisited, because a later star can match whatever an earlier star would leave.
fn matches_general(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut segment: Option<(usize, usize)> = None;
    let mut any: Option<(usize, usize)> = None;
    loop {
        if p == pattern.len() {
            if t == text.len() {
                return true;
            }
        } else {
            match token_at(pattern, p) {
                (Token::Any, width) => {
                    p += width;
                    any = Some((p, t));
                    segment = None;
                    continue;
                }
                (Token::Segment, width) => {
                    if t < text.len() && text[t] != b'.' {
                        p += width;
                        t += 1;
                        segment = Some((p, t));
                        continue;
                    }
                }
                (Token::Byte(byte), _) => {
                    if text.get(t) == Some(&byte) {
                        p += 1;
                        t += 1;
                        continue;
                    }
                }
            }
        }
        match (segment, any) {
            (Some((after, from)), _) if from < text.len() && text[from] != b'.' => {
                segment = Some((after, from + 1));
                (p, t) = (after, from + 1);
            }
            (_, Some((after, from))) if from < text.len() => {
                segment = None;
                any = Some((after, from + 1));
                (p, t) = (after, from + 1);
            }
            _ => return false,
        }
    }
}

/// Searches the product of both automata for a common match: state `2 * i` is before token `i`, `2 * i + 1` inside it.
fn overlap(a: &[Token], b: &[Token]) -> bool {
    let (width, height) = (2 * a.len() + 1, 2 * b.len() + 1);
    let mut seen = vec![false; width * height];
    let mut open = vec![(0, 0)];
    while let Some((x, y)) = open.pop() {
        if std::mem::replace(&mut seen[x * height + y], true) {
            continue;
        }
        if x == 2 * a.len() && y == 2 * b.len() {
            return true;
        }
        open.extend(epsilon(a, x).map(|next| (next, y)));
        open.extend(epsilon(b, y).map(|next| (x, next)));
        if let (Some((eats_x, to_x)), Some((eats_y, to_y))) = (consuming(a, x), consuming(b, y)) {
            if eats_x.shares(eats_y) {
                open.push((to_x, to_y));
            }
        }
    }
    false
}

impl Token {
    /// True if a byte exists that both tokens match.
    fn shares(self, other: Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) | (Self::Segment, Self::Segment) => true,
            (Self::Byte(x), Self::Byte(y)) => x == y,
            (Self::Byte(x), Self::Segment) | (Self::Segment, Self::Byte(x)) => x != b'.',
        }
    }
}

/// The epsilon transition of a state.
fn epsilon(tokens: &[Token], state: usize) -> Option<usize> {
    let token = tokens.get(state / 2)?;
    // `**` may match nothing; `*` may be left after it has matched a byte.
    let leaves = *token == Token::Any || state % 2 == 1;
    leaves.then_some((state / 2 + 1) * 2)
}

/// The token that a state consumes, and the next state.
fn consuming(tokens: &[Token], state: usize) -> Option<(Token, usize)> {
    let token = *tokens.get(state / 2)?;
    let next = match token {
        Token::Byte(_) => (state / 2 + 1) * 2,
        Token::Segment | Token::Any => state | 1,
    };
    Some((token, next))
}

/// Matches `outer` against the tokens of `inner`, where a star is a single symbol.
fn covers(outer: &[Token], inner: &[Token]) -> bool {
    let mut states = vec![false; 2 * outer.len() + 1];
    states[0] = true;
    epsilon_closure(outer, &mut states);
    for &symbol in inner {
        let mut next = vec![false; states.len()];
        for state in (0..states.len()).filter(|&s| states[s]) {
            if let Some((token, to)) = consuming(outer, state) {
                next[to] |= match (token, symbol) {
                    (Token::Any, _) => true,
                    (Token::Segment, Token::Byte(byte)) => byte != b'.',
                    (Token::Segment, symbol) => symbol == Token::Segment,
                    (token, symbol) => token == symbol,
                };
            }
        }
        epsilon_closure(outer, &mut next);
        states = next;
    }
    states[2 * outer.len()]
}

fn epsilon_closure(tokens: &[Token], states: &mut [bool]) {
    for state in 0..states.len() {
        if states[state] {
            if let Some(next) = epsilon(tokens, state) {
                states[next] = true;
            }
        }
    }
}
