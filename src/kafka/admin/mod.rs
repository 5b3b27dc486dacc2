//! What operators ask of a cluster: its topics, their offsets, every record of a topic; creating and deleting.
//!
//! One client without a group: it joins nothing and commits nothing. Everything is bounded, and while it waits it lets the host
//! breathe, which may want to give up.
#![allow(unsafe_code)]

mod offsets;
mod reader;
#[cfg(test)]
mod tests;
mod topics;

pub use offsets::Span;
pub use reader::{Reader, Step};
pub use topics::NewTopic;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka_sys as sys;
use sys::bindings::{rd_kafka_resp_err_t as Code, rd_kafka_type_t};

use super::embedded::{self, Embedded};
use super::native::{self, Answer, Conf, Queue, Topic, TopicInfo};
use crate::config::BrokerConfig;
use crate::error::{Error, Kind};
use crate::process;

/// The longest that any one call waits for Kafka.
pub const BOUND: Duration = Duration::from_secs(10);
/// The host gets its turn this often.
const SLICE: Duration = Duration::from_millis(50);
/// One try of a request for metadata: a broker that is gone is not waited for until the end.
const TRY: Duration = Duration::from_secs(2);

/// Why a call ended without an answer.
#[derive(Debug)]
pub enum Halt {
    /// An error of ours.
    Error(Error),
    /// The host gave up: something is on its way there.
    Interrupted,
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Result of a call.
pub type Outcome<T> = Result<T, Halt>;

/// Gives the host its turn; false to give up.
pub type Breathe<'a> = &'a dyn Fn() -> bool;

/// One call: how long it may take, and who else waits meanwhile.
#[derive(Clone, Copy)]
struct Call<'a> {
    until: Instant,
    breathe: Breathe<'a>,
}

impl<'a> Call<'a> {
    fn new(breathe: Breathe<'a>) -> Self {
        Self {
            until: Instant::now() + BOUND,
            breathe,
        }
    }

    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    fn breathe(&self) -> Outcome<()> {
        if (self.breathe)() {
            Ok(())
        } else {
            Err(Halt::Interrupted)
        }
    }
}

/// Properties that make a consumer a member of a group, and those that are ours to set here.
const NOT_OURS: &[&str] = &[
    "group.id",
    "group.instance.id",
    "group.protocol",
    "group.remote.assignor",
    "allow.auto.create.topics",
    "auto.offset.reset",
    "enable.partition.eof",
];

/// The client.
pub struct Admin {
    client: *mut sys::rd_kafka_t,
    complaints: Option<Queue>,
    config: Arc<BrokerConfig>,
    committed: bool,
    generation: u32,
    /// What the client last complained about.
    heard: RefCell<Option<String>>,
}

impl Admin {
    /// Makes the client, which connects by itself.
    ///
    /// # Errors
    /// Configuration: properties librdkafka does not take.
    pub fn start(config: &Arc<BrokerConfig>) -> crate::error::Result<Self> {
        let mut properties = config.consumer_properties();
        properties.retain(|(name, _)| !NOT_OURS.contains(&name.as_str()));
        for (name, value) in [
            // Looking creates nothing.
            ("allow.auto.create.topics", "false"),
            // Records that were deleted meanwhile are passed over.
            ("auto.offset.reset", "earliest"),
            ("enable.partition.eof", "true"),
        ] {
            properties.push((name.to_owned(), value.to_owned()));
        }
        embedded::resolve(config, &mut properties)?;
        let mut conf = Conf::new(&properties, "consumer_config")?;
        let isolation = conf.get("isolation.level");
        // SAFETY: the conf is ours.
        unsafe {
            sys::rd_kafka_conf_set_events(conf.raw(), sys::bindings::RD_KAFKA_EVENT_ERROR);
        }
        let client = conf.into_client(rd_kafka_type_t::RD_KAFKA_CONSUMER)?;
        Ok(Self {
            client,
            complaints: Some(Queue::main(client)),
            config: Arc::clone(config),
            committed: isolation.as_deref() != Some("read_uncommitted"),
            generation: process::generation(),
            heard: RefCell::default(),
        })
    }

    /// True in a forked child: the client belongs to the parent.
    #[must_use]
    pub fn is_inherited(&self) -> bool {
        self.generation != process::generation()
    }

    /// The embedded broker behind it, where it lives in this process.
    fn local(&self) -> Option<Arc<Embedded>> {
        embedded::local(&self.config.brokers)
    }

    /// Notes what the client complains about. What will not pass by waiting ends the call.
    fn listen(&self, doing: &str) -> Outcome<()> {
        let Some(complaints) = &self.complaints else {
            return Ok(());
        };
        while let Some(complaint) = complaints.poll(Duration::ZERO) {
            let Some((code, words)) = complaint.error() else {
                continue;
            };
            if matches!(
                code,
                Code::RD_KAFKA_RESP_ERR__AUTHENTICATION
                    | Code::RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED
                    | Code::RD_KAFKA_RESP_ERR__SSL
            ) {
                return Err(self.failed(code, doing, &words).into());
            }
            if code != Code::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN {
                let words = words.split(" (after ").next().unwrap_or_default();
                *self.heard.borrow_mut() = Some(words.to_owned());
            }
        }
        Ok(())
    }

    /// Between two looks: the client's complaints, the host's turn, and the end of our patience.
    fn wait(&self, call: &Call<'_>, doing: &str) -> Outcome<()> {
        self.listen(doing)?;
        call.breathe()?;
        if call.left().is_zero() {
            return Err(self.silence(doing).into());
        }
        Ok(())
    }

    /// The id of the cluster: a broker has been reached.
    fn reach(&self, call: &Call<'_>, doing: &str) -> Outcome<String> {
        loop {
            if let Some(id) = native::cluster_id(self.client, SLICE) {
                return Ok(id);
            }
            self.wait(call, doing)?;
        }
    }

    /// What the cluster says of one topic, or of all.
    fn ask(&self, only: Option<&Topic>, call: &Call<'_>, doing: &str) -> Outcome<Vec<TopicInfo>> {
        self.reach(call, doing)?;
        loop {
            match native::metadata(self.client, only, call.left().min(TRY)) {
                Ok(topics) => return Ok(topics),
                Err(code) if passes(code) => self.wait(call, doing)?,
                Err(code) => return Err(self.failed(code, doing, "").into()),
            }
        }
    }

    /// The answer to a request of the admin API that is on its way.
    fn answer(&self, queue: &Queue, call: &Call<'_>, doing: &str) -> Outcome<Answer> {
        loop {
            let answer = queue.poll(SLICE);
            if let Some(answer) = answer {
                return match answer.error() {
                    None => Ok(answer),
                    Some((code, _)) if passes(code) => Err(self.silence(doing).into()),
                    Some((code, words)) => Err(self.failed(code, doing, &words).into()),
                };
            }
            self.listen(doing)?;
            call.breathe()?;
            // The request has the same limit and says better why: a little longer.
            if Instant::now() > call.until + Duration::from_secs(1) {
                return Err(self.silence(doing).into());
            }
        }
    }

    /// One of our errors for a code.
    fn failed(&self, code: Code, doing: &str, words: &str) -> Error {
        let error = native::to_error(code, doing, words, &self.config.brokers);
        let kind = match code {
            Code::RD_KAFKA_RESP_ERR_INVALID_CONFIG
            | Code::RD_KAFKA_RESP_ERR_INVALID_PARTITIONS
            | Code::RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR
            | Code::RD_KAFKA_RESP_ERR_INVALID_REQUEST
            | Code::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE
            | Code::RD_KAFKA_RESP_ERR_POLICY_VIOLATION
            | Code::RD_KAFKA_RESP_ERR_TOPIC_DELETION_DISABLED
            | Code::RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION
            | Code::RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE => Kind::Configuration,
            // Nothing is delivered here.
            _ if error.kind() == Kind::Delivery => Kind::Connection,
            _ => return error,
        };
        Error::new(kind, error.message())
    }

    fn silence(&self, doing: &str) -> Error {
        let heard = self.heard.borrow();
        let words = heard
            .as_ref()
            .map_or_else(String::new, |words| format!(" ({words})"));
        Error::connection(format!(
            "{doing}: Kafka at {} did not answer within {} s{words}. Is a broker running there, and reachable from here?",
            self.config.brokers,
            BOUND.as_secs()
        ))
    }

    fn unknown(&self, topic: &str, doing: &str) -> Error {
        Error::new(
            Kind::UnknownTopic,
            format!(
                "{doing}: Kafka at {} has no topic \"{topic}\". Create it with Admin::createTopic(), or check the name with Admin::topics().",
                self.config.brokers
            ),
        )
    }

    /// What the mock cluster has no answer for.
    fn refuse_mock(&self, call: &Call<'_>, doing: &str) -> Outcome<()> {
        if native::is_mock(&self.reach(call, doing)?) {
            return Err(Error::configuration(format!(
                "{doing}: the embedded broker cannot do that, it has no admin API. Use a real Kafka."
            ))
            .into());
        }
        Ok(())
    }
}

/// True where waiting helps.
fn passes(code: Code) -> bool {
    matches!(
        code,
        Code::RD_KAFKA_RESP_ERR__TRANSPORT
            | Code::RD_KAFKA_RESP_ERR__TIMED_OUT
            | Code::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN
            | Code::RD_KAFKA_RESP_ERR__RESOLVE
            | Code::RD_KAFKA_RESP_ERR__WAIT_CACHE
            | Code::RD_KAFKA_RESP_ERR__WAIT_COORD
            | Code::RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE
            | Code::RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH
            | Code::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE
            | Code::RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION
            | Code::RD_KAFKA_RESP_ERR_NOT_CONTROLLER
            | Code::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION
            | Code::RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE
            | Code::RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE
            | Code::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT
            | Code::RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH
    )
}

/// True where the topic is not there.
fn is_missing(code: Code) -> bool {
    matches!(
        code,
        Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
            | Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID
            | Code::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC
            | Code::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION
    )
}

impl Drop for Admin {
    fn drop(&mut self) {
        let complaints = self.complaints.take();
        if self.is_inherited() {
            // The parent's: its threads are not here, so it is left alone.
            std::mem::forget(complaints);
            return;
        }
        drop(complaints);
        // SAFETY: ours; readers hold an Admin, so none is left.
        unsafe { sys::rd_kafka_destroy(self.client) };
    }
}
