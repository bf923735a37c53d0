//! Words that differ by a letter or two.

use std::sync::LazyLock;

use levenshtein_automata::{DFA, LevenshteinAutomatonBuilder};

/// Automata for one and for two edits; two neighbours exchanged are one edit.
static AUTOMATA: LazyLock<[LevenshteinAutomatonBuilder; 2]> =
    LazyLock::new(|| [LevenshteinAutomatonBuilder::new(1, true), LevenshteinAutomatonBuilder::new(2, true)]);

/// What finds the words that are at most `edits` (1 or 2) from `word`; its distance is exact for those.
pub fn automaton(word: &str, edits: u8) -> DFA {
    AUTOMATA[usize::from(edits > 1)].build_dfa(word)
}
