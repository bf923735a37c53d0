//! A process that can't be confused with another, and how one that a crash left behind is ended.

use std::fmt;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How often we look whether a process has ended that isn't our child.
const POLL: Duration = Duration::from_millis(20);

/// A process id, and when the process was born: ids are used again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pid: u32,
    born: String,
}

impl Process {
    /// The process that has this id now; `None` if there is none, or a dead one that nobody has waited for.
    pub(crate) fn of(pid: u32) -> Option<Process> {
        born(pid).map(|born| Process { pid, born })
    }

    /// What [`fmt::Display`] wrote.
    pub(crate) fn parse(text: &str) -> Option<Process> {
        let (pid, born) = text.split_once(' ')?;
        Some(Process { pid: pid.parse().ok()?, born: born.to_owned() })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it still runs: it, not another with its id.
    pub(crate) fn is_running(&self) -> bool {
        Process::of(self.pid).as_ref() == Some(self)
    }

    /// Asks it to end, and ends it if it hasn't within `grace`. Returns when it has ended.
    pub(crate) async fn end(&self, grace: Duration) -> Result<(), String> {
        for (signal, patience) in [(Signal::TERM, grace), (Signal::KILL, Duration::from_secs(5))] {
            if !self.is_running() {
                return Ok(());
            }
            if let Err(error) = self.signal(signal)
                && self.is_running()
            {
                return Err(error.to_string());
            }
            let deadline = Instant::now() + patience;
            while self.is_running() && Instant::now() < deadline {
                tokio::time::sleep(POLL).await;
            }
        }
        if self.is_running() { Err("it survives SIGKILL".to_owned()) } else { Ok(()) }
    }

    fn signal(&self, signal: Signal) -> rustix::io::Result<()> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw).ok_or(rustix::io::Errno::SRCH)?;
        kill_process(pid, signal)
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.pid, self.born)
    }
}

/// When the process was born, in a form that no other process with this id has: the boot, and clock ticks since.
#[cfg(target_os = "linux")]
fn born(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, and may hold spaces and parentheses itself.
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    // Fields 3, 20 and 22 of proc(5).
    let (state, threads, ticks) = (*fields.first()?, *fields.get(17)?, *fields.get(19)?);
    // A zombie still holds its files and ports while other threads of it are on their way out.
    if matches!(state, "Z" | "X") && matches!(threads, "0" | "1") {
        return None;
    }
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(format!("{} {ticks}", boot.trim()))
}

/// When the process was born, as `ps` says it.
#[cfg(not(target_os = "linux"))]
fn born(pid: u32) -> Option<String> {
    let output =
        std::process::Command::new("ps").args(["-o", "stat=,lstart=", "-p", &pid.to_string()]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (state, born) = text.trim().split_once(' ')?;
    (!state.starts_with('Z')).then(|| born.trim().to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::process::Command;

    use super::*;

    #[tokio::test]
    async fn a_process_survives_being_written_down_and_ends_when_told() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let process = Process::of(child.id().unwrap()).unwrap();
        assert_eq!(Process::parse(&process.to_string()), Some(process.clone()));
        assert!(process.is_running());
        // Nobody waits for the child until it has ended: it must count as ended although it is a zombie.
        process.end(Duration::from_secs(5)).await.unwrap();
        assert!(!process.is_running());
        child.wait().await.unwrap();
    }

    #[tokio::test]
    async fn one_that_does_not_listen_is_killed() {
        let mut child = Command::new("sh")
            .args(["-c", "trap '' TERM; echo ready; while :; do sleep 600; done"])
            .stdout(std::process::Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        tokio::io::AsyncReadExt::read_exact(child.stdout.as_mut().unwrap(), &mut ready).await.unwrap();
        let process = Process::of(child.id().unwrap()).unwrap();
        process.end(Duration::from_millis(50)).await.unwrap();
        let status = child.wait().await.unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
        rustix::process::kill_process_group(Pid::from_raw(process.pid() as i32).unwrap(), Signal::KILL).unwrap();
    }

    #[tokio::test]
    async fn another_process_with_the_same_id_is_left_alone() {
        let mut child = Command::new("sleep").arg("600").kill_on_drop(true).spawn().unwrap();
        let earlier = Process { pid: child.id().unwrap(), born: "long ago".to_owned() };
        assert!(!earlier.is_running());
        earlier.end(Duration::from_secs(5)).await.unwrap();
        assert!(child.try_wait().unwrap().is_none(), "it still runs");
    }
}
