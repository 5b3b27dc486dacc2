//! `Toporia\Realtime\Gateway`.

mod methods;
mod sign;

use std::cell::{Cell, RefCell};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ext_php_rs::prelude::*;
use ext_php_rs::types::{ZendClassObject, Zval};
use ext_php_rs::zend::{bailout, try_catch, CatchError};

use super::arguments::{self, finish, Trouble};
use super::{binary, json, lifecycle, signals, state, zend};
use crate::config::{BrokerConfig, GatewayConfig, Value};
use crate::error::{Error, Kind};
use crate::gateway as core;
use crate::gateway::admin_api::AdminRequest;
use crate::gateway::api_client::host_port;
use crate::gateway::protocol::channel::Name;
use crate::process;
use crate::worker::StopSignal;

/// While it waits, signals and the log get their turn this often.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// A process that ends without stop() sends its clients elsewhere for this long at most.
const SHUTDOWN_DRAIN: Duration = Duration::from_secs(1);
/// The longest drain, in ms.
const MAX_DRAIN_MS: i64 = 600_000;

thread_local! {
    /// Those that run, to be ended in order at the end of the request, also where a fatal error left their objects behind.
    static RUNNING: RefCell<Vec<*const Gateway>> = const { RefCell::new(Vec::new()) };
}

/// The WebSocket gateway: what was broadcast goes on to browsers. Its threads are native; PHP only starts and ends them.
#[php_class]
#[php(name = "Toporia\\Realtime\\Gateway")]
#[php(flags = ext_php_rs::flags::ClassFlags::Final)]
pub struct Gateway {
    config: GatewayConfig,
    broker: Arc<BrokerConfig>,
    running: RefCell<Option<Arc<core::Gateway>>>,
    /// The fork generation it was started in.
    generation: Cell<u32>,
    handlers: RefCell<Option<signals::Handlers>>,
}

/// The settings: those given over those of the application.
pub fn settings(config: Option<&Zval>, place: &str) -> Result<GatewayConfig, Trouble> {
    let given = arguments::optional(config, |config| {
        arguments::array(config, place)?;
        Ok(arguments::configuration(config))
    })?;
    let given = given.filter(|config| !matches!(config, Value::List(list) if list.is_empty()));
    Ok(state::gateway_config(given.as_ref())?)
}

fn forked_error() -> Error {
    Error::connection(
        "This Gateway was started before the process forked, and goes on in the parent. Start gateways in the process that is to serve.",
    )
}

impl Gateway {
    /// The one that runs, if it does.
    fn current(&self) -> Result<Option<Arc<core::Gateway>>, Error> {
        let running = self.running.borrow().clone();
        match running {
            Some(inherited) if self.generation.get() != process::generation() => {
                // Its threads are not here: neither may they be waited for, nor their memory be given back.
                std::mem::forget(inherited);
                Err(forked_error())
            }
            other => Ok(other),
        }
    }

    fn open(&self) -> Result<(), Error> {
        if self.current()?.is_some_and(|gateway| gateway.is_running()) {
            return Ok(());
        }
        let gateway = process::without_signals(|| {
            core::Gateway::start(self.config.settings.clone(), &self.broker)
        })?;
        *self.running.borrow_mut() = Some(Arc::new(gateway));
        self.generation.set(process::generation());
        RUNNING.with(|open| {
            let mut open = open.borrow_mut();
            let this = std::ptr::from_ref(self);
            if !open.contains(&this) {
                open.push(this);
            }
        });
        Ok(())
    }

    /// Ends it; in a forked child it only lets go.
    fn shut_down(&self, drain: Duration) {
        let this = std::ptr::from_ref(self);
        RUNNING.with(|open| open.borrow_mut().retain(|known| *known != this));
        // A second signal ends the process at once: whoever sends it has no patience for the drain.
        self.handlers.borrow_mut().take();
        let gateway = self.running.borrow_mut().take();
        if let Some(gateway) = gateway {
            if self.generation.get() == process::generation() {
                gateway.stop(drain);
            } else {
                std::mem::forget(gateway);
            }
        }
    }

    fn listen_address(&self) -> Result<String, Error> {
        Ok(match self.current()? {
            Some(gateway) => gateway.address().to_string(),
            None => host_port(&self.config.settings.host, self.config.settings.port),
        })
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.shut_down(SHUTDOWN_DRAIN);
    }
}

/// The request ends, or the process does: what still runs ends in order.
pub fn close_all() {
    let open = RUNNING.with(|open| std::mem::take(&mut *open.borrow_mut()));
    for gateway in open {
        // SAFETY: a Gateway takes itself off the list when it is dropped.
        unsafe { (*gateway).shut_down(SHUTDOWN_DRAIN) };
    }
}

/// Signals, time limits and the log. A fatal error in a PHP handler goes on from here; nothing of ours is held.
fn poll_interrupts() -> bool {
    let served = try_catch(AssertUnwindSafe(|| {
        zend::serve_interrupt();
        signals::dispatch();
        lifecycle::deliver_log();
    }));
    if matches!(served, Err(CatchError::Bailout)) {
        // SAFETY: goes on where the engine was going; what is left here needs no drop.
        unsafe { bailout() }
    }
    !zend::has_exception()
}

/// PHP's value of JSON that this crate wrote.
fn decode_json(json_bytes: &[u8]) -> Result<Zval, Trouble> {
    Ok(json::decode(json_bytes)?)
}

#[php_impl]
impl Gateway {
    /// Reads the configuration; opens and connects nothing yet.
    #[php(optional = config)]
    pub fn __construct(config: Option<&Zval>) -> PhpResult<Self> {
        let config = match settings(config, "Gateway::__construct(): Argument #1 ($config)") {
            Ok(config) => config,
            Err(Trouble::Throw(exception)) => return Err(exception),
            Err(Trouble::Pending) => return Err("The configuration could not be read.".into()),
        };
        let broker = state::broker_config(config.broker_name.as_deref(), config.broker.as_ref())?;
        Ok(Self {
            config,
            broker,
            running: RefCell::default(),
            generation: Cell::new(process::generation()),
            handlers: RefCell::default(),
        })
    }

    /// Opens the port and serves until stop() or the end of the process.
    pub fn start(self_: &ZendClassObject<Self>) -> PhpResult<Zval> {
        self_.open()?;
        lifecycle::deliver_log();
        Ok(zend::this())
    }

    /// Sends its clients elsewhere and ends.
    #[php(defaults(drainMs = 5000))]
    #[php(optional = drainMs)]
    pub fn stop(&self, drainMs: i64) -> PhpResult<()> {
        let drain = u64::try_from(drainMs)
            .ok()
            .filter(|_| drainMs <= MAX_DRAIN_MS);
        let Some(drain) = drain else {
            return Err(Error::configuration(format!(
                "Gateway::stop(): $drainMs must be from 0 to {MAX_DRAIN_MS}, {drainMs} given."
            ))
            .into());
        };
        self.current()?;
        self.shut_down(Duration::from_millis(drain));
        lifecycle::deliver_log();
        Ok(())
    }

    /// Waits for a signal to end.
    #[php(defaults(timeoutMs = 1000))]
    #[php(optional = timeoutMs)]
    pub fn wait(&self, timeoutMs: i64) -> PhpResult<bool> {
        let until = Instant::now() + Duration::from_millis(u64::try_from(timeoutMs).unwrap_or(0));
        if self.handlers.borrow().is_none() && self.current()?.is_some() {
            if !signals::Handlers::are_there() {
                StopSignal::default().reset();
            }
            *self.handlers.borrow_mut() = Some(signals::Handlers::install());
        }
        loop {
            if !poll_interrupts() {
                return Ok(true);
            }
            // stop() may have been called by a PHP handler.
            let serves = self.current()?.is_some_and(|gateway| gateway.is_running());
            if !serves || StopSignal::is_signalled() {
                return Ok(true);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            std::thread::sleep(left.min(POLL_INTERVAL));
        }
    }

    /// Whether it serves.
    pub fn is_running(&self) -> bool {
        matches!(self.current(), Ok(Some(gateway)) if gateway.is_running())
    }

    /// Where it listens.
    pub fn address(&self) -> PhpResult<Zval> {
        Ok(binary(self.listen_address()?.as_bytes()))
    }

    /// Delivers an event to the sockets of this gateway only.
    #[php(optional = data)]
    pub fn broadcast_locally(
        &self,
        channel: &Zval,
        event: &Zval,
        data: Option<&Zval>,
        except: Option<&Zval>,
    ) -> PhpResult<i64> {
        finish(self.deliver(channel, event, data, except))
    }

    /// Who is connected, over all gateways.
    #[php(optional = r#where)]
    pub fn connections(&self, r#where: Option<&Zval>) -> PhpResult<Zval> {
        let list = self.list_connections(r#where);
        finish(list.and_then(|list| decode_json(&list)).map(Some)).map(Option::unwrap_or_default)
    }

    /// Counters and state of this gateway.
    pub fn stats(&self) -> PhpResult<Zval> {
        let all = self.stats_json().map_err(Trouble::from);
        finish(
            all.and_then(|all| decode_json(all.to_string().as_bytes()))
                .map(Some),
        )
        .map(Option::unwrap_or_default)
    }

    /// Closes sockets for good, on all gateways.
    pub fn kick(&self, r#where: &Zval) -> PhpResult<i64> {
        finish(sign::target(r#where, "kick").and_then(|(target, body)| {
            Ok(self.admin_request("/kick", AdminRequest::Kick { target }, &body.into())?)
        }))
    }

    /// Takes sockets off a channel, on all gateways.
    pub fn unsubscribe(&self, r#where: &Zval, channel: &Zval) -> PhpResult<i64> {
        finish(
            sign::target(r#where, "unsubscribe").and_then(|(target, mut body)| {
                let place = "Gateway::unsubscribe(): Argument #2 ($channel)";
                let channel = arguments::text(channel, place)?.into_owned();
                if Name::parse(&channel).is_none() {
                    return Err(Error::new(
                        Kind::InvalidChannel,
                        format!(
                            "\"{}\" cannot be a channel of sockets: give its name as clients subscribe to it, such as private-order.7.",
                            channel.escape_debug()
                        ),
                    )
                    .into());
                }
                body.insert("from".into(), channel.as_str().into());
                let request = AdminRequest::Unsubscribe { target, channel };
                Ok(self.admin_request("/unsubscribe", request, &body.into())?)
            }),
        )
    }

    /// Signs a subscription.
    #[php(optional = presence)]
    pub fn authorize(
        socketId: &Zval,
        channelName: &Zval,
        presence: Option<&Zval>,
        config: Option<&Zval>,
    ) -> PhpResult<Zval> {
        finish(sign::authorize(socketId, channelName, presence, config).map(Some))
            .map(Option::unwrap_or_default)
    }

    /// Signs a user in.
    #[php(optional = config)]
    pub fn authenticate(
        socketId: &Zval,
        userData: &Zval,
        config: Option<&Zval>,
    ) -> PhpResult<Zval> {
        finish(sign::authenticate(socketId, userData, config).map(Some))
            .map(Option::unwrap_or_default)
    }
}
