//! A connection to a broker.

mod login;
mod scram;
mod stream;
mod tls;

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::error::ParseResponseErrorCode;
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, FetchRequest, FetchResponse, MetadataRequest, MetadataResponse,
    RequestHeader, ResponseHeader, SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest,
    SaslHandshakeResponse,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::error::FetchError;
use crate::held::Held;
use crate::settings::Settings;
use stream::Stream;

pub use tls::{ClientFiles, Tls, TlsError, TlsFiles};

/// No answer is longer; librdkafka's `receive.message.max.bytes` is as much. What says so isn't Kafka, most likely.
const LONGEST: usize = 100_000_000;

/// A request, and what it is answered with. (The library has such a trait for whoever is client and broker at once.)
pub(crate) trait Request: Encodable + HeaderVersion {
    const KEY: ApiKey;
    type Response: Decodable + HeaderVersion;
}

macro_rules! requests {
    ($($request:ident => $key:ident, $response:ident;)*) => {$(
        impl Request for $request {
            const KEY: ApiKey = ApiKey::$key;
            type Response = $response;
        }
    )*};
}

requests! {
    ApiVersionsRequest => ApiVersions, ApiVersionsResponse;
    FetchRequest => Fetch, FetchResponse;
    MetadataRequest => Metadata, MetadataResponse;
    SaslAuthenticateRequest => SaslAuthenticate, SaslAuthenticateResponse;
    SaslHandshakeRequest => SaslHandshake, SaslHandshakeResponse;
}

/// One request at a time.
pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    broker: String,
    client_id: StrBytes,
    /// Which versions of which requests the broker takes.
    versions: HashMap<i16, (i16, i16)>,
    correlation: i32,
    /// How long an answer may take.
    patience: Duration,
    held: Held,
    /// The buffer of requests.
    out: BytesMut,
}

impl Connection {
    /// Connects to a broker, learns what it speaks, and logs in. The bytes of answers count in `held`.
    pub(crate) async fn open(broker: &str, settings: &Settings, held: &Held) -> Result<Self, FetchError> {
        let stream = stream::connect(broker, settings).await?;
        let mut connection = Connection {
            stream,
            broker: broker.to_owned(),
            client_id: StrBytes::from_string(settings.client_id.clone()),
            versions: HashMap::new(),
            correlation: 0,
            patience: settings.patience,
            held: held.clone(),
            out: BytesMut::new(),
        };
        connection.learn_versions().await?;
        if let Some(login) = &settings.login {
            connection.log_in(login).await?;
        }
        Ok(connection)
    }

    async fn learn_versions(&mut self) -> Result<(), FetchError> {
        // Version 0 is understood by every broker.
        let answer = self.ask(&ApiVersionsRequest::default(), 0, Duration::ZERO).await?;
        if let Some(error) = answer.error_code.err() {
            return Err(self.misunderstood(format!("it doesn't say what it speaks: {error}")));
        }
        let versions = answer.api_keys.into_iter().map(|api| (api.api_key, (api.min_version, api.max_version)));
        self.versions = versions.collect();
        Ok(())
    }

    /// The highest version of a request that both sides speak, out of `least..=most`.
    pub(crate) fn version<R: Request>(&self, least: i16, most: i16) -> Result<i16, FetchError> {
        let (lowest, highest) = self.versions.get(&(R::KEY as i16)).copied().unwrap_or((0, -1));
        let version = highest.min(most);
        if version < lowest.max(least) {
            let reason = format!(
                "of {:?} it takes versions {lowest} to {highest}, and {least} to {most} are ours; Kafka 2.1 and \
                 later are understood",
                R::KEY
            );
            return Err(self.misunderstood(reason));
        }
        Ok(version)
    }

    /// Sends a request and waits for its answer, for `beyond` longer than usual. After an error the connection is of no use.
    pub(crate) async fn ask<R: Request>(
        &mut self,
        request: &R,
        version: i16,
        beyond: Duration,
    ) -> Result<R::Response, FetchError> {
        self.correlation = self.correlation.wrapping_add(1);
        self.encode(request, version).map_err(|error| self.misunderstood(format!("{error:#}")))?;
        let answer = self.exchange(self.patience + beyond).await.map_err(|error| self.lost(&error))?;
        let mut bytes = self.held.hold(answer);
        let header_version = <R::Response as HeaderVersion>::header_version(version);
        let header = ResponseHeader::decode(&mut bytes, header_version);
        let header = header.map_err(|error| self.misunderstood(format!("{error:#}")))?;
        if header.correlation_id != self.correlation {
            let reason = format!("answer {} came to request {}", header.correlation_id, self.correlation);
            return Err(self.misunderstood(reason));
        }
        R::Response::decode(&mut bytes, version).map_err(|error| self.misunderstood(format!("{error:#}")))
    }

    fn encode<R: Request>(
        &mut self,
        request: &R,
        version: i16,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY as i16)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation)
            .with_client_id(Some(self.client_id.clone()));
        self.out.clear();
        self.out.put_u32(0);
        header.encode(&mut self.out, <R as HeaderVersion>::header_version(version))?;
        request.encode(&mut self.out, version)?;
        let length = u32::try_from(self.out.len() - size_of::<u32>())?;
        self.out[..size_of::<u32>()].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    /// Sends what was encoded, and reads one answer, for which to wait so long. However long it is, it must go on coming.
    async fn exchange(&mut self, patience: Duration) -> io::Result<Vec<u8>> {
        let begin = async {
            self.stream.write_all(&self.out).await?;
            // TLS may have kept some of it.
            self.stream.flush().await?;
            self.stream.read_i32().await
        };
        let length = timeout(patience, begin).await.map_err(|_| slow("no answer", patience))??;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > LONGEST {
            let reason = format!("an answer of {length} bytes: Kafka is not what listens there, or it wants TLS");
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        let mut answer = Vec::with_capacity(length);
        while answer.len() < length {
            let left = length - answer.len();
            let mut piece = (&mut answer).limit(left);
            let read = timeout(self.patience, self.stream.read_buf(&mut piece)).await;
            if read.map_err(|_| slow("no more of an answer", self.patience))?? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(answer)
    }

    fn lost(&self, error: &io::Error) -> FetchError {
        let broker = self.broker.clone();
        if let Some(reason) = tls::refusal(error) {
            return FetchError::Tls { broker, reason };
        }
        match error.kind() {
            io::ErrorKind::InvalidData => FetchError::Protocol { broker, reason: error.to_string() },
            // The first two by one that is killed, or to which something was still on its way.
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
                FetchError::Closed { broker }
            }
            _ => FetchError::Unreachable { broker, reason: error.to_string() },
        }
    }

    pub(crate) fn refused(&self, error: ResponseError) -> FetchError {
        FetchError::Broker { broker: self.broker.clone(), error }
    }

    fn misunderstood(&self, reason: String) -> FetchError {
        FetchError::Protocol { broker: self.broker.clone(), reason }
    }
}

fn slow(what: &str, after: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("{what} after {after:?}"))
}

/// What an error code says, if it says anything.
pub(crate) fn error_of(code: i16) -> Option<ResponseError> {
    code.err()
}
