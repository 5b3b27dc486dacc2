//! Lists and describes consumer groups: state, members and their assignments.

use rdkafka::error::RDKafkaErrorCode as Code;

use super::{is_transient, Admin, AdminCall, AdminResult, PollInterrupts};
use crate::error::Error;
use crate::kafka::client::{GroupDescription, GroupListing};

/// Maximum length of a group name: Kafka's protocol uses 15 bits.
const MAX_GROUP_NAME_BYTES: usize = 32_767;

impl Admin {
    /// Lists the consumer groups visible to the caller, sorted by name.
    ///
    /// # Errors
    /// Configuration: an embedded broker. Connection: no broker responds, or one refuses.
    pub fn groups(&self, poll_interrupts: PollInterrupts<'_>) -> AdminResult<Vec<GroupListing>> {
        let action = "The consumer groups cannot be listed";
        let call = AdminCall::new(poll_interrupts);
        self.refuse_mock(&call, action)?;
        let response = self.request(&call, action, |request| {
            request.list_groups();
        })?;
        let (mut groups, errors) = response.listed_groups();
        for (code, detail) in errors {
            // A broker that is down coordinates no groups: others have taken them over.
            if !is_transient(code) || groups.is_empty() {
                return Err(self.response_error(code, action, &detail).into());
            }
        }
        groups.sort_unstable_by(|a, b| a.group.cmp(&b.group));
        groups.dedup_by(|a, b| a.group == b.group);
        Ok(groups)
    }

    /// Describes one group. A group that does not exist is `Dead`, without members.
    ///
    /// # Errors
    /// Configuration: an embedded broker, or not a consumer group. Connection: Kafka does not respond, or refuses.
    pub fn group(
        &self,
        group: &str,
        poll_interrupts: PollInterrupts<'_>,
    ) -> AdminResult<GroupDescription> {
        let mut found = self.describe_groups(&[group.to_owned()], poll_interrupts)?;
        let Some(description) = found.pop() else {
            return Err(self
                .timeout_error("The consumer group cannot be described")
                .into());
        };
        match description.error {
            Some(error) => Err(error.into()),
            None => Ok(description),
        }
    }

    /// Describes several groups with one request, sorted by name. An error of one group is stored in its result.
    ///
    /// # Errors
    /// Configuration: an embedded broker, or an empty name. Connection: Kafka does not respond.
    pub fn describe_groups(
        &self,
        groups: &[String],
        poll_interrupts: PollInterrupts<'_>,
    ) -> AdminResult<Vec<GroupDescription>> {
        let action = "The consumer groups cannot be described";
        let call = AdminCall::new(poll_interrupts);
        let names = distinct(groups, action)?;
        self.refuse_mock(&call, action)?;
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let response = self.request(&call, action, |request| request.describe_groups(&names))?;
        let found = response.described_groups().into_iter();
        let judged = found.map(|(group, (code, detail))| match code {
            Code::NoError => group,
            Code::GroupIdNotFound => GroupDescription {
                state: "Dead".to_owned(),
                ..group
            },
            _ => {
                let action = format!("Consumer group \"{}\" cannot be described", group.group);
                let error = Some(self.response_error(code, &action, &detail));
                GroupDescription { error, ..group }
            }
        });
        Ok(judged.collect())
    }
}

/// Group names, sorted and without duplicates.
pub(super) fn distinct<'a>(groups: &'a [String], action: &str) -> AdminResult<Vec<&'a str>> {
    let mut names: Vec<&str> = groups.iter().map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    // A longer name would corrupt the request and break the connection.
    let cannot =
        |name: &&str| name.is_empty() || name.len() > MAX_GROUP_NAME_BYTES || name.contains('\0');
    if let Some(name) = names.iter().copied().find(cannot) {
        let start: String = name.chars().take(40).collect();
        return Err(Error::configuration(format!(
            "{action}: \"{}\" is not a valid consumer group name. \
             A name has 1 to {MAX_GROUP_NAME_BYTES} bytes and no NUL.",
            start.escape_debug()
        ))
        .into());
    }
    Ok(names)
}
