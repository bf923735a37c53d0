//! A WebSocket connection.
//!
//! warp routes and authorises; from the upgrade on the gateway owns the socket. A connection is two tasks and an outbox
//! between them: [`driver`] reads and writes, the session (see [`crate::session`]) decides, and the hub pushes into the
//! outbox from outside. Frames for many are built once and shared.
//!
//! - [`upgrade`]: the handshake.
//! - [`parser`]: bytes to messages.
//! - [`frame`]: messages to bytes.
//! - [`outbox`]: what waits to be written, bounded.
//! - [`driver`]: the task of the socket: reads, writes, pings.
//! - [`close`]: the close codes and what they mean.

pub mod close;
pub mod driver;
pub mod frame;
pub mod outbox;
pub mod parser;
pub mod upgrade;

pub use close::CloseCode;
pub use driver::{SocketEnd, SocketLimits, drive};
pub use frame::{Frame, Stamp};
pub use outbox::{Closed, Outbox, Waiting};
