#![allow(clippy::unwrap_used)]

use std::fs;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::super::stream::connect;
use super::*;
use crate::settings::Settings;

/// An authority that nobody else has heard of.
struct Authority {
    der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Authority { der: params.self_signed(&key).unwrap().der().to_vec(), issuer: Issuer::new(params, key) }
    }

    fn pem(&self) -> String {
        pem("CERTIFICATE", &self.der)
    }

    fn sign(&self, params: &CertificateParams) -> (CertificateDer<'static>, KeyPair) {
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().into(), key)
    }

    /// Listens with a certificate of these, and says `hello` to whoever comes, if it is somebody whom `clients` vouches for.
    async fn listen(&self, params: &CertificateParams, clients: Option<&Authority>) -> u16 {
        let (certificate, key) = self.sign(params);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
        let builder = match clients {
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.der.clone().into()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
                builder.with_client_cert_verifier(verifier)
            }
            None => builder.with_no_client_auth(),
        };
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(builder.with_single_cert(vec![certificate], key).unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A client that refuses the certificate goes; that is what is tried.
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let _ = stream.write_all(b"hello").await;
                let _ = stream.shutdown().await;
            }
        });
        port
    }
}

fn pem(what: &str, der: &[u8]) -> String {
    format!("-----BEGIN {what}-----\n{}\n-----END {what}-----\n", STANDARD.encode(der))
}

fn named(name: &str) -> CertificateParams {
    CertificateParams::new([name.to_owned()]).unwrap()
}

/// Files in a folder of a test's own.
struct Files(TempDir);

impl Files {
    fn new() -> Files {
        Files(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.0.path().join(name);
        fs::write(&file, text).unwrap();
        file
    }

    fn trusting(&self, authority: &Authority) -> TlsFiles {
        TlsFiles { ca: Some(self.write("ca.pem", &authority.pem())), client: None }
    }
}

/// Connects; returns what is said there.
async fn hear(broker: &str, files: &TlsFiles) -> Result<String, FetchError> {
    let mut settings = Settings::new(broker, "test");
    settings.tls = Some(Tls::read(files).unwrap());
    let mut stream = connect(broker, &settings).await?;
    let mut said = String::new();
    stream.read_to_string(&mut said).await.map_err(|error| FetchError::Tls {
        broker: broker.to_owned(),
        reason: refusal(&error).unwrap_or_else(|| panic!("{error}")),
    })?;
    Ok(said)
}

#[tokio::test]
async fn a_broker_is_believed_that_somebody_trusted_vouches_for() {
    let (files, authority) = (Files::new(), Authority::new("ours"));
    for name in ["localhost", "127.0.0.1"] {
        let port = authority.listen(&named(name), None).await;
        let said = hear(&format!("{name}:{port}"), &files.trusting(&authority)).await;
        assert_eq!(said.unwrap(), "hello");
    }
}

#[tokio::test]
async fn one_that_is_not_to_be_believed_is_told_with_the_reason() {
    let (files, authority) = (Files::new(), Authority::new("ours"));
    let mut expired = named("localhost");
    (expired.not_before, expired.not_after) = (rcgen::date_time_ymd(2001, 1, 1), rcgen::date_time_ymd(2002, 1, 1));
    for (signed_by, params, expected) in [
        (&Authority::new("a stranger's"), named("localhost"), "nobody who is trusted vouches for its certificate"),
        (&Authority::new("ours"), named("localhost"), "isn't signed by the one who is trusted"),
        (&authority, named("kafka.example"), "not valid for name \"localhost\""),
        (&authority, expired, "expired"),
    ] {
        let broker = format!("localhost:{}", signed_by.listen(&params, None).await);
        let refused = hear(&broker, &files.trusting(&authority)).await.unwrap_err();
        assert!(matches!(&refused, FetchError::Tls { .. }) && !refused.is_transient(), "{refused:?}");
        let said = refused.to_string();
        assert!(said.contains(&broker) && said.contains(expected), "{said}");
    }
}

#[tokio::test]
async fn a_certificate_of_our_own_is_shown_to_whoever_asks() {
    let (files, authority, of_clients) = (Files::new(), Authority::new("ours"), Authority::new("of clients"));
    let broker = format!("localhost:{}", authority.listen(&named("localhost"), Some(&of_clients)).await);
    let mut tls = files.trusting(&authority);
    let refused = hear(&broker, &tls).await.unwrap_err().to_string();
    assert!(refused.contains("it wants another certificate of ours than it was shown, or one at all"), "{refused}");

    let (certificate, key) = of_clients.sign(&named("client"));
    let client = ClientFiles {
        certificates: files.write("certificate.pem", &pem("CERTIFICATE", &certificate)),
        key: files.write("key.pem", &pem("PRIVATE KEY", &key.serialize_der())),
    };
    tls.client = Some(client.clone());
    assert_eq!(hear(&broker, &tls).await.unwrap(), "hello");

    files.write("key.pem", &pem("ENCRYPTED PRIVATE KEY", &key.serialize_der()));
    let refused = Tls::read(&tls).unwrap_err().to_string();
    assert!(refused.contains("key.pem: "), "{refused}");
    files.write("key.pem", &pem("PRIVATE KEY", &KeyPair::generate().unwrap().serialize_der()));
    let refused = Tls::read(&tls).unwrap_err().to_string();
    assert!(refused.contains("certificate.pem: "), "{refused}");
}

#[tokio::test]
async fn where_there_is_no_tls_that_may_pass() {
    let (files, authority) = (Files::new(), Authority::new("ours"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let broker = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        // As Kafka does, which takes the beginning for a length.
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read_exact(&mut [0; 4]).await;
        drop(stream);
        let (stream, _) = listener.accept().await.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(stream);
    });
    let fault = hear(&broker, &files.trusting(&authority)).await.unwrap_err();
    assert!(matches!(&fault, FetchError::Unreachable { .. }), "{fault:?}");
    assert!(fault.to_string().contains("maybe it takes no TLS"), "{fault}");

    let mut settings = Settings::new(&broker, "test");
    settings.tls = Some(Tls::read(&files.trusting(&authority)).unwrap());
    settings.patience = Duration::from_millis(100);
    let fault = connect(&broker, &settings).await.err().unwrap();
    assert!(fault.is_transient() && fault.to_string().contains("no connection after 100ms"), "{fault}");
}

#[test]
fn a_file_that_will_not_do_is_named() {
    let files = Files::new();
    let ca = files.0.path().join("ca.pem");
    let refused = || Tls::read(&TlsFiles { ca: Some(ca.clone()), client: None }).unwrap_err().to_string();
    assert!(refused().contains("ca.pem: "), "{}", refused());
    for text in ["not a certificate", &pem("CERTIFICATE", b"nor is this")] {
        files.write("ca.pem", text);
        assert!(refused().contains("ca.pem: "), "{}", refused());
    }
    // The others of a bundle are believed all the same.
    files.write("ca.pem", &(pem("CERTIFICATE", b"old") + &Authority::new("ours").pem()));
    Tls::read(&TlsFiles { ca: Some(ca.clone()), client: None }).unwrap();
}

#[test]
fn keys_are_not_shown() {
    let files = Files::new();
    let tls = Tls::read(&files.trusting(&Authority::new("ours"))).unwrap();
    assert_eq!(format!("{tls:?}"), "Tls { .. }");
}

#[test]
fn the_host_is_what_comes_before_the_port() {
    assert_eq!(host("kafka.example:9093"), "kafka.example");
    assert_eq!(host("127.0.0.1:9093"), "127.0.0.1");
    assert_eq!(host("[::1]:9093"), "::1");
}
