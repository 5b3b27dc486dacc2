//! The thread of a producer client: takes delivery failures, keeps or reports them, lets messages in whose topic was missing,
//! and sends the spool again once Kafka answers.
#![allow(unsafe_code)]

mod haste;
mod room;

use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka_sys as sys;
use sys::bindings::rd_kafka_resp_err_t as Code;

use super::admin::Lookup;
use super::fate::keep_or_report;
use super::flight::REPLAY;
use super::replay::Replay;
use super::Producer;
use crate::error::Result;
use crate::kafka::native;
use crate::kafka::producer::delivery::{self, Undelivered};
use crate::log::Level;
use crate::process;
use crate::spool::SpoolRecord;
pub(super) use room::outgoing;

/// How long the thread sleeps with nothing to do, in ms. Failures and wakes interrupt it.
const IDLE_MS: i32 = 250;
/// And while a lookup or a replay is under way.
const BUSY_MS: i32 = 5;
/// While messages are written down before they are sent: what is acknowledged is noted this often.
const JOURNAL_MS: i32 = 50;
/// Starts the thread. It holds the client alive until [`Producer::close`].
pub fn spawn(producer: Arc<Producer>) -> Result<JoinHandle<()>> {
    process::spawn("rt-producer", move || Poller::new(&producer).run())
}

/// Interrupts the thread's sleep.
pub fn wake(producer: &Producer) {
    // SAFETY: a live client; the queue reference is returned at once.
    unsafe {
        let queue = sys::rd_kafka_queue_get_main(producer.client);
        sys::bindings::rd_kafka_queue_yield(queue);
        sys::rd_kafka_queue_destroy(queue);
    }
}

struct Poller<'a> {
    producer: &'a Arc<Producer>,
    lookup: Option<Lookup>,
    replay: Replay,
    /// Messages of a client that was given up, for its successor.
    homeless: Vec<Undelivered>,
    started: Instant,
    probed: Option<Instant>,
}

impl<'a> Poller<'a> {
    fn new(producer: &'a Arc<Producer>) -> Self {
        Self {
            producer,
            lookup: None,
            replay: Replay::default(),
            homeless: Vec::new(),
            started: Instant::now(),
            probed: None,
        }
    }

    fn run(mut self) {
        // SAFETY: a live client; the reference is returned below.
        let queue = unsafe { sys::rd_kafka_queue_get_main(self.producer.client) };
        let mut purged = false;
        let mut quiet_since = Instant::now();
        loop {
            let wait = match (self.hastens(), self.is_busy()) {
                (true, _) => 1,
                (_, true) => BUSY_MS,
                _ if self.producer.keeps_journal() => JOURNAL_MS,
                _ => IDLE_MS,
            };
            // SAFETY: the queue and its events are used by this thread alone.
            let event = unsafe { sys::rd_kafka_queue_poll(queue, wait) };
            if !event.is_null() {
                quiet_since = Instant::now();
                // SAFETY: just polled, destroyed once.
                unsafe {
                    self.on_event(event);
                    sys::rd_kafka_event_destroy(event);
                }
            }
            self.expelled();
            if self.producer.given_up.load(Ordering::Acquire) && !purged {
                purged = true;
                self.producer.purge();
            }
            let closing = self.producer.closing.load(Ordering::Acquire);
            if closing || purged {
                self.replay.abandon();
                // SAFETY: a live client.
                let empty = unsafe { sys::rd_kafka_outq_len(self.producer.client) } == 0;
                let late = quiet_since.elapsed() > Duration::from_secs(2);
                if event.is_null()
                    && (empty || late)
                    && self.producer.room.lock().expelled.is_empty()
                {
                    break;
                }
                continue;
            }
            self.hasten();
            self.probe();
            self.serve_room();
            self.replay.step(self.producer);
            if self.producer.keeps_journal() {
                self.producer.tidy_journal(false);
            }
        }
        // SAFETY: got above.
        unsafe { sys::rd_kafka_queue_destroy(queue) };
        if !self.homeless.is_empty() {
            self.move_house();
        }
    }

    fn is_busy(&self) -> bool {
        self.hastens()
            || self.lookup.is_some()
            || self.replay.is_under_way()
            || self.producer.closing.load(Ordering::Relaxed)
            || self.producer.given_up.load(Ordering::Relaxed)
    }

    /// # Safety
    /// `event` must be alive.
    unsafe fn on_event(&mut self, event: *mut sys::rd_kafka_event_t) {
        match sys::rd_kafka_event_type(event) {
            sys::bindings::RD_KAFKA_EVENT_DR => {
                let mut reports = Vec::new();
                loop {
                    let message = sys::rd_kafka_event_message_next(event);
                    if message.is_null() {
                        break;
                    }
                    if (*message).err != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                        reports.push(delivery::undelivered(message));
                    }
                }
                self.on_failures(reports);
            }
            sys::bindings::RD_KAFKA_EVENT_ERROR => {
                let code = sys::rd_kafka_event_error(event);
                let reason = native::text(sys::rd_kafka_event_error_string(event));
                self.on_error(code, &reason);
            }
            _ => {}
        }
    }

    fn on_error(&mut self, code: Code, reason: &str) {
        let producer = self.producer;
        if code == Code::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN {
            producer.down.store(true, Ordering::Release);
            producer.flight.answered.store(false, Ordering::Release);
        }
        if code == Code::RD_KAFKA_RESP_ERR__FATAL {
            process::current().log.say(
                Level::Error,
                format!(
                    "Kafka client given up{}: {reason}.{}",
                    if producer.transactional {
                        ""
                    } else {
                        " and replaced"
                    },
                    if producer.transactional {
                        ""
                    } else {
                        " Its messages are sent again."
                    }
                ),
            );
            producer.given_up.store(true, Ordering::Release);
        }
        if matches!(
            code,
            Code::RD_KAFKA_RESP_ERR__AUTHENTICATION
                | Code::RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED
                | Code::RD_KAFKA_RESP_ERR__SSL
        ) {
            let words = reason.split(" (after ").next().unwrap_or_default();
            *producer.refusal.lock() = Some(words.to_owned());
        }
        *producer.last_error.lock() = Some(reason.to_owned());
    }

    /// Messages that waited for a topic when the client was closed.
    fn expelled(&mut self) {
        let guests = std::mem::take(&mut self.producer.room.lock().expelled);
        if guests.is_empty() {
            return;
        }
        let reports = guests.into_iter().map(|guest| Undelivered {
            record: SpoolRecord {
                reason: "its topic could not be looked up or created in time".to_owned(),
                ..guest.record
            },
            code: Code::RD_KAFKA_RESP_ERR__PURGE_QUEUE,
            opaque: guest.sequence,
        });
        self.on_failures(reports.collect());
    }

    fn on_failures(&mut self, reports: Vec<Undelivered>) {
        let producer = self.producer;
        let given_up = producer.given_up.load(Ordering::Acquire);
        let mut lost = Vec::new();
        for mut report in reports {
            if report.opaque & REPLAY != 0 {
                self.replay.failed(producer, &report);
                continue;
            }
            if report.record.id.is_empty() {
                report.record.id = producer.flight.id_of(report.opaque).unwrap_or_default();
            }
            if given_up && !producer.transactional && !native::is_permanent(report.code) {
                self.homeless.push(report);
            } else {
                lost.push(report);
            }
        }
        keep_or_report(producer, lost);
    }
}
