//! Which rows were found lately: the same question is asked for every chunk of a reading.

use std::sync::Arc;

use lru::LruCache;

use super::find::Found;

/// How many rows are kept in all, at about 40 bytes.
const ROWS: usize = 1 << 20;

/// A file's path, and the question.
type Key = (String, String);

/// Answers, by what was asked of which file.
#[derive(Debug)]
pub(super) struct Answers {
    recent: LruCache<Key, Arc<Vec<Found>>>,
    rows: usize,
}

impl Default for Answers {
    fn default() -> Self {
        Answers { recent: LruCache::unbounded(), rows: 0 }
    }
}

impl Answers {
    /// What was found.
    pub(super) fn get(&mut self, key: &Key) -> Option<Arc<Vec<Found>>> {
        self.recent.get(key).cloned()
    }

    /// Keeps what was found; what was asked for longest ago goes for it.
    pub(super) fn put(&mut self, key: Key, found: Arc<Vec<Found>>) {
        self.rows += weight(&found);
        if let Some(before) = self.recent.put(key, found) {
            self.rows -= weight(&before);
        }
        while self.rows > ROWS && self.recent.len() > 1 {
            if let Some((_, gone)) = self.recent.pop_lru() {
                self.rows -= weight(&gone);
            }
        }
    }
}

/// An answer of no rows takes room as well.
fn weight(found: &[Found]) -> usize {
    found.len() + 8
}

#[cfg(test)]
mod tests {
    use agentworks_schemas::{Topic, TopicPartition};

    use super::*;

    #[test]
    fn no_more_rows_are_kept_than_there_is_room_for() {
        let row = Found { row: 0, partition: TopicPartition::new(Topic::AgentLogs, 0), epoch: 0, offset: 0 };
        let mut answers = Answers::default();
        for file in 0..20 {
            answers.put((file.to_string(), String::new()), Arc::new(vec![row; ROWS / 8]));
            assert!(answers.rows <= ROWS);
        }
        assert!(answers.get(&("19".into(), String::new())).is_some());
        assert!(answers.get(&("0".into(), String::new())).is_none());
        let kept: usize = answers.recent.iter().map(|(_, found)| weight(found)).sum();
        assert_eq!(answers.rows, kept);
    }
}
