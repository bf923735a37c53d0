//! What tiers share of a batch.
//!
//! The tier that takes a batch first notes in which frame it has put each entry; those that take the same batch after it
//! may make the frame part of their own blocks, if they have put all its entries there from the first one on. Nothing
//! depends on it: a tier that has taken another part of the log, or that comes alone, makes frames of its own.

use std::sync::Arc;

use agentworks_kafka::Batch;
use agentworks_schemas::TopicPartition;
use parking_lot::{Mutex, MutexGuard};

use super::frame::Frame;

/// The frames of one batch, shared by the sinks of one runtime. They must compress alike: whoever needs a frame
/// compressed first does it for all.
#[derive(Clone, Debug, Default)]
pub struct Sharing(Arc<Mutex<Offers>>);

#[derive(Debug, Default)]
struct Offers {
    /// Of which batch: a partition, its epoch, and from which offset to which.
    batch: Option<(TopicPartition, u32, i64, i64)>,
    /// The tier that took it first.
    tier: &'static str,
    /// By offset.
    frames: Vec<(i64, Offer)>,
}

/// Where a tier has put an entry.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    pub(super) frame: Arc<Frame>,
    /// The offset of the frame's entry before it, if it isn't the first.
    pub(super) before: Option<i64>,
}

impl Sharing {
    /// Begins with a batch that a tier takes.
    pub(super) fn begin(&self, tier: &'static str, batch: &Batch) -> Shared<'_> {
        let batch = Some((batch.partition, batch.epoch, batch.from, batch.to));
        let mut offers = self.0.lock();
        let is_second = offers.batch == batch && offers.tier != tier;
        if !is_second {
            (offers.batch, offers.tier) = (batch, tier);
            offers.frames.clear();
        }
        Shared { offers, is_second, next: 0 }
    }
}

/// What is shared of a batch, while a tier takes it.
#[derive(Debug)]
pub(crate) struct Shared<'a> {
    offers: MutexGuard<'a, Offers>,
    is_second: bool,
    next: usize,
}

impl Shared<'_> {
    /// Where another tier has put an entry. Entries are asked for by offset.
    pub(super) fn offered(&mut self, offset: i64) -> Option<&Offer> {
        if !self.is_second {
            return None;
        }
        let rest = &self.offers.frames[self.next..];
        self.next += rest.iter().take_while(|(at, _)| *at < offset).count();
        self.offers.frames.get(self.next).filter(|(at, _)| *at == offset).map(|(_, offer)| offer)
    }

    /// Offers the frame in which an entry was put, after one at `before` if it isn't the first.
    pub(super) fn offer(&mut self, offset: i64, before: Option<i64>, frame: &Arc<Frame>) {
        if !self.is_second {
            self.offers.frames.push((offset, Offer { frame: frame.clone(), before }));
        }
    }
}
