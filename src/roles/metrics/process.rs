//! Memory, CPU, file descriptors, under the names that Prometheus' own clients use.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

/// Read from `/proc` whenever somebody asks. Where there is no `/proc` there are no such metrics.
#[derive(Debug)]
pub(crate) struct ProcessMetrics;

impl ProcessMetrics {
    /// Shows them in `registry`, and which build and role this is.
    pub(crate) fn register(role: &'static str, registry: &mut Registry) {
        let build = Info::new([("version", env!("CARGO_PKG_VERSION")), ("role", role)]);
        registry.register("agentworks_build", "Which version this is, and as what it runs", build);
        registry.register_collector(Box::new(ProcessMetrics));
    }
}

/// What the system says of this process.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Usage {
    /// Seconds in user and in system mode.
    cpu: f64,
    /// Bytes in memory, and mapped.
    resident: i64,
    virtual_size: i64,
    threads: i64,
    /// Seconds since the Unix epoch.
    started: f64,
}

impl Usage {
    fn now() -> Option<Self> {
        Usage::parse(&fs::read_to_string("/proc/self/stat").ok()?, &fs::read_to_string("/proc/stat").ok()?)
    }

    /// From the contents of `/proc/self/stat` and `/proc/stat`; see proc(5).
    fn parse(own: &str, system: &str) -> Option<Self> {
        // The program's name may hold anything, so what is counted begins behind it, with field 3.
        let fields: Vec<_> = own.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<i64>().ok();
        let ticks = clock_ticks_per_second() as f64;
        let booted = system.lines().find_map(|line| line.strip_prefix("btime "))?;
        Some(Usage {
            cpu: (field(14)? + field(15)?) as f64 / ticks,
            threads: field(20)?,
            started: booted.trim().parse::<f64>().ok()? + field(22)? as f64 / ticks,
            virtual_size: field(23)?,
            resident: field(24)?.saturating_mul(i64::try_from(page_size()).ok()?),
        })
    }
}

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(usage) = Usage::now() else { return Ok(()) };
        let mut show = |name: &str, help: &str, metric: &dyn EncodeMetric| {
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
        };
        let gauge = ConstGauge::<i64>::new;
        show("process_cpu_seconds", "CPU time spent, in user and system mode", &ConstCounter::new(usage.cpu))?;
        show("process_resident_memory_bytes", "Memory in use", &gauge(usage.resident))?;
        show("process_virtual_memory_bytes", "Address space in use", &gauge(usage.virtual_size))?;
        show("process_threads", "Threads", &gauge(usage.threads))?;
        show(
            "process_start_time_seconds",
            "When the process started, since the Unix epoch",
            &ConstGauge::new(usage.started),
        )?;
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            // One of them is the listing's own.
            let open = i64::try_from(open.count()).unwrap_or(i64::MAX).saturating_sub(1);
            show("process_open_fds", "File descriptors in use", &gauge(open))?;
        }
        if let Some(most) = getrlimit(Resource::Nofile).current {
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            show("process_max_fds", "File descriptors that may be in use", &gauge(most))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_name_with_spaces_and_brackets_does_no_harm() {
        let own = "7 (a) b (c)) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 1000 4096 3 18446744073709551615";
        let usage = Usage::parse(own, "cpu 1 2\nbtime 1700000000\n").unwrap();
        let ticks = clock_ticks_per_second() as f64;
        assert_eq!((usage.cpu, usage.threads, usage.virtual_size), (300.0 / ticks, 9, 4096));
        assert_eq!(usage.resident, 3 * i64::try_from(page_size()).unwrap());
        assert_eq!(usage.started, 1_700_000_000.0 + 1000.0 / ticks);
        assert!(Usage::parse("", "").is_none());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn they_have_their_standard_names() {
        let mut registry = Registry::default();
        ProcessMetrics::register("test", &mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for expected in [
            "\nprocess_cpu_seconds_total ",
            "\nprocess_resident_memory_bytes ",
            "\nprocess_open_fds ",
            "\nprocess_max_fds ",
            "\nprocess_start_time_seconds ",
            "\nagentworks_build_info{version=",
        ] {
            assert!(text.contains(expected), "{expected:?} is not in\n{text}");
        }
    }
}
