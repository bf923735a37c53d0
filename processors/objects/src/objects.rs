//! The open store.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ClientOptions, Error, ObjectStore, ObjectStoreExt, PutMode, RetryConfig};
use url::Url;

use crate::address::{Address, ObjectsConfig, S3Options};
use crate::error::ObjectsError;
use crate::staged;

/// How long a call may be tried again by the client itself. Whoever calls has retries of its own, with a longer breath.
const RETRY: Duration = Duration::from_secs(20);
const RETRIES: usize = 4;
/// How long a request may take: a whole split of some hundred MB over a slow line.
const TIMEOUT: Duration = Duration::from_secs(120);
/// The bytes of a part of a large object.
const PART: usize = 16 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A store and the prefix in it under which our objects lie. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    url: Url,
}

/// What became of an object that was to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// It is there now, with our contents: made by this call, or by an earlier attempt whose answer got lost.
    Ours,
    /// There is one with other contents.
    Taken,
}

impl Objects {
    /// Opens the store. A local folder is made if it isn't there; what it then holds is synced to the disk before a write
    /// returns. S3 isn't asked anything yet.
    ///
    /// # Errors
    /// If the URL or an option is wrong, or the folder can't be used.
    pub fn open(config: &ObjectsConfig) -> Result<Self, ObjectsError> {
        match Self::address(config)? {
            Address::Folder(folder) => Self::folder(&folder),
            Address::S3 { bucket, prefix } => Self::s3(&bucket, &prefix, &config.s3),
        }
    }

    /// Whether a store could be opened, as far as the URL and the options say. Nothing is made, and nobody is asked.
    ///
    /// # Errors
    /// If the URL or an option is wrong.
    pub fn check(config: &ObjectsConfig) -> Result<(), ObjectsError> {
        match Self::address(config)? {
            Address::Folder(_) => Ok(()),
            Address::S3 { bucket, prefix } => Self::s3(&bucket, &prefix, &config.s3).map(drop),
        }
    }

    fn address(config: &ObjectsConfig) -> Result<Address, ObjectsError> {
        let address = Address::parse(&config.url)?;
        if let (Address::Folder(folder), true) = (&address, config.s3 != S3Options::default()) {
            let reason = "is for s3://bucket/prefix; remove it, or the folder".into();
            return Err(ObjectsError::Option { url: folder.display().to_string(), option: "s3", reason });
        }
        Ok(address)
    }

    /// Opens a local folder, which is made if it isn't there.
    ///
    /// # Errors
    /// If it can't be used.
    pub fn folder(folder: &std::path::Path) -> Result<Self, ObjectsError> {
        let wrong = |error| ObjectsError::Folder { folder: folder.to_owned(), error };
        std::fs::create_dir_all(folder).map_err(wrong)?;
        let absolute = folder.canonicalize().map_err(wrong)?;
        let refused = || ObjectsError::Url { url: folder.display().to_string(), reason: "its path is not UTF-8" };
        let prefix = Path::from_absolute_path(&absolute)
            .map_err(|error| wrong(std::io::Error::new(std::io::ErrorKind::InvalidFilename, error)))?;
        let url = Url::from_directory_path(&absolute).map_err(|()| refused())?;
        Ok(Objects { store: Arc::new(LocalFileSystem::new().with_fsync(true)), prefix, url })
    }

    fn s3(bucket: &str, prefix: &str, options: &S3Options) -> Result<Self, ObjectsError> {
        let shown = format!("s3://{bucket}/{prefix}");
        let wrong = |option, reason: &str| ObjectsError::Option { url: shown.clone(), option, reason: reason.into() };
        let S3Options { endpoint, region, access_key_id, secret_access_key, session_token, allow_http } = options;
        if endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://")) && !allow_http {
            let reason = "is without TLS; use https://, or set allow_http where the network may be trusted";
            return Err(wrong("endpoint", reason));
        }
        if endpoint
            .as_ref()
            .is_some_and(|endpoint| !endpoint.starts_with("http://") && !endpoint.starts_with("https://"))
        {
            return Err(wrong("endpoint", "begins with neither https:// nor http://"));
        }
        match (access_key_id, secret_access_key) {
            (Some(_), None) => return Err(wrong("secret_access_key", "is missing beside access_key_id")),
            (None, Some(_)) => return Err(wrong("access_key_id", "is missing beside secret_access_key")),
            (None, None) if session_token.is_some() => {
                return Err(wrong("session_token", "needs access_key_id and secret_access_key"));
            }
            _ => {}
        }
        let client = ClientOptions::new().with_timeout(TIMEOUT).with_connect_timeout(CONNECT_TIMEOUT);
        let retry = RetryConfig { max_retries: RETRIES, retry_timeout: RETRY, ..RetryConfig::default() };
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_client_options(client)
            .with_allow_http(*allow_http)
            .with_retry(retry)
            // What positions are made exclusive by.
            .with_conditional_put(S3ConditionalPut::ETagMatch);
        if let Some(endpoint) = endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        if let Some(region) = region {
            builder = builder.with_region(region);
        }
        if let (Some(id), Some(secret)) = (access_key_id, secret_access_key) {
            builder = builder.with_access_key_id(id).with_secret_access_key(secret);
        }
        if let Some(token) = session_token {
            builder = builder.with_token(token);
        }
        let store = builder.build().map_err(|error| ObjectsError::Open { url: shown.clone(), error })?;
        let refused = || ObjectsError::Url { url: shown.clone(), reason: "the prefix has an empty or forbidden part" };
        let path = Path::from_url_path(prefix).map_err(|_| refused())?;
        let slash = if prefix.is_empty() { "" } else { "/" };
        let url = Url::parse(&format!("s3://{bucket}/{prefix}{slash}")).map_err(|_| refused())?;
        Ok(Objects { store: Arc::new(store), prefix: path, url })
    }

    /// A store of one's own, whose objects lie under `prefix`; `url` is what it is called in messages.
    pub fn of(store: Arc<dyn ObjectStore>, prefix: Path, url: Url) -> Self {
        Objects { store, prefix, url }
    }

    /// The same objects, through another store in front of this one.
    pub fn through(&self, wrap: impl FnOnce(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore>) -> Self {
        Objects { store: wrap(self.store.clone()), ..self.clone() }
    }

    /// The objects below `name`, as a store of their own.
    pub fn child(&self, name: &str) -> Self {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(name.split('/').filter(|part| !part.is_empty())).push("");
        }
        Objects { store: self.store.clone(), prefix: self.path(name), url }
    }

    /// The store. Paths in it begin with [`Objects::prefix`].
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// Under which our objects lie.
    pub fn prefix(&self) -> &Path {
        &self.prefix
    }

    /// Where our objects lie, with a slash at the end. There are no secrets in it. Its path is the prefix.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Deletes what writes that were killed have left half written in a folder, and that was last written to before then.
    /// Returns how many files that were; a bucket has none.
    ///
    /// # Errors
    /// If the folder can't be read.
    pub async fn sweep(&self, before: SystemTime) -> Result<u64, ObjectsError> {
        let Some(folder) = (self.url.scheme() == "file").then(|| self.url.to_file_path().ok()).flatten() else {
            return Ok(0);
        };
        let swept = {
            let folder = folder.clone();
            tokio::task::spawn_blocking(move || staged::sweep(&folder, before)).await
        };
        swept.map_err(std::io::Error::other).flatten().map_err(|error| ObjectsError::Folder { folder, error })
    }

    /// The path in the store of our object `name`, which may have slashes.
    pub fn path(&self, name: &str) -> Path {
        self.prefix.parts().chain(Path::from(name).parts()).collect()
    }

    /// Writes an object, over what is there.
    ///
    /// # Errors
    /// The store's.
    pub async fn put(&self, name: &str, contents: Bytes) -> Result<(), ObjectsError> {
        self.store.put(&self.path(name), contents.into()).await.map(drop).map_err(self.error())
    }

    /// Writes an object that may be large, over what is there: in parts, if it has many bytes.
    ///
    /// # Errors
    /// The store's; then nothing of it is there under its name.
    pub async fn put_large(&self, name: &str, contents: Bytes) -> Result<(), ObjectsError> {
        if contents.len() <= PART {
            return self.put(name, contents).await;
        }
        let mut upload = self.store.put_multipart(&self.path(name)).await.map_err(self.error())?;
        let parts = (0..contents.len()).step_by(PART).map(|at| contents.slice(at..contents.len().min(at + PART)));
        let mut result = Ok(());
        for part in parts {
            result = upload.put_part(part.into()).await;
            if result.is_err() {
                break;
            }
        }
        match result {
            Ok(()) => upload.complete().await.map(drop).map_err(self.error()),
            Err(error) => {
                // What stays of it, the store's own rules for unfinished uploads remove.
                let _ = upload.abort().await;
                Err(self.error()(error))
            }
        }
    }

    /// The local file that an object is, if the store is a folder.
    pub fn file(&self, name: &str) -> Option<std::path::PathBuf> {
        // The library makes a path of any URL without a host.
        let folder = Some(&self.url).filter(|url| url.scheme() == "file")?.to_file_path().ok()?;
        Some(folder.join(name))
    }

    /// Makes an object that must not be there. Of several that try, one succeeds; so contents are to be such that no
    /// other would write the same. After an error, it may be there all the same: call again.
    ///
    /// # Errors
    /// The store's.
    pub async fn create(&self, name: &str, contents: Bytes) -> Result<Created, ObjectsError> {
        let path = self.path(name);
        match self.store.put_opts(&path, contents.clone().into(), PutMode::Create.into()).await {
            Ok(_) => Ok(Created::Ours),
            // A client that tries again by itself may meet what its own first attempt wrote.
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {
                let found = self.get(name).await?;
                Ok(if found == contents { Created::Ours } else { Created::Taken })
            }
            Err(error) => Err(self.error()(error)),
        }
    }

    /// Reads a whole object.
    ///
    /// # Errors
    /// The store's; see [`ObjectsError::is_not_found`].
    pub async fn get(&self, name: &str) -> Result<Bytes, ObjectsError> {
        let result = self.store.get(&self.path(name)).await.map_err(self.error())?;
        result.bytes().await.map_err(self.error())
    }

    /// Deletes an object; one that isn't there is no error.
    ///
    /// # Errors
    /// The store's.
    pub async fn delete(&self, name: &str) -> Result<(), ObjectsError> {
        match self.store.delete(&self.path(name)).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.error()(error)),
        }
    }

    /// Says of an error of the store where it happened.
    pub fn error(&self) -> impl Fn(Error) -> ObjectsError + use<> {
        let url = self.url.to_string();
        move |error| ObjectsError::Store { url: url.clone(), error }
    }
}

impl fmt::Display for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

#[cfg(test)]
mod tests;
