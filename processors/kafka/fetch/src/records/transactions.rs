//! Which transactions were aborted, as Java's client works it out from what the broker lists.

use std::collections::HashSet;

use super::batch::Header;
use super::{Aborted, What};

/// The aborted transactions of a stretch of log, and where in it one is.
pub(super) struct Transactions {
    /// Those that begin further on, the next one last.
    ahead: Vec<Aborted>,
    /// Whose transactions, of those under way here, will be aborted.
    under_way: HashSet<i64>,
}

impl Transactions {
    pub(super) fn new(mut aborted: Vec<Aborted>) -> Self {
        aborted.sort_unstable_by_key(|transaction| std::cmp::Reverse(transaction.first_offset));
        Transactions { ahead: aborted, under_way: HashSet::new() }
    }

    /// Comes to the next batch. Returns whether it belongs to, or ends, a transaction that was aborted.
    pub(super) fn reach(&mut self, header: &Header) -> bool {
        while let Some(transaction) = self.ahead.pop_if(|transaction| transaction.first_offset <= header.last) {
            self.under_way.insert(transaction.producer_id);
        }
        (header.is_transactional() || header.is_control()) && self.under_way.contains(&header.producer_id)
    }

    /// Comes to the key of a control record of this producer.
    pub(super) fn mark(&mut self, producer_id: i64, key: Option<&[u8]>) -> Result<(), What> {
        // A version, which may grow, and the type: 0 for abort, 1 for commit, others for what isn't about transactions.
        let Some(&[_, _, high, low, ..]) = key else { return Err("a control record has no type".into()) };
        if i16::from_be_bytes([high, low]) == 0 {
            self.under_way.remove(&producer_id);
        }
        Ok(())
    }
}
