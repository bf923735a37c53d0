//! The last step of a reading: what was erased meanwhile is taken out.

use agentworks_schemas::Cursor;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;

use super::{ReadError, ReadItem};
use crate::erasure::{Erasures, View};

/// What comes from the tiers.
#[derive(Debug)]
pub(super) enum Found {
    /// An item.
    Item(ReadItem),
    /// There was nothing more up to this cursor.
    Nothing(Cursor),
}

/// What comes from the tiers, in order.
pub(super) type Items = mpsc::Receiver<Result<Found, ReadError>>;

/// A stream of history. It ends where all partitions have come to where they were to be read, or to the end of the log;
/// or after an error. Dropping it ends the reading.
///
/// It reads ahead, and whoever receives may take its time; so what is erased is looked for when an item is handed out.
#[derive(Debug)]
pub struct ReadStream {
    items: Items,
    /// Received, and not handed out yet.
    head: Option<Result<ReadItem, ReadError>>,
    passed: Cursor,
    erasures: Erasures,
}

impl ReadStream {
    pub(super) fn new(items: Items, erasures: Erasures) -> Self {
        ReadStream { items, head: None, passed: Cursor::new(), erasures }
    }

    /// The next item; `None` at the end. Dropping the future loses nothing.
    pub async fn recv(&mut self) -> Option<Result<ReadItem, ReadError>> {
        loop {
            while self.head.is_none() {
                let found = self.items.recv().await?;
                self.receive(found);
            }
            let view = match self.erasures.view().await {
                Ok(view) => view,
                Err(error) => return Some(Err(error.into())),
            };
            let item = self.head.take()?;
            if !is_hidden(&item, &view) {
                return Some(item);
            }
        }
    }

    /// The next item if it is there already; that there is none yet, or no more, is the error.
    pub fn try_recv(&mut self) -> Result<Result<ReadItem, ReadError>, TryRecvError> {
        loop {
            while self.head.is_none() {
                let found = self.items.try_recv()?;
                self.receive(found);
            }
            let Some(item) = self.head.take() else { continue };
            match self.erasures.current() {
                Some(view) if is_hidden(&item, &view) => {}
                Some(_) => return Ok(item),
                None => {
                    self.head = Some(item);
                    return Err(TryRecvError::Empty);
                }
            }
        }
    }

    /// How far the reading has come beyond the last item that was handed out, where it said so: between that item and
    /// here there was nothing. Partitions of which nothing was said are not in it.
    pub fn passed(&self) -> &Cursor {
        &self.passed
    }

    fn receive(&mut self, found: Result<Found, ReadError>) {
        match found {
            Ok(Found::Item(item)) => self.head = Some(Ok(item)),
            Ok(Found::Nothing(cursor)) => self.passed = cursor,
            Err(error) => self.head = Some(Err(error)),
        }
    }
}

fn is_hidden(item: &Result<ReadItem, ReadError>, view: &View) -> bool {
    match item {
        Ok(ReadItem::Entry { entry, .. }) => view.hides(&entry.entry.workspace_id, &entry.entry.run_id, entry.position),
        _ => false,
    }
}
