//! Programs that run on a JVM.

use std::path::Path;

use agentworks_broker::jars::{self, Jars, Package};
use agentworks_broker::java::Java;
use tokio::process::Command;

/// How to run a program of `package` in a folder: what is missing is its memory, its own settings and its main class. C1 and
/// the serial collector start faster, and tests end soon.
pub async fn java(package: &'static Package, folder: &Path) -> Command {
    let java = Java::find().unwrap_or_else(|error| panic!("{error}"));
    let fetch = || Jars::find_or_fetch(&jars::default_cache(), package);
    let jars = tokio::task::spawn_blocking(fetch).await.unwrap().unwrap_or_else(|error| panic!("{error}"));
    let mut command = Command::new(java.program());
    command
        .args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"])
        .arg("-cp")
        .arg(jars.class_path())
        .current_dir(folder)
        // The JVM's threads would each take an arena of their own.
        .env("MALLOC_ARENA_MAX", "2");
    command
}
