//! Tests against real services, in one binary.

#![allow(clippy::unwrap_used, reason = "what can't be done here is a failed test")]
#![allow(unreachable_pub, reason = "the benchmarks share the support")]

#[path = "../support/mod.rs"]
mod support;

mod admin;
mod archive;
mod attacks;
mod auth;
mod broker;
mod cli;
mod compose;
mod config;
mod conformance;
mod dlq;
mod erase;
mod fleet;
mod isolation;
mod kafka;
mod kill;
mod live;
mod load;
mod page;
mod producer;
mod reader;
mod receiver;
mod replay;
mod rest;
mod roles;
mod runtime;
mod search;
mod ship;
mod store;
mod topics;
mod tour;
mod written;
