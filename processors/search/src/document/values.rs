//! The fields of an entry, one after the other, as the index reads them.

use agentworks_query::answer::whole;
use agentworks_schemas::text::Text;
use tantivy::schema::Field;
use tantivy::schema::document::{ReferenceValue, ReferenceValueLeaf};

use super::EntryDocument;
use super::leaves::{Leaves, Members};
use crate::schema::{fields, lane_number};

/// A value of a field.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Value<'a> {
    Text(&'a str),
    Int(i64),
    Number(u64),
    Float(f64),
    Bool(bool),
    Data(&'a Leaves),
}

impl<'a> tantivy::schema::Value<'a> for Value<'a> {
    type ArrayIter = std::iter::Empty<Self>;
    type ObjectIter = Members<'a>;

    fn as_value(&self) -> ReferenceValue<'a, Self> {
        ReferenceValue::Leaf(match *self {
            Value::Text(text) => ReferenceValueLeaf::Str(text),
            Value::Int(number) => ReferenceValueLeaf::I64(number),
            Value::Number(number) => ReferenceValueLeaf::U64(number),
            Value::Float(number) => ReferenceValueLeaf::F64(number),
            Value::Bool(value) => ReferenceValueLeaf::Bool(value),
            Value::Data(leaves) => return ReferenceValue::Object(Members::of(leaves)),
        })
    }
}

/// The fields of an entry and their values.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    document: &'a EntryDocument,
    /// Which field comes next.
    next: u8,
    tags: std::slice::Iter<'a, Text<'a>>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(document: &'a EntryDocument) -> Self {
        let tags = document.entry().tags.as_deref().unwrap_or_default().iter();
        Fields { document, next: 0, tags }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (Field, Value<'a>);

    fn next(&mut self) -> Option<(Field, Value<'a>)> {
        let (fields, document) = (fields(), self.document);
        let (entry, position) = (document.entry(), document.position);
        let some = |field, text: &'a Option<Text<'a>>| text.as_deref().map(|text| (field, Value::Text(text)));
        let some_whole =
            |field, text: &'a Option<Text<'a>>| text.as_deref().map(|text| (field, Value::Text(whole(text))));
        loop {
            let number = self.next;
            self.next += 1;
            let found = match number {
                0 => Some((fields.workspace, Value::Text(&entry.workspace_id))),
                1 => Some((fields.card, Value::Text(&entry.card_id))),
                2 => Some((fields.run, Value::Text(&entry.run_id))),
                3 => Some((fields.id, Value::Text(&entry.id))),
                4 => Some((fields.level, Value::Text(entry.level.as_str()))),
                5 => Some((fields.source, Value::Text(entry.source.as_str()))),
                6 => Some((fields.component, Value::Text(whole(&entry.component)))),
                7 => Some((fields.message, Value::Text(&entry.message))),
                8 => document.data().map(|data| (fields.data, Value::Data(data))),
                9 => some(fields.agent, &entry.agent_id),
                10 => some(fields.user, &entry.user_id),
                11 => some_whole(fields.provider, &entry.provider),
                12 => some_whole(fields.model, &entry.model),
                13 => some(fields.correlation, &entry.correlation_id),
                14 => some(fields.trace, &entry.trace_id),
                15 => some(fields.span, &entry.parent_span_id),
                16 => Some((fields.timestamp, Value::Int(entry.timestamp.millis()))),
                17 => Some((fields.record_time, Value::Int(document.record_time.millis()))),
                18 => Some((fields.lane, Value::Number(lane_number(position.partition)))),
                19 => Some((fields.epoch, Value::Number(position.epoch.into()))),
                20 => Some((fields.offset, Value::Int(position.offset))),
                _ => {
                    self.next = number;
                    return self.tags.next().map(|tag| (fields.tags, Value::Text(tag)));
                }
            };
            if found.is_some() {
                return found;
            }
        }
    }
}
