//! Indexers of other processes: how they are found, and how they are asked for what isn't published yet.
//!
//! An indexing process says in the store where it can be asked ([`LeaseKeeper`]), and answers there ([`Answering`]). A
//! searcher reads who has said so ([`follow`]), and asks them all ([`RemoteFresh`]); what none of them answers for, it
//! reads from the log. So a lease that is wrong, late or lost costs time, and never an entry.
//!
//! Both sides have a key in common ([`PeerKey`]), which isn't sent: questions and answers are signed with it. What they
//! say is as readable on the network as what comes from Kafka.

mod answering;
mod asking;
mod leases;
#[cfg(test)]
mod tests;
mod wire;

pub use answering::Answering;
pub use asking::RemoteFresh;
pub use leases::{LeaseKeeper, follow};
pub use wire::PeerKey;
