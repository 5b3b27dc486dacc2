//! What consumer groups have committed: of one, or of many at once.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::time::Instant;

use rdkafka_sys as sys;
use sys::bindings::{self, rd_kafka_admin_op_t as Operation, rd_kafka_resp_err_t as Code};

use super::grouped::Grouped;
use super::groups::distinct;
use super::{passes, Admin, Breathe, Call, Outcome, SLICE};
use crate::error::{Error, Result};
use crate::kafka::native::{self, Answer, Options, Partitions, Queue};

/// Requests on their way at once: the brokers serve other clients too.
const WINDOW: usize = 32;

/// An offset that a group has committed: the next record that it wants.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Commit {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

/// What one group has committed.
#[derive(Debug, Clone)]
pub struct Commits {
    /// The group.
    pub group: String,
    /// Why it is not known, if so.
    pub error: Option<Error>,
    /// In order; empty for a group that has committed nothing, or does not exist.
    pub commits: Vec<Commit>,
}

impl Admin {
    /// What a group has committed.
    ///
    /// # Errors
    /// Configuration: an empty name. Connection: Kafka does not answer, or refuses.
    pub fn group_offsets(&self, group: &str, breathe: Breathe<'_>) -> Outcome<Vec<Commit>> {
        let mut found = self.offsets_of_groups(&[group.to_owned()], breathe)?;
        match found.pop() {
            Some(Commits {
                error: Some(error), ..
            }) => Err(error.into()),
            Some(Commits { commits, .. }) => Ok(commits),
            None => Ok(Vec::new()),
        }
    }

    /// What several groups have committed, in order of their names, a few of them asked for at once. What is wrong with one is
    /// said there.
    ///
    /// # Errors
    /// Configuration: an empty name. Connection: Kafka does not answer.
    pub fn offsets_of_groups(
        &self,
        groups: &[String],
        breathe: Breathe<'_>,
    ) -> Outcome<Vec<Commits>> {
        let doing = "The offsets of the consumer groups cannot be read";
        let call = Call::new(breathe);
        let names = distinct(groups, doing)?;
        let every = self.every_partition(&call, doing)?;
        let mut answers: Vec<Option<Commits>> = vec![None; names.len()];
        let mut waiting: VecDeque<usize> = (0..names.len()).collect();
        let mut away = 0;
        let mut silent = 0;
        let client = self.grouped()?;
        let queue = Queue::new(client);
        while away > 0 || !waiting.is_empty() {
            while away < WINDOW {
                let Some(place) = waiting.pop_front() else {
                    break;
                };
                let operation = Operation::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS;
                let options = Options::new(client, operation, call.left()).tagged(place);
                ask(client, names[place], every.as_ref(), &options, &queue);
                away += 1;
            }
            let Some(answer) = queue.poll(SLICE) else {
                self.listen(doing)?;
                call.breathe()?;
                if Instant::now() > call.until + std::time::Duration::from_secs(1) {
                    return Err(self.silence(doing).into());
                }
                continue;
            };
            away -= 1;
            let place = answer.tag().min(names.len() - 1);
            match answer.error() {
                Some((code, _)) if is_moving(code) && call.left() > SLICE => {
                    call.breathe()?;
                    std::thread::sleep(SLICE);
                    waiting.push_back(place);
                }
                error => {
                    silent += usize::from(error.as_ref().is_some_and(|(code, _)| passes(*code)));
                    answers[place] = Some(self.commits(names[place], &answer, error));
                }
            }
        }
        // One broker that is away is said of its groups; with none there is nothing else to say.
        if silent > 0 && silent == names.len() {
            return Err(self.silence(doing).into());
        }
        Ok(answers.into_iter().flatten().collect())
    }

    /// The mock cluster does not tell of all partitions: it has to be asked for each.
    fn every_partition(&self, call: &Call<'_>, doing: &str) -> Outcome<Option<Partitions>> {
        if !native::is_mock(&self.reach(call, doing)?) {
            return Ok(None);
        }
        let mut list = Partitions::new();
        for topic in self.ask(None, call, doing)? {
            for partition in &topic.partitions {
                list.add(&topic.name, partition.id, native::INVALID_OFFSET);
            }
        }
        Ok(Some(list))
    }

    fn grouped(&self) -> Result<*mut sys::rd_kafka_t> {
        if let Some(made) = self.grouped.get() {
            return Ok(made.raw());
        }
        let made = Grouped::start(&self.config)?;
        Ok(self.grouped.get_or_init(|| made).raw())
    }

    fn commits(&self, group: &str, answer: &Answer, error: Option<(Code, String)>) -> Commits {
        let doing = format!("The offsets of consumer group \"{group}\" cannot be read");
        let mut commits = Vec::new();
        let error = error.map(|(code, words)| self.refused(code, &doing, &words));
        if error.is_none() {
            // SAFETY: the result lives as long as its event; the copy is ours.
            unsafe {
                let result = bindings::rd_kafka_event_ListConsumerGroupOffsets_result(answer.raw());
                let mut count = 0usize;
                let groups = bindings::rd_kafka_ListConsumerGroupOffsets_result_groups(
                    result,
                    &raw mut count,
                );
                if count > 0 {
                    let list = bindings::rd_kafka_group_result_partitions(*groups);
                    native::each_element(list, |element| {
                        if element.offset >= 0 {
                            commits.push(Commit {
                                topic: native::topic_of(element),
                                partition: element.partition,
                                offset: element.offset,
                            });
                        }
                    });
                }
            }
        }
        commits.sort_unstable();
        Commits {
            group: group.to_owned(),
            error,
            commits,
        }
    }
}

/// Asks for one group; `every` for the partitions where the broker does not tell them by itself.
fn ask(
    client: *mut sys::rd_kafka_t,
    group: &str,
    every: Option<&Partitions>,
    options: &Options,
    queue: &Queue,
) {
    let group = native::c_string(group);
    let every = every.map_or(std::ptr::null(), |list| list.raw().cast_const());
    // SAFETY: live objects; the request copies what it needs.
    unsafe {
        let asked = bindings::rd_kafka_ListConsumerGroupOffsets_new(group.as_ptr(), every);
        let mut list = [asked];
        bindings::rd_kafka_ListConsumerGroupOffsets(
            client,
            list.as_mut_ptr(),
            1,
            options.raw(),
            queue.raw(),
        );
        bindings::rd_kafka_ListConsumerGroupOffsets_destroy(asked);
    }
}

/// True where the group's broker is changing: asking again finds it.
fn is_moving(code: Code) -> bool {
    passes(code)
        || matches!(
            code,
            Code::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS
                | Code::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE
                | Code::RD_KAFKA_RESP_ERR_NOT_COORDINATOR
        )
}
