//! `pause()`, `resume()` and `seek()` of a broker.

use ext_php_rs::types::Zval;

use super::arguments::{self, CallError};
use super::broker::Broker;
use crate::error::Error;
use crate::kafka::consumer::Position;

fn number(partition: i64, method: &str) -> Result<i32, Error> {
    i32::try_from(partition)
        .ok()
        .filter(|number| *number >= 0)
        .ok_or_else(|| {
            Error::configuration(format!(
                "Broker::{method}(): $partition must be 0 or more, {partition} given."
            ))
        })
}

/// `pause()` and `resume()`. Does nothing before partitions are assigned.
pub fn set_paused(
    broker: &Broker,
    topic: Option<&Zval>,
    partition: Option<i64>,
    paused: bool,
    method: &str,
) -> Result<(), CallError> {
    let place = format!("Broker::{method}(): Argument #1 ($topic)");
    let topic = arguments::optional(topic, |topic| arguments::channel(topic, &place))?;
    let partition = partition
        .map(|partition| number(partition, method))
        .transpose()?;
    let consumer = broker.consumer.borrow().clone();
    if let Some(consumer) = consumer.filter(|consumer| !consumer.is_inherited()) {
        consumer.set_paused(topic.as_deref(), partition, paused);
    }
    Ok(())
}

pub fn seek(
    broker: &Broker,
    topic: &Zval,
    partition: i64,
    position: &Zval,
) -> Result<(), CallError> {
    let topic = arguments::channel(topic, "Broker::seek(): Argument #1 ($topic)")?;
    let partition = number(partition, "seek")?;
    let position = read(position)?;
    let consumer = broker.consumer.borrow().clone();
    let consumer = consumer
        .filter(|consumer| !consumer.is_inherited())
        .ok_or_else(|| {
            Error::configuration(
                "Broker::seek(): no partition is assigned yet. Call seek() in the callback of onAssigned().",
            )
        })?;
    consumer.seek(&topic, partition, position)?;
    Ok(())
}

fn read(position: &Zval) -> Result<Position, CallError> {
    let position = position.dereference();
    let wrong = || {
        CallError::from(Error::configuration(
            "Broker::seek(): $position must be an offset of 0 or more, 'beginning', 'end', or a DateTimeInterface.",
        ))
    };
    if let Some(offset) = position.long() {
        return if offset >= 0 {
            Ok(Position::Offset(offset))
        } else {
            Err(wrong())
        };
    }
    if let Some(word) = position.zend_str().and_then(|word| word.as_str().ok()) {
        return match word {
            "beginning" => Ok(Position::Beginning),
            "end" => Ok(Position::End),
            digits => match digits.parse() {
                Ok(offset) if offset >= 0 => Ok(Position::Offset(offset)),
                _ => Err(wrong()),
            },
        };
    }
    moment(position)?.map(Position::Time).ok_or_else(wrong)
}

/// The milliseconds since 1970 of a DateTimeInterface; `None` for anything else.
fn moment(value: &Zval) -> Result<Option<i64>, CallError> {
    if value.object().is_none() {
        return Ok(None);
    }
    // Seconds and milliseconds as `Uv` formats them: `format()` exists in every DateTimeInterface.
    let time = value.try_call_method("format", vec![&"Uv"]);
    if super::zend::has_exception() {
        return Err(CallError::Pending);
    }
    let time = time.ok().and_then(|time| time.string());
    Ok(time.and_then(|time| time.parse().ok()))
}

/// A time in milliseconds since 1970, from whole seconds or a DateTimeInterface.
pub fn time(value: &Zval, place: &str) -> Result<i64, CallError> {
    let value = value.dereference();
    let seconds = value
        .long()
        .or_else(|| value.zend_str()?.as_str().ok()?.parse::<i64>().ok());
    let ms = match seconds {
        Some(seconds) => seconds.checked_mul(1000),
        None => moment(value)?,
    };
    ms.filter(|ms| *ms >= 0).ok_or_else(|| {
        Error::configuration(format!(
            "{place} must be Unix seconds from 0, or a DateTimeInterface since 1970."
        ))
        .into()
    })
}
