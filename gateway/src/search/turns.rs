//! How many searches go on at once: so that one workspace can't take all the searcher's time from the others.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::SearchFault;

/// The searches that go on, by workspace.
#[derive(Debug)]
pub(super) struct Turns {
    limit: usize,
    running: Mutex<HashMap<String, usize>>,
}

/// A search that goes on, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    workspace: String,
}

impl Turns {
    pub(super) fn new(limit: usize) -> Self {
        Turns { limit: limit.max(1), running: Mutex::default() }
    }

    /// Begins a search of this workspace.
    pub(super) fn take(&self, workspace: &str) -> Result<Turn<'_>, SearchFault> {
        let mut running = self.running.lock();
        let count = running.get(workspace).copied().unwrap_or(0);
        if count >= self.limit {
            let limit = self.limit;
            let message = format!("{limit} searches of this workspace go on, which is the limit: wait for one to end");
            return Err(SearchFault::Busy(message));
        }
        running.insert(workspace.to_owned(), count + 1);
        Ok(Turn { turns: self, workspace: workspace.to_owned() })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut running = self.turns.running.lock();
        match running.get_mut(&self.workspace) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(running.remove(&self.workspace)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_workspace_waits_for_its_own_searches_alone() {
        let turns = Turns::new(2);
        let first = turns.take("acme").unwrap();
        let second = turns.take("acme").unwrap();
        assert!(matches!(turns.take("acme").unwrap_err(), SearchFault::Busy(message) if message.starts_with("2 ")));
        let other = turns.take("other").unwrap();
        drop(first);
        drop(turns.take("acme").unwrap());
        drop((second, other));
        assert!(turns.running.lock().is_empty());
    }
}
