//! Processes that aren't our children.

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// Whether a process with this id runs; one that has ended and that nobody has waited for does not.
pub fn is_running(pid: u32) -> bool {
    test_kill_process(id(pid)).is_ok() && !has_ended(pid)
}

/// Whether a process that is there is only a zombie, all of it.
fn has_ended(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace().collect();
    fields.first() == Some(&"Z") && fields.get(17) == Some(&"1")
}

/// Sends a signal.
pub fn signal(pid: u32, signal: Signal) {
    kill_process(id(pid), signal).expect("the process is there and ours");
}

/// As `kill -9`.
pub fn kill_9(pid: u32) {
    signal(pid, Signal::KILL);
}

fn id(pid: u32) -> Pid {
    i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id")
}
