//! `Toporia\Realtime\Gateway`.

mod sign;

use std::cell::{Cell, RefCell};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ext_php_rs::prelude::*;
use ext_php_rs::types::{ZendClassObject, ZendHashTable, Zval};
use ext_php_rs::zend::{bailout, try_catch, CatchError};

use super::arguments::{self, finish, CallError};
use super::{binary, configuration, json, logging, signals, state, zend, OpenObjects};
use crate::config::{BrokerConfig, GatewayConfig};
use crate::encryption;
use crate::error::{Error, Kind};
use crate::gateway as core;
use crate::gateway::api_client::{host_port, ApiClient};
use crate::gateway::backend::{AdminRequest, ConnectionInfo};
use crate::gateway::protocol::SocketId;
use crate::runtime;
use crate::topic::socket_channel::Name;

/// How often signals are handled and the log is delivered while `wait()` waits.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Drain time when the process ends without `stop()`.
const SHUTDOWN_DRAIN: Duration = Duration::from_secs(1);
/// Maximum drain time, in ms.
const MAX_DRAIN_MS: i64 = 600_000;

thread_local! {
    static RUNNING: OpenObjects<Gateway> = const { OpenObjects::new() };
}

/// The WebSocket gateway. It runs in native threads; PHP only starts and stops it.
#[php_class]
#[php(name = "Toporia\\Realtime\\Gateway")]
#[php(flags = ext_php_rs::flags::ClassFlags::Final)]
pub struct Gateway {
    config: GatewayConfig,
    broker: Arc<BrokerConfig>,
    running: RefCell<Option<Arc<core::Gateway>>>,
    /// The fork generation in which it was started.
    generation: Cell<u32>,
    handlers: RefCell<Option<signals::SignalHandlers>>,
}

/// Reads the settings; those of `config` take precedence over the application's.
pub fn settings(config: Option<&Zval>, place: &str) -> Result<GatewayConfig, CallError> {
    let given = configuration::given(config, place)?;
    Ok(state::gateway_config(given.as_ref())?)
}

/// `Gateway::configuration()`
fn resolved_settings() -> Result<Zval, CallError> {
    let settings = settings(None, "Gateway::configuration()")?.settings;
    core::check_addresses(&settings)?;
    let table = || -> ext_php_rs::error::Result<_> {
        let mut all = ZendHashTable::new();
        all.insert("app_id", settings.app_id.as_str())?;
        all.insert("key", settings.key.as_str())?;
        all.insert("secret", settings.secret())?;
        all.insert("host", settings.host.as_str())?;
        all.insert("port", i64::from(settings.port))?;
        all.insert("ops_listen", settings.ops_listen.clone())?;
        all.insert("allowed_origins", settings.allowed_origins.clone())?;
        all.insert("trusted_proxies", settings.trusted_proxies.clone())?;
        all.insert("webhook_urls", settings.webhook_urls.clone())?;
        let connections = i64::try_from(settings.max_connections).unwrap_or(i64::MAX);
        all.insert("max_connections", connections)?;
        Ok(all)
    };
    let all = table().map_err(|error| Error::new(Kind::Encoding, error.to_string()))?;
    Ok(super::array(all))
}

fn forked_error() -> Error {
    Error::connection(
        "This gateway was started before the process forked, and runs in the parent. Start it in the process \
         that is to serve clients.",
    )
}

impl Gateway {
    /// The running gateway, if any.
    fn current(&self) -> Result<Option<Arc<core::Gateway>>, Error> {
        let running = self.running.borrow().clone();
        match running {
            Some(inherited) if self.generation.get() != runtime::generation() => {
                // Its threads do not exist in this process: it must be neither joined nor dropped.
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
        let gateway = runtime::without_signals(|| {
            core::Gateway::start(self.config.settings.clone(), &self.broker)
        })?;
        *self.running.borrow_mut() = Some(Arc::new(gateway));
        self.generation.set(runtime::generation());
        RUNNING.with(|open| open.add(self));
        Ok(())
    }

    /// Stops the gateway; in a forked child only forgets it.
    fn shut_down(&self, drain: Duration) {
        RUNNING.with(|open| open.remove(self));
        // A second signal ends the process immediately, without waiting for the drain.
        self.handlers.borrow_mut().take();
        let gateway = self.running.borrow_mut().take();
        if let Some(gateway) = gateway {
            if self.generation.get() == runtime::generation() {
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

/// Stops all running gateways at the end of the request or of the process.
pub fn close_all() {
    RUNNING.with(|open| open.close(|gateway| gateway.shut_down(SHUTDOWN_DRAIN)));
}

/// Handles signals, time limits and the log. A fatal error in a PHP handler continues from here; no Rust value is held.
fn poll_interrupts() -> bool {
    let served = try_catch(AssertUnwindSafe(|| {
        zend::serve_interrupt();
        signals::dispatch();
        logging::deliver();
    }));
    if matches!(served, Err(CatchError::Bailout)) {
        // SAFETY: continues the engine's bailout; no value in this frame needs to be dropped.
        unsafe { bailout() }
    }
    !zend::has_exception()
}

#[php_impl]
impl Gateway {
    /// Reads the configuration. Opens and connects nothing yet.
    #[php(optional = config)]
    pub fn __construct(config: Option<&Zval>) -> PhpResult<Self> {
        zend::refuse_second_construction::<Self>()?;
        let Some(config) =
            finish(settings(config, "Gateway::__construct(): Argument #1 ($config)").map(Some))?
        else {
            return Err("The configuration could not be read.".into());
        };
        let broker = state::broker_config(config.broker_name.as_deref(), config.broker.as_ref())?;
        Ok(Self {
            config,
            broker,
            running: RefCell::default(),
            generation: Cell::new(runtime::generation()),
            handlers: RefCell::default(),
        })
    }

    /// Opens the port and serves clients until `stop()` or the end of the process.
    pub fn start(self_: &ZendClassObject<Self>) -> PhpResult<Zval> {
        self_.open()?;
        logging::deliver();
        Ok(zend::this())
    }

    /// Asks the clients to reconnect elsewhere, within `$drainMs` ms, and stops.
    #[php(optional = drainMs)]
    pub fn stop(&self, drainMs: Option<&Zval>) -> PhpResult<()> {
        let place = "Gateway::stop(): Argument #1 ($drainMs)";
        let drainMs = arguments::int_or(drainMs, 5000, place)?;
        let drain = arguments::within(drainMs, 0, MAX_DRAIN_MS, place)?;
        self.current()?;
        self.shut_down(Duration::from_millis(drain.unsigned_abs()));
        logging::deliver();
        Ok(())
    }

    /// Waits up to `$timeoutMs` ms for a stop signal; true if there was one or the gateway does not run.
    #[php(optional = timeoutMs)]
    pub fn wait(&self, timeoutMs: Option<&Zval>) -> PhpResult<bool> {
        let place = "Gateway::wait(): Argument #1 ($timeoutMs)";
        let timeout = arguments::int_or(timeoutMs, 1000, place)?;
        let timeout = arguments::milliseconds(timeout, place)?;
        let until = Instant::now() + timeout;
        if self.handlers.borrow().is_none() && self.current()?.is_some() {
            if !signals::SignalHandlers::any_installed() {
                crate::runtime::clock::clear_signal();
            }
            *self.handlers.borrow_mut() = Some(signals::SignalHandlers::install());
        }
        loop {
            if !poll_interrupts() {
                return Ok(true);
            }
            // A PHP handler may have called stop().
            let serves = self.current()?.is_some_and(|gateway| gateway.is_running());
            if !serves || crate::runtime::clock::is_signalled() {
                return Ok(true);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            std::thread::sleep(left.min(POLL_INTERVAL));
        }
    }

    /// True while it serves clients.
    pub fn is_running(&self) -> bool {
        matches!(self.current(), Ok(Some(gateway)) if gateway.is_running())
    }

    /// The address it listens on, `host:port`.
    pub fn address(&self) -> PhpResult<Zval> {
        Ok(binary(self.listen_address()?.as_bytes()))
    }

    /// Delivers an event to the sockets of this gateway only; returns their number.
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

    /// Open connections of all gateways.
    #[php(optional = r#where)]
    pub fn connections(&self, r#where: Option<&Zval>) -> PhpResult<Zval> {
        let list = self.list_connections(r#where);
        finish(list.and_then(|list| Ok(json::decode(&list)?)))
    }

    /// Counters and state of this gateway.
    pub fn stats(&self) -> PhpResult<Zval> {
        let all = self.stats_json().map_err(CallError::from);
        finish(all.and_then(|all| Ok(json::decode(all.to_string().as_bytes())?)))
    }

    /// Closes connections on all gateways; clients do not reconnect. Returns their number.
    pub fn kick(&self, r#where: &Zval) -> PhpResult<i64> {
        finish(sign::target(r#where, "kick").and_then(|(target, body)| {
            Ok(self.admin_request("/kick", AdminRequest::Kick { target }, &body.into())?)
        }))
    }

    /// Ends subscriptions to a channel on all gateways. Returns their number.
    pub fn unsubscribe(&self, r#where: &Zval, channel: &Zval) -> PhpResult<i64> {
        finish(
            sign::target(r#where, "unsubscribe").and_then(|(target, mut body)| {
                let place = "Gateway::unsubscribe(): Argument #2 ($channel)";
                let channel = arguments::channel(channel, place)?.into_owned();
                if Name::parse(&channel).is_none() {
                    return Err(Error::new(
                        Kind::InvalidChannel,
                        format!(
                            "\"{}\" is not a valid socket channel: use the name that clients subscribe to, such \
                             as private-order.7.",
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

    /// The resolved settings that commands and the doctor need.
    pub fn configuration() -> PhpResult<Zval> {
        finish(resolved_settings())
    }

    /// Signs a subscription for an authorization endpoint.
    #[php(optional = presence)]
    pub fn authorize(
        socketId: &Zval,
        channelName: &Zval,
        presence: Option<&Zval>,
        config: Option<&Zval>,
    ) -> PhpResult<Zval> {
        finish(sign::authorize(socketId, channelName, presence, config))
    }

    /// Signs a sign-in for a user authentication endpoint.
    #[php(optional = config)]
    pub fn authenticate(
        socketId: &Zval,
        userData: &Zval,
        config: Option<&Zval>,
    ) -> PhpResult<Zval> {
        finish(sign::authenticate(socketId, userData, config))
    }
}

impl Gateway {
    fn deliver(
        &self,
        channel: &Zval,
        event: &Zval,
        data: Option<&Zval>,
        except: Option<&Zval>,
    ) -> Result<i64, CallError> {
        let place = |text: &str| format!("Gateway::broadcastLocally(): Argument {text}");
        let channel = arguments::channel(channel, &place("#1 ($channel)"))?;
        let event = arguments::event(event, &place("#2 ($event)"))?;
        if event.is_empty() {
            return Err(Error::configuration(
                "Gateway::broadcastLocally(): the event name is empty.",
            )
            .into());
        }
        let except = arguments::optional(except, |except| {
            let text = arguments::text(except, &place("#4 ($except)"))?;
            text.parse::<SocketId>().map_err(|_| {
                Error::configuration(format!(
                    "\"{}\" is not a socket id. pusher-js and Echo.socketId() return two numbers separated by a dot.",
                    text.escape_debug()
                ))
                .into()
            })
        })?;
        if Name::parse(&channel).is_none() {
            return Err(Error::channel(format!(
                "\"{}\" is not a valid socket channel: at most 164 letters, digits and -_=@,.; or \
                 #server-to-user- and a user id.",
                channel.escape_debug()
            ))
            .into());
        }
        json::with_buffer(|bytes| {
            let has_data = super::message::encode_data(data, bytes)?;
            let plain = has_data.then_some(bytes.as_slice());
            let settings = &self.config.settings;
            let key = settings
                .encryption_master_key
                .as_ref()
                .or(self.broker.encryption.as_ref());
            let encrypted = if encryption::is_encrypted_channel(&channel) {
                Some(encryption::encrypt(key, &channel, plain)?)
            } else {
                None
            };
            let json = encrypted.as_deref().or(plain).unwrap_or(b"null");
            let gateway = self.current()?.ok_or_else(|| {
                Error::connection(
                    "The gateway is not running: call start() before broadcastLocally().",
                )
            })?;
            let reached = gateway.broadcast_locally(&channel, &event, json, except)?;
            Ok(i64::try_from(reached).unwrap_or(i64::MAX))
        })
    }

    /// Sends a request to all gateways: through the one running in this process, else through the HTTP API of another
    /// process.
    fn admin_request(
        &self,
        path: &str,
        request: AdminRequest,
        body: &serde_json::Value,
    ) -> Result<i64, Error> {
        if let Some(gateway) = self.current()? {
            let count = gateway.send_admin_request(request).count;
            return Ok(i64::try_from(count).unwrap_or(i64::MAX));
        }
        sign::check(&self.config.settings, true)?;
        let response =
            ApiClient::new(&self.config.settings).post(path, body.to_string().as_bytes())?;
        let response: serde_json::Value = serde_json::from_slice(&response).unwrap_or_default();
        response["sockets"].as_i64().ok_or_else(unexpected_response)
    }

    fn list_connections(&self, r#where: Option<&Zval>) -> Result<Vec<u8>, CallError> {
        let (target, body) =
            arguments::optional(r#where, |list| sign::target(list, "connections"))?
                .unwrap_or_default();
        let encoded = |bytes: serde_json::Result<Vec<u8>>| {
            bytes.map_err(|error| Error::encoding(error.to_string()).into())
        };
        if let Some(gateway) = self.current()? {
            let response = gateway.send_admin_request(AdminRequest::Connections { target });
            let rows: Vec<_> = response.connections.iter().map(connection_json).collect();
            return encoded(serde_json::to_vec(&rows));
        }
        sign::check(&self.config.settings, true)?;
        let query: Vec<(&str, &str)> = body
            .iter()
            .filter_map(|(name, text)| Some((name.as_str(), text.as_str()?)))
            .collect();
        let response = ApiClient::new(&self.config.settings).get("/connections", &query)?;
        let response: serde_json::Value = serde_json::from_slice(&response).unwrap_or_default();
        encoded(serde_json::to_vec(
            response["connections"]
                .as_array()
                .ok_or_else(unexpected_response)?,
        ))
    }

    /// The statistics; all zero when the gateway is not running.
    fn stats_json(&self) -> Result<serde_json::Value, Error> {
        let gateway = self.current()?;
        let running = gateway.as_ref().is_some_and(|gateway| gateway.is_running());
        let stats = match gateway {
            Some(gateway) => gateway.stats(),
            None => core::Stats {
                ready: false,
                not_ready: Some("the gateway is not running".to_owned()),
                address: self.listen_address()?,
                node: String::new(),
                counters: crate::metrics::catalog::Counters::default()
                    .all()
                    .into_iter()
                    .map(|(name, _, _, value)| (name, value))
                    .collect(),
            },
        };
        let mut all =
            serde_json::to_value(stats).map_err(|error| Error::encoding(error.to_string()))?;
        all["running"] = running.into();
        Ok(all)
    }
}

/// A connection in the format of the HTTP API.
fn connection_json(connection: &ConnectionInfo) -> serde_json::Value {
    serde_json::json!({
        "socket_id": connection.socket,
        "user": connection.user,
        "channels": connection.channels,
        "address": connection.address,
        "node": connection.node,
        "seconds": connection.seconds,
        "queued": connection.queued,
    })
}

fn unexpected_response() -> Error {
    Error::connection(
        "Unexpected response of the gateway. Do both processes use the same version of the extension?",
    )
}
