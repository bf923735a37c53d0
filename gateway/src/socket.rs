//! A WebSocket connection.
//!
//! warp routes and authorises; from the upgrade on the gateway owns the socket. A connection is two tasks and an outbox
//! between them: [`driver`] reads and writes, the session (see [`crate::session`]) decides, and the hub pushes into the
//! outbox from outside. Frames for many are built once and shared, and written by a [`shard`] of many connections.
//!
//! - [`upgrade`]: the handshake.
//! - [`parser`]: bytes to messages.
//! - [`frame`]: messages to bytes.
//! - [`outbox`]: what waits to be written, bounded.
//! - [`driver`]: the task of the socket: reads, writes, pings.
//! - [`writer`]: frames to the kernel, by the driver or by a shard.
//! - [`shard`]: who writes what the hub pushes.
//! - [`rate`]: how fast a client may send.
//! - [`depth`]: how deep what it sends may be nested.
//! - [`close`]: the close codes and what they mean.

pub mod close;
pub(crate) mod depth;
pub mod driver;
pub mod frame;
pub mod outbox;
pub mod parser;
pub(crate) mod rate;
pub(crate) mod shard;
pub mod upgrade;
pub(crate) mod writer;

pub use close::CloseCode;
pub use driver::{SocketEnd, SocketLimits, drive};
pub use frame::{Frame, Stamp};
pub use outbox::{Closed, Outbox, Waiting};
pub(crate) use rate::{Rate, Verdict};
pub use writer::Meters;
