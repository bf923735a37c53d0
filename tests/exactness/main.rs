//! What the store holds equals what the topics hold, whatever dies on the way. A binary of its own, because its tests start
//! processes of it.
//!
//! - [`checker`] compares, with [`truth`], which is read from the topics.
//! - [`child`] is a process of its own; [`member`] a processor as one; [`remote`] gives all of them one store, [`failpoint`] kills them at a write.
//! - [`failpoints`] kills at every boundary between two writes; [`storm`] kills, stops and adds at random; in [`outage`] it
//!   is Kafka that stands still.
//! - [`adopting`]: topics that were made again or have lost records are adopted, whoever is killed at that.
//! - [`erasing`]: what was erased is gone, and hidden before that, whoever is killed at a write or a deletion.
//! - [`archive`]: the same of the archive, whose files and positions lie among objects.
//! - [`gapfree`]: what clients are shown equals what the topics held, whatever becomes of them and of gateways.
//! - [`search`]: the same of the search index, whose writes go to an object store.
//! - [`workspaces`] looks for what one workspace might see of another.
//! - [`mutations`] checks the checker, with stores that are [`broken`] and sinks that are driven by [`hands`].
//! - [`world`], [`log`], [`recorder`]: what tests are made of.
//!
//! `make chaos` runs the long versions. Everything random comes from a printed seed, `AGENTWORKS_SEED`.

#![allow(clippy::unwrap_used, reason = "what can't be done here is a failed test")]
#![allow(unreachable_pub, reason = "the modules are the binary's own")]

mod adopting;
mod archive;
mod broken;
mod checker;
mod child;
mod erasing;
mod failpoint;
mod failpoints;
mod gapfree;
mod hands;
mod log;
mod member;
mod mutations;
mod outage;
mod recorder;
mod remote;
mod search;
mod storm;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod support;
mod truth;
mod workspaces;
mod world;
