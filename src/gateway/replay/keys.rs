//! Keys derived from the application's secrets, and signatures.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// Length of a token's signature, and minimum length of any, in bytes.
pub(super) const MAC: usize = 16;

/// Keys derived from the application's secrets: the first signs, all are accepted.
pub struct Keys(Vec<[u8; 32]>);

impl Keys {
    /// Derives the keys. `purpose` separates the keys of tokens from those of control records.
    #[must_use]
    pub fn new<S: AsRef<str>>(secrets: &[S], purpose: &str) -> Self {
        let keys = secrets.iter().map(|secret| {
            let mut hmac = keyed(secret.as_ref().as_bytes());
            hmac.update(purpose.as_bytes());
            hmac.finalize().into_bytes().into()
        });
        Self(keys.collect())
    }

    /// Signs these parts with their lengths, so that different lists of parts never have the same signature.
    #[must_use]
    pub fn sign(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.0.first().map_or([0; 32], |key| mac(key, parts))
    }

    /// True if one of the keys made the signature, which may be truncated to [`MAC`] bytes.
    #[must_use]
    pub fn verify(&self, parts: &[&[u8]], signature: &[u8]) -> bool {
        (MAC..=32).contains(&signature.len())
            && self.0.iter().any(|key| {
                let right = mac(key, parts);
                bool::from(right[..signature.len()].ct_eq(signature))
            })
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    // HMAC accepts keys of any length, so the error cannot happen.
    Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| Hmac::new(&[0; 64].into()))
}

fn mac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut hmac = keyed(key);
    for part in parts {
        hmac.update(&(part.len() as u64).to_be_bytes());
        hmac.update(part);
    }
    hmac.finalize().into_bytes().into()
}
