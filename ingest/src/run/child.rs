//! The program, as a child process.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::signals::Signals;

/// A program and its arguments.
#[derive(Clone, Debug)]
pub struct Command {
    /// Its name or path.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// What a shell would say: the exit status; 128 + n when signal n ended it; 127 when the program was not found, and 126
    /// when it could not be started.
    pub code: i32,
    /// Why it is not 0, in words.
    pub reason: Option<String>,
    /// Whether the program could be started at all.
    pub started: bool,
    /// Whether we passed a signal on to it, which asked it to end.
    pub asked_to_end: bool,
}

/// A running program.
#[derive(Debug)]
pub(super) struct Child {
    process: tokio::process::Child,
    pid: Option<Pid>,
    /// Whether it is the leader of a process group of its own.
    leads_group: bool,
}

impl Child {
    /// Starts the program. It has our standard input, and a process group of its own so that signals reach its children
    /// too; except where the input is a terminal: there only the foreground group may read, so it stays in ours, and the
    /// terminal itself tells it of Ctrl-C.
    pub(super) fn start(command: &Command, stdout: OwnedFd, stderr: OwnedFd) -> io::Result<Child> {
        let leads_group = !io::stdin().is_terminal();
        let mut child = tokio::process::Command::new(&command.program);
        child.args(&command.arguments).stdout(Stdio::from(stdout)).stderr(Stdio::from(stderr));
        if leads_group {
            child.process_group(0);
        }
        let process = child.spawn()?;
        let pid = process.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        Ok(Child { process, pid, leads_group })
    }

    /// Waits for its end, and passes signals on to it.
    pub(super) async fn wait(&mut self, signals: &mut Signals) -> io::Result<Exit> {
        let mut asked_to_end = false;
        loop {
            tokio::select! {
                biased;
                status = self.process.wait() => return Ok(Exit::of(status?, asked_to_end)),
                signal = signals.next() => {
                    asked_to_end = true;
                    self.pass_on(signal);
                }
            }
        }
    }

    fn pass_on(&self, signal: Signal) {
        let Some(pid) = self.pid else { return };
        let from_terminal = matches!(signal, Signal::INT | Signal::QUIT);
        // It fails when the program has just ended, which is what was asked for.
        let _ = match self.leads_group {
            true => kill_process_group(pid, signal),
            false if from_terminal => Ok(()),
            false => kill_process(pid, signal),
        };
    }
}

impl Exit {
    fn of(status: ExitStatus, asked_to_end: bool) -> Self {
        let (code, reason) = match (status.code(), status.signal()) {
            (Some(0), _) => (0, None),
            (Some(code), _) => (code, Some(format!("exit status {code}"))),
            (None, signal) => {
                let signal = signal.unwrap_or_default();
                (128 + signal, Some(format!("ended by signal {signal}")))
            }
        };
        Exit { code, reason, started: true, asked_to_end }
    }

    /// Of a program that could not be started.
    pub(super) fn never_started(command: &Command, error: &io::Error) -> Self {
        let code = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
        let reason = format!("cannot start {}: {error}", command.program.to_string_lossy());
        Exit { code, reason: Some(reason), started: false, asked_to_end: false }
    }
}
