//! Tests of the codec as a whole, through its public functions.
#![allow(clippy::unwrap_used)]

mod any_bytes;
mod evolution;
mod framings;
mod json;
mod resolution;
mod strategies;

use super::*;
use crate::time::Timestamp;

/// What records in these tests are given for what they leave out.
const DEFAULTS: Defaults<'_> = Defaults { timestamp: Timestamp(1_764_670_530_123), id: "agent-logs[3]/1@17" };
