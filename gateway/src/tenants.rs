//! What is counted by workspace, for the workspace's own operators. It is no part of `/metrics`, whose size doesn't depend
//! on how many workspaces there are.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use agentworks_schemas::Level;
use parking_lot::Mutex;

/// How many workspaces are remembered of which nobody is connected.
const REMEMBERED: usize = 10_000;
/// What is *recent*: between one and two of these.
const SPAN: Duration = Duration::from_secs(10);

/// The counts of all workspaces.
#[derive(Debug, Default)]
pub struct Tenants(Mutex<HashMap<Arc<str>, Arc<Tenant>>>);

impl Tenants {
    /// A workspace's counts.
    pub fn of(&self, workspace: &str) -> Arc<Tenant> {
        let mut tenants = self.0.lock();
        if let Some(tenant) = tenants.get(workspace) {
            return Arc::clone(tenant);
        }
        if tenants.len() >= REMEMBERED {
            // Their counts begin anew when somebody comes again.
            tenants.retain(|_, tenant| Arc::strong_count(tenant) > 1);
        }
        let tenant = Arc::new(Tenant::new(Instant::now()));
        tenants.insert(Arc::from(workspace), Arc::clone(&tenant));
        tenant
    }
}

/// What is counted of one workspace, since it was first seen.
#[derive(Debug)]
pub struct Tenant {
    connections: AtomicU64,
    connection_errors: AtomicU64,
    replay_completions: AtomicU64,
    replay_errors: AtomicU64,
    levels: [AtomicU64; Level::ALL.len()],
    recent: Mutex<Recent>,
}

/// Sums over the last while, in two halves of which the older one goes when the newer is full.
#[derive(Debug)]
struct Recent {
    began: Instant,
    current: Sums,
    before: Sums,
    /// How long `before` is.
    length: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    entries: u64,
    bytes: u64,
    deliveries: u64,
    latency: Duration,
}

/// What the counts come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Tally {
    /// Connections ever made.
    pub connections: u64,
    /// Those that ended because something was wrong.
    pub connection_errors: u64,
    /// Replays that came to their end.
    pub replay_completions: u64,
    /// Those that a fault ended.
    pub replay_errors: u64,
    /// Entries that came while somebody watched their card, by level.
    pub levels: Vec<(Level, u64)>,
    /// How many of them come per second, of late.
    pub entries_per_second: f64,
    /// How many bytes they have as frames on average, of late; 0 if none came.
    pub entry_bytes: f64,
    /// How long they take on average from their timestamp to being written, of late; 0 if none was.
    pub delivery: Duration,
}

impl Tenant {
    fn new(now: Instant) -> Self {
        let recent = Recent { began: now, current: Sums::default(), before: Sums::default(), length: Duration::ZERO };
        Tenant {
            connections: AtomicU64::new(0),
            connection_errors: AtomicU64::new(0),
            replay_completions: AtomicU64::new(0),
            replay_errors: AtomicU64::new(0),
            levels: Default::default(),
            recent: Mutex::new(recent),
        }
    }

    pub(crate) fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connection_error(&self) {
        self.connection_errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn replay_completed(&self) {
        self.replay_completions.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn replay_failed(&self) {
        self.replay_errors.fetch_add(1, Ordering::Relaxed);
    }

    /// An entry has come whose frame has so many bytes.
    pub(crate) fn entry(&self, level: Level, bytes: usize) {
        if let Some(count) = self.levels.get(level as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let mut recent = self.recent.lock();
        recent.turn(Instant::now());
        recent.current.entries += 1;
        recent.current.bytes += bytes as u64;
    }

    /// An entry has been written to a client, so long after its timestamp.
    pub(crate) fn delivered(&self, latency: Duration) {
        // Many write at a time, and only their mean is wanted: nobody waits to be counted.
        let Some(mut recent) = self.recent.try_lock() else { return };
        recent.turn(Instant::now());
        recent.current.deliveries += 1;
        recent.current.latency = recent.current.latency.saturating_add(latency);
    }

    /// What it all comes to.
    pub fn tally(&self) -> Tally {
        self.tally_at(Instant::now())
    }

    fn tally_at(&self, now: Instant) -> Tally {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let mut recent = self.recent.lock();
        recent.turn(now);
        let Sums { entries, bytes, deliveries, latency } = recent.sums();
        Tally {
            connections: load(&self.connections),
            connection_errors: load(&self.connection_errors),
            replay_completions: load(&self.replay_completions),
            replay_errors: load(&self.replay_errors),
            levels: Level::ALL.into_iter().map(|level| (level, load(&self.levels[level as usize]))).collect(),
            entries_per_second: entries as f64 / recent.length(now).as_secs_f64(),
            entry_bytes: if entries == 0 { 0.0 } else { bytes as f64 / entries as f64 },
            delivery: latency.checked_div(u32::try_from(deliveries).unwrap_or(u32::MAX)).unwrap_or_default(),
        }
    }
}

impl Recent {
    /// Forgets what is no longer recent.
    fn turn(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.began);
        if age < SPAN {
            return;
        }
        (self.before, self.length) = if age < 2 * SPAN { (self.current, age) } else { (Sums::default(), SPAN) };
        self.current = Sums::default();
        self.began = now;
    }

    /// How long the sums go back.
    fn length(&self, now: Instant) -> Duration {
        (self.length + now.saturating_duration_since(self.began)).max(Duration::from_secs(1))
    }

    fn sums(&self) -> Sums {
        let (before, current) = (self.before, self.current);
        Sums {
            entries: before.entries + current.entries,
            bytes: before.bytes + current.bytes,
            deliveries: before.deliveries + current.deliveries,
            latency: before.latency.saturating_add(current.latency),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_late_and_counts_of_ever() {
        let born = Instant::now();
        let tenant = Tenant::new(born);
        for _ in 0..20 {
            tenant.entry(Level::Warn, 500);
        }
        tenant.delivered(Duration::from_millis(10));
        tenant.delivered(Duration::from_millis(30));
        let tally = tenant.tally_at(born + Duration::from_secs(5));
        assert_eq!((tally.entries_per_second, tally.entry_bytes), (4.0, 500.0));
        assert_eq!(tally.delivery, Duration::from_millis(20));
        assert_eq!(tally.levels[2], (Level::Warn, 20));
        // Half of what is looked at has passed, then all of it.
        let tally = tenant.tally_at(born + Duration::from_secs(15));
        assert!((1.0..2.0).contains(&tally.entries_per_second), "{tally:?}");
        let tally = tenant.tally_at(born + Duration::from_secs(60));
        assert_eq!((tally.entries_per_second, tally.entry_bytes, tally.delivery), (0.0, 0.0, Duration::ZERO));
        assert_eq!(tally.levels[2], (Level::Warn, 20));
    }

    #[test]
    fn a_workspace_has_one_count_and_idle_ones_are_forgotten() {
        let tenants = Tenants::default();
        let held = tenants.of("held");
        held.connected();
        tenants.of("held").connection_error();
        assert_eq!((held.tally().connections, held.tally().connection_errors), (1, 1));
        for number in 0..2 * REMEMBERED {
            tenants.of(&number.to_string());
        }
        assert!(tenants.0.lock().len() <= REMEMBERED);
        assert_eq!(tenants.of("held").tally().connections, 1);
    }
}
