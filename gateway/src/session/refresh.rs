//! A connection's token: when it ends, when it is revoked, and the one that takes its place.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use agentworks_schemas::Timestamp;
use agentworks_schemas::access::{AccessError, Authenticate, Claims, Later};
use agentworks_schemas::protocol::{BearerToken, ErrorCode, ServerMessage, TokenInfo};
use tokio::time::{Instant, Sleep, sleep_until};

use super::Session;
use crate::auth::Grant;
use crate::socket::{CloseCode, Waiting};

const QUESTION: &str = "refresh_token";

/// The token that a connection lives on.
pub(super) struct Bearer {
    grant: Grant,
    auth: Arc<dyn Authenticate>,
    ends: Pin<Box<Sleep>>,
    revoked: Later<'static, ()>,
    /// A newer one, which is being verified.
    newer: Option<Later<'static, Result<Claims, AccessError>>>,
}

/// What has become of a token.
pub(super) enum BearerEvent {
    /// Its time is over.
    Expired,
    /// It has been revoked.
    Revoked,
    /// A newer one was verified, or not.
    Newer(Result<Claims, AccessError>),
}

impl Bearer {
    pub(super) fn new(grant: Grant, auth: Arc<dyn Authenticate>) -> Self {
        let claims = grant.claims();
        let revoked = auth.revoked(&claims);
        Bearer { grant, auth, ends: Box::pin(sleep_until(ends(&claims))), revoked, newer: None }
    }

    /// What it allows.
    pub(super) fn grant(&self) -> Grant {
        self.grant.clone()
    }

    /// Waits until something becomes of the token. It may be dropped and called again.
    pub(super) async fn event(&mut self) -> BearerEvent {
        loop {
            tokio::select! {
                () = self.ends.as_mut() => {
                    let claims = self.grant.claims();
                    if Timestamp::now().millis() / 1000 >= claims.expires {
                        return BearerEvent::Expired;
                    }
                    self.ends.as_mut().reset(ends(&claims));
                }
                () = self.revoked.as_mut() => return BearerEvent::Revoked,
                verified = verified(&mut self.newer) => {
                    self.newer = None;
                    return BearerEvent::Newer(verified);
                }
            }
        }
    }

    /// Goes on under the claims of a newer token, if it is the same bearer's.
    fn renew(&mut self, claims: Claims) -> bool {
        let (revoked, ends) = (self.auth.revoked(&claims), ends(&claims));
        let is_same = self.grant.renew(claims);
        if is_same {
            self.revoked = revoked;
            self.ends.as_mut().reset(ends);
        }
        is_same
    }
}

async fn verified(newer: &mut Option<Later<'static, Result<Claims, AccessError>>>) -> Result<Claims, AccessError> {
    match newer {
        Some(newer) => newer.as_mut().await,
        None => std::future::pending().await,
    }
}

/// When a token ends, or a day from now: then it is looked at again.
fn ends(claims: &Claims) -> Instant {
    const DAY: i64 = 86_400;
    let left = (claims.expires - Timestamp::now().millis() / 1000).clamp(0, DAY);
    Instant::now() + Duration::from_secs(left.unsigned_abs())
}

impl Session {
    /// Has a newer token verified. What comes of it is a [`BearerEvent`].
    pub(super) fn refresh(&mut self, token: BearerToken) {
        if self.bearer.newer.is_some() {
            return self.refuse(ErrorCode::LimitExceeded, "another token is still being verified", QUESTION);
        }
        let auth = Arc::clone(&self.bearer.auth);
        self.bearer.newer = Some(Box::pin(async move { auth.authenticate(&token.0).await }));
    }

    /// Does what has to be done about the token.
    pub(super) fn bearer_event(&mut self, event: BearerEvent) {
        match event {
            BearerEvent::Expired => self.close(CloseCode::Policy, "the token has expired", Waiting::Drop),
            BearerEvent::Revoked => self.close(CloseCode::Policy, "the token has been revoked", Waiting::Drop),
            // The one before stays: it is still good.
            BearerEvent::Newer(Err(error)) => {
                let code =
                    if error == AccessError::Unavailable { ErrorCode::Internal } else { ErrorCode::AccessDenied };
                self.refuse(code, format!("{error}; the one before stays in force"), QUESTION);
            }
            BearerEvent::Newer(Ok(claims)) => {
                let expires_at = Timestamp(claims.expires.saturating_mul(1000));
                if !self.bearer.renew(claims) {
                    let message = "the token is of another subject or workspace; the one before stays in force";
                    return self.refuse(ErrorCode::AccessDenied, message, QUESTION);
                }
                self.reply(&ServerMessage::TokenRefreshed { data: TokenInfo { expires_at } });
                for feed in self.cards.remove_denied(&self.bearer.grant) {
                    let message = format!("the token is no longer for card {:?}: it is shown no more", feed.card());
                    self.refuse(ErrorCode::AccessDenied, message, QUESTION);
                    self.unsubscribed(feed);
                }
            }
        }
    }
}
