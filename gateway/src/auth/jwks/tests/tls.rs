//! Keys over TLS, by authorities of the tests' own.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::*;

/// An authority that nobody else has heard of.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let der = STANDARD.encode(params.self_signed(&key).unwrap().der());
        let pem = format!("-----BEGIN CERTIFICATE-----\n{der}\n-----END CERTIFICATE-----\n");
        Authority { pem, issuer: Issuer::new(params, key) }
    }

    /// What a configuration calls `auth.jwks_ca_file`.
    fn file(&self, folder: &Path) -> PathBuf {
        let file = folder.join("ca.pem");
        std::fs::write(&file, &self.pem).unwrap();
        file
    }

    /// Puts TLS before a publisher, with a certificate for `name`; its port.
    async fn front(&self, publisher: &Publisher, params: CertificateParams) -> u16 {
        let key = KeyPair::generate().unwrap();
        let certificate: CertificateDer<'static> = params.signed_by(&key, &self.issuer).unwrap().into();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let behind = publisher.url().split('/').nth(2).unwrap().to_owned();
        tokio::spawn(async move {
            let acceptor = TlsAcceptor::from(Arc::new(config));
            while let Ok((stream, _)) = listener.accept().await {
                // A client that refuses the certificate goes; that is what is tried.
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut publisher = TcpStream::connect(&behind).await.unwrap();
                let _ = copy_bidirectional(&mut stream, &mut publisher).await;
            }
        });
        port
    }
}

fn named(name: &str) -> CertificateParams {
    CertificateParams::new([name.to_owned()]).unwrap()
}

#[tokio::test]
async fn a_private_authority_is_believed_where_it_is_named() {
    let known = Signer::ec("known");
    let (publisher, authority) = (Publisher::start(&[&known]), Authority::new("ours"));
    let folder = tempfile::tempdir().unwrap();
    for name in ["localhost", "127.0.0.1"] {
        let port = authority.front(&publisher, named(name)).await;
        let url = format!("https://{name}:{port}/keys.json");
        let auth = auth(&JwksConfig { url, ca_file: Some(authority.file(folder.path())), ..config(&publisher) });
        assert!(ask(&auth, &good(&known)).await.is_ok(), "{name}: {:?}", auth.ready());
        auth.ready().unwrap();
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_to_be_believed_is_told() {
    let known = Signer::ec("known");
    let publisher = Publisher::start(&[&known]);
    let (authority, stranger) = (Authority::new("ours"), Authority::new("a stranger's"));
    let folder = tempfile::tempdir().unwrap();
    let mut expired = named("localhost");
    (expired.not_before, expired.not_after) = (rcgen::date_time_ymd(2001, 1, 1), rcgen::date_time_ymd(2002, 1, 1));
    for (signed_by, params, reason) in [
        (&stranger, named("localhost"), "set auth.jwks_ca_file"),
        (&authority, named("login.example"), "for another name than the one in auth.jwks_url"),
        (&authority, expired, "expired"),
    ] {
        let url = format!("https://localhost:{}/keys.json", signed_by.front(&publisher, params).await);
        let auth = auth(&JwksConfig { url, ca_file: Some(authority.file(folder.path())), ..config(&publisher) });
        assert_eq!(ask(&auth, &good(&known)).await, Err(AccessError::Unavailable), "{reason}");
        let told = auth.ready().unwrap_err();
        assert!(told.contains(reason), "{told}");
    }
    assert_eq!(publisher.requests(), 0, "nobody said anything to them");
}
