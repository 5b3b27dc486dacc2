//! What operators ask of a cluster: its brokers, groups and topics, their offsets, every record of a topic; creating and deleting.
//!
//! One client without a group: it joins nothing and commits nothing. Everything is bounded, and while it waits it lets the host
//! breathe, which may want to give up.
#![allow(unsafe_code)]

mod cluster;
mod commits;
mod grouped;
mod groups;
mod offsets;
mod reader;
mod settings;
mod spans;
#[cfg(test)]
mod tests;
mod topics;
mod trouble;

pub use cluster::{Cluster, Node};
pub use commits::{Commit, Commits};
pub use groups::{Description, Listing, Member};
pub use offsets::Span;
pub use reader::{Reader, Step};
pub use spans::Spans;
pub use topics::NewTopic;
use trouble::{is_missing, passes};

use std::cell::{OnceCell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka_sys as sys;
use sys::bindings::{rd_kafka_admin_op_t as Operation, rd_kafka_resp_err_t as Code};

use super::embedded::{self, Embedded};
use super::groupless;
use super::native::{self, Answer, Options, Queue, Topic, TopicInfo};
use crate::config::BrokerConfig;
use crate::error::Error;
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

/// The client.
pub struct Admin {
    client: *mut sys::rd_kafka_t,
    complaints: Option<Queue>,
    config: Arc<BrokerConfig>,
    /// For the offsets of groups, once they are asked for.
    grouped: OnceCell<grouped::Grouped>,
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
        // Records that were deleted meanwhile are passed over.
        let made = groupless::start(config, &[("auto.offset.reset", "earliest")])?;
        Ok(Self {
            client: made.raw,
            complaints: Some(made.complaints),
            grouped: OnceCell::new(),
            config: Arc::clone(config),
            committed: made.committed,
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

    /// The options of a request that ends with the call.
    fn options(&self, operation: Operation, call: &Call<'_>) -> Options {
        Options::new(self.client, operation, call.left())
    }

    /// Sends a request of the admin API, and waits for its answer.
    fn request(
        &self,
        options: &Options,
        call: &Call<'_>,
        doing: &str,
        send: impl FnOnce(
            *mut sys::rd_kafka_t,
            *const sys::rd_kafka_AdminOptions_t,
            *mut sys::rd_kafka_queue_t,
        ),
    ) -> Outcome<Answer> {
        let queue = Queue::new(self.client);
        send(self.client, options.raw(), queue.raw());
        self.answer(&queue, call, doing)
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
