//! Delivery reports: copies of messages that failed, and the failures not yet reported by a flush.

use std::collections::VecDeque;

use parking_lot::Mutex;
use rdkafka::error::RDKafkaErrorCode as Code;

use super::in_flight::{refusal_code, InFlight};
use super::PINNED;
use crate::error::{FailedMessage, Kind};
use crate::kafka::client::{self, NativeMessage};
use crate::spool::SpoolRecord;

/// Failures kept with their ids until the next flush; further ones are only counted.
const MAX_NAMED: usize = 1000;

/// A message that was not delivered, complete, with the reason.
pub struct Undelivered {
    pub record: SpoolRecord,
    /// librdkafka's error code.
    pub code: Code,
    /// The opaque passed to librdkafka.
    pub opaque: u64,
}

/// Copies a failed message out of a delivery report.
pub(super) fn undelivered(message: &NativeMessage, in_flight: &InFlight) -> Undelivered {
    let opaque = message.opaque();
    let raw_code = message.code();
    let purged = matches!(raw_code, Code::PurgeQueue | Code::PurgeInflight);
    // `refusal_text()` is not used here: it points into a response that is destroyed by now.
    let refusal = in_flight
        .take_refusal(opaque)
        .filter(|text| !text.is_empty());
    let code = refusal_code(raw_code, refusal.as_deref().unwrap_or_default());
    let reason = match refusal {
        _ if purged => "no acknowledgement in time".to_owned(),
        Some(text) => text,
        None => client::describe(raw_code),
    };
    Undelivered {
        record: SpoolRecord {
            id: String::new(),
            topic: message.topic(),
            partition: (opaque & PINNED != 0).then_some(message.partition()),
            key: message.key().map(<[u8]>::to_vec),
            value: message.value().map(<[u8]>::to_vec),
            headers: message.headers(),
            timestamp_ms: produced_at_ms(message),
            reason,
        },
        code,
        opaque,
    }
}

/// Time of production in ms. librdkafka does not report the timestamp of a failed message, only its age.
fn produced_at_ms(message: &NativeMessage) -> i64 {
    let now = i64::try_from(crate::ids::unix_ms()).unwrap_or(0);
    now - message.age_us() / 1000
}

#[derive(Default)]
struct Unreported {
    named: VecDeque<FailedMessage>,
    count: u64,
}

/// Failures that no flush has reported yet.
#[derive(Default)]
pub struct DeliveryFailures {
    unreported: Mutex<Unreported>,
}

impl DeliveryFailures {
    pub fn add(&self, failed: FailedMessage) {
        let mut unreported = self.unreported.lock();
        unreported.count += 1;
        if unreported.named.len() < MAX_NAMED {
            unreported.named.push_back(failed);
        }
    }

    /// True if there is no failure.
    pub fn is_empty(&self) -> bool {
        self.unreported.lock().count == 0
    }

    /// Removes the failure with this id if the message was too large; returns its reason.
    pub fn take_too_large(&self, id: &str) -> Option<String> {
        let failed = self.remove_if(|one| one.id == id && one.kind == Kind::MessageTooLarge)?;
        Some(failed.reason)
    }

    /// Removes the failure with this id, because the caller handles it.
    pub fn remove(&self, id: &str) {
        self.remove_if(|one| one.id == id);
    }

    fn remove_if(&self, wanted: impl Fn(&FailedMessage) -> bool) -> Option<FailedMessage> {
        let mut unreported = self.unreported.lock();
        let place = unreported.named.iter().position(wanted)?;
        unreported.count -= 1;
        unreported.named.remove(place)
    }

    /// Takes all failures: those with ids, and the total number.
    pub fn take(&self) -> (Vec<FailedMessage>, u64) {
        let unreported = std::mem::take(&mut *self.unreported.lock());
        (unreported.named.into(), unreported.count)
    }
}
