//! The secret that tokens are signed with.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The environment variable that a secret is taken from.
pub const SECRET_VARIABLE: &str = "AGENTWORKS_JWT_SECRET";

/// The fewest bytes a secret may have: as many as the hash that it keys (RFC 7518, 3.2).
pub const MIN_SECRET: usize = 32;

/// A secret shared by whoever mints tokens and whoever verifies them. It can't be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// There is no usable secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It is too short to be safe.
    #[error(
        "{origin} holds a secret of {length} bytes; it needs at least {MIN_SECRET}: `openssl rand -hex 32` makes one"
    )]
    TooShort {
        /// Where it came from.
        origin: String,
        /// How long it is, in bytes.
        length: usize,
    },
    /// Its file can't be read or written.
    #[error("the secret's file {}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

impl Secret {
    /// Takes a secret. `origin` says where it came from, for the error: `--secret-file`, a variable's name.
    pub fn new(bytes: impl Into<Vec<u8>>, origin: &str) -> Result<Self, SecretError> {
        let bytes = bytes.into();
        if bytes.len() < MIN_SECRET {
            return Err(SecretError::TooShort { origin: origin.to_owned(), length: bytes.len() });
        }
        Ok(Secret(bytes))
    }

    /// Takes the secret from [`SECRET_VARIABLE`]; `None` if that isn't set.
    pub fn from_env() -> Result<Option<Self>, SecretError> {
        use std::os::unix::ffi::OsStringExt;
        std::env::var_os(SECRET_VARIABLE).map(|value| Secret::new(value.into_vec(), SECRET_VARIABLE)).transpose()
    }

    /// Reads the secret from a file. White space at its ends doesn't count, so that an editor's newline does no harm.
    pub fn from_file(path: &Path) -> Result<Self, SecretError> {
        let bytes = fs::read(path).map_err(|error| SecretError::File { path: path.to_owned(), error })?;
        Secret::new(bytes.trim_ascii(), &path.display().to_string())
    }

    /// Reads the secret from a file; if there is none, makes one that only this user may read. For a service that is on
    /// its own in its data folder.
    pub fn from_file_or_new(path: &Path) -> Result<Self, SecretError> {
        match Secret::from_file(path) {
            Err(SecretError::File { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                let secret = Secret::random();
                secret.write(path).map_err(|error| SecretError::File { path: path.to_owned(), error })?;
                Ok(secret)
            }
            read => read,
        }
    }

    /// A secret from the system's random numbers: 64 hexadecimal digits with 244 random bits.
    pub fn random() -> Self {
        Secret(format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple()).into_bytes())
    }

    /// The file appears whole or not at all, so that a crash leaves no short secret behind.
    fn write(&self, path: &Path) -> io::Result<()> {
        let partial = path.with_extension("partial");
        let mut file: File = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
        file.write_all(&self.0)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&partial, path)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_short_secret_is_refused_by_name_and_length() {
        let error = Secret::new("too short", "AGENTWORKS_JWT_SECRET").unwrap_err().to_string();
        assert!(error.contains("AGENTWORKS_JWT_SECRET") && error.contains("9 bytes"), "{error}");
        assert!(!error.contains("too short"), "{error}");
    }

    #[test]
    fn nothing_prints_it() {
        let secret = Secret::new("0123456789abcdef0123456789abcdef", "here").unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    }

    #[test]
    fn a_file_is_made_once_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jwt.secret");
        let made = Secret::from_file_or_new(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Secret::from_file_or_new(&path).unwrap(), made);
        assert_eq!(Secret::from_file(&path).unwrap(), made);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Secret::from_file(Path::new("/nowhere/jwt.secret")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/jwt.secret"), "{error}");
    }
}
