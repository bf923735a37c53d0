//! The words of an entry, cut once however many clauses look at them.

use std::ops::Range;

use agentworks_schemas::LogEntry;

use crate::ast::Number;
use crate::data::{Buffers, Leaf, for_each_leaf};
use crate::tokens::Tokens;

/// Words of texts, one after the other in one buffer.
#[derive(Debug, Default)]
pub(super) struct Words {
    text: String,
    ends: Vec<usize>,
}

impl Words {
    fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    /// Appends the words of `text`; returns which they are.
    fn push(&mut self, text: &str, token: &mut String) -> Range<usize> {
        let start = self.ends.len();
        let mut tokens = Tokens::new(text);
        while tokens.next_into(token).is_some() {
            self.text.push_str(token);
            self.ends.push(self.text.len());
        }
        start..self.ends.len()
    }

    pub(super) fn get(&self, index: usize) -> &str {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start..self.ends[index]]
    }
}

/// The value of a leaf of `data`.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Which of the words.
    Words(Range<usize>),
    Number(Number),
    Bool(bool),
}

/// A leaf of `data`: its path within [`Cache::paths`], and its value.
#[derive(Debug)]
struct CachedLeaf {
    path: Range<usize>,
    value: Value,
}

/// What has been cut of the current entry.
#[derive(Debug, Default)]
pub(super) struct Cache {
    token: String,
    buffers: Buffers,
    message: Words,
    component: Words,
    data: Words,
    paths: String,
    leaves: Vec<CachedLeaf>,
    ready: [bool; 3],
}

impl Cache {
    /// Forgets the last entry.
    pub(super) fn begin(&mut self) {
        self.ready = [false; 3];
    }

    pub(super) fn message(&mut self, entry: &LogEntry<'_>) -> (&Words, Range<usize>) {
        if !std::mem::replace(&mut self.ready[0], true) {
            self.message.clear();
            self.message.push(&entry.message, &mut self.token);
        }
        (&self.message, 0..self.message.ends.len())
    }

    pub(super) fn component(&mut self, entry: &LogEntry<'_>) -> (&Words, Range<usize>) {
        if !std::mem::replace(&mut self.ready[1], true) {
            self.component.clear();
            self.component.push(&entry.component, &mut self.token);
        }
        (&self.component, 0..self.component.ends.len())
    }

    /// Whether any leaf of `data` is as the test says: of its words, its path and its value.
    pub(super) fn any_leaf(&mut self, entry: &LogEntry<'_>, test: impl Fn(&Words, &str, &Value) -> bool) -> bool {
        if !std::mem::replace(&mut self.ready[2], true) {
            self.cut_data(entry);
        }
        self.leaves.iter().any(|leaf| test(&self.data, &self.paths[leaf.path.clone()], &leaf.value))
    }

    fn cut_data(&mut self, entry: &LogEntry<'_>) {
        self.data.clear();
        self.paths.clear();
        self.leaves.clear();
        let Cache { token, buffers, data, paths, leaves, .. } = self;
        let Some(object) = &entry.data else { return };
        for_each_leaf(object.as_str(), buffers, |path, leaf| {
            let value = match leaf {
                Leaf::Text(text) => Value::Words(data.push(text, token)),
                Leaf::Number(number) => Value::Number(number),
                Leaf::Bool(bool) => Value::Bool(bool),
            };
            let start = paths.len();
            paths.push_str(path);
            leaves.push(CachedLeaf { path: start..paths.len(), value });
        });
    }
}
