//! The cards of one connection.

use std::future::pending;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::feed::Feed;
use crate::auth::Grant;
use crate::hub::Runs;

/// So many bytes of answers may wait in the streams of a connection before no more is asked of any, and those to one more
/// message of the client.
const MAX_ANSWERS: usize = 1 << 20;

/// The cards of one connection, each with its own feed.
pub(super) struct Cards {
    feeds: Vec<Feed>,
    pub(super) is_paused: bool,
    /// The runs that are shown alone, of whichever card they are.
    pub(super) runs: Runs,
    has_greeted: bool,
}

impl Cards {
    /// One card to begin with.
    pub(super) fn new(first: Feed) -> Self {
        Cards { feeds: vec![first], is_paused: false, runs: None, has_greeted: false }
    }

    /// Keeps entries flowing, of all cards in turn. It ends when a card's client has been greeted, or the connection is
    /// over, and may be dropped and called again at any time.
    pub(super) async fn run(&mut self) {
        match self.feeds.as_mut_slice() {
            [] => pending().await,
            [feed] => feed.run(false).await,
            // In a box, so that a connection with one card holds no memory for it.
            feeds => Box::pin(run_all(feeds)).await,
        }
    }

    /// Whether the connection's first card has begun, so that the client can be listened to.
    pub(super) fn has_greeted(&mut self) -> bool {
        self.has_greeted |= self.feeds.first().is_none_or(Feed::has_greeted);
        self.has_greeted
    }

    pub(super) fn len(&self) -> usize {
        self.feeds.len()
    }

    /// Whether so many answers wait to be said that no more should be asked for, of any card.
    pub(super) fn are_crowded(&self) -> bool {
        self.feeds.iter().map(Feed::answers).sum::<usize>() >= MAX_ANSWERS
    }

    /// The cards' ids.
    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        self.feeds.iter().map(Feed::card)
    }

    pub(super) fn get(&mut self, card: &str) -> Option<&mut Feed> {
        self.feeds.iter_mut().find(|feed| feed.card() == card)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Feed> {
        self.feeds.iter_mut()
    }

    pub(super) fn add(&mut self, feed: Feed) {
        self.feeds.push(feed);
    }

    /// Takes a card away. Nothing of it is pushed any more.
    pub(super) fn remove(&mut self, card: &str) -> Option<Feed> {
        let index = self.feeds.iter().position(|feed| feed.card() == card)?;
        Some(self.feeds.remove(index))
    }

    pub(super) fn pause(&mut self) {
        self.is_paused = true;
        self.feeds.iter_mut().for_each(Feed::pause);
    }

    pub(super) fn resume(&mut self) {
        self.is_paused = false;
        self.feeds.iter_mut().for_each(Feed::resume);
    }

    /// Shows these runs alone from now on.
    pub(super) fn narrow(&mut self, runs: Runs) {
        self.feeds.iter_mut().for_each(|feed| feed.narrow(runs.clone()));
        self.runs = runs;
    }

    /// Takes the cards away that aren't allowed any more.
    pub(super) fn remove_denied(&mut self, grant: &Grant) -> Vec<Feed> {
        let feeds = std::mem::take(&mut self.feeds).into_iter();
        let (allowed, denied) = feeds.partition(|feed| grant.may_read(grant.workspace(), feed.card()));
        self.feeds = allowed;
        denied
    }
}

async fn run_all(feeds: &mut [Feed]) {
    let mut running: FuturesUnordered<_> = feeds.iter_mut().map(|feed| feed.run(true)).collect();
    running.next().await;
}
