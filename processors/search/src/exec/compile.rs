//! The query as the index's library has it, for one segment.

use std::cell::OnceCell;
use std::ops::Bound;
use std::sync::Arc;

use agentworks_query::ast::{Ends, Field, Keyword, Number, Query, Test};
use agentworks_query::evaluate::{NEAR, exactly, weight};
use agentworks_query::tokens::tokenize;
use agentworks_schemas::Timestamp;
use tantivy::query::Query as IndexQuery;
use tantivy::query::{AllQuery, BooleanQuery, ConstScoreQuery, EnableScoring, Occur, PhraseQuery, RangeQuery};
use tantivy::schema::Term;
use tantivy::{BitSet, SegmentReader};

use super::fixed::{Fixed, OfTerm, Unscored};
use super::terms::{Found, Space};
use super::{Deadline, ExecError, Limits, each_block};
use crate::schema::fields;

/// What a query finds in a segment.
#[derive(Debug)]
pub(super) enum Plan {
    /// Every document.
    All,
    /// None.
    None,
    /// Some.
    Some(Box<dyn IndexQuery>),
    /// All but some.
    Except(Box<dyn IndexQuery>),
}

/// Makes queries for one segment.
pub(super) struct Compiler<'a> {
    pub(super) segment: &'a SegmentReader,
    pub(super) limits: &'a Limits,
    pub(super) deadline: Deadline,
    pub(super) scored: bool,
    pub(super) workspace: &'a str,
    paths: OnceCell<Vec<Space>>,
    pub(super) own: OnceCell<Option<BitSet>>,
}

pub(super) type Compiled = Result<Plan, ExecError>;

impl Plan {
    pub(super) fn of(query: impl IndexQuery) -> Plan {
        Plan::Some(Box::new(query))
    }

    /// What a query finds, each of which counts so much.
    fn scored(query: Box<dyn IndexQuery>, score: f32) -> Plan {
        Plan::of(ConstScoreQuery::new(Box::new(Unscored(query)), score))
    }

    /// What all find.
    pub(super) fn and(plans: impl IntoIterator<Item = Plan>) -> Plan {
        let mut clauses: Vec<(Occur, Box<dyn IndexQuery>)> = Vec::new();
        for plan in plans {
            match plan {
                Plan::All => {}
                Plan::None => return Plan::None,
                Plan::Some(query) => clauses.push((Occur::Must, query)),
                Plan::Except(query) => clauses.push((Occur::MustNot, query)),
            }
        }
        match (clauses.len(), clauses.iter().any(|(occur, _)| *occur == Occur::Must)) {
            (0, _) => Plan::All,
            (1, true) => Plan::Some(clauses.remove(0).1),
            (1, false) => Plan::Except(clauses.remove(0).1),
            (_, true) => Plan::of(BooleanQuery::new(clauses)),
            // All but what any finds.
            (_, false) => Plan::Except(union(clauses.into_iter().map(|(_, query)| query).collect())),
        }
    }

    /// What any finds.
    pub(super) fn or(plans: impl IntoIterator<Item = Plan>) -> Plan {
        let mut queries = Vec::new();
        for plan in plans {
            match plan {
                Plan::All => return Plan::All,
                Plan::None => {}
                Plan::Some(query) => queries.push(query),
                except @ Plan::Except(_) => queries.extend(except.into_query()),
            }
        }
        match queries.len() {
            0 => Plan::None,
            1 => Plan::Some(queries.remove(0)),
            _ => Plan::Some(union(queries)),
        }
    }

    /// The query; `None` if nothing is found.
    pub(super) fn into_query(self) -> Option<Box<dyn IndexQuery>> {
        let all = || Box::new(ConstScoreQuery::new(Box::new(AllQuery), 0.0)) as Box<dyn IndexQuery>;
        match self {
            Plan::All => Some(all()),
            Plan::None => None,
            Plan::Some(query) => Some(query),
            Plan::Except(query) => {
                Some(Box::new(BooleanQuery::new(vec![(Occur::Must, all()), (Occur::MustNot, query)])))
            }
        }
    }
}

fn union(queries: Vec<Box<dyn IndexQuery>>) -> Box<dyn IndexQuery> {
    Box::new(BooleanQuery::new(queries.into_iter().map(|query| (Occur::Should, query)).collect()))
}

impl<'a> Compiler<'a> {
    pub(super) fn new(
        segment: &'a SegmentReader,
        limits: &'a Limits,
        deadline: Deadline,
        scored: bool,
        workspace: &'a str,
    ) -> Self {
        Compiler { segment, limits, deadline, scored, workspace, paths: OnceCell::new(), own: OnceCell::new() }
    }

    /// A filter: what it finds counts nothing.
    pub(super) fn filter(&self, field: tantivy::schema::Field, values: &[String]) -> Compiled {
        let space = Space::of_field(self.segment, field)?;
        let mut plans = Vec::new();
        for value in values {
            plans.push(self.documents(&space, space.word(value)?));
        }
        Ok(match Plan::or(plans) {
            Plan::Some(query) if self.scored => Plan::scored(query, 0.0),
            plan => plan,
        })
    }

    /// A query, in which each clause counts what [`evaluate`](agentworks_query::evaluate) says. Times that it demands
    /// of every hit are left out if `within`: whoever goes through the hits sees to those.
    pub(super) fn query(&self, query: &Query, within: bool) -> Compiled {
        self.boosted(query, within, 1.0)
    }

    fn boosted(&self, query: &Query, within: bool, boost: f32) -> Compiled {
        self.deadline.check()?;
        Ok(match query {
            Query::All => Plan::All,
            Query::Match(_, Test::Times(_)) if within => Plan::All,
            Query::Match(field, test) if self.scored => self.scored(field, test, weight(boost))?,
            Query::Match(field, test) => self.clause(field, test)?,
            Query::Not(query) => match self.boosted(query, false, boost)? {
                Plan::All => Plan::None,
                Plan::None => Plan::All,
                Plan::Some(query) => Plan::Except(self.set(query)?),
                Plan::Except(query) if self.scored => Plan::scored(query, 0.0),
                Plan::Except(query) => Plan::Some(query),
            },
            Query::And(queries) => {
                // First what costs one look: where there is none of a card, no word need be looked for.
                let is_quick = |query: &&Query| {
                    matches!(query, Query::Match(Field::Keyword(_), Test::Text(_) | Test::OneOf(_) | Test::Times(_)))
                };
                let (quick, others): (Vec<_>, Vec<_>) = queries.iter().partition(is_quick);
                let mut plans = Vec::with_capacity(queries.len());
                for query in quick.into_iter().chain(others) {
                    match self.boosted(query, within, boost)? {
                        Plan::None => return Ok(Plan::None),
                        plan => plans.push(plan),
                    }
                }
                Plan::and(plans)
            }
            Query::Or(queries) => {
                let plans: Result<Vec<Plan>, ExecError> =
                    queries.iter().map(|query| self.boosted(query, false, boost)).collect();
                let kept = |plan| match plan {
                    // The others count, all the same.
                    Plan::All if self.scored => Plan::scored(Box::new(AllQuery), 0.0),
                    plan => plan,
                };
                Plan::or(plans?.into_iter().map(kept))
            }
            Query::Boost(query, factor) => self.boosted(query, within, boost * factor)?,
        })
    }

    /// A clause that counts.
    fn scored(&self, field: &Field, test: &Test, weight: f32) -> Compiled {
        let counts = |plan, score| match plan {
            Plan::All => Plan::scored(Box::new(AllQuery), score),
            Plan::Some(query) => Plan::scored(query, score),
            plan => plan,
        };
        let plan = self.clause(field, test)?;
        match (test, exactly(test)) {
            (Test::Times(_), _) => Ok(plan),
            _ if is_always(field, test) => Ok(plan),
            (_, Some(exact)) if !matches!(plan, Plan::None) => {
                let near = weight * NEAR;
                Ok(Plan::or([counts(plan, near), counts(self.clause(field, &exact)?, weight - near)]))
            }
            _ => Ok(counts(plan, weight)),
        }
    }

    /// What a query finds as a set, unless it is a single term.
    ///
    /// The library's exclusion seeks in what it excludes even if that stands beyond already, which phrases, and what is made
    /// of them, aren't made for.
    fn set(&self, query: Box<dyn IndexQuery>) -> Result<Box<dyn IndexQuery>, ExecError> {
        if query.is::<OfTerm>() || query.is::<Fixed>() {
            return Ok(query);
        }
        let weight = query.weight(EnableScoring::disabled_from_schema(&fields().schema))?;
        let mut scorer = weight.scorer(self.segment, 1.0)?;
        let mut docs = self.no_docs();
        each_block(scorer.as_mut(), self.deadline, |found| {
            for doc in found {
                docs.insert(*doc);
            }
        })?;
        Ok(Box::new(Fixed(Arc::new(docs))))
    }

    fn clause(&self, field: &Field, test: &Test) -> Compiled {
        let index = fields();
        let text = |field| Space::of_field(self.segment, field);
        match (field, test) {
            _ if is_always(field, test) => Ok(Plan::All),
            (_, Test::Times(ends)) => Ok(times(ends)),
            (Field::Message, _) => self.words(&text(index.message)?, field, test),
            (Field::Component, _) => self.words(&text(index.component)?, field, test),
            (Field::Data(path), _) => self.words(&Space::of_path(self.segment, index.data, path)?, field, test),
            (Field::AllData, Test::Exists) => self.exists(&text(index.data)?),
            (Field::AllData, _) => self.all_data(field, test),
            (Field::Keyword(keyword), _) => self.keyword(*keyword, field, test),
            (Field::Any | Field::Timestamp, _) => Ok(Plan::or([
                self.words(&text(index.message)?, field, test)?,
                self.words(&text(index.component)?, field, test)?,
                self.all_data(field, test)?,
            ])),
        }
    }

    fn all_data(&self, field: &Field, test: &Test) -> Compiled {
        let spaces = match self.paths.get() {
            Some(spaces) => spaces,
            None => {
                let found = Space::of_all_paths(self.segment, fields().data, self.limits.paths, &self.deadline)?;
                self.paths.get_or_init(|| found)
            }
        };
        let mut plans = Vec::new();
        for (index, space) in spaces.iter().enumerate() {
            if index % 256 == 255 {
                self.deadline.check()?;
            }
            match self.words(space, field, test)? {
                Plan::None => {}
                plan => plans.push(plan),
            }
        }
        Ok(Plan::or(plans))
    }

    /// A test of text.
    fn words(&self, space: &Space, field: &Field, test: &Test) -> Compiled {
        match test {
            Test::Text(text) => self.equal(space, text),
            Test::OneOf(texts) => {
                let plans: Result<Vec<Plan>, ExecError> = texts.iter().map(|text| self.equal(space, text)).collect();
                Ok(Plan::or(plans?))
            }
            Test::Prefix(prefix) => self.prefix(space, prefix, field, test),
            Test::Wildcard(pattern) => {
                let pattern = pattern.folded();
                self.pattern(space, &pattern, field, test)
            }
            Test::Fuzzy(word, fuzziness) => {
                let word = tokenize(word).pop().unwrap_or_default();
                match fuzziness.edits(&word) {
                    0 => Ok(self.documents(space, space.word(&word)?)),
                    edits => self.near(space, &word, edits, field, test),
                }
            }
            Test::Numbers(ends) => self.numbers(space, ends),
            Test::Exists => self.exists(space),
            Test::Times(ends) => Ok(times(ends)),
        }
    }

    /// A text in text, and in `data` also the number or truth value that it is.
    fn equal(&self, space: &Space, text: &str) -> Compiled {
        let words = self.phrase(space, &tokenize(text))?;
        if space.field() != fields().data {
            return Ok(words);
        }
        let number = match Number::parse(text) {
            Some(number) => self.documents(space, space.number(number)?),
            None => Plan::None,
        };
        let truth = match text.parse() {
            Ok(truth) => self.documents(space, space.truth(truth)?),
            Err(_) => Plan::None,
        };
        Ok(Plan::or([words, number, truth]))
    }

    pub(super) fn phrase(&self, space: &Space, words: &[String]) -> Compiled {
        let Some(mut terms) = space.all(words)? else { return Ok(Plan::None) };
        Ok(match terms.len() {
            0 | 1 => self.documents(space, terms.pop()),
            _ => Plan::of(PhraseQuery::new(terms.into_iter().map(|found| found.term).collect())),
        })
    }

    /// The documents of a term.
    fn documents(&self, space: &Space, found: Option<Found>) -> Plan {
        match found {
            None => Plan::None,
            Some(found) if found.info.doc_freq == self.segment.max_doc() => Plan::All,
            Some(found) => Plan::of(OfTerm { index: space.index().clone(), found }),
        }
    }

    fn numbers(&self, space: &Space, ends: &Ends<Number>) -> Compiled {
        let mut docs = self.no_docs();
        space.numbers(ends, &mut docs, &self.deadline)?;
        Ok(fixed(docs))
    }

    fn exists(&self, space: &Space) -> Compiled {
        let mut docs = self.no_docs();
        space.any(&mut docs, &self.deadline)?;
        Ok(fixed(docs))
    }

    /// A test of what is one word to the letter.
    fn keyword(&self, keyword: Keyword, field: &Field, test: &Test) -> Compiled {
        let space = Space::of_field(self.segment, fields().of(keyword))?;
        Ok(match test {
            Test::Text(text) => self.documents(&space, space.word(text)?),
            Test::OneOf(texts) => {
                let plans: Result<Vec<Plan>, ExecError> =
                    texts.iter().map(|text| Ok(self.documents(&space, space.word(text)?))).collect();
                Plan::or(plans?)
            }
            Test::Prefix(prefix) => self.beginning(&space, prefix, field, test)?,
            Test::Wildcard(pattern) => self.pattern(&space, pattern, field, test)?,
            Test::Fuzzy(word, fuzziness) => match fuzziness.edits(word) {
                0 => self.documents(&space, space.word(word)?),
                edits => self.near(&space, word, edits, field, test)?,
            },
            Test::Exists => self.exists(&space)?,
            Test::Numbers(_) | Test::Times(_) => Plan::None,
        })
    }

    pub(super) fn no_docs(&self) -> BitSet {
        BitSet::with_max_value(self.segment.max_doc())
    }
}

pub(super) fn fixed(docs: BitSet) -> Plan {
    match docs.len() {
        0 => Plan::None,
        len if len == docs.max_value() as usize => Plan::All,
        _ => Plan::of(Fixed(Arc::new(docs))),
    }
}

/// Whether every entry is so.
fn is_always(field: &Field, test: &Test) -> bool {
    match (field, test) {
        (Field::Any | Field::Message | Field::Component | Field::Timestamp, Test::Exists) => true,
        (Field::Keyword(keyword), Test::Exists) => keyword.is_required(),
        _ => false,
    }
}

fn times(ends: &Ends<Timestamp>) -> Plan {
    if let (Bound::Unbounded, Bound::Unbounded) = (ends.lower, ends.upper) {
        return Plan::All;
    }
    let term = |at: Timestamp| Term::from_field_i64(fields().timestamp, at.millis());
    Plan::of(ConstScoreQuery::new(Box::new(RangeQuery::new(ends.lower.map(term), ends.upper.map(term))), 0.0))
}
