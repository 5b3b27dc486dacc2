//! Equality of two JSON texts, by PHP's rules.

use super::scan::is_shallow;
use serde::de::Deserialize;
use serde_json::{Map, Number, Value};

/// True if `a` and `b` decode to equal PHP arrays: the order of keys does not matter, `1.0` equals `1`, an empty object
/// equals an empty array, and an object with the keys 0, 1, 2, … equals a list. Invalid JSON is compared bytewise.
#[must_use]
pub fn same_json(a: &[u8], b: &[u8]) -> bool {
    if a == b {
        return true;
    }
    match (parse(a), parse(b)) {
        (Some(a), Some(b)) => same(&a, &b),
        _ => false,
    }
}

fn parse(json: &[u8]) -> Option<Value> {
    if !is_shallow(json) {
        return None;
    }
    let mut parser = serde_json::Deserializer::from_slice(json);
    parser.disable_recursion_limit();
    let value = Value::deserialize(&mut parser).ok()?;
    parser.end().ok()?;
    Some(value)
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => same_number(a, b),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (Value::Object(map), Value::Array(list)) | (Value::Array(list), Value::Object(map)) => {
            same_list(map, list)
        }
        _ => a == b,
    }
}

fn same_list(map: &Map<String, Value>, list: &[Value]) -> bool {
    map.len() == list.len()
        && list
            .iter()
            .enumerate()
            .all(|(i, b)| map.get(&i.to_string()).is_some_and(|a| same(a, b)))
}

/// Compares 64-bit integers exactly and all other numbers as floats, as PHP does.
fn same_number(a: &Number, b: &Number) -> bool {
    match (a.as_i64(), b.as_i64()) {
        (Some(a), Some(b)) => a == b,
        _ => a.as_f64() == b.as_f64(),
    }
}
