//! Certificates, from files to what the driver takes.

use std::path::Path;
use std::sync::Arc;

use agentworks_store::StoreError;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::{ClientConfig, RootCertStore};

use crate::config::TlsFiles;

/// What the driver connects with. Of the system's own authorities none is trusted: a database isn't a public site.
pub(crate) fn client_config(files: &TlsFiles) -> Result<Arc<ClientConfig>, StoreError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&files.ca)? {
        roots.add(certificate).map_err(|error| unusable(&files.ca, error))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&files.ca, error))?
        .with_root_certificates(roots);
    let config = match &files.client {
        Some(client) => {
            let key = PrivateKeyDer::from_pem_file(&client.key).map_err(|error| unusable(&client.key, error))?;
            let certificates = certificates(&client.certificates)?;
            builder.with_client_auth_cert(certificates, key).map_err(|error| unusable(&client.certificates, error))?
        }
        None => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, StoreError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match found {
        Ok(found) if found.is_empty() => Err(unusable(path, pem::Error::NoItemsFound)),
        Ok(found) => Ok(found),
        Err(error) => Err(unusable(path, error)),
    }
}

fn unusable(path: &Path, error: impl std::fmt::Display) -> StoreError {
    StoreError::Failed(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_file_that_will_not_do_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        let refused = || client_config(&TlsFiles { ca: ca.clone(), client: None }).unwrap_err().to_string();
        assert!(refused().contains("ca.pem"), "{}", refused());
        std::fs::write(&ca, "not a certificate").unwrap();
        assert!(refused().contains("ca.pem: "), "{}", refused());
        std::fs::write(&ca, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        assert!(refused().contains("ca.pem: "), "{}", refused());
    }
}
