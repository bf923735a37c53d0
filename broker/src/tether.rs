//! How Kafka ends when we do, also when we are killed with -9.
//!
//! Linux sends the child a signal when the *thread* that spawned it ends, which is why the supervisor has a thread of
//! its own. Elsewhere a small shell waits for the end of a pipe that only we hold open.
//!
//! The signal is SIGTERM: Kafka takes under a second to close its log, and then has nothing to recover when it is
//! started again. Should it hang, the next start in the same folder ends it.

use std::io;

use tokio::process::{Child, Command};

#[cfg(target_os = "linux")]
pub(crate) use linux::{Tether, spawn};
#[cfg(not(target_os = "linux"))]
pub(crate) use watchdog::{Tether, spawn};

#[cfg(target_os = "linux")]
mod linux {
    use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

    use super::*;

    /// What ties the child to us; nothing but the kernel here.
    pub(crate) struct Tether;

    /// Starts `command` as a child that gets SIGTERM when the current thread ends.
    pub(crate) fn spawn(command: &mut Command) -> io::Result<(Child, Tether)> {
        let parent = getpid();
        // SAFETY: between fork and exec only two system calls are made; nothing allocates or takes a lock.
        unsafe {
            command.pre_exec(move || {
                set_parent_process_death_signal(Some(Signal::TERM))?;
                // We may have died before the child could ask for the signal.
                if getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::Interrupted.into()) }
            });
        }
        Ok((command.spawn()?, Tether))
    }
}

#[cfg(any(test, not(target_os = "linux")))]
mod watchdog {
    use std::process::Stdio;

    use super::*;

    /// Waits until standard input ends, which is when the last process that holds the pipe's other end has gone.
    const SCRIPT: &str = r#"read -r _; kill -TERM "$0" 2>/dev/null"#;

    /// The shell that watches, killed when this is dropped: its work is done once the child has ended.
    pub(crate) struct Tether {
        pub(super) _shell: Child,
    }

    /// Starts `command` as a child that gets SIGTERM when this process ends.
    pub(crate) fn spawn(command: &mut Command) -> io::Result<(Child, Tether)> {
        let child = command.spawn()?;
        let shell = Command::new("sh")
            .args(["-c", SCRIPT, &child.id().unwrap_or_default().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        Ok((child, Tether { _shell: shell }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::process::ExitStatusExt;

    use super::*;

    const TERM: i32 = 15;

    fn sleeper() -> Command {
        let mut command = Command::new("sleep");
        command.arg("600").kill_on_drop(true);
        command
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_child_ends_with_the_thread_that_spawned_it() {
        let handle = tokio::runtime::Handle::current();
        let (mut child, _tether) = std::thread::spawn(move || {
            let _guard = handle.enter();
            linux::spawn(&mut sleeper()).unwrap()
        })
        .join()
        .unwrap();
        assert_eq!(child.wait().await.unwrap().signal(), Some(TERM));
    }

    #[tokio::test]
    async fn the_watchdog_ends_the_child_when_the_pipe_closes() {
        let (mut child, mut tether) = watchdog::spawn(&mut sleeper()).unwrap();
        drop(tether._shell.stdin.take());
        assert_eq!(child.wait().await.unwrap().signal(), Some(TERM));
    }

    #[tokio::test]
    async fn the_watchdog_ends_with_its_tether_and_leaves_the_child() {
        let (mut child, tether) = watchdog::spawn(&mut sleeper()).unwrap();
        drop(tether);
        assert!(child.try_wait().unwrap().is_none());
    }
}
