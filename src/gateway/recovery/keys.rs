//! Keys made from the secrets of the application, and signatures by them.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// Bytes of a signature that a token keeps; a shorter one is none.
pub(super) const MAC: usize = 16;

/// The keys that tokens are signed with, made from the secrets of the app: the first signs, all are accepted.
pub struct Keys(Vec<[u8; 32]>);

impl Keys {
    /// `purpose` keeps the keys of tokens and those of control records apart.
    #[must_use]
    pub fn new<S: AsRef<str>>(secrets: &[S], purpose: &str) -> Self {
        let keys = secrets.iter().map(|secret| {
            let mut hmac = keyed(secret.as_ref().as_bytes());
            hmac.update(purpose.as_bytes());
            hmac.finalize().into_bytes().into()
        });
        Self(keys.collect())
    }

    /// Signs these parts; their lengths go along, so that no two lists of parts are the same.
    #[must_use]
    pub fn sign(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.0.first().map_or([0; 32], |key| mac(key, parts))
    }

    /// True where one of the keys made the signature, of which at least the first bytes must be given.
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
    // A key of any length is taken: the error cannot happen, and an empty key is only what stands in for it.
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
