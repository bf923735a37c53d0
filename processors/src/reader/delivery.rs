//! The last step of a reading: what was erased meanwhile is taken out.

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;

use super::{ReadError, ReadItem};
use crate::erasure::{Erasures, View};

/// Items as they come from the tiers.
pub(super) type Items = mpsc::Receiver<Result<ReadItem, ReadError>>;

/// A stream of history. It ends where all partitions have come to where they were to be read, or to the end of the log;
/// or after an error. Dropping it ends the reading.
///
/// It reads ahead, and whoever receives may take its time; so what is erased is looked for when an item is handed out.
#[derive(Debug)]
pub struct ReadStream {
    items: Items,
    /// Received, and not handed out yet.
    head: Option<Result<ReadItem, ReadError>>,
    erasures: Erasures,
}

impl ReadStream {
    pub(super) fn new(items: Items, erasures: Erasures) -> Self {
        ReadStream { items, head: None, erasures }
    }

    /// The next item; `None` at the end. Dropping the future loses nothing.
    pub async fn recv(&mut self) -> Option<Result<ReadItem, ReadError>> {
        loop {
            if self.head.is_none() {
                self.head = Some(self.items.recv().await?);
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
            let item = match self.head.take() {
                Some(item) => item,
                None => self.items.try_recv()?,
            };
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
}

fn is_hidden(item: &Result<ReadItem, ReadError>, view: &View) -> bool {
    match item {
        Ok(ReadItem::Entry { entry, .. }) => view.hides(&entry.entry.workspace_id, &entry.entry.run_id, entry.position),
        _ => false,
    }
}
