//! From which offset on a tier may be relied on.
//!
//! Rows expire by the store's clock, whether or not a sink is there to move `low`. So readers don't trust a published
//! `low` alone: they work out by their own clock which buckets may still be relied on ([`Held::low_at`]). Rows outlive
//! that by [`MARGIN`], so that a reader that has just asked isn't overtaken by the expiry, nor by a small difference
//! between two machines' clocks.

use std::ops::Range;

use agentworks_schemas::Timestamp;

use super::clock::{bucket_of, end_of};
use super::retention::Term;
use super::{HOUR, Held};

/// How long rows outlive their being relied on, in milliseconds.
pub const MARGIN: i64 = HOUR;

/// Offsets that lie in one bucket and were kept under one term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The bucket's number.
    pub bucket: i64,
    /// How long they are kept after the end of the bucket, in milliseconds.
    pub ttl: i64,
    /// The offsets.
    pub offsets: Range<i64>,
}

impl Held {
    /// When the rows of a bucket expire in which an entry of a workspace at `offset` is kept, in milliseconds since the
    /// Unix epoch; `None` for never.
    pub fn expires(&self, bucket: i64, workspace: &str, offset: i64) -> Option<i64> {
        let terms = self.terms.as_ref()?;
        Some(relied_on_until(bucket, terms.grain, terms.ttl(workspace, offset)).saturating_add(MARGIN))
    }

    /// When the last of the rows of a bucket expire in which entries of a workspace are kept, whatever offsets they hold.
    pub fn expires_last(&self, bucket: i64, workspace: &str) -> Option<i64> {
        let terms = self.terms.as_ref()?;
        let longest = terms.of(workspace).iter().map(|term| term.ttl).max().unwrap_or_default();
        Some(relied_on_until(bucket, terms.grain, longest).saturating_add(MARGIN))
    }

    /// When the last of the rows expire in which entries of a workspace are kept that were recorded at `time`.
    pub fn expires_by(&self, time: Timestamp, workspace: &str) -> Option<i64> {
        let grain = self.terms.as_ref()?.grain;
        self.expires_last(bucket_of(time, grain), workspace)
    }

    /// The first offset from which on all entries of a workspace may be relied on at `now`.
    pub fn low_at(&self, workspace: &str, now: Timestamp) -> i64 {
        self.terms.as_ref().map_or(self.low, |terms| self.low_of(terms.of(workspace), terms.grain, now))
    }

    fn low_of(&self, terms: &[Term], grain: i64, now: Timestamp) -> i64 {
        let spans = self.spans_of(terms, self.low..self.high);
        let is_gone = |span: &Span| relied_on_until(span.bucket, grain, span.ttl) <= now.millis();
        // Where terms have become shorter, what is newer may go first; then all before is given up, too.
        spans.rev().find(is_gone).map_or(self.low, |span| span.offsets.end)
    }

    /// Moves `low` to where it is at `now` for the workspaces whose entries are kept longest, and forgets what was below.
    pub fn expire(&mut self, now: Timestamp) {
        let Some(terms) = &self.terms else { return };
        let lows = terms.all().map(|list| self.low_of(list, terms.grain, now));
        self.raise_low(lows.min().unwrap_or(self.low));
    }

    /// The same as a reader of one workspace sees it at `now`.
    pub fn seen_by(mut self, workspace: &str, now: Timestamp) -> Held {
        self.raise_low(self.low_at(workspace, now));
        self
    }

    fn raise_low(&mut self, low: i64) {
        if low > self.low {
            self.low = low;
            let ends: Vec<_> = self.buckets.iter().skip(1).map(|(_, first)| *first).chain([self.high]).collect();
            let mut ends = ends.into_iter();
            self.buckets.retain(|_| ends.next().is_some_and(|end| end > low));
            if let Some(terms) = &mut self.terms {
                terms.forget_below(low);
            }
        }
    }

    /// Where entries of a workspace lie with offsets of a range, ascending.
    pub fn spans(&self, workspace: &str, offsets: Range<i64>) -> Vec<Span> {
        self.terms.as_ref().map_or(Vec::new(), |terms| self.spans_of(terms.of(workspace), offsets).collect())
    }

    fn spans_of(&self, terms: &[Term], offsets: Range<i64>) -> impl DoubleEndedIterator<Item = Span> {
        let ends = self.buckets.iter().skip(1).map(|(_, first)| *first).chain([i64::MAX]);
        let buckets: Vec<_> =
            self.buckets.iter().zip(ends).map(|((bucket, first), end)| (*bucket, *first..end)).collect();
        let ends = terms.iter().skip(1).map(|term| term.since).chain([i64::MAX]);
        let terms: Vec<_> = terms
            .iter()
            .zip(ends)
            .enumerate()
            .map(|(index, (term, end))| {
                // The first holds from the beginning.
                let since = if index == 0 { i64::MIN } else { term.since };
                (term.ttl, since..end)
            })
            .collect();
        let within = |a: &Range<i64>, b: &Range<i64>| a.start.max(b.start)..a.end.min(b.end);
        let spans = buckets.into_iter().flat_map(move |(bucket, of_bucket)| {
            let offsets = within(&of_bucket, &offsets);
            let spans =
                terms.iter().map(|(ttl, of_term)| Span { bucket, ttl: *ttl, offsets: within(of_term, &offsets) });
            spans.filter(|span| !span.offsets.is_empty()).collect::<Vec<_>>()
        });
        spans.collect::<Vec<_>>().into_iter()
    }
}

/// The instant until which what lies in a bucket may be relied on.
fn relied_on_until(bucket: i64, grain: i64, ttl: i64) -> i64 {
    end_of(bucket, grain).saturating_add(ttl)
}
