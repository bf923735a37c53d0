//! The dictionary of a field in one segment.

use std::ops::Bound;
use std::sync::Arc;

use agentworks_query::ast::{Ends, Number};
use levenshtein_automata::{DFA, Distance, SINK_STATE};
use tantivy::postings::TermInfo;
use tantivy::schema::{Field, IndexRecordOption, Term, Type};
use tantivy::{BitSet, InvertedIndexReader, SegmentReader, i64_to_u64, u64_to_f64, u64_to_i64};
use tantivy_fst::Automaton;

use super::lookups::Dictionary;
use super::paths::{KnownPath, paths_of};
use super::{Deadline, ExecError};

/// Ends the path of a term of `data`; what separates its names.
pub(crate) const END_OF_PATH: u8 = 0;
const SEPARATOR: u8 = 1;

/// How many terms are gone through before the clock is looked at.
pub(super) const TERMS_A_LOOK: usize = 4096;

/// A term that is there, and where its documents are.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) term: Term,
    pub(super) info: TermInfo,
}

/// The terms of a field, or of one path in `data`.
#[derive(Clone)]
pub(super) struct Space {
    dictionary: Dictionary,
    /// What all of its terms begin with: nothing, or a path and its end.
    prefix: Vec<u8>,
    /// Whether a term says its type after the path.
    typed: bool,
    /// What is known of the path.
    path: Option<Arc<KnownPath>>,
}

impl Space {
    /// All terms of a field that isn't JSON.
    pub(super) fn of_field(segment: &SegmentReader, field: Field) -> Result<Space, ExecError> {
        let dictionary = Dictionary::of(segment, field)?;
        Ok(Space { dictionary, prefix: Vec::new(), typed: false, path: None })
    }

    /// The terms of one path.
    pub(super) fn of_path(segment: &SegmentReader, field: Field, path: &str) -> Result<Space, ExecError> {
        let prefix =
            path.bytes().map(|byte| if byte == b'.' { SEPARATOR } else { byte }).chain([END_OF_PATH]).collect();
        Ok(Space { dictionary: Dictionary::of(segment, field)?, prefix, typed: true, path: None })
    }

    /// The spaces of all paths.
    pub(super) fn of_all_paths(
        segment: &SegmentReader,
        field: Field,
        max: usize,
        deadline: &Deadline,
    ) -> Result<Vec<Space>, ExecError> {
        let dictionary = Dictionary::of(segment, field)?;
        let space = |path: &Arc<KnownPath>| {
            let (dictionary, prefix) = (dictionary.clone(), path.prefix.clone());
            Space { dictionary, prefix, typed: true, path: Some(path.clone()) }
        };
        Ok(paths_of(segment, field, max, deadline)?.iter().map(space).collect())
    }

    /// The field that its terms are of.
    pub(super) fn field(&self) -> Field {
        self.dictionary.field
    }

    /// What reads the documents of its terms.
    pub(super) fn index(&self) -> &Arc<InvertedIndexReader> {
        &self.dictionary.index
    }

    /// The term whose bytes in the dictionary are these.
    fn term_of_key(&self, key: &[u8]) -> Term {
        let mut term = match self.typed {
            true => Term::from_field_json_path(self.field(), "", true),
            false => Term::from_field_text(self.field(), ""),
        };
        term.truncate_value_bytes(0);
        term.append_bytes(key);
        term
    }

    /// The bytes of all terms of a type begin so.
    fn key(&self, typ: Type, value: &[u8]) -> Vec<u8> {
        let mut key = self.prefix.clone();
        if self.typed {
            key.push(typ.to_code());
        }
        key.extend_from_slice(value);
        key
    }

    /// The term of a word, if there is one.
    pub(super) fn word(&self, word: &str) -> Result<Option<Found>, ExecError> {
        if self.path.as_ref().is_some_and(|path| !path.may_have(word.as_bytes())) {
            return Ok(None);
        }
        self.known(self.key(Type::Str, word.as_bytes()))
    }

    /// The terms of some words; `None` if one isn't there.
    pub(super) fn all(&self, words: &[String]) -> Result<Option<Vec<Found>>, ExecError> {
        words.iter().map(|word| self.word(word).transpose()).collect::<Option<_>>().transpose()
    }

    /// The term that a phrase prefix ends with: it needn't be there itself.
    pub(super) fn word_prefix(&self, prefix: &str) -> Term {
        self.term_of_key(&self.key(Type::Str, prefix.as_bytes()))
    }

    /// The term of a number, if there is one.
    pub(super) fn number(&self, number: Number) -> Result<Option<Found>, ExecError> {
        let (typ, bits) = match number {
            Number::I64(value) => (Type::I64, i64_to_u64(value)),
            Number::U64(value) => (Type::U64, value),
            Number::F64(value) => (Type::F64, tantivy::f64_to_u64(value)),
        };
        self.known(self.key(typ, &bits.to_be_bytes()))
    }

    /// The term of a truth value, if there is one.
    pub(super) fn truth(&self, truth: bool) -> Result<Option<Found>, ExecError> {
        self.known(self.key(Type::Bool, &u64::from(truth).to_be_bytes()))
    }

    fn known(&self, key: Vec<u8>) -> Result<Option<Found>, ExecError> {
        Ok(self.dictionary.get(&key)?.map(|info| Found { term: self.term_of_key(&key), info }))
    }

    /// Calls `with` for each word that begins with `prefix`: the word without it, and where its documents are. It ends
    /// early if `with` fails.
    pub(super) fn words(
        &self,
        prefix: &str,
        deadline: &Deadline,
        mut with: impl FnMut(&[u8], &TermInfo) -> Result<(), ExecError>,
    ) -> Result<(), ExecError> {
        let from = self.key(Type::Str, prefix.as_bytes());
        self.range(&from, deadline, |rest, info| with(rest, info).map(|()| true))
    }

    /// Calls `with` for the terms whose bytes begin with `from`, until it says no.
    fn range(
        &self,
        from: &[u8],
        deadline: &Deadline,
        mut with: impl FnMut(&[u8], &TermInfo) -> Result<bool, ExecError>,
    ) -> Result<(), ExecError> {
        let builder = self.index().terms().range().ge(from);
        let mut stream = match after_all(from) {
            Some(end) => builder.lt(&end).into_stream()?,
            None => builder.into_stream()?,
        };
        let mut count = 0;
        while let Some((key, info)) = stream.next() {
            count += 1;
            if count % TERMS_A_LOOK == 0 {
                deadline.check()?;
            }
            if !with(&key[from.len()..], info)? {
                break;
            }
        }
        Ok(())
    }

    /// Calls `with` for the words that are near another: where the documents of each are.
    pub(super) fn near(
        &self,
        dfa: DFA,
        mut with: impl FnMut(&TermInfo) -> Result<(), ExecError>,
    ) -> Result<(), ExecError> {
        let start = self.key(Type::Str, b"");
        let automaton = After { start: &start, dfa };
        let mut stream = self.index().terms().search(&automaton).ge(&start).into_stream()?;
        while let Some((_, info)) = stream.next() {
            with(info)?;
        }
        Ok(())
    }

    /// Adds the documents of the numbers in a range.
    pub(super) fn numbers(&self, ends: &Ends<Number>, docs: &mut BitSet, deadline: &Deadline) -> Result<(), ExecError> {
        for typ in [Type::I64, Type::U64, Type::F64] {
            let from = self.key(typ, b"");
            self.range(&from, deadline, |bits, info| {
                let bits = bits.try_into().map(u64::from_be_bytes);
                let bits = bits.map_err(|_| ExecError::Damaged("a number of `data` is cut short".into()))?;
                let number = match typ {
                    Type::I64 => Number::I64(u64_to_i64(bits)),
                    Type::U64 => Number::U64(bits),
                    _ => Number::F64(u64_to_f64(bits)),
                };
                if is_above(&number, &ends.upper) {
                    return Ok(false);
                }
                if ends.contain(&number) {
                    self.add(info, docs)?;
                }
                Ok(true)
            })?;
        }
        Ok(())
    }

    /// Adds the documents that have any term here or, of a path, below it.
    pub(super) fn any(&self, docs: &mut BitSet, deadline: &Deadline) -> Result<(), ExecError> {
        let mut add = |from: &[u8]| {
            self.range(from, deadline, |_, info| {
                self.add(info, docs)?;
                Ok(true)
            })
        };
        add(&self.prefix)?;
        match self.prefix.split_last() {
            Some((_, path)) => add(&[path, &[SEPARATOR]].concat()),
            None => Ok(()),
        }
    }

    /// Adds the documents of a term.
    pub(super) fn add(&self, info: &TermInfo, docs: &mut BitSet) -> Result<(), ExecError> {
        let mut postings = self.index().read_block_postings_from_terminfo(info, IndexRecordOption::Basic)?;
        while !postings.docs().is_empty() {
            for doc in postings.docs() {
                docs.insert(*doc);
            }
            postings.advance();
        }
        Ok(())
    }

    /// Adds those documents of a term that are in `own`, and says whether any is.
    pub(super) fn add_of(&self, own: &BitSet, info: &TermInfo, docs: &mut BitSet) -> Result<bool, ExecError> {
        let mut postings = self.index().read_block_postings_from_terminfo(info, IndexRecordOption::Basic)?;
        let mut any = false;
        while !postings.docs().is_empty() {
            for doc in postings.docs().iter().filter(|doc| own.contains(**doc)) {
                docs.insert(*doc);
                any = true;
            }
            postings.advance();
        }
        Ok(any)
    }
}

fn is_above(number: &Number, upper: &Bound<Number>) -> bool {
    matches!(upper, Bound::Included(end) | Bound::Excluded(end) if number > end)
}

/// The first bytes after all that begin with `prefix`; `None` if there are none.
fn after_all(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// Finds what begins with `start` and goes on with what the automaton finds.
struct After<'a> {
    start: &'a [u8],
    dfa: DFA,
}

#[derive(Clone, Copy)]
enum State {
    /// So much of the start has been seen.
    Start(usize),
    Within(u32),
    Dead,
}

impl After<'_> {
    fn begun(&self, seen: usize) -> State {
        if seen == self.start.len() { State::Within(self.dfa.initial_state()) } else { State::Start(seen) }
    }
}

impl Automaton for &After<'_> {
    type State = State;

    fn start(&self) -> State {
        self.begun(0)
    }

    fn is_match(&self, state: &State) -> bool {
        matches!(state, State::Within(state) if matches!(self.dfa.distance(*state), Distance::Exact(_)))
    }

    fn can_match(&self, state: &State) -> bool {
        match state {
            State::Start(_) => true,
            State::Within(state) => *state != SINK_STATE,
            State::Dead => false,
        }
    }

    fn accept(&self, state: &State, byte: u8) -> State {
        match state {
            State::Start(seen) if self.start[*seen] == byte => self.begun(seen + 1),
            State::Within(state) => State::Within(self.dfa.transition(*state, byte)),
            _ => State::Dead,
        }
    }
}
