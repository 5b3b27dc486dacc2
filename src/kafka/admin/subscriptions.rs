//! What the members of a group subscribe to: their topics, and the lists of channels of our workers.

use std::time::Duration;

use super::{Admin, AdminCall, AdminResult, PollInterrupts};
use crate::kafka::consumer::CommitMetadata;

/// Time limit of the request, which does not poll interrupts.
const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupSubscriptions {
    /// The topics by member id, both sorted. Empty for a group of the new protocol.
    pub members: Vec<(String, Vec<String>)>,
    /// One for each distinct list of subscriptions with which our workers have committed.
    pub fingerprints: Vec<String>,
}

impl Admin {
    /// The subscriptions of a group; empty where the caller may not describe it.
    ///
    /// # Errors
    /// Configuration: an embedded broker. Connection: Kafka does not respond, or refuses.
    pub fn subscriptions(
        &self,
        group: &str,
        poll_interrupts: PollInterrupts<'_>,
    ) -> AdminResult<GroupSubscriptions> {
        let action = "The subscriptions of the group cannot be read";
        self.refuse_mock(&AdminCall::new(poll_interrupts), action)?;
        let commits = self.group_offsets(group, poll_interrupts)?;
        let mut fingerprints: Vec<String> = commits
            .iter()
            .map(|commit| CommitMetadata::read(&commit.metadata).subscriptions)
            .filter(|fingerprint| !fingerprint.is_empty())
            .collect();
        fingerprints.sort_unstable();
        fingerprints.dedup();
        let found = self.client.list_members(group, TIMEOUT);
        let found = found.map_err(|code| self.error_for(code, action, ""))?;
        let members = found.into_iter();
        let mut members: Vec<_> = members
            .filter_map(|(id, metadata)| Some((id, topics(&metadata)?)))
            .collect();
        members.sort_unstable();
        Ok(GroupSubscriptions {
            members,
            fingerprints,
        })
    }
}

/// The topics in a member's metadata (`ConsumerProtocolSubscription`): version, then a list of names.
fn topics(bytes: &[u8]) -> Option<Vec<String>> {
    let mut rest = bytes.get(2..)?;
    let mut take = |length: usize| {
        let (head, tail) = rest.split_at_checked(length)?;
        rest = tail;
        Some(head)
    };
    let count = i32::from_be_bytes(take(4)?.try_into().ok()?);
    let mut topics = Vec::new();
    for _ in 0..count {
        let length = i16::from_be_bytes(take(2)?.try_into().ok()?);
        let name = take(usize::try_from(length).ok()?)?;
        topics.push(String::from_utf8_lossy(name).into_owned());
    }
    topics.sort_unstable();
    Some(topics)
}

#[cfg(test)]
mod tests {
    use super::topics;

    #[test]
    fn topics_of_a_member() {
        let two = b"\0\x01\0\0\0\x02\0\x01b\0\x02aa\0\0\0\0";
        assert_eq!(topics(two), Some(vec!["aa".to_owned(), "b".to_owned()]));
        assert_eq!(topics(b"\0\x01\0\0\0\x02\0\x01b"), None);
        assert_eq!(topics(b""), None);
    }
}
