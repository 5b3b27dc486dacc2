//! What a browser missed while it was away: positions it brings back, and the broadcasts after them.

pub mod ring;
pub mod token;
