//! Somebody who signs tokens with private keys, and publishes the public ones. Keys are made at run time.

#![allow(dead_code, reason = "no test of services takes the publisher down, for others rely on it")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

/// A private key of PKCS #1 begins so far into its PKCS #8 form, for RSA of 2048 bits.
const PKCS1_AT: usize = 26;

/// Who signs tokens, with a key of this name.
pub struct Signer {
    pub kid: String,
    algorithm: Algorithm,
    key: EncodingKey,
}

impl Signer {
    /// One with an RSA key of 2048 bits.
    pub fn rsa(kid: &str) -> Signer {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der = pair.as_der().unwrap();
        let key = EncodingKey::from_rsa_der(&der.as_ref()[PKCS1_AT..]);
        Signer { kid: kid.to_owned(), algorithm: Algorithm::RS256, key }
    }

    /// One with a key on P-256.
    pub fn ec(kid: &str) -> Signer {
        let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        Signer { kid: kid.to_owned(), algorithm: Algorithm::ES256, key: EncodingKey::from_ec_der(der.as_ref()) }
    }

    /// The public key, as it is published.
    pub fn jwk(&self) -> Value {
        let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&self.key, self.algorithm).unwrap()).unwrap();
        jwk["kid"] = json!(self.kid);
        jwk["use"] = json!("sig");
        jwk
    }

    /// A token that says this.
    pub fn token(&self, claims: &Value) -> String {
        self.token_with(&json!({"alg": format!("{:?}", self.algorithm), "kid": self.kid, "typ": "JWT"}), claims)
    }

    /// The same with any header.
    pub fn token_with(&self, header: &Value, claims: &Value) -> String {
        signed(header, claims, &self.key, self.algorithm)
    }
}

/// A token with any header, signed by any key.
pub fn signed(header: &Value, claims: &Value, key: &EncodingKey, algorithm: Algorithm) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm).unwrap();
    format!("{message}.{signature}")
}

/// What a good token says, for so many seconds.
pub fn claims_for(workspace: &str, role: &str, seconds: i64) -> Value {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let expires = i64::try_from(now).unwrap() + seconds;
    json!({"aud": "agentworks", "sub": "ann", "workspace": workspace, "role": role, "exp": expires})
}

/// What a publisher answers.
#[derive(Clone)]
enum Answer {
    Document(String),
    Status(u16),
    Nothing,
}

/// Publishes a JWKS document over HTTP, on a free port of this machine.
pub struct Publisher {
    address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
    requests: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Publisher {
    /// Publishes the keys of these.
    pub fn start(signers: &[&Signer]) -> Publisher {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (answer, requests) = (Arc::new(Mutex::new(Answer::Nothing)), Arc::new(AtomicUsize::new(0)));
        let stop = Arc::new(AtomicBool::new(false));
        let (theirs, counted, stopped) = (Arc::clone(&answer), Arc::clone(&requests), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().take_while(|_| !stopped.load(Ordering::Relaxed)) {
                counted.fetch_add(1, Ordering::Relaxed);
                let answer = theirs.lock().unwrap().clone();
                // Whoever has gone meanwhile needs no answer.
                let _ = stream.and_then(|stream| serve(stream, &answer));
            }
        });
        let publisher = Publisher { address, answer, requests, stop, thread: Some(thread) };
        publisher.publish(signers);
        publisher
    }

    pub fn url(&self) -> String {
        format!("http://{}/keys.json", self.address)
    }

    /// Publishes these keys and no others.
    pub fn publish(&self, signers: &[&Signer]) {
        let keys: Vec<Value> = signers.iter().map(|signer| signer.jwk()).collect();
        self.publish_text(json!({"keys": keys}).to_string());
    }

    pub fn publish_text(&self, document: String) {
        *self.answer.lock().unwrap() = Answer::Document(document);
    }

    /// Answers with a status and nothing else.
    pub fn fail(&self, status: u16) {
        *self.answer.lock().unwrap() = Answer::Status(status);
    }

    /// How often it was asked.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // So that it looks.
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn serve(mut stream: TcpStream, answer: &Answer) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? > 0 {
        head.push(byte[0]);
    }
    match answer {
        Answer::Document(text) => {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/jwk-set+json\r\nConnection: close";
            write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{text}", text.len())
        }
        Answer::Status(status) => {
            write!(stream, "HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        }
        Answer::Nothing => Ok(()),
    }
}
