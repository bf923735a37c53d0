//! The messages between a terminal and the gateway, in JSON over a WebSocket.
//!
//! Names and shapes are those of the reference architecture (its §3.2, §5 and §6). Frames that show an entry also carry
//! `position`: the [`Cursor`](crate::Cursor) of the stream just after that entry, which a client sends back to go on from
//! there.

mod client;
mod members;
mod parse;
mod search;
mod server;
#[cfg(test)]
mod tests;

pub use client::{ClientMessage, ReplayAction, ReplayFilters, ReplayOptions, SeekPosition};
pub use parse::ProtocolError;
pub use search::{LogSearchQuery, TimeRange};
pub use server::{
    ConnectionInfo, ErrorCode, ErrorInfo, Gap, Lag, PositionedEntry, ReplayComplete, ReplayEntry, ReplayMetadata,
    ReplaySeeked, ReplayStartInfo, ReplayStatus, RunStatus, RunSummary, ServerMessage,
};
