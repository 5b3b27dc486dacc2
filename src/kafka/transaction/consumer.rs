//! A consumer whose offsets are part of its producer's transactions: begun, committed, taken back.
#![allow(unsafe_code)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka_sys as sys;

use super::ask::{ask, plain, Step};
use super::refusal::Refusal;
use super::{open, Transaction, GLANCE, PATIENCE};
use crate::clock;
use crate::error::{Error, FailedMessage, Kind, Result};
use crate::kafka::consumer::Consumer;
use crate::kafka::native;
use crate::kafka::producer::Producer;
use crate::worker::{Ending, StopSignal, Transactions};

/// The transactions of a consumer that is running.
pub struct TransactionalConsumer<'a> {
    /// Reads.
    pub consumer: &'a Consumer,
    /// Writes.
    pub transaction: &'a Transaction,
}

/// Who a consumer is in its group.
struct Membership(*mut sys::rd_kafka_consumer_group_metadata_t);

/// What a transaction takes with it, read only.
struct Taken(native::Partitions, Membership);

// SAFETY: both are plain data of librdkafka's that belong to nobody else and are not changed any more.
unsafe impl Send for Taken {}
unsafe impl Sync for Taken {}

impl Drop for Membership {
    fn drop(&mut self) {
        // SAFETY: ours.
        unsafe { sys::bindings::rd_kafka_consumer_group_metadata_destroy(self.0) };
    }
}

/// Why a transaction has to be taken back.
enum Trouble {
    Refused(Refusal),
    /// The consumer is no member of its group any more: what it handled is somebody else's by now.
    NoMember,
}

impl TransactionalConsumer<'_> {
    /// The consumer's membership, where it has one. Kafka takes offsets from somebody without a name as those of a program
    /// that is in no group, and checks nothing: a worker that was away too long has lost its name, and must not send them.
    fn membership(&self) -> Option<Membership> {
        let client = self.consumer.client();
        // SAFETY: a live consumer; the texts live as long as what they are part of.
        unsafe {
            let member = Membership(sys::bindings::rd_kafka_consumer_group_metadata(client));
            if member.0.is_null() {
                return None;
            }
            let name = native::text(sys::bindings::rd_kafka_consumer_group_metadata_member_id(
                member.0,
            ));
            let generation =
                sys::bindings::rd_kafka_consumer_group_metadata_generation_id(member.0);
            // Asked last: what is lost after this carries a generation that Kafka refuses.
            let lost = sys::bindings::rd_kafka_assignment_lost(client) != 0;
            (!name.is_empty() && generation >= 0 && !lost).then_some(member)
        }
    }

    fn send_offsets(
        &self,
        producer: &Arc<Producer>,
        until: Instant,
    ) -> std::result::Result<Option<Arc<Taken>>, Trouble> {
        let offsets = self.consumer.offsets();
        if offsets.elements().is_empty() {
            return Ok(None);
        }
        let Some(member) = self.membership() else {
            return Err(Trouble::NoMember);
        };
        let taken = Arc::new(Taken(offsets, member));
        let own = Arc::clone(&taken);
        let step: Step = Box::new(move |client, wait| {
            let Taken(offsets, member) = &*own;
            // SAFETY: a live producer; the list and the membership are copied.
            unsafe {
                Refusal::take(sys::bindings::rd_kafka_send_offsets_to_transaction(
                    client,
                    offsets.raw(),
                    member.0,
                    wait,
                ))
            }
        });
        ask(producer, until, step).map_err(Trouble::Refused)?;
        Ok(Some(taken))
    }

    /// Ends with nothing of it committed; another client takes over where this one is of no use any more.
    fn taken_back(&self, trouble: &Trouble) -> Result<Ending> {
        let reason = match trouble {
            Trouble::NoMember => {
                self.abort()?;
                "this worker was away for too long and is no member of its group at the moment"
            }
            Trouble::Refused(refusal) if refusal.ends_the_client() => {
                open::forget();
                self.consumer.rewind();
                self.transaction
                    .replace("Kafka refuses to commit transaction", refusal)?;
                &refusal.reason
            }
            Trouble::Refused(refusal) => {
                self.abort()?;
                &refusal.reason
            }
        };
        Ok(Ending::Aborted(Error::new(
            Kind::Connection,
            format!("Kafka did not commit it: {reason}."),
        )))
    }

    /// What the callbacks sent and Kafka did not take, where the client itself is sound.
    fn undelivered(producer: &Producer) -> Option<Error> {
        let (failed, count) = producer.failures.take();
        (count > 0).then(|| {
            Error::undelivered(
                "What a callback sent was not delivered, so its transaction is taken back.",
                failed,
            )
        })
    }
}

impl Transactions for TransactionalConsumer<'_> {
    fn prepare(&self) -> Result<bool> {
        let transaction = self.transaction;
        if !transaction.is_ready() && !transaction.init()? {
            return Ok(false);
        }
        // What the client before was doing may have been committed or not. Now that this one has its name, the group knows.
        if transaction.unsure.get() {
            if !self.consumer.go_to_committed() {
                return Ok(false);
            }
            transaction.unsure.set(false);
        }
        Ok(true)
    }

    fn begin(&self) -> Result<bool> {
        let transaction = self.transaction;
        if !self.prepare()? {
            return Ok(false);
        }
        if transaction.to_abort.get() && !transaction.try_abort(Instant::now() + PATIENCE)? {
            return Ok(false);
        }
        let producer = transaction.producer();
        // SAFETY: a live producer.
        let refused =
            unsafe { Refusal::take(sys::bindings::rd_kafka_begin_transaction(producer.client())) };
        if let Some(refusal) = refused {
            transaction.replace("Kafka's client cannot begin transaction", &refusal)?;
            return Ok(false);
        }
        transaction.to_abort.set(true);
        open::begin(Arc::clone(self.consumer.config()), producer);
        Ok(true)
    }

    fn commit(&self) -> Result<Ending> {
        open::forget();
        let transaction = self.transaction;
        let until = Instant::now() + transaction.timeout;
        let producer = transaction.producer();
        while !producer.settle(Instant::now() + GLANCE) {
            if StopSignal::is_signalled() || Instant::now() >= until {
                self.abort()?;
                let reason = "what the callbacks sent was not acknowledged in time.";
                return Ok(Ending::Aborted(Error::new(Kind::Connection, reason)));
            }
        }
        if let Some(refusal) = Refusal::of(producer.client()) {
            return self.taken_back(&Trouble::Refused(refusal));
        }
        if let Some(error) = Self::undelivered(&producer) {
            self.abort()?;
            let may_help = |failed: &FailedMessage| failed.kind.is_retriable();
            if error.failed().iter().all(may_help) {
                return Ok(Ending::Aborted(error));
            }
            return Err(error);
        }
        let offsets = match self.send_offsets(&producer, until) {
            Ok(offsets) => offsets,
            Err(trouble) => return self.taken_back(&trouble),
        };
        let step = plain(sys::bindings::rd_kafka_commit_transaction);
        if let Err(refusal) = ask(&producer, until, step) {
            return self.taken_back(&Trouble::Refused(refusal));
        }
        transaction.committed();
        if let Some(taken) = offsets {
            self.consumer.committed_with(&taken.0);
        }
        Ok(Ending::Committed)
    }

    fn abort(&self) -> Result<()> {
        open::forget();
        if StopSignal::is_signalled() {
            clock::hurry();
        }
        self.consumer.rewind();
        let until = Instant::now() + clock::bounded(PATIENCE);
        self.transaction.try_abort(until).map(drop)
    }

    fn bound(&self) -> Duration {
        self.transaction.timeout / 3
    }
}
