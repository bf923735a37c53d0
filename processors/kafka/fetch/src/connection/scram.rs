//! SASL's mechanisms SCRAM-SHA-256 and SCRAM-SHA-512 (RFC 5802 and 7677), without channel binding, which Kafka doesn't know.
//!
//! The password isn't sent. Each side proves to the other that it knows it, or what was made of it.

use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// How often a password is hashed, at least: fewer make it easy to guess from what was said, and Kafka has no fewer.
const LEAST: u32 = 4096;
/// At most. Kafka has up to 16,384; what says more than this wants to keep us busy.
const MOST: u32 = 1_000_000;
/// No channel binding, no other identity: `n,,` in base64 is `biws`.
const HEADER: &str = "n,,";
const BINDING: &str = "biws";
/// The bytes of randomness in a nonce.
const NONCE: usize = 24;

/// What stands in the way of a login.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ScramError {
    #[error("there is no randomness")]
    Random,
    #[error("what it says isn't SCRAM: {0}")]
    Malformed(&'static str),
    #[error("it doesn't repeat what it was sent")]
    Nonce,
    #[error("it wants the password hashed {0} times, and {LEAST} to {MOST} are ours")]
    Iterations(u32),
    #[error("it says {0:?}")]
    Refused(String),
    #[error("it doesn't know the password itself")]
    Signature,
}

/// What is hashed by.
#[derive(Clone, Copy)]
pub(super) struct Hash {
    digest: &'static digest::Algorithm,
    hmac: hmac::Algorithm,
    pbkdf2: pbkdf2::Algorithm,
}

pub(super) const SHA_256: Hash =
    Hash { digest: &digest::SHA256, hmac: hmac::HMAC_SHA256, pbkdf2: pbkdf2::PBKDF2_HMAC_SHA256 };
pub(super) const SHA_512: Hash =
    Hash { digest: &digest::SHA512, hmac: hmac::HMAC_SHA512, pbkdf2: pbkdf2::PBKDF2_HMAC_SHA512 };

/// The beginning of a login.
pub(super) struct Scram {
    hash: Hash,
    nonce: String,
    /// The first message without its header.
    bare: String,
}

/// The end of a login.
pub(super) struct Proof {
    /// The last message that is sent.
    pub(super) message: String,
    /// What the broker signs, and by which key.
    signed: String,
    key: hmac::Key,
}

impl Scram {
    pub(super) fn new(hash: Hash, username: &str) -> Result<Self, ScramError> {
        let mut nonce = [0; NONCE];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| ScramError::Random)?;
        Ok(Scram::with_nonce(hash, username, STANDARD.encode(nonce)))
    }

    fn with_nonce(hash: Hash, username: &str, nonce: String) -> Self {
        // Names are taken as they are written: Kafka doesn't normalise them, either (SASLprep).
        let username = username.replace('=', "=3D").replace(',', "=2C");
        let bare = format!("n={username},r={nonce}");
        Scram { hash, nonce, bare }
    }

    /// The first message.
    pub(super) fn first(&self) -> String {
        format!("{HEADER}{}", self.bare)
    }

    /// Answers the broker's first message. It takes as long as the broker wants: milliseconds, as Kafka is set by default.
    pub(super) fn prove(&self, password: &str, challenge: &[u8]) -> Result<Proof, ScramError> {
        let challenge = text(challenge)?;
        let mut attributes = challenge.split(',');
        let nonce = attribute(attributes.next(), "r=")?;
        let salt = STANDARD.decode(attribute(attributes.next(), "s=")?);
        let salt = salt.map_err(|_| ScramError::Malformed("the salt isn't base64"))?;
        let iterations = attribute(attributes.next(), "i=")?.parse();
        let iterations: u32 = iterations.map_err(|_| ScramError::Malformed("the iterations aren't a number"))?;
        if nonce.strip_prefix(&self.nonce).is_none_or(str::is_empty) {
            return Err(ScramError::Nonce);
        }
        let count = NonZeroU32::new(iterations).filter(|count| (LEAST..=MOST).contains(&count.get()));
        let count = count.ok_or(ScramError::Iterations(iterations))?;

        let Hash { digest: algorithm, hmac: mac, pbkdf2 } = self.hash;
        let mut salted = vec![0; algorithm.output_len()];
        pbkdf2::derive(pbkdf2, count, &salt, password.as_bytes(), &mut salted);
        let salted = hmac::Key::new(mac, &salted);
        let client_key = hmac::sign(&salted, b"Client Key");
        let stored_key = digest::digest(algorithm, client_key.as_ref());
        let server_key = hmac::sign(&salted, b"Server Key");

        let unproven = format!("c={BINDING},r={nonce}");
        let signed = format!("{},{challenge},{unproven}", self.bare);
        let signature = hmac::sign(&hmac::Key::new(mac, stored_key.as_ref()), signed.as_bytes());
        let proof: Vec<_> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(key, sign)| key ^ sign).collect();
        let message = format!("{unproven},p={}", STANDARD.encode(proof));
        Ok(Proof { message, signed, key: hmac::Key::new(mac, server_key.as_ref()) })
    }
}

impl Proof {
    /// Makes sure that the broker knows what was made of the password, by its last message.
    pub(super) fn verify(&self, verdict: &[u8]) -> Result<(), ScramError> {
        let first = text(verdict)?.split(',').next();
        let signature = STANDARD.decode(attribute(first, "v=")?);
        let signature = signature.map_err(|_| ScramError::Malformed("the signature isn't base64"))?;
        // It compares in constant time.
        hmac::verify(&self.key, self.signed.as_bytes(), &signature).map_err(|_| ScramError::Signature)
    }
}

fn text(message: &[u8]) -> Result<&str, ScramError> {
    std::str::from_utf8(message).map_err(|_| ScramError::Malformed("it isn't text"))
}

/// The value of an attribute whose place it is. In any place there may be an error instead; and what is there before the
/// nonce would have to be understood.
fn attribute<'a>(attribute: Option<&'a str>, name: &'static str) -> Result<&'a str, ScramError> {
    let attribute = attribute.unwrap_or_default();
    if let Some(error) = attribute.strip_prefix("e=") {
        return Err(ScramError::Refused(error.to_owned()));
    }
    attribute.strip_prefix(name).ok_or(ScramError::Malformed(match name {
        "r=" => "there is no nonce",
        "s=" => "there is no salt",
        "i=" => "there is no number of iterations",
        _ => "there is no signature",
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    /// The example of RFC 7677.
    const CHALLENGE: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const PROOF: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                         p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    const VERDICT: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn user() -> Scram {
        Scram::with_nonce(SHA_256, "user", NONCE.into())
    }

    fn refused(challenge: &str) -> ScramError {
        user().prove("pencil", challenge.as_bytes()).err().unwrap()
    }

    #[test]
    fn the_example_of_the_rfc_comes_out() {
        assert_eq!(user().first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let proof = user().prove("pencil", CHALLENGE.as_bytes()).unwrap();
        assert_eq!(proof.message, PROOF);
        proof.verify(VERDICT.as_bytes()).unwrap();
        proof.verify(format!("{VERDICT},x=extension").as_bytes()).unwrap();
    }

    /// The RFC has no example of it: this one was computed by Python's `hashlib` and `hmac`.
    #[test]
    fn sha_512_does_the_same() {
        let challenge = "r=rOprNGfwEbeRWgbNEkqO02431b08-2f89-4bad-a4e6-80c0564ec865,\
                         s=Yin2FuHTt/M0kJWb0t9OI32n2VmOGi3m+JfjOvuDF88=,i=4096";
        let scram = Scram::with_nonce(SHA_512, "user", NONCE.into());
        let proof = scram.prove("pencil", challenge.as_bytes()).unwrap();
        let expected = "c=biws,r=rOprNGfwEbeRWgbNEkqO02431b08-2f89-4bad-a4e6-80c0564ec865,p=Hc5yec3NmCD7t+kFRw4/\
                        3yD6/F3SQHc7AVYschRja+Bc3sbdjlA0eH1OjJc0DD4ghn1tnXN5/Wr6qm9xmaHt4A==";
        assert_eq!(proof.message, expected);
        let verdict = "v=BQuhnKHqYDwQWS5jAw4sZed+C9KFUALsbrq81bB0mh+bcUUbbMPNNmBIupnS2AmyyDnG5CTBQtkjJ9kyY4kzmw==";
        proof.verify(verdict.as_bytes()).unwrap();
    }

    #[test]
    fn what_separates_is_escaped_in_a_name() {
        let scram = Scram::with_nonce(SHA_256, "a=b,c", NONCE.into());
        assert_eq!(scram.first(), format!("n,,n=a=3Db=2Cc,r={NONCE}"));
    }

    #[test]
    fn each_login_has_a_nonce_of_its_own() {
        let first = || Scram::new(SHA_256, "user").unwrap().first();
        let (one, other) = (first(), first());
        assert_ne!(one, other);
        assert!(one.len() > "n,,n=user,r=".len() + NONCE.len(), "{one}");
    }

    #[test]
    fn a_challenge_that_is_none_is_refused() {
        assert_eq!(refused("e=unknown-user"), ScramError::Refused("unknown-user".into()));
        assert_eq!(refused(&CHALLENGE.replace("r=rO", "r=xO")), ScramError::Nonce);
        assert_eq!(refused(&format!("r={NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")), ScramError::Nonce);
        for (iterations, number) in [("i=4095", 4095), ("i=0", 0), ("i=1000001", 1_000_001)] {
            assert_eq!(refused(&CHALLENGE.replace("i=4096", iterations)), ScramError::Iterations(number));
        }
        let malformed = [
            "",
            "m=mandatory,r=rOprNGfwEbeRWgbNEkqO0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=rOprNGfwEbeRWgbNEkqO0,i=4096",
            "r=rOprNGfwEbeRWgbNEkqO0,s=-,i=4096",
            "r=rOprNGfwEbeRWgbNEkqO0,s=W22ZaJ0SNY7soEsUEjb6gQ==",
            "r=rOprNGfwEbeRWgbNEkqO0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=-4096",
            "r=rOprNGfwEbeRWgbNEkqO0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=99999999999",
        ];
        for challenge in malformed {
            assert!(matches!(refused(challenge), ScramError::Malformed(_)), "{challenge}");
        }
        assert!(matches!(user().prove("pencil", &[0xff]), Err(ScramError::Malformed(_))));
    }

    #[test]
    fn a_broker_that_does_not_know_the_password_is_refused() {
        let proof = user().prove("pen", CHALLENGE.as_bytes()).unwrap();
        assert_ne!(proof.message, PROOF);
        assert_eq!(proof.verify(VERDICT.as_bytes()), Err(ScramError::Signature));
        assert_eq!(proof.verify(b"v="), Err(ScramError::Signature));
        assert_eq!(proof.verify(b"e=invalid-proof"), Err(ScramError::Refused("invalid-proof".into())));
        for verdict in ["", "v=-", "x=1,v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="] {
            assert!(matches!(proof.verify(verdict.as_bytes()), Err(ScramError::Malformed(_))), "{verdict}");
        }
    }
}
