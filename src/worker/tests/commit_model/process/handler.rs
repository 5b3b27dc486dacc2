//! Callbacks of a process of the model.

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
