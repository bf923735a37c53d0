//! The roles that an installation is made of. `agentworks dev` composes all of them in one process; in production each
//! is a process of its own, as often as is needed.
//!
//! - [`ingest`]: entries over HTTP, into the log.
//! - [`process`]: from the log, into the store, the search index and the archive; [`index`]: the second of these,
//!   and [`peers`]: how searchers reach it.
//! - [`serve`]: streams, REST, the terminal.
//! - [`erasing`]: taking what was erased out of index and archive.
//! - [`service`]: the frame around one role: its port, its probes, its end.
//! - [`elsewhere`]: what archive and index know of the log where the store was lost.
//! - [`kafka`]: whether Kafka serves; [`clocks`]: whose clock its records bear; [`store`]: opening the store.
//! - [`metrics`]: what is measured of the process, and of the entries by workspace.

mod clocks;
mod elsewhere;
mod erasing;
pub(crate) mod index;
pub(crate) mod ingest;
mod kafka;
pub(crate) mod metrics;
mod peers;
pub(crate) mod process;
pub(crate) mod serve;
mod service;
pub(crate) mod store;

use std::sync::Arc;

pub(crate) use service::{Note, Stop};

/// Whether something does its work; if not, why.
pub(crate) type Ready = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;
