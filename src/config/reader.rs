//! Reads settings with type, range and default, and collects notes and warnings about them.

use super::keys::Setting;
use super::sources::{Found, Sources};
use super::value::wrong;
use crate::error::Result;

pub(super) struct SettingsReader<'a> {
    pub sources: Sources<'a>,
    /// Debug lines: settings that were ignored or translated.
    pub notes: Vec<String>,
    /// Warnings, logged once per process.
    pub warnings: Vec<String>,
}

impl SettingsReader<'_> {
    fn read<T>(
        &self,
        setting: &Setting,
        default: T,
        convert: impl FnOnce(&Found<'_>) -> Result<T>,
    ) -> Result<T> {
        match self.sources.find(setting) {
            Some(found) => convert(&found),
            None => Ok(default),
        }
    }

    pub fn text(&self, setting: &Setting, default: &str) -> Result<String> {
        Ok(self.text_at(setting, default)?.0)
    }

    /// The text, and its place as named in errors.
    pub fn text_at(&self, setting: &Setting, default: &str) -> Result<(String, String)> {
        let fallback = (default.to_owned(), setting.key.to_owned());
        self.read(setting, fallback, |f| {
            Ok((f.value.text(&f.place)?, f.place.clone()))
        })
    }

    pub fn optional_text(&self, setting: &Setting) -> Result<Option<String>> {
        self.read(setting, None, |f| f.value.text(&f.place).map(Some))
    }

    pub fn flag(&self, setting: &Setting, default: bool) -> Result<bool> {
        self.read(setting, default, |f| f.value.flag(&f.place))
    }

    /// A count or a time that cannot be negative.
    pub fn count(
        &self,
        setting: &Setting,
        default: u64,
        range: (i64, i64),
        unit: &str,
    ) -> Result<u64> {
        self.read(setting, default, |f| {
            Ok(f.value.int(&f.place, range, unit)?.unsigned_abs())
        })
    }

    pub fn optional_int(
        &self,
        setting: &Setting,
        range: (i64, i64),
        unit: &str,
    ) -> Result<Option<i64>> {
        self.read(setting, None, |f| {
            f.value.int(&f.place, range, unit).map(Some)
        })
    }

    /// One of several words, case-insensitive; `_` is accepted for `-`.
    pub fn choice<T: Copy>(
        &self,
        setting: &Setting,
        choices: &[(&str, T)],
        default: T,
    ) -> Result<T> {
        self.read(setting, default, |f| {
            let word = f
                .value
                .property(&f.place)?
                .to_ascii_lowercase()
                .replace('_', "-");
            let names: Vec<String> = choices.iter().map(|(n, _)| format!("'{n}'")).collect();
            choices
                .iter()
                .find(|(name, _)| *name == word)
                .map(|(_, choice)| *choice)
                .ok_or_else(|| wrong(&f.place, &names.join(", "), &f.value))
        })
    }
}
