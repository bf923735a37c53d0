//! What clients and verifiers are made of, with secrets read from their files.

use std::fs;
use std::path::{Path, PathBuf};

use agentworks_gateway::auth::Secret;
use agentworks_kafka::KafkaSettings;
use agentworks_schemas::Topics;
use agentworks_store_cql::{ConfigError, CqlConfig, Password};

use super::fault::Fault;
use super::forms::Hidden;
use super::load::Loaded;

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
        Ok(KafkaSettings { brokers: kafka.brokers.clone(), topics: Topics::with_prefix(&kafka.topic_prefix), extra })
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
        cql.password = password.map(|password| Password::new(password.expose())).or_else(Password::from_env);
        Ok(StoreAddress::Cql(Box::new(cql)))
    }

    /// What tokens are signed with.
    ///
    /// # Errors
    /// If there is no secret, or it can't be read, or it is too short.
    pub(crate) fn auth_secret(&self) -> Result<Secret, Fault> {
        let auth = &self.config.auth;
        let Some(secret) = self.secret("auth.secret", &auth.secret, &auth.secret_file)? else {
            let reason =
                "needed to verify tokens: set AGENTWORKS__AUTH__SECRET, or auth.secret_file to a file that holds it";
            return Err(self.fault("auth.secret", reason));
        };
        let key = if auth.secret_file.is_some() { "auth.secret_file" } else { "auth.secret" };
        Secret::new(secret.expose(), "it").map_err(|error| self.fault(key, error.to_string()))
    }

    /// A secret that is given itself or in the file of the key with `_file` behind it.
    fn secret(&self, key: &str, value: &Option<Hidden>, file: &Option<PathBuf>) -> Result<Option<Hidden>, Fault> {
        let Some(path) = file else { return Ok(value.clone()) };
        let read = |path: &Path| fs::read_to_string(path).map(|text| Hidden::from(text.trim().to_owned()));
        let unreadable = |error| self.fault(&format!("{key}_file"), format!("the file can't be read: {error}"));
        read(path).map(Some).map_err(unreadable)
    }
}
