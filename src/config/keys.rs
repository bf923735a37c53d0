//! Which keys there are: read off the defaults, so that there is no second list to keep true.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value;

use super::sections::Config;

/// What stands at a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One value.
    Value,
    /// Values under names that are free.
    Named,
}

/// All keys, `section.key`.
static KEYS: LazyLock<BTreeMap<String, Kind>> = LazyLock::new(|| {
    let mut keys = BTreeMap::new();
    let defaults = serde_json::to_value(Config::default()).unwrap_or_default();
    for (section, values) in defaults.as_object().into_iter().flatten() {
        for (key, value) in values.as_object().into_iter().flatten() {
            let kind = if matches!(value, Value::Object(_)) { Kind::Named } else { Kind::Value };
            keys.insert(format!("{section}.{key}"), kind);
        }
    }
    keys
});

/// All keys, sorted.
pub(super) fn all() -> impl Iterator<Item = (&'static str, Kind)> {
    KEYS.iter().map(|(key, kind)| (key.as_str(), *kind))
}

/// What stands at a key, if there is such a key.
pub(super) fn kind(key: &str) -> Option<Kind> {
    KEYS.get(key).copied()
}

/// Whether values of the key are never shown.
pub(super) fn is_secret(key: &str) -> bool {
    let known = matches!(
        key,
        "kafka.sasl_password"
            | "kafka.key_password"
            | "store.password"
            | "objects.secret_access_key"
            | "search.secret"
            | "auth.secret"
    );
    known || key == "kafka.extra" || key.starts_with("kafka.extra.")
}

/// What to do about a key that there isn't: the most similar one, or where to look.
pub(super) fn advice(key: &str) -> String {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let similar = KEYS.keys().map(|known| {
        let whole = distance(key, known);
        let (own, other) = (last(key), last(known));
        // The right name in the wrong section.
        (if own == other { 1 } else { whole }, known)
    });
    match similar.min() {
        Some((distance, known)) if distance <= 3 => format!("there is no such key; did you mean {known}?"),
        _ => "there is no such key; `agentworks config show` lists all that there are".to_owned(),
    }
}

/// How many characters differ (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_off_the_defaults() {
        assert_eq!(kind("kafka.brokers"), Some(Kind::Value));
        assert_eq!(kind("kafka.sasl_password"), Some(Kind::Value), "also those without a default");
        assert_eq!(kind("kafka.extra"), Some(Kind::Named));
        assert_eq!(kind("kafka"), None);
        for secret in
            ["kafka.sasl_password", "kafka.key_password", "objects.secret_access_key", "search.secret", "auth.secret"]
        {
            assert!(kind(secret).is_some() && is_secret(secret), "{secret}");
        }
    }

    #[test]
    fn a_slip_is_recognised() {
        assert!(advice("kafka.broker").contains("did you mean kafka.brokers?"));
        assert!(advice("kafka.allowed_origins").contains("did you mean gateway.allowed_origins?"));
        assert!(advice("colour.of.the.sky").contains("agentworks config show"));
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
