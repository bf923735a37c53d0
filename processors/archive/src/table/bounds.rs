//! What the log says that a file's columns lie between. Readers pass over files by it, so it may be wider than the rows, and
//! must never be narrower.

use std::collections::BTreeMap;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use serde_json::Value;

/// The least and greatest values of a file's columns. Those of strings may be cut: they are bounds, and not values. Instants
/// are texts, and have no more than milliseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Bounds {
    texts: BTreeMap<String, (Option<String>, Option<String>)>,
    numbers: BTreeMap<String, (i64, i64)>,
}

impl Bounds {
    pub(super) fn parse(stats: &Value) -> Self {
        let mut bounds = Bounds::default();
        let (least, greatest) = (&stats["minValues"], &stats["maxValues"]);
        for (name, low) in least.as_object().into_iter().flatten() {
            let high = &greatest[name];
            if let (Some(low), Some(high)) = (low.as_i64(), high.as_i64()) {
                bounds.numbers.insert(name.clone(), (low, high));
            } else if let Some(low) = low.as_str() {
                bounds.texts.insert(name.clone(), (Some(low.to_owned()), high.as_str().map(str::to_owned)));
            }
        }
        bounds
    }

    /// Whether a column may have this value.
    pub(crate) fn may_have(&self, column: &str, value: &str) -> bool {
        self.texts.get(column).is_none_or(|(low, high)| {
            low.as_deref().is_none_or(|low| low <= value) && high.as_deref().is_none_or(|high| value <= high)
        })
    }

    /// Whether a column may have a value of `from..to`.
    pub(crate) fn may_meet(&self, column: &str, from: i64, to: i64) -> bool {
        self.numbers.get(column).is_none_or(|(low, high)| from <= *high && *low < to)
    }

    /// Whether all values that a column has in some rows lie within what is said of it. Nulls lie anywhere.
    pub(crate) fn hold(&self, name: &str, column: &dyn Array) -> bool {
        if let Some(texts) = column.as_string_opt::<i32>() {
            return ends(texts.iter().flatten()).all(|text| self.may_have(name, text));
        }
        if let Some(instants) = column.as_primitive_opt::<TimestampMicrosecondType>() {
            return ends(instants.iter().flatten()).all(|instant| self.may_be_at(name, instant));
        }
        let long = column.as_primitive_opt::<Int64Type>().map(|longs| ends(longs.iter().flatten()).collect());
        let int =
            || column.as_primitive_opt::<Int32Type>().map(|ints| ends(ints.iter().flatten().map(i64::from)).collect());
        let numbers: Vec<i64> = long.or_else(int).unwrap_or_default();
        numbers.into_iter().all(|number| self.may_meet(name, number, number.saturating_add(1)))
    }

    /// Whether a column may have this instant, in microseconds since the Unix epoch.
    fn may_be_at(&self, column: &str, instant: i64) -> bool {
        let micros = |text: &String| text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_microsecond);
        let Some((low, high)) = self.texts.get(column) else { return true };
        // Cut to its millisecond.
        let high = high.as_ref().and_then(micros).map(|high| high.saturating_add(999));
        low.as_ref().and_then(micros).is_none_or(|low| low <= instant) && high.is_none_or(|high| instant <= high)
    }
}

/// The least and the greatest.
fn ends<T: Copy + Ord>(values: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
    let widen = |ends: Option<(T, T)>, value: T| {
        Some(ends.map_or((value, value), |(least, most)| (least.min(value), most.max(value))))
    };
    values.fold(None, widen).into_iter().flat_map(|(least, most)| [least, most])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use arrow_array::{ArrayRef, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray};
    use serde_json::json;

    use super::*;

    #[test]
    fn bounds_hold_for_what_lies_within_and_for_nothing_else() {
        let bounds = Bounds::parse(&json!({
            "minValues": {"run_id": "run-2", "offset": 10, "partition": 1, "record_time": "2025-12-02T12:00:00.005Z"},
            "maxValues": {"run_id": "run-4\u{7f}", "offset": 20, "partition": 1, "record_time": "2025-12-02T12:00:00.007Z"},
        }));
        let noon = 1_764_676_800_000_000;
        let texts = |texts: &[&str]| std::sync::Arc::new(StringArray::from(texts.to_vec())) as ArrayRef;
        let longs = |longs: &[i64]| std::sync::Arc::new(Int64Array::from(longs.to_vec())) as ArrayRef;
        let ints = |ints: &[i32]| std::sync::Arc::new(Int32Array::from(ints.to_vec())) as ArrayRef;
        let times = |times: &[i64]| {
            let times = times.iter().map(|time| noon + time);
            std::sync::Arc::new(TimestampMicrosecondArray::from_iter_values(times)) as ArrayRef
        };
        for (name, column, holds) in [
            ("run_id", texts(&["run-3", "run-2", "run-4-and-more"]), true),
            ("run_id", texts(&["run-3", "run-1"]), false),
            ("run_id", texts(&["run-5", "run-3"]), false),
            ("run_id", texts(&[]), true),
            ("offset", longs(&[20, 10]), true),
            ("offset", longs(&[10, 21]), false),
            ("offset", longs(&[9, i64::MAX]), false),
            ("partition", ints(&[1, 1]), true),
            ("partition", ints(&[0]), false),
            ("record_time", times(&[5000, 7000, 7999]), true),
            ("record_time", times(&[4999]), false),
            ("record_time", times(&[8000]), false),
            ("card_id", texts(&["of which nothing is said"]), true),
        ] {
            assert_eq!(bounds.hold(name, &column), holds, "{name} {column:?}");
        }
        let nothing = Int64Array::from(vec![None, None]);
        assert!(bounds.hold("offset", &nothing));
    }
}
