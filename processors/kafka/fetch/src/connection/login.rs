//! Logging in, by SASL in Kafka's own messages.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::error::ParseResponseErrorCode;
use kafka_protocol::messages::{SaslAuthenticateRequest, SaslHandshakeRequest};
use kafka_protocol::protocol::StrBytes;

use super::Connection;
use super::scram::{Hash, SHA_256, SHA_512, Scram};
use crate::error::FetchError;
use crate::settings::{Login, Mechanism};

impl Connection {
    pub(super) async fn log_in(&mut self, login: &Login) -> Result<(), FetchError> {
        let mechanism = StrBytes::from_static_str(login.mechanism.name());
        let handshake = SaslHandshakeRequest::default().with_mechanism(mechanism);
        let version = self.version::<SaslHandshakeRequest>(1, 1)?;
        let answer = self.ask(&handshake, version, Duration::ZERO).await?;
        if let Some(error) = answer.error_code.err() {
            let offered: Vec<_> = answer.mechanisms.iter().map(StrBytes::as_str).collect();
            return Err(self.not_let_in(format!("{error}; it takes {}", offered.join(", "))));
        }
        match login.mechanism {
            Mechanism::Plain => self.by_plain(login).await,
            Mechanism::ScramSha256 => self.by_scram(SHA_256, login).await,
            Mechanism::ScramSha512 => self.by_scram(SHA_512, login).await,
        }
    }

    async fn by_plain(&mut self, login: &Login) -> Result<(), FetchError> {
        let answer = self.authenticate(format!("\0{}\0{}", login.username, login.password)).await;
        // It held the password.
        self.out = BytesMut::new();
        answer.map(drop)
    }

    async fn by_scram(&mut self, hash: Hash, login: &Login) -> Result<(), FetchError> {
        let scram = Scram::new(hash, &login.username).map_err(|error| self.not_let_in(error.to_string()))?;
        let challenge = self.authenticate(scram.first()).await?;
        let password = login.password.clone();
        // The broker says how often to hash. Others that are fetched from meanwhile don't wait for it.
        let proof = tokio::task::spawn_blocking(move || scram.prove(&password, &challenge)).await;
        let proof = proof.map_err(|error| self.not_let_in(error.to_string()))?;
        let proof = proof.map_err(|error| self.not_let_in(error.to_string()))?;
        let verdict = self.authenticate(proof.message.clone()).await?;
        proof.verify(&verdict).map_err(|error| self.not_let_in(error.to_string()))
    }

    /// Sends a message of the mechanism. Returns the broker's.
    async fn authenticate(&mut self, message: String) -> Result<Bytes, FetchError> {
        let request = SaslAuthenticateRequest::default().with_auth_bytes(Bytes::from(message));
        let version = self.version::<SaslAuthenticateRequest>(0, 2)?;
        let answer = self.ask(&request, version, Duration::ZERO).await?;
        match answer.error_code.err() {
            None => Ok(answer.auth_bytes),
            Some(error) => {
                let said = answer.error_message.map_or_else(|| error.to_string(), |said| said.to_string());
                Err(self.not_let_in(said))
            }
        }
    }

    fn not_let_in(&self, reason: String) -> FetchError {
        FetchError::Login { broker: self.broker.clone(), reason }
    }
}
