//! Removing what has expired, found by the notes that its writes left.
//!
//! A note that is due says only that the row may have expired: it may have been written again since, with another
//! expiry. Then only the note goes; the later write left one of its own.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use fjall::Readable;

use super::disk::{Disk, failed, read_expiry_note};
use super::row::StoredRow;
use super::{EmbeddedConfig, encode};
use crate::store::StoreError;

/// How many notes are followed at once.
const ROUND: usize = 256;

impl Disk {
    /// Follows a round of notes that are due. Returns how many notes and how many rows were removed.
    fn sweep_round(&self) -> Result<(usize, usize), StoreError> {
        let now = self.clock.now();
        // Notes begin with their instant, and go on.
        let due = ..encode::instant(now.saturating_add(1));
        let notes = self.database.snapshot().range(&self.expiry, due).take(ROUND);
        let notes: Vec<_> = notes.map(|guard| guard.key().map_err(failed)).collect::<Result<_, _>>()?;
        let damaged = || StoreError::Failed("the index of expiries is damaged".into());
        let rows: Vec<_> =
            notes.iter().map(|note| read_expiry_note(note).ok_or_else(damaged)).collect::<Result<_, _>>()?;

        let _locked = self.lock(rows.iter().copied());
        let mut batch = self.database.batch();
        // Written anew with another expiry, a row has several notes.
        let mut removed = HashSet::new();
        for (note, (table, key)) in notes.iter().zip(&rows) {
            let space = self.space(table)?;
            if let Some(value) = space.rows.get(key).map_err(failed)? {
                let row = StoredRow::decode(Bytes::from_owner(value)).ok_or_else(damaged)?;
                if row.is_expired(now) && removed.insert((table, key)) {
                    space.remove(&mut batch, key);
                }
            }
            batch.remove(&self.expiry, note.clone());
        }
        batch.commit().map_err(failed)?;
        Ok((notes.len(), removed.len()))
    }

    /// Removes all that has expired by now. Returns how many rows that were.
    pub(super) fn sweep_all(&self) -> Result<usize, StoreError> {
        let mut removed = 0;
        loop {
            let (notes, rows) = self.sweep_round()?;
            removed += rows;
            if notes < ROUND {
                return Ok(removed);
            }
        }
    }
}

/// The background thread. It ends when this is dropped.
pub(super) struct Sweeper {
    // Nothing is ever sent: that it is dropped is the signal.
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Sweeper {
    pub(super) fn start(disk: Arc<Disk>, config: &EmbeddedConfig) -> Result<Self, StoreError> {
        let (stop, stopped) = mpsc::channel::<()>();
        let every = config.sweep_every;
        let pause = Duration::from_secs(1) * ROUND as u32 / config.sweep_rate.max(1);
        let run = move || {
            let mut wait = every;
            while stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                wait = match disk.sweep_round() {
                    Ok((notes, _)) if notes < ROUND => every,
                    Ok(_) => pause,
                    Err(error) => {
                        let _ = disk.fault.set(format!("expired rows can't be removed: {error}"));
                        return;
                    }
                };
            }
        };
        let thread = std::thread::Builder::new().name("store-sweep".into()).spawn(run);
        let thread = thread.map_err(|error| StoreError::Failed(format!("no thread for the sweep: {error}")))?;
        Ok(Sweeper { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed; there is nothing left to do about it here.
            let _ = thread.join();
        }
    }
}
