//! What is indexed: what a fleet says, with further words whose frequencies are those of a natural language.

use std::time::Duration;

use agentworks_load::{Fleet, Record};
use agentworks_schemas::{LogEntry, Source, Timestamp};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::servers::WORKSPACE;

/// The time that the entries are spread over.
pub const SPAN: Duration = Duration::from_secs(24 * 3600);
const CARDS: usize = 1_000;
/// So that there are about ten runs to a card.
const RUN_LENGTH: std::ops::RangeInclusive<usize> = 50..=150;
const WORDS: usize = 50_000;

/// The same entries whenever they are asked for.
#[derive(Clone, Copy)]
pub struct Corpus {
    pub entries: usize,
    pub start: Timestamp,
}

impl Corpus {
    /// Of so many entries, which end about now.
    pub fn new(entries: usize) -> Corpus {
        Corpus { entries, start: Timestamp(Timestamp::now().millis() - SPAN.as_millis() as i64) }
    }

    fn fleet(&self) -> Fleet {
        // Run events, of which there are some, are no entries.
        let rate = self.entries as f64 * 1.15 / SPAN.as_secs_f64();
        let (workspace, run_length) = (WORKSPACE.to_owned(), RUN_LENGTH);
        Fleet { workspace, cards: CARDS, rate, run_length, ..Fleet::new(7, self.start) }
    }

    /// A card, from the most frequent on.
    pub fn card(&self, index: usize) -> String {
        self.fleet().card(index)
    }

    pub fn entries(&self) -> impl Iterator<Item = LogEntry<'static>> {
        let (mut random, words) = (StdRng::seed_from_u64(11), Words::new());
        let entries = self.fleet().steps().filter_map(|step| match step.record {
            Record::Entry(entry) => Some(entry),
            Record::Event(_) => None,
        });
        entries.take(self.entries).map(move |mut entry| {
            if entry.source != Source::System {
                let mut message = entry.message.to_string();
                for _ in 0..random.random_range(0..35) {
                    message.push(' ');
                    message.push_str(words.draw(&mut random));
                }
                entry.message = message.into();
            }
            entry
        })
    }
}

/// A vocabulary, in which the k-th word has the weight 1 / k.
pub struct Words {
    words: Vec<String>,
    /// The sums of the weights up to each.
    sums: Vec<f64>,
}

impl Words {
    pub fn new() -> Words {
        let mut sum = 0.0;
        let sums = (1..=WORDS).map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        });
        Words { sums: sums.collect(), words: (0..WORDS).map(word).collect() }
    }

    fn draw(&self, random: &mut StdRng) -> &str {
        let at = random.random_range(0.0..self.sums[WORDS - 1]);
        &self.words[self.sums.partition_point(|sum| *sum <= at)]
    }
}

/// The word of a rank: the more frequent, the shorter. None is a word of English, or the beginning of another one's
/// syllables.
pub fn word(rank: usize) -> String {
    const SYLLABLES: [&str; 40] = [
        "ba", "ce", "di", "fo", "gu", "ha", "je", "ki", "lo", "mu", "na", "pe", "qui", "ro", "su", "ta", "ve", "wi",
        "xo", "zu", "bra", "cle", "dri", "flo", "gru", "pha", "ste", "kri", "plo", "tru", "sna", "spe", "thi", "sko",
        "shu", "tra", "vle", "whi", "glo", "zha",
    ];
    let mut word = String::from(if rank.is_multiple_of(2) { "v" } else { "z" });
    let mut rest = rank + 1;
    while rest > 0 {
        word.push_str(SYLLABLES[rest % SYLLABLES.len()]);
        rest /= SYLLABLES.len();
    }
    word.push('n');
    word
}
