//! A consumer whose offsets are committed in its producer's transactions.

use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;

use super::call::TransactionError;
use super::call::{call_with_timeout, TransactionCall};
use super::{current, TransactionalProducer, ABORT_TIMEOUT, POLL_INTERVAL, SHORT_WAIT};
use crate::error::{Error, FailedMessage, Kind, Result};
use crate::kafka::client::{self, GroupMetadata, NativeClient};
use crate::kafka::consumer::Consumer;
use crate::kafka::producer::Producer;
use crate::runtime::clock;

/// Outcome of a transaction.
#[derive(Debug)]
pub enum TransactionOutcome {
    /// Kafka has committed it.
    Committed,
    /// Kafka has aborted it, and the consumer reads again from where it began.
    Aborted(Error),
    /// Kafka did not respond to the commit: [`Transactions::take_late_outcome`] tells whether it was executed.
    Unknown(Error),
}

/// The transactions of a consumer.
pub trait Transactions {
    /// Obtains the transactional.id, which aborts the open transaction of an earlier worker: until then the offsets of
    /// the group cannot be read.
    ///
    /// # Errors
    /// A permanent error of Kafka. `Ok(false)`: Kafka has not answered yet.
    fn prepare(&self) -> Result<bool>;
    /// True if a commit without a response was executed; `Some` once, after the call of [`Self::prepare`] that finds
    /// out.
    fn take_late_outcome(&self) -> Option<bool>;
    /// Begins a transaction; waits only briefly for Kafka.
    ///
    /// # Errors
    /// A permanent error of Kafka: another worker has fenced this one. `Ok(false)`: Kafka has not answered yet.
    fn begin(&self) -> Result<bool>;
    /// Commits it with the offsets of everything handled since it began.
    ///
    /// # Errors
    /// A permanent error of Kafka.
    fn commit(&self) -> Result<TransactionOutcome>;
    /// True if the transaction can only be aborted, because Kafka refused a message of it.
    fn has_failed(&self) -> bool;
    /// Aborts it; the consumer returns to where it began.
    ///
    /// # Errors
    /// A permanent error of Kafka.
    fn abort(&self) -> Result<()>;
    /// While records are there, a transaction goes on to the next fetch until this time has passed: its own cost hardly
    /// depends on the number of records. At most [`Self::bound`].
    fn duration(&self) -> Duration;
    /// Maximum duration of a transaction.
    fn bound(&self) -> Duration;
}

pub struct TransactionalConsumer<'a> {
    pub consumer: &'a Consumer,
    pub transaction: &'a TransactionalProducer,
}

/// Offsets and group metadata that a transaction commits; read only.
struct TransactionOffsets(TopicPartitionList, GroupMetadata);

/// Why a transaction must be aborted.
enum CommitError {
    Refused(TransactionError),
    /// The consumer has left its group: its partitions may be assigned to another member by now.
    NotAMember,
}

impl TransactionalConsumer<'_> {
    /// The group metadata, or `None` if the consumer is not a member. Kafka accepts offsets with an empty member id as
    /// those of a client outside the group, without any check: a worker that was evicted has lost its member id, and
    /// must not send them.
    fn membership(&self) -> Option<GroupMetadata> {
        let client = &self.consumer.client;
        let member = GroupMetadata::of(client)?;
        // Checked last: if the assignment is lost after this, the generation is stale and Kafka rejects it.
        (!client.has_lost_assignment()).then_some(member)
    }

    fn send_offsets(
        &self,
        producer: &Arc<Producer>,
        until: Instant,
    ) -> std::result::Result<Option<Arc<TransactionOffsets>>, CommitError> {
        let offsets = self.consumer.commits.offsets();
        if offsets.count() == 0 {
            return Ok(None);
        }
        let Some(member) = self.membership() else {
            return Err(CommitError::NotAMember);
        };
        let sent = Arc::new(TransactionOffsets(offsets, member));
        let own = Arc::clone(&sent);
        let step: TransactionCall = Box::new(move |client, wait| {
            let TransactionOffsets(offsets, member) = &*own;
            client.send_offsets_to_transaction(offsets, member, wait)
        });
        call_with_timeout(producer, until, step).map_err(CommitError::Refused)?;
        Ok(Some(sent))
    }

    /// Aborts the transaction, or replaces a client that has become unusable, which has the same effect.
    fn on_commit_error(&self, error: &CommitError) -> Result<TransactionOutcome> {
        let reason = match error {
            CommitError::NotAMember => {
                self.abort()?;
                "this worker did not poll for too long and is not a member of its group any more"
            }
            CommitError::Refused(error) if error.requires_new_client() => {
                current::end(&self.transaction.producer());
                self.consumer.assignment.rewind();
                self.transaction
                    .abandon_client("Kafka did not commit transaction", error)?;
                &error.reason
            }
            CommitError::Refused(error) => {
                self.abort()?;
                &error.reason
            }
        };
        Ok(TransactionOutcome::Aborted(Error::new(
            Kind::Connection,
            format!("Kafka did not commit it: {reason}."),
        )))
    }

    /// The error for messages sent by the callbacks that Kafka did not accept, while the client itself is usable.
    fn undelivered(producer: &Producer) -> Option<Error> {
        let (mut failed, mut count) = producer.failures.take();
        let refusal = TransactionError::of_transaction(producer.client());
        if let Some(error) = refusal.filter(|error| client::is_refused(error.code)) {
            // The partition was refused before anything was sent to it: its messages only failed with the transaction.
            if !failed.iter().any(|failed| failed.permanent) {
                let refused = FailedMessage {
                    id: String::new(),
                    topic: String::new(),
                    kind: client::to_error(error.code, "", "", "").kind(),
                    reason: error.reason,
                    permanent: true,
                };
                failed.insert(0, refused);
                count += 1;
            }
        }
        // Named first in the error.
        failed.sort_by_key(|failed| !failed.permanent);
        (count > 0).then(|| {
            Error::undelivered(
                "Messages sent by a callback were not delivered, so its transaction is aborted.",
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
        // The previous client's last transaction may or may not have been committed. Since this client has taken over
        // the id, the committed offsets of the group are final and tell which.
        let mut uncertain = transaction.uncertain_commit.borrow_mut();
        if let Some(sent) = &*uncertain {
            let outcome = self.consumer.assignment.seek_to_committed(sent);
            if outcome.is_none() {
                return Ok(false);
            }
            transaction.late_outcome.set(outcome);
            uncertain.take();
        }
        Ok(true)
    }

    fn take_late_outcome(&self) -> Option<bool> {
        self.transaction.late_outcome.take()
    }

    fn begin(&self) -> Result<bool> {
        let transaction = self.transaction;
        if !self.prepare()? {
            return Ok(false);
        }
        if transaction.abort_pending.get() {
            // The next turn begins, with another client if this one must not.
            transaction.try_abort(Instant::now() + ABORT_TIMEOUT)?;
            return Ok(false);
        }
        let producer = transaction.producer();
        if let Err(error) = producer.client().begin_transaction() {
            let error = TransactionError::from(error);
            transaction.abandon_client("The Kafka client cannot begin transaction", &error)?;
            return Ok(false);
        }
        transaction.abort_pending.set(true);
        if let Some(id_lock) = &*transaction.id_lock.borrow() {
            id_lock.mark_in_use();
        }
        current::begin(Arc::clone(self.consumer.config()), producer);
        Ok(true)
    }

    fn commit(&self) -> Result<TransactionOutcome> {
        let transaction = self.transaction;
        let until = Instant::now() + transaction.timeout;
        let producer = transaction.producer();
        current::end(&producer);
        while !producer.wait_for_delivery(Instant::now() + POLL_INTERVAL) {
            if TransactionError::of_transaction(producer.client()).is_some() {
                // The reports of its messages name the broker's reason.
                producer.wait_for_delivery(Instant::now() + clock::bounded(SHORT_WAIT));
                break;
            }
            if clock::is_signalled() || Instant::now() >= until {
                self.abort()?;
                let reason = "the messages sent by the callbacks were not acknowledged in time.";
                return Ok(TransactionOutcome::Aborted(Error::new(
                    Kind::Connection,
                    reason,
                )));
            }
        }
        if let Some(error) = TransactionError::of(producer.client()) {
            return self.on_commit_error(&CommitError::Refused(error));
        }
        if let Some(error) = Self::undelivered(&producer) {
            if producer.refused_batch.load(Ordering::Acquire) > 0 {
                self.abort()?;
                return Ok(TransactionOutcome::Aborted(Error::new(
                    Kind::Connection,
                    "a batch of its messages was refused as too large; they are sent again in smaller batches.",
                )));
            }
            if error.is_permanent() {
                self.consumer.assignment.isolate();
                self.abort()?;
                return Ok(TransactionOutcome::Aborted(error));
            }
            self.abort()?;
            let may_help = |failed: &FailedMessage| failed.kind.is_retriable();
            if error.failed().iter().all(may_help) {
                return Ok(TransactionOutcome::Aborted(error));
            }
            return Err(error);
        }
        let offsets = match self.send_offsets(&producer, until) {
            Ok(offsets) => offsets,
            Err(error) => return self.on_commit_error(&error),
        };
        let step = Box::new(NativeClient::commit_transaction);
        if let Err(error) = call_with_timeout(&producer, until, step) {
            // An attempt without a response may have been executed, whatever error ended the call.
            let sent = offsets.map_or_else(TopicPartitionList::new, |sent| sent.0.clone());
            transaction.uncertain_commit.replace(Some(sent));
            let outcome = self.on_commit_error(&CommitError::Refused(error))?;
            return Ok(match outcome {
                TransactionOutcome::Aborted(error)
                    if transaction.uncertain_commit.borrow().is_some() =>
                {
                    TransactionOutcome::Unknown(error)
                }
                outcome => outcome,
            });
        }
        transaction.on_committed();
        if let Some(sent) = offsets {
            self.consumer.commits.committed_with(&sent.0);
        }
        Ok(TransactionOutcome::Committed)
    }

    fn has_failed(&self) -> bool {
        let producer = self.transaction.producer();
        !producer.failures.is_empty()
            || TransactionError::of_transaction(producer.client()).is_some()
    }

    fn abort(&self) -> Result<()> {
        current::end(&self.transaction.producer());
        if self.consumer.is_inherited() {
            // A child forked in a callback: the transaction belongs to the parent.
            return Ok(());
        }
        if clock::is_signalled() {
            clock::begin_shutdown();
        }
        self.consumer.assignment.rewind();
        let until = Instant::now() + clock::bounded(ABORT_TIMEOUT);
        self.transaction.try_abort(until).map(drop)
    }

    fn duration(&self) -> Duration {
        let configured = Duration::from_millis(self.consumer.config().transaction_ms);
        configured.min(self.bound())
    }

    fn bound(&self) -> Duration {
        self.transaction.timeout / 3
    }
}
