//! Getting the document: from where it may come, how long it may take, how large it may be.
//!
//! By hand over hyper: one request now and then, to nowhere but where it is said to be. No redirects, no proxies, nothing
//! that is decompressed.

use std::fs;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, CONNECTION, HOST};
use http::uri::Scheme;
use http::{Request, StatusCode, Uri};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::rt::{Read, Write};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::JwksConfig;

/// How long a fetch may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The largest document, in bytes.
const MAX_DOCUMENT: usize = 256 * 1024;
/// The most that is buffered of an answer's head.
const MAX_HEAD: usize = 64 * 1024;

/// Keys can't be fetched from where they are said to be.
#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    /// It is no address.
    #[error("expected https://HOST/PATH of a JWKS document")]
    Url,
    /// It has a user or a password in it.
    #[error("an address with a user or a password in it would be shown in logs: leave them out")]
    Login,
    /// Whoever is on the way could put keys of their own in the document.
    #[error("keys may come over http from this machine only: use https, or switch auth.jwks_insecure on")]
    Insecure,
    /// The authorities can't be used.
    #[error("whom to trust can't be read: {0}")]
    Authorities(String),
}

/// Whether keys may be fetched from `url`.
///
/// # Errors
/// If it isn't an address, or not a safe one.
pub fn check_url(url: &str, insecure: bool) -> Result<(), JwksError> {
    Place::parse(url, insecure).map(drop)
}

/// Where a document is.
#[derive(Debug)]
struct Place {
    uri: Uri,
    /// Without the brackets that an IPv6 address has.
    host: String,
    port: u16,
    has_tls: bool,
}

impl Place {
    fn parse(url: &str, insecure: bool) -> Result<Self, JwksError> {
        let uri: Uri = url.parse().map_err(|_| JwksError::Url)?;
        let (scheme, authority) = uri.scheme().zip(uri.authority()).ok_or(JwksError::Url)?;
        if authority.as_str().contains('@') {
            return Err(JwksError::Login);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let is_local = host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
        let has_tls = *scheme == Scheme::HTTPS;
        if host.is_empty() || !(has_tls || *scheme == Scheme::HTTP) {
            return Err(JwksError::Url);
        }
        if !(has_tls || is_local || insecure) {
            return Err(JwksError::Insecure);
        }
        let port = authority.port_u16().unwrap_or(if has_tls { 443 } else { 80 });
        Ok(Place { uri, host, port, has_tls })
    }
}

/// A fetch failed. It says nothing of the address, which may hold what isn't for logs.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("there is no connection: {0}")]
    Connect(#[from] std::io::Error),
    #[error("nobody who is trusted vouches for its certificate: set auth.jwks_ca_file to the certificate of who does")]
    UnknownAuthority,
    #[error("its certificate is for another name than the one in auth.jwks_url")]
    OtherName,
    #[error("its certificate is refused: {0}")]
    Certificate(CertificateError),
    #[error("the answer can't be read: {0}")]
    Http(#[from] hyper::Error),
    #[error("the answer is {0}")]
    Status(StatusCode),
    #[error("it is larger than {MAX_DOCUMENT} bytes")]
    TooLarge,
    #[error("it didn't come within {} s", TIMEOUT.as_secs())]
    Timeout,
}

/// Fetches one document.
pub(super) struct Fetcher {
    place: Place,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Fetcher {
    pub(super) fn new(config: &JwksConfig) -> Result<Self, JwksError> {
        let place = Place::parse(&config.url, config.insecure)?;
        let tls = if place.has_tls {
            let name = ServerName::try_from(place.host.clone()).map_err(|_| JwksError::Url)?;
            Some((connector(config)?, name))
        } else {
            None
        };
        Ok(Fetcher { place, tls })
    }

    pub(super) async fn fetch(&self) -> Result<Vec<u8>, FetchError> {
        let fetched = timeout(TIMEOUT, async {
            let stream = TcpStream::connect((self.place.host.as_str(), self.place.port)).await?;
            match &self.tls {
                Some((connector, name)) => {
                    let stream = connector.connect(name.clone(), stream).await.map_err(refused)?;
                    self.get(TokioIo::new(stream)).await
                }
                None => self.get(TokioIo::new(stream)).await,
            }
        });
        fetched.await.map_err(|_| FetchError::Timeout)?
    }

    async fn get(&self, stream: impl Read + Write + Unpin) -> Result<Vec<u8>, FetchError> {
        let (mut sender, connection) = http1::Builder::new().max_buf_size(MAX_HEAD).handshake(stream).await?;
        let mut request = Request::new(String::new());
        let path = self.place.uri.path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = path.parse().unwrap_or_default();
        let headers = request.headers_mut();
        if let Some(host) = self.place.uri.authority().and_then(|authority| authority.as_str().parse().ok()) {
            headers.insert(HOST, host);
        }
        headers.insert(ACCEPT, http::HeaderValue::from_static("application/jwk-set+json, application/json"));
        headers.insert(CONNECTION, http::HeaderValue::from_static("close"));
        let mut exchange = pin!(async {
            let response = sender.send_request(request).await?;
            if response.status() != StatusCode::OK {
                return Err(FetchError::Status(response.status()));
            }
            read(response.into_body()).await
        });
        tokio::select! {
            read = &mut exchange => read,
            ended = connection => {
                ended?;
                // What has come is still there to be read.
                exchange.await
            }
        }
    }
}

async fn read(body: Incoming) -> Result<Vec<u8>, FetchError> {
    let mut body = pin!(body);
    let mut document = Vec::new();
    while let Some(frame) = poll_fn(|context| body.as_mut().poll_frame(context)).await {
        let Ok(data) = frame?.into_data() else { continue };
        if document.len() + data.len() > MAX_DOCUMENT {
            return Err(FetchError::TooLarge);
        }
        document.extend_from_slice(&data);
    }
    Ok(document)
}

/// What is wrong with the publisher's certificate, if that is what ended the handshake.
fn refused(error: std::io::Error) -> FetchError {
    match error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => FetchError::UnknownAuthority,
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => FetchError::OtherName,
        Some(rustls::Error::InvalidCertificate(other)) => FetchError::Certificate(other.clone()),
        _ => FetchError::Connect(error),
    }
}

/// Trusts the authorities of the file, or the system's.
fn connector(config: &JwksConfig) -> Result<TlsConnector, JwksError> {
    let mut roots = RootCertStore::empty();
    match &config.ca_file {
        Some(file) => {
            let pem = fs::read(file).map_err(|error| JwksError::Authorities(error.to_string()))?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.map_err(|error| JwksError::Authorities(error.to_string()))?;
                roots.add(certificate).map_err(|error| JwksError::Authorities(error.to_string()))?;
            }
        }
        // Of a system's many, some are too old to be understood.
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    if roots.is_empty() {
        let reason = "there are none: install the system's, or set auth.jwks_ca_file";
        return Err(JwksError::Authorities(reason.to_owned()));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| JwksError::Authorities(error.to_string()))?;
    Ok(TlsConnector::from(Arc::new(builder.with_root_certificates(roots).with_no_client_auth())))
}
