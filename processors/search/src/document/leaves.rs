//! The values of an entry's data, as [`agentworks_query::data`] finds them: one after the other, each under its whole path,
//! which the index takes apart at the dots.

use std::ops::Range;

use agentworks_query::ast::Number;
use agentworks_query::data::{Buffers, Leaf, for_each_leaf};

use super::Value;

/// The values, their paths and texts in one string.
#[derive(Clone, Debug, Default)]
pub struct Leaves {
    text: String,
    leaves: Vec<(Range<usize>, Kept)>,
}

#[derive(Clone, Debug)]
enum Kept {
    Text(Range<usize>),
    Number(Number),
    Bool(bool),
}

impl Leaves {
    /// The values of an object.
    pub(super) fn of(object: &str) -> Self {
        // No path or text is longer than what it was made of, and most paths are there once.
        let (mut text, mut leaves) = (String::with_capacity(object.len()), Vec::with_capacity(8));
        for_each_leaf(object, &mut Buffers::default(), |path, leaf| {
            let path = push(&mut text, path);
            let kept = match leaf {
                Leaf::Text(value) => Kept::Text(push(&mut text, value)),
                Leaf::Number(number) => Kept::Number(number),
                Leaf::Bool(value) => Kept::Bool(value),
            };
            leaves.push((path, kept));
        });
        Leaves { text, leaves }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.leaves.is_empty()
    }
}

fn push(text: &mut String, more: &str) -> Range<usize> {
    let start = text.len();
    text.push_str(more);
    start..text.len()
}

/// The values with their paths, one after the other.
#[derive(Clone, Debug)]
pub struct Members<'a> {
    text: &'a str,
    leaves: std::slice::Iter<'a, (Range<usize>, Kept)>,
}

impl<'a> Members<'a> {
    pub(super) fn of(leaves: &'a Leaves) -> Self {
        Members { text: &leaves.text, leaves: leaves.leaves.iter() }
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, Value<'a>);

    fn next(&mut self) -> Option<(&'a str, Value<'a>)> {
        let (path, kept) = self.leaves.next()?;
        let value = match kept {
            Kept::Text(text) => Value::Text(&self.text[text.clone()]),
            Kept::Number(Number::I64(number)) => Value::Int(*number),
            Kept::Number(Number::U64(number)) => Value::Number(*number),
            Kept::Number(Number::F64(number)) => Value::Float(*number),
            Kept::Bool(value) => Value::Bool(*value),
        };
        Some((&self.text[path.clone()], value))
    }
}
