//! TLS, by rustls.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::{debug, warn};

use crate::error::FetchError;

/// Which files say whom to trust, and who we are. All are PEM.
#[derive(Clone, Debug, Default)]
pub struct TlsFiles {
    /// The certificates of the authorities that brokers' certificates are believed from; the system's if there is none.
    pub ca: Option<PathBuf>,
    /// A certificate of our own, where brokers ask for one.
    pub client: Option<ClientFiles>,
}

/// A certificate of our own.
#[derive(Clone, Debug)]
pub struct ClientFiles {
    /// The certificate, and after it those that lead to who is trusted.
    pub certificates: PathBuf,
    /// Its key, which must not be encrypted.
    pub key: PathBuf,
}

/// How to encrypt, and whom to believe: versions 1.2 and 1.3, and only brokers whose certificate is for the name, or the IP
/// address, that they are connected to by. The files were read when it was made: one that is renewed is read by whoever is
/// made later.
#[derive(Clone)]
pub struct Tls(Arc<ClientConfig>);

/// Without keys.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// The files for TLS can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// One of them.
    #[error("{}: {reason}", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No file says whom to trust, and the system doesn't, either.
    #[error("the system has no authorities that can be read: install them, or name a file")]
    NoAuthorities,
    /// The library refuses.
    #[error(transparent)]
    Library(#[from] rustls::Error),
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// If one can't be read, or holds something else; and if nobody is to be trusted.
    pub fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let roots = match &files.ca {
            Some(file) => authorities(file)?,
            None => authorities_of_system()?,
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let builder = builder.with_root_certificates(roots);
        let config = match &files.client {
            Some(client) => {
                let key = PrivateKeyDer::from_pem_file(&client.key).map_err(|error| unusable(&client.key, error))?;
                let own = certificates(&client.certificates)?;
                let config = builder.with_client_auth_cert(own, key);
                config.map_err(|error| unusable(&client.certificates, error))?
            }
            None => builder.with_no_client_auth(),
        };
        Ok(Tls(Arc::new(config)))
    }

    /// Encrypts a connection to the broker of this address.
    pub(super) async fn shake_hands(
        &self,
        broker: &str,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, FetchError> {
        let refused = |reason: String| FetchError::Tls { broker: broker.to_owned(), reason };
        let name = ServerName::try_from(host(broker).to_owned());
        let name = name.map_err(|_| refused("its name is none that a certificate could be for".into()))?;
        TlsConnector::from(self.0.clone()).connect(name, stream).await.map_err(|error| match refusal(&error) {
            Some(reason) => refused(reason),
            None => {
                // One that ends does that too, so that it may pass.
                let reason = format!("{error}; maybe it takes no TLS at that port");
                FetchError::Unreachable { broker: broker.to_owned(), reason }
            }
        })
    }
}

/// What TLS is against, if it is TLS that has ended a connection. What a broker has against our certificate is told after
/// the handshake in version 1.3, by what is read first.
pub(super) fn refusal(error: &io::Error) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "nobody who is trusted vouches for its certificate".into()
        }
        rustls::Error::InvalidCertificate(CertificateError::BadSignature) => {
            "its certificate isn't signed by the one who is trusted under that name".into()
        }
        rustls::Error::InvalidCertificate(other) => format!("its certificate is refused: {other}"),
        rustls::Error::AlertReceived(
            alert @ (AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::CertificateRequired),
        ) => format!("it wants another certificate of ours than it was shown, or one at all: {alert:?}"),
        other => other.to_string(),
    })
}

/// The host in `HOST:PORT`, without the brackets that an IPv6 address has.
fn host(broker: &str) -> &str {
    let host = broker.rsplit_once(':').map_or(broker, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn authorities(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    // Of many in a bundle, some may be too old to be understood.
    let (_, ignored) = roots.add_parsable_certificates(certificates(file)?);
    if roots.is_empty() {
        return Err(unusable(file, "none of its certificates can be understood"));
    }
    if ignored > 0 {
        warn!(file = %file.display(), ignored, "certificates that can't be understood are left out");
    }
    Ok(roots)
}

fn authorities_of_system() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (taken, ignored) = roots.add_parsable_certificates(found.certs);
    debug!(taken, ignored, errors = ?found.errors, "the system's authorities");
    if roots.is_empty() { Err(TlsError::NoAuthorities) } else { Ok(roots) }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    match found {
        Ok(found) if found.is_empty() => Err(unusable(file, pem::Error::NoItemsFound)),
        Ok(found) => Ok(found),
        Err(error) => Err(unusable(file, error)),
    }
}

fn unusable(file: &Path, reason: impl fmt::Display) -> TlsError {
    TlsError::File { file: file.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests;
