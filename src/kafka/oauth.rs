//! SASL OAUTHBEARER: the tokens of this process by source, and the clients that use them.
//!
//! librdkafka asks for a token when a client is created and at 80 % of the token's lifetime, on a thread of its own.
//! Only PHP's thread can obtain one. The source is therefore marked as due and PHP's virtual machine is interrupted,
//! which also happens while a callback runs; see `php::token`.
#![allow(unsafe_code)]

use std::fmt;
use std::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

use parking_lot::Mutex;

use super::client::{Client, NativeClient};
pub use crate::config::TOKEN_PROPERTY;
use crate::error::{Error, Result};
use crate::runtime::PerProcess;

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
    /// Live clients: each is removed before it is destroyed.
    clients: Vec<&'static NativeClient>,
}

impl TokenEntry {
    fn is_used_by(&self, client: &NativeClient) -> bool {
        let mut addresses = self.clients.iter().map(|known| known.address());
        addresses.any(|address| address == client.address())
    }

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
    fn attach(&self, client: &NativeClient, source: &str) {
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
        // SAFETY: `detach` removes it before the client is destroyed, under the same lock.
        entry.clients.push(unsafe { client.unowned() });
        provide_or_request(entry, client);
    }

    fn detach(&self, client: &NativeClient) {
        for entry in self.entries.lock().iter_mut() {
            let address = client.address();
            entry.clients.retain(|known| known.address() != address);
        }
    }

    fn refresh(&self, client: &NativeClient) {
        let mut entries = self.entries.lock();
        let used = |entry: &&mut TokenEntry| entry.is_used_by(client);
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
        let clients = &entry.clients;
        let reason = match outcome {
            Ok(token) => {
                let refused = clients
                    .iter()
                    .find_map(|client| set_token(client, &token).err());
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
                fail(clients, &reason);
                entry.error = Some(reason);
                return Ok(());
            }
        };
        fail(clients, &reason);
        entry.error = Some(reason.clone());
        Err(Error::configuration(format!(
            "The token of security.token cannot be used: {reason}."
        )))
    }

    /// Why a client has no valid token; `None` if it has one, or needs none.
    #[must_use]
    pub fn missing(&self, client: &NativeClient) -> Option<String> {
        let entries = self.entries.lock();
        let used = |entry: &&TokenEntry| entry.is_used_by(client);
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

fn provide_or_request(entry: &mut TokenEntry, client: &NativeClient) {
    if let Some(token) = entry.fresh(now_ms()) {
        if set_token(client, token).is_ok() {
            return;
        }
    }
    entry.due = true;
    interrupt();
}

fn set_token(client: &NativeClient, token: &Token) -> std::result::Result<(), String> {
    client.set_token(
        &token.value,
        token.expires_ms,
        &token.principal,
        &token.extensions,
    )
}

fn fail(clients: &[&NativeClient], reason: &str) {
    for client in clients {
        client.refuse_token(reason);
    }
}

/// Registers a client that asks for tokens.
pub(super) fn attach(client: &Client, source: &str) {
    client.serve_token_requests();
    // Without the report of its end the client must not be registered.
    if client.report_end(|client| TOKENS.current().detach(client)) {
        TOKENS.current().attach(client, source);
    }
}

/// A client asks for a token, in a thread of librdkafka.
pub(super) fn refresh(client: &NativeClient) {
    TOKENS.current().refresh(client);
}

#[cfg(test)]
mod tests {
    use super::{now_ms, Token, TokenEntry, TOKENS, TOKEN_PROPERTY};
    use crate::kafka::client::Conf;
    use rdkafka::types::RDKafkaType;

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
        let kind = RDKafkaType::RD_KAFKA_PRODUCER;
        let start = || {
            let conf = Conf::new(&properties, "producer_config").expect("a configuration");
            conf.into_client(kind).expect("a client")
        };
        let tokens = TOKENS.current();
        let is_due = || tokens.due().contains(&"test:one".to_owned());
        let first = start();
        assert!(is_due());
        let reason = tokens.missing(&first).expect("no token yet");
        assert!(reason.contains("no token yet"), "{reason}");
        let error = tokens.provide("test:one", Ok(token("old", now_ms() - 1)));
        let error = error.expect_err("expired");
        assert!(error.message().contains("unexpired"), "{error}");
        tokens
            .provide("test:one", Ok(token("new", now_ms() + 60_000)))
            .expect("accepted");
        assert!(!is_due());
        assert_eq!(tokens.missing(&first), None);
        let second = start();
        assert!(!is_due(), "the second client gets the same token");
        assert_eq!(tokens.missing(&second), None);
        tokens
            .provide("test:one", Err("the server is away".to_owned()))
            .expect("noted");
        assert_eq!(tokens.missing(&first), None, "the old token is still valid");
        for client in [first, second] {
            let address = client.address();
            drop(client);
            let entries = tokens.entries.lock();
            let mut known = entries.iter().flat_map(|entry| &entry.clients);
            assert!(known.all(|known| known.address() != address), "forgotten");
        }
    }
}
