//! The channel and event of the last broadcast, with everything that depends on them alone. Most requests and workers
//! broadcast the same event again and again.

use crate::config::BrokerConfig;
use crate::encryption;
use crate::envelope::{write_end, write_php_string};
use crate::error::Result;
use crate::ids::ID_LEN;
use crate::topic::undeliverable::Undeliverable;

/// Follows the names in an envelope with data.
const DATA: &[u8] = br#","data":"#;

pub struct Route {
    pub channel: Box<str>,
    pub event: Box<str>,
    pub topic: String,
    pub is_encrypted: bool,
    /// No browser receives events with these names.
    pub has_undeliverable_names: bool,
    /// The envelope between its id and its data.
    middle: Vec<u8>,
    /// The end of the envelope for a time in Unix seconds.
    end: Vec<u8>,
    seconds: u64,
}

impl Route {
    /// # Errors
    /// InvalidChannel.
    pub fn new(config: &BrokerConfig, channel: &str, event: &str) -> Result<Self> {
        let mut middle = br#"","type":"event","channel":"#.to_vec();
        write_php_string(&mut middle, channel);
        middle.extend_from_slice(br#","event":"#);
        write_php_string(&mut middle, event);
        middle.extend_from_slice(DATA);
        Ok(Self {
            channel: channel.into(),
            event: event.into(),
            topic: config.topics.topic_for(channel)?,
            is_encrypted: encryption::is_encrypted_channel(channel),
            has_undeliverable_names: Undeliverable::check(channel, event, 0, 0).is_some(),
            middle,
            end: Vec::new(),
            seconds: 0,
        })
    }

    #[inline]
    pub fn is_of(&self, channel: &[u8], event: &[u8]) -> bool {
        self.channel.as_bytes() == channel && self.event.as_bytes() == event
    }

    /// Begins an envelope whose data follows; its length if it has none.
    #[inline]
    pub fn begin(&self, id: &[u8; ID_LEN], out: &mut Vec<u8>) -> usize {
        out.reserve(64 + self.middle.len());
        out.extend_from_slice(br#"{"id":""#);
        out.extend_from_slice(id);
        out.extend_from_slice(&self.middle);
        out.len() - DATA.len()
    }

    /// Ends an envelope that was created at this time.
    #[inline]
    pub fn end(&mut self, seconds: u64, out: &mut Vec<u8>) {
        if self.seconds != seconds {
            self.seconds = seconds;
            self.end.clear();
            write_end(&mut self.end, i64::try_from(seconds).unwrap_or(0));
        }
        out.extend_from_slice(&self.end);
    }
}
