//! Records of every valid kind, for property tests.

use proptest::prelude::*;
use proptest::{collection, num, option};

use crate::entry::{Level, LogEntry, Source};
use crate::event::{RunEvent, RunEventKind};
use crate::text::{JsonObject, Text};
use crate::time::Timestamp;

fn text() -> impl Strategy<Value = Text<'static>> {
    any::<String>().prop_map(Text::from)
}

fn id() -> impl Strategy<Value = Text<'static>> {
    // Up to 100 characters of up to four bytes.
    "\\PC{1,100}|.{1,100}".prop_map(Text::from)
}

fn timestamp() -> impl Strategy<Value = Timestamp> {
    Timestamp::RANGE.prop_map(Timestamp)
}

fn sequence() -> impl Strategy<Value = i64> {
    prop_oneof![0..1000i64, 0..=i64::MAX]
}

/// The text of a JSON value, with numbers of any size and white space where it may be.
fn json_value() -> impl Strategy<Value = String> {
    let string = any::<String>().prop_map(|text| serde_json::Value::from(text).to_string());
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?",
        string.clone(),
        "\"(\\\\u[0-9a-fA-F]{4}|\\\\[nrt\"/bf]|\\\\\\\\|[a-z])*\"",
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(" , "))),
            members(inner),
        ]
    })
}

fn members(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    collection::vec((any::<String>(), value), 0..4).prop_map(|members| {
        let member = |(name, value)| format!("{}:\t{value}", serde_json::Value::from(name));
        format!("{{{}}}", members.into_iter().map(member).collect::<Vec<_>>().join(", "))
    })
}

fn object() -> impl Strategy<Value = JsonObject<'static>> {
    members(json_value()).prop_map(|text| JsonObject::parse(text).unwrap())
}

/// Any entry that may be on the log.
pub(super) fn entry() -> impl Strategy<Value = LogEntry<'static>> {
    let identity = (text(), id(), id(), id(), timestamp(), sequence());
    let content = (
        proptest::sample::select(&Level::ALL),
        proptest::sample::select(&Source::ALL),
        text(),
        text(),
        option::of(object()),
    );
    let context = (option::of(id()), option::of(text()), option::of(text()), option::of(id()));
    let metadata = (option::of(collection::vec(text(), 0..5)), option::of(id()), option::of(id()), option::of(id()));
    (identity, content, context, metadata).prop_map(|(identity, content, context, metadata)| LogEntry {
        id: identity.0,
        run_id: identity.1,
        card_id: identity.2,
        workspace_id: identity.3,
        timestamp: identity.4,
        sequence: identity.5,
        level: content.0,
        source: content.1,
        component: content.2,
        message: content.3,
        data: content.4,
        agent_id: context.0,
        provider: context.1,
        model: context.2,
        user_id: context.3,
        tags: metadata.0,
        correlation_id: metadata.1,
        parent_span_id: metadata.2,
        trace_id: metadata.3,
    })
}

/// Any event that may be on the log.
pub(super) fn event() -> impl Strategy<Value = RunEvent<'static>> {
    let identity = (text(), id(), id(), id(), timestamp(), proptest::sample::select(&RunEventKind::ALL));
    let context = (option::of(id()), option::of(text()), option::of(text()), option::of(id()));
    let cost = num::f64::POSITIVE | num::f64::NORMAL | num::f64::SUBNORMAL | num::f64::ZERO;
    let cost = cost.prop_map(f64::abs);
    let amounts = (option::of(cost), option::of(0..=i64::MAX), option::of(0..=i64::MAX));
    let end = (option::of(any::<i32>()), option::of(text()), option::of(id()));
    (identity, context, amounts, end).prop_map(|(identity, context, amounts, end)| RunEvent {
        id: identity.0,
        run_id: identity.1,
        card_id: identity.2,
        workspace_id: identity.3,
        timestamp: identity.4,
        kind: identity.5,
        agent_id: context.0,
        provider: context.1,
        model: context.2,
        user_id: context.3,
        cost: amounts.0,
        input_tokens: amounts.1,
        output_tokens: amounts.2,
        exit_code: end.0,
        reason: end.1,
        trace_id: end.2,
    })
}
