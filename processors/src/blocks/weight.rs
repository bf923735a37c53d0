//! How much entries weigh in memory, and so how many are read at once.

use agentworks_schemas::LogEntry;
use agentworks_schemas::text::Text;

use super::block::StoredEntry;

/// Who reads entries gives no more of them at once when they weigh so many bytes.
pub const CHUNK_BYTES: usize = 256 << 10;

/// About how much memory an entry takes, in bytes, all its texts included: any of them may be as long as a record.
pub fn entry_weight(entry: &LogEntry<'_>) -> usize {
    // Each field by name, so that one that is added isn't forgotten here.
    let LogEntry {
        id,
        run_id,
        card_id,
        workspace_id,
        timestamp: _,
        sequence: _,
        level: _,
        source: _,
        component,
        message,
        data,
        agent_id,
        provider,
        model,
        user_id,
        tags,
        correlation_id,
        parent_span_id,
        trace_id,
    } = entry;
    let always: usize = [id, run_id, card_id, workspace_id, component, message].map(|text| text.len()).iter().sum();
    let further = [agent_id, provider, model, user_id, correlation_id, parent_span_id, trace_id];
    let further: usize = further.iter().filter_map(|text| text.as_ref()).map(|text| text.len()).sum();
    // A tag of a few bytes takes more beside its text than that has.
    let tags: usize = tags.iter().flatten().map(|tag| size_of::<Text<'_>>() + tag.len()).sum();
    let data = data.as_ref().map_or(0, |data| data.as_str().len());
    size_of::<LogEntry<'_>>() + always + further + tags + data
}

impl StoredEntry {
    /// About how much memory it takes, in bytes.
    pub fn weight(&self) -> usize {
        size_of::<StoredEntry>() - size_of::<LogEntry<'_>>() + entry_weight(&self.entry)
    }
}

/// How much some entries weigh together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weight {
    count: usize,
    bytes: usize,
}

impl Weight {
    pub(crate) fn add(&mut self, entry: &StoredEntry) {
        self.count += 1;
        self.bytes += entry.weight();
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether they make a chunk.
    pub(crate) fn is_chunk(&self) -> bool {
        self.bytes >= CHUNK_BYTES
    }

    /// How many make a chunk that are as large as these are on average; `None` if there are none.
    pub(crate) fn per_chunk(&self) -> Option<usize> {
        (CHUNK_BYTES * self.count).checked_div(self.bytes).map(|count| count.max(1))
    }
}

impl<'a> FromIterator<&'a StoredEntry> for Weight {
    fn from_iter<I: IntoIterator<Item = &'a StoredEntry>>(entries: I) -> Self {
        let mut weight = Weight::default();
        entries.into_iter().for_each(|entry| weight.add(entry));
        weight
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use agentworks_schemas::Timestamp;

    use super::*;
    use crate::blocks::tests::Line;

    /// Whichever text is the long one: each field is a record's worth once, and one tag of many is short.
    #[test]
    fn all_texts_weigh() {
        let line = Line { offset: 1, card: "c".into(), run: "r".into(), timestamp: Timestamp(1), length: 10 };
        let (of_one, long) = (line.stored().weight(), "x".repeat(500_000));
        assert!((300..1_500).contains(&of_one), "{of_one}");
        let fields = serde_json::to_value(line.entry()).unwrap();
        let texts = fields.as_object().unwrap().iter().filter(|(_, value)| value.is_string()).map(|(name, _)| name);
        let texts: Vec<&str> =
            texts.map(String::as_str).filter(|name| !["timestamp", "level", "source"].contains(name)).collect();
        let further = ["agentId", "provider", "model", "userId", "correlationId", "parentSpanId", "traceId"];
        assert_eq!(texts.len(), 6, "{texts:?}");
        let with = |name: &str, value: serde_json::Value| {
            let mut fields = fields.clone();
            fields[name] = value;
            let entry: LogEntry<'static> =
                serde_json::from_str::<LogEntry<'_>>(&fields.to_string()).unwrap().into_owned();
            StoredEntry { entry, ..line.stored() }
        };
        for name in texts.into_iter().chain(further) {
            assert!(with(name, long.as_str().into()).weight() > long.len(), "{name}");
        }
        assert!(with("data", serde_json::json!({ "a": long })).weight() > long.len());
        assert!(with("tags", serde_json::json!([long])).weight() > long.len());
        assert!(with("tags", vec!["t"; 10_000].into()).weight() > 240_000);

        let chunk = with("component", long.as_str().into());
        assert!([&chunk].into_iter().collect::<Weight>().is_chunk());
    }
}
