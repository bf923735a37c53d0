//! The Java that Kafka runs on.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;

/// Kafka 4 runs on this one or a later one.
const OLDEST: u32 = 17;
const HOW: &str = "install Java 17 or later (Debian: apt install openjdk-17-jre-headless; macOS: brew install openjdk@17), \
                   or point JAVA_HOME at one";

/// A Java that is recent enough.
#[derive(Clone, Debug)]
pub struct Java {
    program: PathBuf,
}

impl Java {
    /// The Java of `JAVA_HOME`, or else the one on the `PATH`.
    ///
    /// # Errors
    /// [`Error::Missing`] or [`Error::OldJava`], each saying in one line what to install.
    pub fn find() -> Result<Java, Error> {
        Self::at(program(std::env::var_os("JAVA_HOME")))
    }

    /// The Java that is this program.
    ///
    /// # Errors
    /// As [`Java::find`].
    pub fn at(program: impl Into<PathBuf>) -> Result<Java, Error> {
        let program = program.into();
        let output = match Command::new(&program).arg("-version").output() {
            Ok(output) => output,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(MISSING),
            Err(error) => return Err(Error::io("run", &program)(error)),
        };
        Self::judge(program, &String::from_utf8_lossy(&output.stderr))
    }

    /// By what it says about itself.
    fn judge(program: PathBuf, says: &str) -> Result<Java, Error> {
        // macOS has a `java` that only says that there is none.
        match version(says).ok_or(MISSING)? {
            found if found < OLDEST => Err(Error::OldJava { program, found, how: HOW }),
            _ => Ok(Java { program }),
        }
    }

    /// The program to run.
    pub fn program(&self) -> &Path {
        &self.program
    }
}

const MISSING: Error = Error::Missing { tool: "java", how: HOW };

fn program(java_home: Option<OsString>) -> PathBuf {
    match java_home {
        // Kafka is started in another folder, so a relative one has to be made absolute.
        Some(home) if !home.is_empty() => {
            let java = Path::new(&home).join("bin").join("java");
            std::path::absolute(&java).unwrap_or(java)
        }
        _ => PathBuf::from("java"),
    }
}

/// The major version in the output of `java -version`: 17 of `openjdk version "17.0.15" 2025-04-15`, 8 of `"1.8.0_392"`.
fn version(output: &str) -> Option<u32> {
    let (_, rest) = output.split_once(" version \"")?;
    let mut numbers = rest.split(|c: char| !c.is_ascii_digit());
    match numbers.next()?.parse().ok()? {
        1 => numbers.next()?.parse().ok(),
        major => Some(major),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn versions_are_read_from_what_java_prints() {
        assert_eq!(version("openjdk version \"17.0.15\" 2025-04-15\nOpenJDK Runtime"), Some(17));
        assert_eq!(version("Picked up JAVA_TOOL_OPTIONS: -Xmx1g\njava version \"1.8.0_392\""), Some(8));
        assert_eq!(version("openjdk version \"21-ea\" 2023-09-19"), Some(21));
        assert_eq!(version("The operation couldn't be completed. Unable to locate a Java Runtime."), None);
    }

    #[test]
    fn java_home_comes_first() {
        assert_eq!(program(Some("/opt/jdk".into())), Path::new("/opt/jdk/bin/java"));
        assert_eq!(program(Some("".into())), Path::new("java"));
        assert_eq!(program(None), Path::new("java"));
    }

    #[test]
    fn a_missing_java_is_named_in_one_line() {
        let message = Java::at("/nonexistent/java").unwrap_err().to_string();
        assert!(message.starts_with("java is missing: install Java 17 or later"), "{message}");
        assert!(!message.contains('\n'));
    }

    #[test]
    fn an_old_java_is_refused() {
        let says = "openjdk version \"11.0.2\" 2019-01-15";
        let message = Java::judge("/opt/jdk-11/bin/java".into(), says).unwrap_err().to_string();
        assert!(message.starts_with("Java 17 or later is needed, and /opt/jdk-11/bin/java is Java 11: "), "{message}");
        assert!(!message.contains('\n'));
    }
}
