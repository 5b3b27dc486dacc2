//! Encrypts the data of encrypted channels at the sender: neither Kafka nor a gateway has the plain data.

use std::borrow::Cow;

use crate::error::{Error, Result};
use crate::gateway::protocol::encryption::{is_encrypted_data, MasterKey};

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
}
