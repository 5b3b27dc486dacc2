//! Encrypted channels: the sender encrypts with a key derived from the master key and the channel name. The browser
//! receives the key with its authorization; Kafka and the gateway see only encrypted data.

use std::borrow::Cow;

use base64::engine::general_purpose::STANDARD;
use base64::Engine;
use crypto_secretbox::aead::{Aead, KeyInit};
use crypto_secretbox::{Key, Nonce, XSalsa20Poly1305};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::topic::socket_channel::{ChannelKind, Name};

/// Prefix of encrypted channels.
const PREFIX: &str = "private-encrypted-";

/// True for encrypted channels. Called for every message, so only a comparison.
#[inline]
#[must_use]
pub fn is_encrypted_channel(channel: &str) -> bool {
    channel.starts_with(PREFIX)
}

/// Encrypts data with the key of the channel; encrypted data is returned unchanged. Absent data is encrypted as `null`,
/// so that the browser has something to decrypt.
///
/// # Errors
/// Configuration: no master key. InvalidChannel: a name that browsers cannot subscribe to.
pub fn encrypt<'a>(
    key: Option<&MasterKey>,
    channel: &str,
    data_json: Option<&'a [u8]>,
) -> Result<Cow<'a, [u8]>> {
    if let Some(json) = data_json {
        if std::str::from_utf8(json).is_ok_and(is_encrypted_data) {
            return Ok(Cow::Borrowed(json));
        }
    }
    let Some(key) = key else {
        return Err(Error::configuration(format!(
            "The channel \"{}\" is encrypted, but no master key is configured: nothing was sent. Set \
             encryption_master_key or REALTIME_ENCRYPTION_MASTER_KEY to the output of: openssl rand -base64 32",
            channel.escape_debug()
        )));
    };
    let encrypted = key.encrypt(channel, data_json.unwrap_or(b"null"))?;
    Ok(Cow::Owned(encrypted.into_bytes()))
}

/// The master key of an application: 32 bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey([u8; 32]);

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

/// The data of an encrypted event.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EncryptedData {
    /// 24 random bytes in base64.
    pub nonce: String,
    /// The encrypted data in base64, 16 bytes longer than the plain data.
    pub ciphertext: String,
}

impl MasterKey {
    /// Reads a configured key: 32 bytes in base64.
    ///
    /// # Errors
    /// [`crate::error::Kind::Configuration`] for anything else.
    pub fn from_base64(text: &str) -> Result<Self> {
        STANDARD
            .decode(text.trim())
            .ok()
            .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
            .map(Self)
            .ok_or_else(|| {
                Error::configuration(
                    "encryption_master_key is not 32 bytes in base64. Make one with: openssl rand -base64 32",
                )
            })
    }

    /// The key of a channel in base64, for its subscribers: SHA-256 of the channel name and the master key.
    #[must_use]
    pub fn shared_secret(&self, channel: &str) -> String {
        STANDARD.encode(self.channel_key(channel))
    }

    /// Encrypts the JSON of an event's data for `channel`. Returns the data to send.
    ///
    /// # Errors
    /// [`crate::error::Kind::InvalidChannel`] for a channel that is not encrypted; [`crate::error::Kind::Encoding`] if
    /// the system provides no random numbers for the nonce.
    pub fn encrypt(&self, channel: &str, json: &[u8]) -> Result<String> {
        if Name::parse(channel).map(|n| n.kind) != Some(ChannelKind::Encrypted) {
            return Err(Error::channel(format!(
                "Cannot encrypt for {channel:?}: only channels that begin with private-encrypted- are encrypted."
            )));
        }
        let mut nonce = [0_u8; 24];
        getrandom::fill(&mut nonce).map_err(|e| {
            Error::encoding(format!(
                "Cannot encrypt for {channel}: the system provides no random numbers ({e})."
            ))
        })?;
        let ciphertext = self
            .cipher(channel)
            .encrypt(&Nonce::from(nonce), json)
            .map_err(|_| {
                Error::encoding(format!(
                    "Cannot encrypt for {channel}: the data is too long."
                ))
            })?;
        let encrypted = EncryptedData {
            nonce: STANDARD.encode(nonce),
            ciphertext: STANDARD.encode(ciphertext),
        };
        serde_json::to_string(&encrypted).map_err(|e| Error::encoding(e.to_string()))
    }

    /// Decrypts the result of [`Self::encrypt`]; `None` for anything else.
    #[must_use]
    pub fn decrypt(&self, channel: &str, json: &str) -> Option<Vec<u8>> {
        let encrypted: EncryptedData = serde_json::from_str(json).ok()?;
        let nonce: [u8; 24] = STANDARD.decode(encrypted.nonce).ok()?.try_into().ok()?;
        let ciphertext = STANDARD.decode(encrypted.ciphertext).ok()?;
        self.cipher(channel)
            .decrypt(&Nonce::from(nonce), ciphertext.as_slice())
            .ok()
    }

    fn channel_key(&self, channel: &str) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(channel.as_bytes());
        hash.update(self.0);
        hash.finalize().into()
    }

    fn cipher(&self, channel: &str) -> XSalsa20Poly1305 {
        XSalsa20Poly1305::new(&Key::from(self.channel_key(channel)))
    }
}

/// False for plain data on an encrypted channel: the HTTP API refuses it, and gateways deliver it to no browser.
#[must_use]
pub fn is_acceptable(channel: &str, json: &str) -> bool {
    !is_encrypted_channel(channel) || is_encrypted_data(json)
}

/// True for data that an encrypted channel accepts: exactly `{nonce, ciphertext}`, both base64 of a valid length.
#[must_use]
fn is_encrypted_data(json: &str) -> bool {
    serde_json::from_str::<EncryptedData>(json).is_ok_and(|encrypted| {
        STANDARD
            .decode(encrypted.nonce)
            .is_ok_and(|n| n.len() == 24)
            && STANDARD
                .decode(encrypted.ciphertext)
                .is_ok_and(|c| c.len() >= 16)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn plain_data_is_encrypted_and_encrypted_data_is_unchanged() {
        // 32 bytes.
        let key = MasterKey::from_base64("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=").unwrap();
        let channel = "private-encrypted-order.1";
        assert!(is_encrypted_channel(channel) && !is_encrypted_channel("private-order.1"));
        let encrypted = encrypt(Some(&key), channel, Some(b"{\"id\":7}")).unwrap();
        let text = std::str::from_utf8(&encrypted).unwrap();
        assert_eq!(key.decrypt(channel, text).unwrap(), b"{\"id\":7}");
        assert_eq!(encrypt(None, channel, Some(&encrypted)).unwrap(), encrypted);
        assert_eq!(
            encrypt(Some(&key), channel, Some(&encrypted)).unwrap(),
            encrypted
        );
        let nothing = encrypt(Some(&key), channel, None).unwrap();
        let nothing = key.decrypt(channel, std::str::from_utf8(&nothing).unwrap());
        assert_eq!(nothing.unwrap(), b"null");
        for data in [None, Some(&b"{\"nonce\":\"x\",\"ciphertext\":\"y\"}"[..])] {
            let error = encrypt(None, channel, data).unwrap_err();
            assert_eq!(error.kind(), Kind::Configuration);
            assert!(
                error.message().contains("REALTIME_ENCRYPTION_MASTER_KEY"),
                "{error}"
            );
        }
        let error = encrypt(Some(&key), "private-encrypted-a b", None).unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidChannel);
    }

    fn master() -> MasterKey {
        MasterKey::from_base64(&STANDARD.encode([7_u8; 32])).unwrap()
    }

    #[test]
    fn encrypted_data_is_decrypted_only_with_the_key_of_its_channel() {
        let key = master();
        let json = br#"{"total":149.95}"#;
        let encrypted = key.encrypt("private-encrypted-order.1", json).unwrap();
        assert!(is_encrypted_data(&encrypted) && !encrypted.contains("149"));
        assert_eq!(
            key.decrypt("private-encrypted-order.1", &encrypted)
                .unwrap(),
            json
        );
        assert_eq!(key.decrypt("private-encrypted-order.2", &encrypted), None);
        let other = MasterKey::from_base64(&STANDARD.encode([8_u8; 32])).unwrap();
        assert_eq!(other.decrypt("private-encrypted-order.1", &encrypted), None);
        // Every event has a new nonce.
        assert_ne!(
            encrypted,
            key.encrypt("private-encrypted-order.1", json).unwrap()
        );
    }

    #[test]
    fn the_shared_secret_is_the_hash_of_name_and_key() {
        let mut both = b"private-encrypted-a".to_vec();
        both.extend([7_u8; 32]);
        let expected = STANDARD.encode(Sha256::digest(&both));
        assert_eq!(master().shared_secret("private-encrypted-a"), expected);
    }

    #[test]
    fn plain_data_and_plain_channels_are_refused() {
        for json in [
            "{}",
            "\"x\"",
            r#"{"nonce":"AA==","ciphertext":"AA=="}"#,
            r#"{"nonce":1}"#,
        ] {
            assert!(!is_encrypted_data(json), "{json}");
        }
        for channel in [
            "private-a",
            "encrypted-a",
            "presence-a",
            "private-encrypted-a\n",
        ] {
            assert!(master().encrypt(channel, b"{}").is_err(), "{channel}");
        }
        assert!(MasterKey::from_base64("short").is_err());
        assert_eq!(format!("{:?}", master()), "MasterKey(…)");
    }
}
