//! Jars in the user's cache, fetched once with Maven: Kafka's, and those of services that tests start.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::Error;

/// The jars of one release of something, as Maven knows them.
#[derive(Clone, Copy, Debug)]
pub struct Package {
    /// What people call it.
    pub title: &'static str,
    /// What its folder is called, before its version.
    pub name: &'static str,
    /// Which release.
    pub version: &'static str,
    /// What is fetched, with all that it needs: `group:artifact:version`.
    pub artifacts: &'static [&'static str],
}

/// Kafka, its tools (which format the storage), and a logger that writes to standard error.
pub const KAFKA: Package = Package {
    title: "Kafka",
    name: "kafka",
    version: "4.1.0",
    artifacts: &[
        "org.apache.kafka:kafka_2.13:4.1.0",
        "org.apache.kafka:kafka-tools:4.1.0",
        "org.slf4j:slf4j-simple:1.7.36",
    ],
};

const MAVEN: &str = "mvn";
const MISSING_MAVEN: Error = Error::Missing {
    tool: MAVEN,
    how: "install Apache Maven (Debian: apt install maven; macOS: brew install maven); it fetches Kafka, once",
};

impl Package {
    /// The folder in the cache.
    fn folder(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }

    /// What Maven is given.
    fn pom(&self) -> String {
        let dependency = |artifact: &&str| {
            let mut parts = artifact.splitn(3, ':');
            let mut part = |name| format!("<{name}>{}</{name}>", parts.next().unwrap_or_default());
            format!("    <dependency>{}{}{}</dependency>\n", part("groupId"), part("artifactId"), part("version"))
        };
        let dependencies: String = self.artifacts.iter().map(dependency).collect();
        format!(
            r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>agentworks</groupId>
  <artifactId>{}</artifactId>
  <version>1</version>
  <dependencies>
{dependencies}  </dependencies>
  <build><plugins><plugin>
    <groupId>org.apache.maven.plugins</groupId><artifactId>maven-dependency-plugin</artifactId><version>3.8.1</version>
  </plugin></plugins></build>
</project>
"#,
            self.name
        )
    }
}

/// The jars of a package, in one folder.
#[derive(Clone, Debug)]
pub struct Jars {
    folder: PathBuf,
}

impl Jars {
    /// The jars in `cache` (see [`default_cache`]); fetched there if this is the first time (of Kafka: 54 MB). Blocks
    /// meanwhile.
    ///
    /// The folder appears whole or not at all, and of two processes that want it at once, one waits for the other.
    ///
    /// # Errors
    /// [`Error::Missing`] without Maven, [`Error::Fetch`] with what Maven said, [`Error::Io`] if the cache can't be
    /// written.
    pub fn find_or_fetch(cache: &Path, package: &Package) -> Result<Jars, Error> {
        Self::find_or(cache, package, |folder| fetch(folder, package))
    }

    fn find_or(cache: &Path, package: &Package, fetch: impl FnOnce(&Path) -> Result<(), Error>) -> Result<Jars, Error> {
        let name = package.folder();
        let cache = &std::path::absolute(cache).map_err(Error::io("resolve", cache))?;
        let folder = cache.join(&name);
        if folder.is_dir() {
            return Ok(Jars { folder });
        }
        fs::create_dir_all(cache).map_err(Error::io("create", cache))?;
        let path = cache.join(format!("{name}.lock"));
        let lock = File::create(&path).map_err(Error::io("create", &path))?;
        lock.lock().map_err(Error::io("lock", &path))?;
        if !folder.is_dir() {
            let part = cache.join(format!("{name}.part"));
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
    pub fn class_path(&self) -> PathBuf {
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

fn fetch(folder: &Path, package: &Package) -> Result<(), Error> {
    let title = package.title;
    tracing::info!(version = package.version, "fetching {title} with Maven; this happens once");
    let pom = folder.join("pom.xml");
    fs::write(&pom, package.pom()).map_err(Error::io("write", &pom))?;
    let result = Command::new(MAVEN)
        .args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=."])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output();
    match result {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(Error::Fetch { title, reason: complaint(&output) }),
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
        let failed = Jars::find_or(cache.path(), &KAFKA, |part| {
            fs::write(part.join("half.jar"), "").unwrap();
            Err(Error::Fetch { title: "Kafka", reason: "connection refused".into() })
        });
        assert_eq!(failed.unwrap_err().to_string(), "could not fetch Kafka with Maven: connection refused");
        let jars = Jars::find_or(cache.path(), &KAFKA, |part| {
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
                    let jars = Jars::find_or(cache.path(), &KAFKA, |part| {
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
        let pom = KAFKA.pom();
        assert_eq!(pom.matches(&format!("<version>{}</version></dependency>", KAFKA.version)).count(), 2);
        let logger = "<groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version>";
        assert!(pom.contains(&format!("    <dependency>{logger}</dependency>\n")), "{pom}");
    }
}
