//! Formats a line for standard error when no PSR logger is set: logfmt, or one JSON object per line.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Line;

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
pub fn line(line: &Line, format: Format, process: u32) -> String {
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::{iso, line, Format};
    use crate::log::{Level, Line};

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
            line(&said, Format::Logfmt, 7),
            "time=1970-01-01T00:00:00.000Z level=warning msg=\"two\\nlines \\\"x\\\"\" facility=FAIL client=\"a b\" \
             pid=7\n"
        );
        assert_eq!(
            line(&said, Format::Json, 7),
            "{\"time\":\"1970-01-01T00:00:00.000Z\",\"level\":\"warning\",\"message\":\"two\\nlines \
             \\\"x\\\"\",\"facility\":\"FAIL\",\"client\":\"a b\",\"pid\":7}\n"
        );
    }
}
