//! Subscriptions of a broker: created from PHP's arguments, and passed to a running consumer.

use ext_php_rs::types::Zval;

use super::arguments::{self, CallError};
use super::broker::Broker;
use super::callback::Callback;
use crate::dispatch::{self, Style, Subscription, Target};
use crate::error::Result;

impl Broker {
    pub(super) fn add(
        &self,
        target: Target,
        style: Style,
        callback: Option<&Zval>,
        place: &str,
    ) -> Result<(), CallError> {
        let callback = match arguments::optional(callback, |value| {
            Callback::new(value)
                .ok_or_else(|| arguments::type_error(place, "callable", value).into())
        })? {
            Some(callback) => Some(callback),
            None if style == Style::Pull => None,
            None => return Err(arguments::type_error(place, "callable", &Zval::null()).into()),
        };
        let subscription = Subscription::new(target, style, callback);
        self.subscriptions.borrow_mut().add(subscription)?;
        self.resubscribe()?;
        Ok(())
    }

    /// Passes changed subscriptions to a running consumer.
    pub(super) fn resubscribe(&self) -> Result<()> {
        let consumer = self.consumer.borrow().clone();
        if let Some(consumer) = consumer.filter(|consumer| !consumer.is_inherited()) {
            let (filters, fingerprint) = {
                let subscriptions = self.subscriptions.borrow();
                (
                    subscriptions.filters(&self.config.topics),
                    subscriptions.fingerprint(),
                )
            };
            consumer.subscribe(filters, fingerprint)?;
        }
        Ok(())
    }

    pub(super) fn subscribe_channel(
        &self,
        channel: &Zval,
        style: Style,
        callback: Option<&Zval>,
        method: &str,
    ) -> Result<(), CallError> {
        let channel = arguments::channel(
            channel,
            &format!("Broker::{method}(): Argument #1 ($channel)"),
        )?;
        let target = dispatch::channels(&channel, &self.config.topics)?;
        self.add(
            target,
            style,
            callback,
            &format!("Broker::{method}(): Argument #2 ($callback)"),
        )
    }
}

/// With a callback or for `poll()`.
pub fn style(callback: Option<&Zval>) -> Style {
    match callback.map(Zval::dereference) {
        Some(value) if !value.is_null() => Style::Single,
        _ => Style::Pull,
    }
}
