//! What a process takes, as the kernel counts it.

use std::fs;
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};

/// The processor time that a process has taken, in user and kernel mode, to 10 ms.
pub fn cpu(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name may hold anything; after it come the state and ten more fields.
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_ascii_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}

/// The memory that a process has, resident, in bytes.
pub fn rss(pid: u32) -> u64 {
    status(pid, "VmRSS:") * 1024
}

/// How many threads a process has.
pub fn threads(pid: u32) -> u64 {
    status(pid, "Threads:")
}

fn status(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_ascii_whitespace().next().unwrap().parse().unwrap()
}

/// Raises the limit of open files for this process and those that it starts; how many it is now.
pub fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let Some(maximum) = limit.maximum else { return u64::MAX };
    let raised = rustix::process::Rlimit { current: Some(maximum), maximum: Some(maximum) };
    setrlimit(Resource::Nofile, raised).unwrap();
    maximum
}
