//! Callbacks and transactions of a process of the model.

use super::*;

impl RebalanceListener for Process<'_> {
    type Abort = String;

    fn assigned(&self, _: &[(String, i32)]) -> Result<(), String> {
        Ok(())
    }

    fn revoked(&self, _: &[(String, i32)], _: bool) -> Result<(), String> {
        Ok(())
    }
}

impl Handler<(u64, Rc<Vec<u8>>)> for Process<'_> {
    type Callback = ();

    fn handle(
        &self,
        _: &Rc<Subscription<()>>,
        item: &ModelRecord,
        _: Option<&Scanned<'_>>,
    ) -> Outcome<String> {
        self.callback(std::slice::from_ref(item)).1
    }

    fn handle_batch(
        &self,
        _: &Rc<Subscription<()>>,
        items: &[ModelRecord],
    ) -> (usize, Outcome<String>) {
        self.callback(items)
    }

    fn wants(&self, _: &ModelRecord) -> bool {
        true
    }

    fn retries_exhausted(&self, item: &ModelRecord) -> Option<DeadLetter> {
        (item.crashes > 3 && self.world.delivery != Delivery::AtMostOnce)
            .then(|| dead_letter("crashed"))
    }

    fn not_an_envelope(&self, reason: &Error) -> DeadLetter {
        dead_letter(reason.message())
    }

    fn undelivered(&self, _: &ModelRecord, error: Error) -> Outcome<String> {
        Outcome::DeadLetter(dead_letter(error.message()))
    }

    fn dead_letter(&self, item: &ModelRecord, _: &DeadLetter) -> Result<()> {
        let place = (item.partition, item.offset);
        self.sent.borrow_mut().push(place);
        Ok(())
    }

    fn poll_interrupts(&self, _: u64) -> Result<(), String> {
        Ok(())
    }

    fn fail(&self, error: Error) -> String {
        error.message().to_owned()
    }
}

impl Transactions for Process<'_> {
    fn prepare(&self) -> Result<bool> {
        if let Some(is_executed) = self.unsure.take() {
            self.late_outcome.set(Some(is_executed));
            // The consumer stays a member of the group, and polls for that.
            self.keep_alive(0);
            let committed = self.world.committed.borrow().clone();
            let mut places = Vec::new();
            for partition in 0..3 {
                let offset = committed.get(&partition).map_or(-1, |(offset, _)| *offset);
                let records = &mut self.records.borrow_mut();
                let offset = records.restart_at(TOPIC, partition, offset);
                places.extend(offset.map(|offset| (TOPIC.to_owned(), partition, offset)));
            }
            self.seek_back(places);
        }
        Ok(true)
    }

    fn take_late_outcome(&self) -> Option<bool> {
        self.late_outcome.take()
    }

    fn begin(&self) -> Result<bool> {
        self.prepare()?;
        self.sent.borrow_mut().clear();
        Ok(self.world.choose(4) != 3)
    }

    fn commit(&self) -> Result<TransactionOutcome> {
        let lost = || Error::delivery("aborted", Vec::new());
        let fault = self.world.choose(7);
        // Only a message can be refused.
        if fault == 6 && !self.sent.borrow().is_empty() {
            self.records.borrow_mut().assigned.isolate();
            self.rewind();
            return Ok(TransactionOutcome::Aborted(refused()));
        }
        if fault == 2 {
            self.rewind();
            return Ok(TransactionOutcome::Aborted(lost()));
        }
        if fault == 3 {
            return Err(lost());
        }
        if fault == 4 {
            // Without a response the client is replaced: nothing of the transaction is in Kafka.
            self.rewind();
            self.unsure.set(Some(false));
            return Ok(TransactionOutcome::Unknown(lost()));
        }
        let offsets = self.records.borrow().assigned.committable();
        for record in self.sent.take() {
            self.world.result(record);
        }
        self.world.commit(&offsets);
        if fault == 5 {
            // The same, where Kafka has committed it.
            self.rewind();
            self.unsure.set(Some(true));
            return Ok(TransactionOutcome::Unknown(lost()));
        }
        let number = self.records.borrow_mut().assigned.next_commit();
        for commit in offsets {
            let mut records = self.records.borrow_mut();
            records
                .assigned
                .committed(&commit.topic, commit.partition, commit.offset, number);
        }
        Ok(TransactionOutcome::Committed)
    }

    fn has_failed(&self) -> bool {
        false
    }

    fn abort(&self) -> Result<()> {
        self.rewind();
        Ok(())
    }

    fn duration(&self) -> Duration {
        Duration::from_millis(50)
    }

    fn bound(&self) -> Duration {
        Duration::from_secs(20)
    }
}
