//! One configuration for all roles: defaults ← file ← environment ← flags, each value with its source.
//!
//! - [`sections`]: the keys, their types and defaults.
//! - [`forms`]: how times, sizes, lists, maps and secrets are written.
//! - [`layers`]: the file, the environment and the flags, as values that know where they come from.
//! - [`keys`]: which keys there are.
//! - [`load`]: laying one over the other, and reading the result.
//! - [`check`]: what no type says.
//! - [`clients`]: what clients of Kafka and verifiers of tokens are made of, with secrets read from their files.
//! - [`fault`]: what is wrong: key, value, source, and what to do.
//! - [`show`]: the effective values with their sources.

mod check;
mod clients;
mod fault;
mod forms;
mod keys;
mod layers;
mod load;
mod sections;
mod show;
#[cfg(test)]
mod tests;

pub(crate) use clients::StoreAddress;
pub(crate) use forms::List;
pub(crate) use layers::{FlagValue, Layers};
pub(crate) use load::Loaded;
pub(crate) use sections::{Config, Ingest, Log, SINKS, Search};
pub(crate) use show::Shown;
