//! What clients and verifiers are made of, with secrets read from their files.

use std::fs;
use std::path::{Path, PathBuf};

use agentworks_gateway::auth::{Jwks, JwksConfig, JwtAuth, Policy, Revoked, Secret};
use agentworks_kafka::{FetchBy, KafkaSettings};
use agentworks_objects::{Objects, ObjectsConfig, S3Options};
use agentworks_schemas::Topics;
use agentworks_search::remote::PeerKey;
use agentworks_store_cql::{ConfigError, CqlConfig, Password};

use super::fault::Fault;
use super::forms::Hidden;
use super::load::Loaded;

/// How many bytes `search.secret` must have.
pub(super) const PEER_SECRET: usize = 32;

/// Where the store is.
#[derive(Clone, Debug)]
pub(crate) enum StoreAddress {
    /// A folder that one process has to itself.
    Embedded(PathBuf),
    /// A keyspace, which all processes share.
    Cql(Box<CqlConfig>),
}

impl Loaded {
    /// What clients of Kafka need.
    ///
    /// # Errors
    /// If a secret's file can't be read.
    pub(crate) fn kafka(&self) -> Result<KafkaSettings, Fault> {
        let kafka = &self.config.kafka;
        let mut extra = Vec::new();
        let mut set = |name: &str, value: &str| extra.push((name.to_owned(), value.to_owned()));
        set("security.protocol", &kafka.security_protocol);
        if kafka.security_protocol.starts_with("sasl_") {
            set("sasl.mechanism", &kafka.sasl_mechanism);
            set("sasl.username", &kafka.sasl_username);
            let password = self.secret("kafka.sasl_password", &kafka.sasl_password, &kafka.sasl_password_file)?;
            set("sasl.password", password.as_ref().map_or("", Hidden::expose));
        }
        let files = [
            ("ssl.ca.location", &kafka.ca_file),
            ("ssl.certificate.location", &kafka.certificate_file),
            ("ssl.key.location", &kafka.key_file),
        ];
        for (name, file) in files {
            if let Some(file) = file {
                set(name, &file.display().to_string());
            }
        }
        if let Some(password) = self.secret("kafka.key_password", &kafka.key_password, &kafka.key_password_file)? {
            set("ssl.key.password", password.expose());
        }
        for (name, value) in &kafka.extra.0 {
            set(name, value.expose());
        }
        let fetch_by = match kafka.fetch_by.as_str() {
            "auto" => FetchBy::Auto,
            "librdkafka" => FetchBy::Librdkafka,
            _ => return Err(self.fault("kafka.fetch_by", "expected auto or librdkafka")),
        };
        let topics = Topics::with_prefix(&kafka.topic_prefix);
        Ok(KafkaSettings { extra, fetch_by, ..KafkaSettings::new(&kafka.brokers, topics) })
    }

    /// Where the store is.
    ///
    /// # Errors
    /// If the address is none of those we know, or the password can't be read.
    pub(crate) fn store(&self) -> Result<StoreAddress, Fault> {
        let store = &self.config.store;
        if let Some(path) = store.url.strip_prefix("embedded:").filter(|path| !path.is_empty()) {
            return Ok(StoreAddress::Embedded(path.into()));
        }
        if !store.url.starts_with("cql://") {
            return Err(self.fault("store.url", "expected embedded:PATH or cql://USER@HOST:PORT,HOST/KEYSPACE"));
        }
        let cql = store.url.parse();
        let mut cql: CqlConfig = cql.map_err(|error: ConfigError| {
            let mut fault = self.fault("store.url", error.to_string());
            // It holds one.
            fault.value = fault.value.filter(|_| error != ConfigError::Password);
            fault
        })?;
        let password = self.secret("store.password", &store.password, &store.password_file)?;
        cql.password = password.map(|password| Password::new(password.expose()));
        Ok(StoreAddress::Cql(Box::new(cql)))
    }

    /// Where objects are, if that was said; opened with `Objects::open`.
    ///
    /// # Errors
    /// If the address is none of those we know, or the key can't be read.
    pub(crate) fn objects(&self) -> Result<Option<ObjectsConfig>, Fault> {
        let objects = &self.config.objects;
        let Some(url) = &objects.url else { return Ok(None) };
        let key = &objects.secret_access_key;
        let secret = self.secret("objects.secret_access_key", key, &objects.secret_access_key_file)?;
        let s3 = S3Options {
            endpoint: objects.endpoint.clone(),
            region: objects.region.clone(),
            access_key_id: objects.access_key_id.clone(),
            secret_access_key: secret.map(|secret| secret.expose().to_owned()),
            session_token: None,
            allow_http: objects.allow_http,
        };
        let config = ObjectsConfig { url: url.clone(), s3 };
        Objects::check(&config).map_err(|error| self.fault("objects.url", error.to_string()))?;
        Ok(Some(config))
    }

    /// What searchers and indexers know each other by, if there is a secret for that or for tokens.
    ///
    /// # Errors
    /// If it can't be read, or it is too short.
    pub(crate) fn peers(&self) -> Result<Option<PeerKey>, Fault> {
        let (search, auth) = (&self.config.search, &self.config.auth);
        if let Some(secret) = self.secret("search.secret", &search.secret, &search.secret_file)? {
            let key = if search.secret_file.is_some() { "search.secret_file" } else { "search.secret" };
            let secret = secret.expose().as_bytes();
            if secret.len() < PEER_SECRET {
                return Err(self.fault(key, format!("it has {} bytes; give {PEER_SECRET} at least", secret.len())));
            }
            return Ok(Some(PeerKey::new(secret)));
        }
        let secret = self.secret("auth.secret", &auth.secret, &auth.secret_file)?;
        Ok(secret.map(|secret| PeerKey::derived(secret.expose().as_bytes())))
    }

    /// What verifies tokens. It begins to fetch keys, where some are published.
    ///
    /// # Errors
    /// If there is neither a secret nor an address of keys, or one of them can't be used.
    pub(crate) fn auth(&self) -> Result<JwtAuth, Fault> {
        let auth = &self.config.auth;
        let revoked = self.revoked()?;
        let policy = Policy { audience: auth.audience.clone(), issuer: auth.issuer.clone(), revoked };
        let mut verifier = JwtAuth::with_policy(policy);
        if let Some(secret) = self.known_keys()? {
            verifier = verifier.secret(&secret);
        }
        if let Some(jwks) = self.jwks() {
            let jwks = Jwks::start(&jwks).map_err(|error| self.fault("auth.jwks_url", error.to_string()))?;
            return Ok(verifier.jwks(jwks));
        }
        Ok(verifier)
    }

    /// What verifies tokens that are signed with this secret, and aren't revoked.
    ///
    /// # Errors
    /// If what is revoked can't be read.
    pub(crate) fn auth_with(&self, secret: &Secret) -> Result<JwtAuth, Fault> {
        Ok(JwtAuth::with_policy(Policy { revoked: self.revoked()?, ..Policy::default() }).secret(secret))
    }

    fn revoked(&self) -> Result<Revoked, Fault> {
        let revoked = Revoked::parse(self.config.auth.revoked.0.iter().map(String::as_str));
        revoked.map_err(|error| self.fault("auth.revoked", error.to_string()))
    }

    /// The shared secret, if there is one.
    ///
    /// # Errors
    /// If there is neither a secret nor an address of keys, or the secret can't be used.
    pub(crate) fn known_keys(&self) -> Result<Option<Secret>, Fault> {
        let secret = self.auth_secret()?;
        if secret.is_none() && self.config.auth.jwks_url.is_none() {
            let reason = "needed to verify tokens: set AGENTWORKS__AUTH__SECRET, or auth.secret_file to a file that holds it, or auth.jwks_url to where public keys are published";
            return Err(self.fault("auth.secret", reason));
        }
        Ok(secret)
    }

    fn jwks(&self) -> Option<JwksConfig> {
        let auth = &self.config.auth;
        auth.jwks_url.clone().map(|url| JwksConfig {
            url,
            insecure: auth.jwks_insecure,
            ca_file: auth.jwks_ca_file.clone(),
            refresh: auth.jwks_refresh.0,
            cooldown: auth.jwks_cooldown.0,
            max_age: auth.jwks_max_age.0,
        })
    }

    /// What tokens are signed with, if there is a shared secret.
    ///
    /// # Errors
    /// If it can't be read, or it is too short.
    pub(crate) fn auth_secret(&self) -> Result<Option<Secret>, Fault> {
        let auth = &self.config.auth;
        let Some(secret) = self.secret("auth.secret", &auth.secret, &auth.secret_file)? else { return Ok(None) };
        let key = if auth.secret_file.is_some() { "auth.secret_file" } else { "auth.secret" };
        let secret = Secret::new(secret.expose(), "it").map_err(|error| self.fault(key, error.to_string()))?;
        Ok(Some(secret))
    }

    /// Fails if there are other gateways, and this one has no name among them.
    ///
    /// # Errors
    /// Then.
    pub(crate) fn has_name(&self) -> Result<(), Fault> {
        let gateway = &self.config.gateway;
        let has_peers = !gateway.peers.0.is_empty() || gateway.peers_dns.is_some();
        if has_peers && gateway.advertise.is_none() {
            let reason = "needed where there are gateway.peers: the URL that clients reach this one by";
            return Err(self.fault("gateway.advertise", reason));
        }
        Ok(())
    }

    /// A secret that is given itself or in the file of the key with `_file` behind it.
    fn secret(&self, key: &str, value: &Option<Hidden>, file: &Option<PathBuf>) -> Result<Option<Hidden>, Fault> {
        let Some(path) = file else { return Ok(value.clone()) };
        let read = |path: &Path| fs::read_to_string(path).map(|text| Hidden::from(text.trim().to_owned()));
        let unreadable = |error| self.fault(&format!("{key}_file"), format!("the file can't be read: {error}"));
        read(path).map(Some).map_err(unreadable)
    }
}
