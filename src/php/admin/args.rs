//! Arguments of Admin's methods: topics, groups, offsets by partition, settings by name.

use std::borrow::Cow;

use ext_php_rs::types::Zval;

use crate::error::Error;
use crate::php::arguments::{self, CallError};
use crate::php::arrays::{self, Key};

pub fn topic(topic: &Zval, method: &str) -> Result<String, CallError> {
    let place = format!("Admin::{method}(): Argument #1 ($topic)");
    arguments::channel(topic, &place).map(Cow::into_owned)
}

pub fn group(group: &Zval, method: &str) -> Result<String, CallError> {
    let place = format!("Admin::{method}(): Argument #1 ($group)");
    arguments::text(group, &place).map(Cow::into_owned)
}

pub fn names(list: &Zval, method: &str, argument: &str) -> Result<Vec<String>, CallError> {
    let place = format!("Admin::{method}(): Argument #1 (${argument})");
    let list = arguments::array(list, &place)?;
    let mut names = Vec::with_capacity(list.len());
    for (key, name) in arrays::entries(list) {
        let place = format!("{place}[{key}]");
        names.push(arguments::text(&name, &place)?.into_owned());
    }
    Ok(names)
}

/// An array of partition => offset.
pub fn offsets(value: Option<&Zval>, place: &str) -> Result<Vec<(i32, i64)>, CallError> {
    let Some(value) = value
        .map(Zval::dereference)
        .filter(|value| !value.is_null())
    else {
        return Ok(Vec::new());
    };
    let mut list = Vec::new();
    for (key, offset) in arrays::entries(arguments::array(value, place)?) {
        let partition = match &key {
            Key::Int(number) => i32::try_from(*number).ok().filter(|number| *number >= 0),
            Key::Bytes(_) => None,
        };
        let offset = offset
            .long()
            .or_else(|| offset.zend_str()?.as_str().ok()?.parse().ok())
            .filter(|offset| *offset >= 0);
        let (Some(partition), Some(offset)) = (partition, offset) else {
            return Err(Error::configuration(format!(
                "{place} must be an array of partition => offset, both integers of 0 or more; entry \"{key}\" is not."
            ))
            .into());
        };
        list.push((partition, offset));
    }
    Ok(list)
}

/// The settings of a new topic, by name.
pub fn settings(value: Option<&Zval>) -> Result<Vec<(String, String)>, CallError> {
    let place = "Admin::createTopic(): Argument #4 ($config)";
    let Some(value) = value
        .map(Zval::dereference)
        .filter(|value| !value.is_null())
    else {
        return Ok(Vec::new());
    };
    let mut list = Vec::new();
    for (key, setting) in arrays::entries(arguments::array(value, place)?) {
        let Some(name) = key.text() else {
            return Err(Error::configuration(format!(
                "{place}: the name \"{key}\" is not valid UTF-8."
            ))
            .into());
        };
        let text = if setting.is_bool() {
            setting.is_true().to_string()
        } else {
            arguments::text(&setting, &format!("{place}[\"{name}\"]"))?.into_owned()
        };
        list.push((name, text));
    }
    Ok(list)
}

/// An integer of at least `least`. `place` is for example `createTopic(): $partitions`.
pub fn integer(value: i64, least: i32, place: &str) -> Result<i32, Error> {
    let number = i32::try_from(value).ok().filter(|number| *number >= least);
    number.ok_or_else(|| {
        Error::configuration(format!(
            "Admin::{place} must be {least} or more, {value} given."
        ))
    })
}
