//! Every message as clients see it, byte for byte, and what they are told of a bad one.
#![allow(clippy::unwrap_used)]

mod client;
mod refused;
mod server;

use std::collections::BTreeMap;

use super::*;
use crate::entry::{Level, Source};
use crate::position::{Cursor, TopicPartition};
use crate::time::Timestamp;
use crate::topics::Topic;

const NOW: Timestamp = Timestamp(1_764_670_530_123);

fn cursor() -> Cursor {
    [(TopicPartition::new(Topic::AgentLogs, 3), 1, 18)].into_iter().collect()
}
