//! Patterns: what words of a segment they stand for, and how many they may.

use agentworks_query::ast::{Field, Pattern, Query, Test, prefix_words};
use agentworks_query::near::automaton;
use tantivy::BitSet;
use tantivy::postings::TermInfo;
use tantivy::query::PhrasePrefixQuery;

use super::ExecError;
use super::compile::{Compiled, Compiler, Plan, fixed};
use super::terms::Space;
use crate::schema::fields;

/// How many words' documents are gone through before the clock is looked at.
const WORDS_A_LOOK: usize = 64;

/// What a pattern stands for.
struct Expansion {
    /// How many words of the workspace's entries.
    count: usize,
    /// How many words of anybody's.
    seen: usize,
    docs: BitSet,
}

impl Compiler<'_> {
    pub(super) fn prefix(&self, space: &Space, prefix: &str, field: &Field, test: &Test) -> Compiled {
        let (words, last) = prefix_words(prefix);
        let Some(last) = last else { return self.phrase(space, &words) };
        if words.is_empty() {
            return self.beginning(space, &last, field, test);
        }
        let Some(found) = space.all(&words)? else { return Ok(Plan::None) };
        let mut expansion = self.expansion();
        space.words(&last, &self.deadline, |_, info| {
            self.expand(space, info, &mut expansion, field, test)?;
            // The library goes through those of other workspaces, too, for each hit of the words before: they count here.
            if expansion.seen > self.limits.expansions { Err(self.too_many(field, test)) } else { Ok(()) }
        })?;
        if expansion.count == 0 {
            return Ok(Plan::None);
        }
        let terms = found.into_iter().map(|found| found.term).chain([space.word_prefix(&last)]);
        let mut query = PhrasePrefixQuery::new(terms.collect());
        query.set_max_expansions(u32::try_from(expansion.seen).unwrap_or(u32::MAX));
        Ok(Plan::of(query))
    }

    /// What begins so.
    pub(super) fn beginning(&self, space: &Space, start: &str, field: &Field, test: &Test) -> Compiled {
        let mut expansion = self.expansion();
        space.words(start, &self.deadline, |_, info| self.expand(space, info, &mut expansion, field, test))?;
        Ok(fixed(expansion.docs))
    }

    pub(super) fn pattern(&self, space: &Space, pattern: &Pattern, field: &Field, test: &Test) -> Compiled {
        let mut expansion = self.expansion();
        let start = pattern.prefix();
        let mut word = start.clone();
        space.words(&start, &self.deadline, |rest, info| {
            word.truncate(start.len());
            // A word that isn't text would be a fault of the index; no pattern is like it.
            word.push_str(std::str::from_utf8(rest).unwrap_or("\0"));
            if pattern.matches(&word) {
                self.expand(space, info, &mut expansion, field, test)?;
            }
            Ok(())
        })?;
        Ok(fixed(expansion.docs))
    }

    pub(super) fn near(&self, space: &Space, word: &str, edits: u8, field: &Field, test: &Test) -> Compiled {
        let mut expansion = self.expansion();
        space.near(automaton(word, edits), |info| self.expand(space, info, &mut expansion, field, test))?;
        self.deadline.check()?;
        Ok(fixed(expansion.docs))
    }

    fn expansion(&self) -> Expansion {
        Expansion { count: 0, seen: 0, docs: self.no_docs() }
    }

    /// One word more that a pattern stands for, if any entry of the workspace has it: what others write is nobody's bound.
    fn expand(
        &self,
        space: &Space,
        info: &TermInfo,
        expansion: &mut Expansion,
        field: &Field,
        test: &Test,
    ) -> Result<(), ExecError> {
        expansion.seen += 1;
        if expansion.seen.is_multiple_of(WORDS_A_LOOK) {
            self.deadline.check()?;
        }
        let is_own = match self.own()? {
            Some(own) => space.add_of(own, info, &mut expansion.docs)?,
            None => space.add(info, &mut expansion.docs).map(|()| true)?,
        };
        expansion.count += usize::from(is_own);
        if expansion.count > self.limits.expansions { Err(self.too_many(field, test)) } else { Ok(()) }
    }

    fn too_many(&self, field: &Field, test: &Test) -> ExecError {
        let clause = Query::Match(field.clone(), test.clone()).to_string();
        ExecError::Expansions { clause, max: self.limits.expansions }
    }

    /// The documents of the workspace; `None` if all are.
    fn own(&self) -> Result<Option<&BitSet>, ExecError> {
        if self.own.get().is_none() {
            let space = Space::of_field(self.segment, fields().workspace)?;
            let own = match space.word(self.workspace)? {
                Some(found) if found.info.doc_freq == self.segment.max_doc() => None,
                found => {
                    let mut docs = self.no_docs();
                    found.iter().try_for_each(|found| space.add(&found.info, &mut docs))?;
                    Some(docs)
                }
            };
            // Nobody else was here between.
            let _ = self.own.set(own);
        }
        Ok(self.own.get().and_then(Option::as_ref))
    }
}
