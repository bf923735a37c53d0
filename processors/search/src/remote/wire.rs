//! What goes between a searcher and an indexer, and how each knows that it comes from the other.

use std::fmt;
use std::time::Duration;

use agentworks_query::SearchRequest;
use agentworks_schemas::{Cursor, Timestamp};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};

/// Where an indexer answers.
pub(super) const PATH: [&str; 3] = ["internal", "search", "unpublished"];
/// The header of a word that no other question has.
pub(super) const NONCE: &str = "agentworks-nonce";
/// The header of the signature, of questions and answers.
pub(super) const SIGNATURE: &str = "agentworks-signature";
/// How old a question may be, or how far the clocks may be apart.
pub(super) const AGE: Duration = Duration::from_secs(60);

/// What is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Question {
    /// Who is asked: what was another's address may be somebody else's by now.
    pub(super) instance: String,
    /// When, by the searcher's clock.
    pub(super) at: Timestamp,
    /// For how long the searcher waits, in milliseconds.
    pub(super) within: u64,
    /// From which positions on.
    pub(super) beyond: Cursor,
    /// For what.
    pub(super) request: SearchRequest,
}

/// Who speaks: a question that somebody sends back is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Question,
    Answer,
}

/// What the processes of one installation know each other by. It is not shown.
#[derive(Clone)]
pub struct PeerKey(hmac::Key);

impl fmt::Debug for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PeerKey(hidden)")
    }
}

impl PeerKey {
    /// The key of a secret that all of them are told.
    pub fn new(secret: &[u8]) -> Self {
        PeerKey(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// A key made of a secret that is for something else, which doesn't follow from this one.
    pub fn derived(secret: &[u8]) -> Self {
        let base = hmac::Key::new(hmac::HMAC_SHA256, secret);
        Self::new(hmac::sign(&base, b"agentworks: searchers and indexers").as_ref())
    }

    pub(super) fn sign(&self, side: Side, nonce: &str, body: &[u8]) -> String {
        STANDARD_NO_PAD.encode(self.tag(side, nonce, body))
    }

    pub(super) fn has_signed(&self, signature: &str, side: Side, nonce: &str, body: &[u8]) -> bool {
        let Ok(signature) = STANDARD_NO_PAD.decode(signature) else { return false };
        verify_slices_are_equal(self.tag(side, nonce, body).as_ref(), &signature).is_ok()
    }

    /// The tag of what no two questions or answers have the same.
    fn tag(&self, side: Side, nonce: &str, body: &[u8]) -> hmac::Tag {
        let side: &[u8] = match side {
            Side::Question => b"question\n",
            Side::Answer => b"answer\n",
        };
        let mut context = hmac::Context::with_key(&self.0);
        [side, nonce.as_bytes(), b"\n", body].iter().for_each(|part| context.update(part));
        context.sign()
    }
}
