//! Messages that are alike but for their numbers and ids.

use std::collections::HashMap;

use agentworks_schemas::Level;
use agentworks_schemas::protocol::PositionedEntry;
use serde::Serialize;

/// How long a pattern is at most, in characters.
const LENGTH: usize = 200;

/// A message that comes often.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TopMessage {
    /// The message, with `#` for each word that has a digit in it.
    pub(crate) pattern: String,
    /// How many of the sample are so.
    pub(crate) count: usize,
    /// The gravest of them.
    pub(crate) level: Level,
    /// The newest of them, as it is, of at most 200 characters.
    pub(crate) example: String,
}

/// The `n` most frequent messages of entries, the newest of which come first.
pub(super) fn top(entries: &[PositionedEntry<'_>], n: usize) -> Vec<TopMessage> {
    let mut found: HashMap<String, TopMessage> = HashMap::new();
    for PositionedEntry { entry, .. } in entries {
        let pattern = pattern(&entry.message);
        let one = found.entry(pattern).or_insert_with_key(|pattern| TopMessage {
            pattern: pattern.clone(),
            count: 0,
            level: entry.level,
            example: entry.message.chars().take(LENGTH).collect(),
        });
        one.count += 1;
        one.level = one.level.max(entry.level);
    }
    let mut all: Vec<TopMessage> = found.into_values().collect();
    all.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.pattern.cmp(&b.pattern)));
    all.truncate(n);
    all
}

/// A message without what differs from one occurrence to the next: each run of letters and digits that has a digit is `#`.
fn pattern(message: &str) -> String {
    let mut pattern = String::new();
    let mut rest = message;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c: char| c.is_alphanumeric() != first.is_alphanumeric()).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        match first.is_alphanumeric() && word.contains(|c: char| c.is_numeric()) {
            true => pattern.push('#'),
            false => pattern.push_str(word),
        }
        rest = after;
    }
    pattern.chars().take(LENGTH).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ids_make_no_difference() {
        assert_eq!(pattern("call 17 took 182ms (id 01f3-9a)"), "call # took # (id #-#)");
        assert_eq!(pattern("no numbers here"), "no numbers here");
        assert_eq!(pattern(""), "");
        assert_eq!(pattern(&"é".repeat(500)).chars().count(), LENGTH);
    }
}
