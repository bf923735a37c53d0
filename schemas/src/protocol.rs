//! The messages between a terminal and the gateway, in JSON over a WebSocket.
//!
//! Names and shapes are those of the reference architecture (its §3.2, §5 and §6). Frames that show an entry also carry
//! `position`: the [`Cursor`](crate::Cursor) of the stream just after that entry, which a client sends back to go on from
//! there.

mod client;
mod error;
mod members;
mod parse;
mod search;
mod server;
#[cfg(test)]
mod tests;

pub use client::{
    BearerToken, ClientMessage, LiveFilters, ReplayAction, ReplayFilters, ReplayOptions, SeekPosition, SeekTo,
};
pub use error::{ErrorCode, ErrorInfo};
pub use parse::ProtocolError;
pub use search::{LogSearchQuery, LogSearchResult, SearchCounts, TimeRange, TimelinePoint};
pub use server::{
    CardInfo, ConnectionInfo, FiltersInfo, Gap, Lag, PositionedEntry, ReconnectInfo, ReplayComplete, ReplayEntry,
    ReplayMetadata, ReplaySeeked, ReplaySpeedInfo, ReplayStartInfo, ReplayStatus, RunStatus, RunSummary, ServerMessage,
    TokenInfo,
};
