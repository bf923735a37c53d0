//! One store for several processes: the parent opens it and serves it over TCP, its children write to it as to their own.
//!
//! Every call is one frame to the server and one back, each a length and so many bytes ([`wire`]). A call that was sent is
//! carried out even if its sender is killed meanwhile, as by a real database.

mod client;
mod server;
mod wire;

pub use client::RemoteStore;
pub use server::StoreServer;
