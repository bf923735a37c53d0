//! Kafka's jars in the user's cache, fetched once with Maven.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::Error;

/// Which Kafka.
pub const VERSION: &str = "4.1.0";

const MAVEN: &str = "mvn";
const MISSING_MAVEN: Error = Error::Missing {
    tool: MAVEN,
    how: "install Apache Maven (Debian: apt install maven; macOS: brew install maven); it fetches Kafka, once",
};

/// What Maven copies: the broker, its tools (which format the storage), and a logger that writes to standard error.
const POM: &str = r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>agentworks</groupId>
  <artifactId>kafka</artifactId>
  <version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>4.1.0</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>4.1.0</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
  <build><plugins><plugin>
    <groupId>org.apache.maven.plugins</groupId><artifactId>maven-dependency-plugin</artifactId><version>3.8.1</version>
  </plugin></plugins></build>
</project>
"#;

/// The jars of one version of Kafka, in one folder.
#[derive(Clone, Debug)]
pub struct Jars {
    folder: PathBuf,
}

impl Jars {
    /// The jars in `cache` (see [`default_cache`]); fetched there (54 MB) if this is the first time. Blocks meanwhile.
    ///
    /// The folder appears whole or not at all, and of two processes that want it at once, one waits for the other.
    ///
    /// # Errors
    /// [`Error::Missing`] without Maven, [`Error::Fetch`] with what Maven said, [`Error::Io`] if the cache can't be
    /// written.
    pub fn find_or_fetch(cache: &Path) -> Result<Jars, Error> {
        Self::find_or(cache, fetch)
    }

    fn find_or(cache: &Path, fetch: impl FnOnce(&Path) -> Result<(), Error>) -> Result<Jars, Error> {
        let cache = &std::path::absolute(cache).map_err(Error::io("resolve", cache))?;
        let folder = cache.join(format!("kafka-{VERSION}"));
        if folder.is_dir() {
            return Ok(Jars { folder });
        }
        fs::create_dir_all(cache).map_err(Error::io("create", cache))?;
        let path = cache.join(format!("kafka-{VERSION}.lock"));
        let lock = File::create(&path).map_err(Error::io("create", &path))?;
        lock.lock().map_err(Error::io("lock", &path))?;
        if !folder.is_dir() {
            let part = cache.join(format!("kafka-{VERSION}.part"));
            match fs::remove_dir_all(&part) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::io("remove", &part)(error)),
                _ => fs::create_dir(&part).map_err(Error::io("create", &part))?,
            }
            fetch(&part)?;
            fs::rename(&part, &folder).map_err(Error::io("create", &folder))?;
        }
        Ok(Jars { folder })
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What `java -cp` takes.
    pub(crate) fn class_path(&self) -> PathBuf {
        self.folder.join("*")
    }
}

/// The cache of this user: `AGENTWORKS_CACHE`, or else `agentworks` in `XDG_CACHE_HOME` or in `~/.cache`.
pub fn default_cache() -> PathBuf {
    let folder = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    folder("AGENTWORKS_CACHE")
        .or_else(|| folder("XDG_CACHE_HOME").map(|cache| cache.join("agentworks")))
        .or_else(|| folder("HOME").map(|home| home.join(".cache").join("agentworks")))
        .unwrap_or_else(|| std::env::temp_dir().join("agentworks"))
}

fn fetch(folder: &Path) -> Result<(), Error> {
    tracing::info!(version = VERSION, "fetching Kafka with Maven; this happens once");
    let pom = folder.join("pom.xml");
    fs::write(&pom, POM).map_err(Error::io("write", &pom))?;
    let result = Command::new(MAVEN)
        .args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=."])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output();
    match result {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(Error::Fetch(complaint(&output))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(MISSING_MAVEN),
        Err(error) => Err(Error::io("run", MAVEN)(error)),
    }
}

/// The first lines that Maven marks as errors: they say what is wrong, the later ones where to read about Maven.
fn complaint(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<_> = text.lines().filter(|line| line.contains("ERROR")).take(3).collect();
    if lines.is_empty() { output.status.to_string() } else { lines.join("\n") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn a_fetch_that_failed_leaves_nothing_that_is_taken_for_kafka() {
        let cache = tempfile::tempdir().unwrap();
        let failed = Jars::find_or(cache.path(), |part| {
            fs::write(part.join("half.jar"), "").unwrap();
            Err(Error::Fetch("connection refused".into()))
        });
        assert_eq!(failed.unwrap_err().to_string(), "could not fetch Kafka with Maven: connection refused");
        let jars = Jars::find_or(cache.path(), |part| {
            assert_eq!(fs::read_dir(part).unwrap().count(), 0, "the half-fetched jars are gone");
            fs::write(part.join("whole.jar"), "").unwrap();
            Ok(())
        });
        assert!(jars.unwrap().folder().join("whole.jar").exists());
    }

    #[test]
    fn several_at_once_fetch_once() {
        let cache = tempfile::tempdir().unwrap();
        let fetches = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let jars = Jars::find_or(cache.path(), |part| {
                        fetches.fetch_add(1, Ordering::Relaxed);
                        fs::write(part.join("whole.jar"), "").unwrap();
                        Ok(())
                    });
                    assert!(jars.unwrap().folder().join("whole.jar").exists());
                });
            }
        });
        assert_eq!(fetches.into_inner(), 1);
    }

    #[test]
    fn the_pom_asks_for_the_version_that_the_folder_is_named_after() {
        assert_eq!(POM.matches(&format!("<version>{VERSION}</version>")).count(), 2);
    }
}
