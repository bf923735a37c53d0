//! The keys in force.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::UNKNOWN_FOR;

/// How many names of unknown keys are remembered.
const MAX_UNKNOWN: usize = 1024;

/// A public key, and the one algorithm that it takes.
#[derive(Debug)]
pub(in crate::auth) struct Key {
    algorithm: Algorithm,
    decoding: DecodingKey,
    /// Cancelled when the key has gone.
    revoked: CancellationToken,
}

impl Key {
    pub(super) fn new(algorithm: Algorithm, decoding: DecodingKey) -> Self {
        Key { algorithm, decoding, revoked: CancellationToken::new() }
    }

    pub(in crate::auth) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(in crate::auth) fn decoding(&self) -> &DecodingKey {
        &self.decoding
    }

    fn is_same(&self, other: &Key) -> bool {
        let bytes = |key: &Key| match key.decoding.kind() {
            DecodingKeyKind::SecretOrDer(bytes) => (bytes.clone(), Vec::new()),
            DecodingKeyKind::RsaModulusExponent { n, e } => (n.clone(), e.clone()),
        };
        self.algorithm == other.algorithm && bytes(self) == bytes(other)
    }
}

/// What there is to say of a key's name.
#[derive(Debug)]
pub(super) enum Found {
    /// This is the key.
    Key(Arc<Key>),
    /// There is no such key.
    Nothing,
    /// There is none, but a fetch may bring it.
    Ask,
    /// Nothing can be said now.
    Unavailable,
}

/// The keys, and what is known of the document that they are from.
#[derive(Debug)]
pub(super) struct Keys {
    /// How long after an attempt nothing more is fetched for the sake of an unknown name.
    cooldown: Duration,
    by_id: HashMap<String, Arc<Key>>,
    /// When the document was last had.
    fetched: Option<Instant>,
    /// When the last attempt to get it ended, and why it failed.
    attempted: Option<(Instant, Option<String>)>,
    /// Names that weren't in the document, and when that was seen.
    unknown: HashMap<String, Instant>,
}

/// What a new document has changed, by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) added: Vec<String>,
    pub(super) revoked: Vec<String>,
}

impl Keys {
    pub(super) fn new(cooldown: Duration) -> Self {
        Keys { cooldown, by_id: HashMap::new(), fetched: None, attempted: None, unknown: HashMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn ready(&self) -> Result<(), String> {
        match (&self.fetched, &self.attempted) {
            (Some(_), _) => Ok(()),
            (None, Some((_, Some(fault)))) => Err(format!("the keys of auth.jwks_url can't be had: {fault}")),
            (None, _) => Err("the keys of auth.jwks_url are being fetched".to_owned()),
        }
    }

    /// Looks for a key.
    pub(super) fn look_up(&self, kid: &str, now: Instant) -> Found {
        if let Some(key) = self.by_id.get(kid) {
            return Found::Key(Arc::clone(key));
        }
        if self.unknown.get(kid).is_some_and(|since| now - *since < UNKNOWN_FOR) {
            return Found::Nothing;
        }
        match &self.attempted {
            Some((at, fault)) if now - *at < self.cooldown => {
                if fault.is_some() {
                    Found::Unavailable
                } else {
                    Found::Nothing
                }
            }
            _ => Found::Ask,
        }
    }

    /// Looks for a key after an attempt that was waited for. A name that isn't there now is remembered.
    pub(super) fn look_up_again(&mut self, kid: &str, now: Instant) -> Found {
        if let Some(key) = self.by_id.get(kid) {
            return Found::Key(Arc::clone(key));
        }
        if !matches!(self.attempted, Some((_, None))) {
            return Found::Unavailable;
        }
        self.unknown.retain(|_, since| now - *since < UNKNOWN_FOR);
        if self.unknown.len() < MAX_UNKNOWN {
            self.unknown.entry(kid.to_owned()).or_insert(now);
        }
        Found::Nothing
    }

    /// When the key of this name goes; `None` if it has gone.
    pub(super) fn revocation(&self, kid: &str) -> Option<CancellationToken> {
        self.by_id.get(kid).map(|key| key.revoked.clone())
    }

    /// Takes the keys of a document in place of those before. A key that stays is the same one.
    pub(super) fn replace(&mut self, keys: Vec<(String, Key)>, now: Instant) -> Changes {
        let mut before = std::mem::take(&mut self.by_id);
        let mut changes = Changes::default();
        for (kid, key) in keys {
            let same = before.get(&kid).is_some_and(|old| old.is_same(&key));
            let key = match before.remove(&kid) {
                Some(old) if same => old,
                old => {
                    if let Some(old) = old {
                        old.revoked.cancel();
                        changes.revoked.push(kid.clone());
                    }
                    changes.added.push(kid.clone());
                    Arc::new(key)
                }
            };
            self.unknown.remove(&kid);
            self.by_id.insert(kid, key);
        }
        for (kid, key) in before {
            key.revoked.cancel();
            changes.revoked.push(kid);
        }
        self.fetched = Some(now);
        self.attempted = Some((now, None));
        changes
    }

    /// Notes that the document can't be had. Keys that are older than `max_age` go; whether any did.
    pub(super) fn failed(&mut self, fault: String, max_age: Duration, now: Instant) -> bool {
        self.attempted = Some((now, Some(fault)));
        if self.fetched.is_none_or(|fetched| now - fetched < max_age) {
            return false;
        }
        self.fetched = None;
        let gone = std::mem::take(&mut self.by_id);
        gone.values().for_each(|key| key.revoked.cancel());
        !gone.is_empty()
    }
}
