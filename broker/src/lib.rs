//! A real Apache Kafka (KRaft, one node) as a supervised child process.
//!
//! [`Broker::start`] is all that most callers need: it finds Kafka or fetches it, formats the data folder, starts the
//! JVM, waits until Kafka serves, starts it again when it dies, and ends it with us, however we end. The map:
//!
//! - [`broker`]: the handle, and the [`State`] that it makes observable.
//! - [`config`]: what can be chosen, and the `server.properties` and JVM flags made of it.
//! - [`jars`]: jars in the user's cache, fetched once with Maven; [`java`]: the JVM to run them with.
//! - [`service`]: any other program as a child that ends with us, for tests.
//! - `supervisor`: the loop on its own thread that starts, probes, restarts and stops Kafka.
//! - `probe`: asks Kafka itself whether it serves; `wire`: the bytes of the questions and answers.
//! - `folder`: the data folder: its lock, its port, its log. `port`: how a port is chosen.
//! - `process`: a process that can't be confused with another, and what a crash of ours left behind.
//! - `tether`: how the child ends when we are killed with -9.
//!
//! Unix only. There is no librdkafka in here.

pub mod broker;
pub mod config;
mod error;
mod folder;
pub mod jars;
pub mod java;
mod port;
mod probe;
mod process;
pub mod service;
mod supervisor;
mod tether;
mod wire;

pub use broker::{Broker, State};
pub use config::Config;
pub use error::Error;
pub use jars::Jars;
