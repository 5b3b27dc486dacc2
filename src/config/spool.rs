//! `spool` and `spool_when`: the directory, and when messages are written to it.

use super::keys as k;
use super::reader::SettingsReader;
use super::sources::Found;
use super::value::{wrong, Value};
use crate::error::{Error, Result};
use std::path::PathBuf;

/// The accepted values of `spool`, for errors.
const WANTED: &str = "a directory, 'always', or false";

enum SpoolSetting {
    Off,
    /// Short for `spool_when: always`.
    Always,
    Directory(PathBuf),
}

/// Returns the directory and whether `spool_when` is `always`. No spool in tests: they would leave files behind and
/// replay old messages.
pub(super) fn resolve(reader: &mut SettingsReader<'_>) -> Result<(Option<PathBuf>, bool)> {
    let choices = [("undelivered", false), ("always", true)];
    let mut always = reader.choice(&k::SPOOL_WHEN, &choices, false)?;
    let when = reader.sources.find(&k::SPOOL_WHEN);
    let mut place = when
        .as_ref()
        .map_or_else(String::new, |found| found.place.clone());
    let mut layer = when.map_or(usize::MAX, |found| found.layer);
    let mut next = reader.sources.find(&k::SPOOL);
    while let Some(found) = next {
        match parse(reader, &found)? {
            SpoolSetting::Directory(_) if is_test(reader) => {
                let note = format!("{} is ignored while APP_ENV is 'testing'.", found.place);
                reader.notes.push(note);
                return Ok((None, false));
            }
            SpoolSetting::Directory(path) => return Ok((Some(path), always)),
            // `spool: false` in a more specific layer overrides `spool_when: always` of a more general one.
            SpoolSetting::Off if !always || found.layer < layer => return Ok((None, false)),
            SpoolSetting::Off => break,
            SpoolSetting::Always => {
                if !always && found.layer < layer {
                    (always, layer, place) = (true, found.layer, found.place);
                }
                next = reader.sources.find_from(&k::SPOOL, found.layer + 1);
            }
        }
    }
    if always && !is_test(reader) {
        return Err(Error::configuration(format!(
            "{place} is 'always', but `spool` does not name a directory for the messages. Set `spool` to one that the \
             user \
             running PHP can write to."
        )));
    }
    Ok((None, false))
}

fn is_test(reader: &SettingsReader<'_>) -> bool {
    let env = reader.sources.env.var("APP_ENV");
    env.is_some_and(|name| name.trim() == "testing")
}

fn parse(reader: &mut SettingsReader<'_>, found: &Found<'_>) -> Result<SpoolSetting> {
    let place = &found.place;
    let text = match found.value.as_ref() {
        Value::Bool(false) => return Ok(SpoolSetting::Off),
        Value::Str(text) if !text.contains('\0') => text.trim(),
        other => return Err(wrong(place, WANTED, other)),
    };
    match text.to_ascii_lowercase().as_str() {
        "off" | "false" => return Ok(SpoolSetting::Off),
        "always" => return Ok(SpoolSetting::Always),
        _ => {}
    }
    let path = std::path::absolute(text).map_err(|e| {
        Error::configuration(format!(
            "{place}: '{text}' cannot be made absolute ({e}). Give an absolute path."
        ))
    })?;
    if path.as_os_str() != text && !is_test(reader) {
        let path = path.display();
        reader.notes.push(format!("{place} is taken as '{path}'."));
    }
    Ok(SpoolSetting::Directory(path))
}
