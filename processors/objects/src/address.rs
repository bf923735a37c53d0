//! Addresses of stores.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use url::Url;

use crate::error::ObjectsError;

/// Where objects are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectsConfig {
    /// A folder (`/var/lib/agentworks/objects` or `file:///…`), or `s3://bucket/prefix`.
    pub url: String,
    /// For `s3://` alone.
    #[serde(default)]
    pub s3: S3Options,
}

impl ObjectsConfig {
    /// A store at `url`, without options.
    pub fn at(url: impl Into<String>) -> Self {
        ObjectsConfig { url: url.into(), s3: S3Options::default() }
    }
}

/// How to speak to S3. What is absent is taken from the environment as AWS's own tools do it (`AWS_REGION`, profiles of
/// instances and the like).
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct S3Options {
    /// The server, if it isn't AWS: `https://minio.example:9000`.
    pub endpoint: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// The id of the key.
    pub access_key_id: Option<String>,
    /// The key. It is never shown.
    #[serde(skip_serializing)]
    pub secret_access_key: Option<String>,
    /// The token of a session, with keys that last for a while. It is never shown.
    #[serde(skip_serializing)]
    pub session_token: Option<String>,
    /// Whether `endpoint` may be without TLS.
    pub allow_http: bool,
}

impl std::fmt::Debug for S3Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Options")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("access_key_id", &self.access_key_id)
            .field("allow_http", &self.allow_http)
            .finish_non_exhaustive()
    }
}

/// An address that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Folder(PathBuf),
    S3 { bucket: String, prefix: String },
}

impl Address {
    pub(crate) fn parse(text: &str) -> Result<Self, ObjectsError> {
        let wrong = |reason| ObjectsError::Url { url: without_secrets(text), reason };
        if text.is_empty() {
            return Err(wrong("it is empty"));
        }
        let Some((scheme, _)) = text.split_once("://") else { return Ok(Address::Folder(text.into())) };
        let url = Url::parse(text).map_err(|_| wrong("it is no URL"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("keys don't belong in a URL, which is logged: they are options of their own"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("it takes no query and no fragment: settings are options of their own"));
        }
        match scheme {
            "file" => match url.to_file_path() {
                Ok(path) if path != Path::new("/") => Ok(Address::Folder(path)),
                Ok(_) => Err(wrong("it names no folder")),
                Err(()) => Err(wrong("a file URL has three slashes and an absolute path")),
            },
            "s3" => {
                let bucket = url.host_str().filter(|host| !host.is_empty()).ok_or(wrong("it names no bucket"))?;
                if url.port().is_some() {
                    return Err(wrong("a bucket has no port: the server's address is the option endpoint"));
                }
                Ok(Address::S3 { bucket: bucket.to_owned(), prefix: url.path().trim_matches('/').to_owned() })
            }
            _ => Err(wrong("the scheme is unknown")),
        }
    }
}

/// A URL without what might be a secret.
fn without_secrets(text: &str) -> String {
    let (scheme, rest) = text.split_once("://").map_or(("", text), |(scheme, rest)| (scheme, rest));
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let host = authority.rsplit('@').next().unwrap_or_default();
    if scheme.is_empty() { format!("{host}{path}") } else { format!("{scheme}://{host}{path}") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn folders_and_buckets_are_understood() {
        let s3 = |bucket: &str, prefix: &str| Address::S3 { bucket: bucket.into(), prefix: prefix.into() };
        for (text, address) in [
            ("/var/lib/x", Address::Folder("/var/lib/x".into())),
            ("relative/x", Address::Folder("relative/x".into())),
            ("file:///var/lib/a%20b", Address::Folder("/var/lib/a b".into())),
            ("s3://bucket", s3("bucket", "")),
            ("s3://bucket/", s3("bucket", "")),
            ("s3://bucket/a/b/", s3("bucket", "a/b")),
        ] {
            assert_eq!(Address::parse(text).unwrap(), address, "{text}");
        }
    }

    #[test]
    fn what_is_refused_is_named_without_its_secrets() {
        for text in [
            "",
            "s3://",
            "s3://key:secret@bucket/x",
            "s3://bucket/x?secret=1",
            "s3://bucket:9000/x",
            "file://host/x",
            "file:///",
            "gs://bucket",
            "https://bucket/x",
        ] {
            let error = Address::parse(text).unwrap_err().to_string();
            assert!(!error.contains("secret=") && !error.contains(":secret"), "{error}");
            assert!(error.contains("s3://bucket/prefix"), "{error}");
        }
    }

    #[test]
    fn options_are_shown_without_secrets() {
        let s3 = S3Options {
            access_key_id: Some("id".into()),
            secret_access_key: Some("hush".into()),
            session_token: Some("hush".into()),
            ..S3Options::default()
        };
        assert!(!format!("{s3:?}").contains("hush"));
    }
}
