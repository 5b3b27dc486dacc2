//! SASL OAUTHBEARER: the tokens of this process by source, and the clients that use them.
//!
//! librdkafka asks for a token when a client is created and at 80 % of the token's lifetime, on a thread of its own.
//! Only PHP's thread can obtain one. The source is therefore marked as due and PHP's virtual machine is interrupted,
//! which also happens while a callback runs; see `php::token`.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_void};
use std::fmt;
use std::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

use parking_lot::Mutex;
use rdkafka::error::IsError;
use rdkafka::types::RDKafkaRespErr;
use rdkafka_sys as sys;

use super::client::{self, Conf};
pub use crate::config::TOKEN_PROPERTY;
use crate::error::{Error, Result};
use crate::process::PerProcess;

/// The interrupt flag of PHP's virtual machine, a byte; null while no request runs.
static INTERRUPT: AtomicPtr<AtomicU8> = AtomicPtr::new(std::ptr::null_mut());

/// Sets the flag that [`TokenStore`] raises when a token is due. It must stay valid until it is replaced.
pub fn set_interrupt_flag(flag: *mut AtomicU8) {
    INTERRUPT.store(flag, Ordering::Release);
}

/// A bearer token.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    pub value: String,
    /// Unix time in ms.
    pub expires_ms: i64,
    /// The name under which librdkafka logs it.
    pub principal: String,
    /// SASL extensions (RFC 7628).
    pub extensions: Vec<(String, String)>,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("expires_ms", &self.expires_ms)
            .field("principal", &self.principal)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct TokenEntry {
    source: String,
    token: Option<Token>,
    obtained_ms: i64,
    /// A client waits for a new token.
    due: bool,
    error: Option<String>,
    /// Addresses of live clients.
    clients: Vec<usize>,
}

impl TokenEntry {
    /// The token if it can be given to another client: less than three quarters of its lifetime have passed.
    fn fresh(&self, now: i64) -> Option<&Token> {
        self.token.as_ref().filter(|token| {
            let lifetime = token.expires_ms - self.obtained_ms;
            now < self.obtained_ms + lifetime / 4 * 3
        })
    }
}

/// The tokens of this process.
pub static TOKENS: PerProcess<TokenStore> = PerProcess::new();

/// All token sources of one process.
#[derive(Debug, Default)]
pub struct TokenStore {
    entries: Mutex<Vec<TokenEntry>>,
}

fn now_ms() -> i64 {
    i64::try_from(crate::ids::unix_ms()).unwrap_or(i64::MAX)
}

fn interrupt() {
    let flag = INTERRUPT.load(Ordering::Acquire);
    // SAFETY: the flag is valid until it is replaced; the engine itself sets it from signal handlers.
    if let Some(flag) = unsafe { flag.as_ref() } {
        flag.store(1, Ordering::Release);
    }
}

impl TokenStore {
    /// A client was created that uses tokens of `source`.
    fn attach(&self, client: *mut sys::rd_kafka_t, source: &str) {
        let mut entries = self.entries.lock();
        let place = entries.iter().position(|entry| entry.source == source);
        let place = place.unwrap_or_else(|| {
            entries.push(TokenEntry {
                source: source.to_owned(),
                ..TokenEntry::default()
            });
            entries.len() - 1
        });
        let entry = &mut entries[place];
        entry.clients.push(client as usize);
        provide_or_request(entry, client);
    }

    fn detach(&self, client: *mut sys::rd_kafka_t) {
        for entry in self.entries.lock().iter_mut() {
            entry.clients.retain(|known| *known != client as usize);
        }
    }

    fn refresh(&self, client: *mut sys::rd_kafka_t) {
        let mut entries = self.entries.lock();
        let used = |entry: &&mut TokenEntry| entry.clients.contains(&(client as usize));
        if let Some(entry) = entries.iter_mut().find(used) {
            provide_or_request(entry, client);
        }
    }

    /// The sources for which a client waits.
    #[must_use]
    pub fn due(&self) -> Vec<String> {
        let entries = self.entries.lock();
        let due = entries
            .iter()
            .filter(|entry| entry.due && !entry.clients.is_empty());
        due.map(|entry| entry.source.clone()).collect()
    }

    /// Raises the interrupt flag again if a client waits for a token: a new request has begun, or a source was added.
    pub fn remind(&self) {
        if !self.due().is_empty() {
            interrupt();
        }
    }

    /// Gives a token, or the reason for its absence, to all clients of the source. After a failure librdkafka asks
    /// again in ten seconds.
    ///
    /// # Errors
    /// Configuration: librdkafka refuses the token, for example because it has expired.
    pub fn provide(&self, source: &str, outcome: std::result::Result<Token, String>) -> Result<()> {
        let mut entries = self.entries.lock();
        let Some(entry) = entries.iter_mut().find(|entry| entry.source == source) else {
            return Ok(());
        };
        entry.due = false;
        let clients = entry.clients.iter();
        let clients: Vec<_> = clients
            .map(|client| *client as *mut sys::rd_kafka_t)
            .collect();
        let reason = match outcome {
            Ok(token) => {
                let refused = clients
                    .iter()
                    // SAFETY: a client is removed from the list before it is destroyed, under the same lock.
                    .find_map(|client| unsafe { set_token(*client, &token) }.err());
                if let Some(reason) = refused {
                    reason
                } else {
                    entry.obtained_ms = now_ms();
                    entry.token = Some(token);
                    entry.error = None;
                    return Ok(());
                }
            }
            Err(reason) => {
                fail(&clients, &reason);
                entry.error = Some(reason);
                return Ok(());
            }
        };
        fail(&clients, &reason);
        entry.error = Some(reason.clone());
        Err(Error::configuration(format!(
            "The token of security.token cannot be used: {reason}."
        )))
    }

    /// Why a client has no valid token; `None` if it has one, or needs none.
    #[must_use]
    pub fn missing(&self, client: *mut sys::rd_kafka_t) -> Option<String> {
        let entries = self.entries.lock();
        let used = |entry: &&TokenEntry| entry.clients.contains(&(client as usize));
        let entry = entries.iter().find(used)?;
        let valid = entry
            .token
            .as_ref()
            .is_some_and(|token| token.expires_ms > now_ms());
        (!valid).then(|| {
            entry.error.clone().unwrap_or_else(|| {
                "no token yet: PHP code must run for security.token to be called".to_owned()
            })
        })
    }
}

fn provide_or_request(entry: &mut TokenEntry, client: *mut sys::rd_kafka_t) {
    if let Some(token) = entry.fresh(now_ms()) {
        // SAFETY: the caller passes a live client.
        if unsafe { set_token(client, token) }.is_ok() {
            return;
        }
    }
    entry.due = true;
    interrupt();
}

unsafe fn set_token(
    client: *mut sys::rd_kafka_t,
    token: &Token,
) -> std::result::Result<(), String> {
    let mut reason = [0 as c_char; 512];
    let (value, principal) = (
        client::c_string(&token.value),
        client::c_string(&token.principal),
    );
    let texts: Vec<_> = token
        .extensions
        .iter()
        .flat_map(|(name, value)| [client::c_string(name), client::c_string(value)])
        .collect();
    let mut extensions: Vec<*const c_char> = texts.iter().map(|text| text.as_ptr()).collect();
    let code = sys::bindings::rd_kafka_oauthbearer_set_token(
        client,
        value.as_ptr(),
        token.expires_ms,
        principal.as_ptr(),
        extensions.as_mut_ptr(),
        extensions.len(),
        reason.as_mut_ptr(),
        reason.len(),
    );
    if code.is_error() {
        Err(client::text(reason.as_ptr()))
    } else {
        Ok(())
    }
}

fn fail(clients: &[*mut sys::rd_kafka_t], reason: &str) {
    let reason = client::c_string(reason);
    for client in clients {
        // SAFETY: as in `provide`; the text is copied.
        unsafe { sys::bindings::rd_kafka_oauthbearer_set_token_failure(*client, reason.as_ptr()) };
    }
}

/// Installs the callback that requests tokens.
pub(super) fn prepare(conf: &mut Conf) {
    // SAFETY: the conf is alive and the callback static.
    unsafe {
        sys::bindings::rd_kafka_conf_set_oauthbearer_token_refresh_cb(conf.raw(), Some(on_refresh));
        sys::bindings::rd_kafka_conf_enable_sasl_queue(conf.raw(), 1);
    }
}

/// Registers a client that was created with [`prepare`].
pub(super) fn attach(client: *mut sys::rd_kafka_t, source: &str) {
    // SAFETY: a live client; the callback is static. Without the interceptor the client must not be registered.
    unsafe {
        client::take_error(sys::bindings::rd_kafka_sasl_background_callbacks_enable(
            client,
        ));
        let code = sys::bindings::rd_kafka_interceptor_add_on_destroy(
            client,
            c"toporia_realtime_token".as_ptr(),
            Some(on_destroy),
            std::ptr::null_mut(),
        );
        if !code.is_error() {
            TOKENS.current().attach(client, source);
        }
    }
}

/// Called by a thread of librdkafka.
unsafe extern "C" fn on_refresh(
    client: *mut sys::rd_kafka_t,
    _config: *const c_char,
    _opaque: *mut c_void,
) {
    TOKENS.current().refresh(client);
}

unsafe extern "C" fn on_destroy(
    client: *mut sys::rd_kafka_t,
    _opaque: *mut c_void,
) -> RDKafkaRespErr {
    TOKENS.current().detach(client);
    RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
}

#[cfg(test)]
mod tests {
    use super::{now_ms, Token, TokenEntry, TOKENS, TOKEN_PROPERTY};
    use crate::kafka::client::Conf;
    use rdkafka_sys as sys;

    fn token(value: &str, expires_ms: i64) -> Token {
        Token {
            value: value.to_owned(),
            expires_ms,
            principal: "shop".to_owned(),
            extensions: vec![("tenant".to_owned(), "a".to_owned())],
        }
    }

    #[test]
    fn a_token_is_shared_for_three_quarters_of_its_lifetime() {
        let entry = TokenEntry {
            obtained_ms: 1_000,
            token: Some(token("t", 5_000)),
            ..TokenEntry::default()
        };
        assert!(entry.fresh(3_999).is_some());
        assert!(entry.fresh(4_000).is_none());
    }

    #[test]
    fn clients_wait_for_the_token_of_their_source() {
        let properties: Vec<(String, String)> = [
            ("security.protocol", "sasl_plaintext"),
            ("sasl.mechanism", "OAUTHBEARER"),
            ("bootstrap.servers", "127.0.0.1:1"),
            (TOKEN_PROPERTY, "test:one"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let kind = sys::bindings::rd_kafka_type_t::RD_KAFKA_PRODUCER;
        let start = || {
            let conf = Conf::new(&properties, "producer_config").expect("a configuration");
            conf.into_client(kind).expect("a client")
        };
        let tokens = TOKENS.current();
        let is_due = || tokens.due().contains(&"test:one".to_owned());
        let first = start();
        assert!(is_due());
        let reason = tokens.missing(first).expect("no token yet");
        assert!(reason.contains("no token yet"), "{reason}");
        let error = tokens.provide("test:one", Ok(token("old", now_ms() - 1)));
        let error = error.expect_err("expired");
        assert!(error.message().contains("unexpired"), "{error}");
        tokens
            .provide("test:one", Ok(token("new", now_ms() + 60_000)))
            .expect("accepted");
        assert!(!is_due());
        assert_eq!(tokens.missing(first), None);
        let second = start();
        assert!(!is_due(), "the second client gets the same token");
        assert_eq!(tokens.missing(second), None);
        tokens
            .provide("test:one", Err("the server is away".to_owned()))
            .expect("noted");
        assert_eq!(tokens.missing(first), None, "the old token is still valid");
        for client in [first, second] {
            // SAFETY: created above.
            unsafe { sys::rd_kafka_destroy(client) };
            assert_eq!(tokens.missing(client), None, "forgotten");
        }
    }
}
