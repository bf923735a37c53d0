//! What can be searched.

use std::borrow::Cow;
use std::collections::BTreeSet;

use agentworks_query::answer::{FacetCounts, FacetField};
use agentworks_query::request::{Facet, MAX_TOP};
use agentworks_query::{Field, Keyword, Query, Test, parse};
use agentworks_schemas::access::Claims;
use agentworks_schemas::{Level, Source, Timestamp};
use serde::Serialize;
use warp::reply::Response;

use super::asking::what;
use super::sample::{self, Type, newest};
use super::{Value, Values};
use crate::rest::asked::{Asked, Id};
use crate::rest::error::ApiError;
use crate::rest::json;
use crate::search::{Asking, Search, SearchFault};

#[derive(Serialize)]
struct Listed {
    fields: Vec<Described>,
    /// How many entries the paths of `data` are told from.
    sampled: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    incomplete: Vec<String>,
}

/// A field, as the query language knows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    name: String,
    kind: Kind,
    /// Whether its values are counted in all entries.
    counted: bool,
    /// All of its values, where there are only so many.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    values: Vec<&'static str>,
    /// What the values at a path of `data` are.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    types: BTreeSet<Type>,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// Searched word by word.
    Text,
    /// Equal or not.
    Keyword,
    /// Searched by ranges of instants.
    Time,
    /// Values of any kind, by their path: `data.http_status`.
    Data,
}

/// `GET /v1/fields`: the fields of the query language, and the paths of `data` that the newest 1,000 entries have.
pub(super) async fn list(asked: Asked) -> Result<Response, ApiError> {
    asked.params.finish()?;
    Ok(json(&listed(&asked.search()?, &asked.claims).await?))
}

async fn listed(search: &Search, claims: &Claims) -> Result<Listed, SearchFault> {
    let found = newest(search, claims, Asking::default()).await?;
    let mut fields = all();
    fields.extend(sample::paths(&found)?.into_iter().map(|(field, types)| Described {
        name: field.to_string(),
        kind: Kind::Data,
        counted: false,
        values: Vec::new(),
        types,
    }));
    let part = found.answer.found;
    Ok(Listed { fields, sampled: part.hits.len(), incomplete: part.incomplete })
}

fn all() -> Vec<Described> {
    let named = |field: Field, kind| {
        let name = field.to_string();
        let counted = counted(&field).is_some();
        let values = match field {
            Field::Keyword(Keyword::Level) => Level::ALL.map(Level::as_str).to_vec(),
            Field::Keyword(Keyword::Source) => Source::ALL.map(Source::as_str).to_vec(),
            _ => Vec::new(),
        };
        Described { name, kind, counted, values, types: BTreeSet::new() }
    };
    let mut fields = vec![
        named(Field::Message, Kind::Text),
        named(Field::Component, Kind::Text),
        named(Field::AllData, Kind::Data),
        named(Field::Timestamp, Kind::Time),
    ];
    fields.extend(Keyword::ALL.map(|keyword| named(Field::Keyword(keyword), Kind::Keyword)));
    fields
}

/// The column of a field's values.
fn counted(field: &Field) -> Option<FacetField> {
    let name = match field {
        Field::Component => "component",
        Field::Keyword(keyword) => keyword.name(),
        _ => return None,
    };
    FacetField::ALL.into_iter().find(|known| known.name() == name)
}

/// The field of this name, as the query language writes it; if it has values of its own.
fn named(name: &str) -> Result<Field, ApiError> {
    let field = match parse(&format!("{name}:*"), Timestamp(0)) {
        Ok(Query::Match(field, Test::Exists)) => field,
        Ok(_) => return Err(ApiError::Invalid(format!("field: {name:?} is not the name of a field"))),
        Err(error) => return Err(ApiError::Invalid(format!("field: {}", error.message()))),
    };
    match field {
        Field::Any | Field::Message | Field::Timestamp | Field::AllData => Err(ApiError::Invalid(format!(
            "field: `{field}` has no values that could be listed; those of keywords, of component and of paths like `data.http_status` can"
        ))),
        field => Ok(field),
    }
}

/// Values of a field, and where they are from.
#[derive(Debug, Serialize)]
struct Told {
    #[serde(flatten)]
    values: Values<'static>,
    /// How many of the newest entries were looked at; absent if all were counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    sampled: Option<usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    incomplete: Vec<String>,
}

/// `GET /v1/fields/{field}/values`: the values of a field, the most frequent first, among what a search finds, which is said
/// as for `/v1/search`. Those that begin with `prefix`; at most `limit` (1 to 1000, 20 by default). Those of fields that aren't
/// counted are those of the newest 1,000 entries that have any.
pub(super) async fn values(Id(field): Id, mut asked: Asked) -> Result<Response, ApiError> {
    let field = named(&field)?;
    let asking = what(&mut asked.params, Timestamp::now())?;
    let prefix = asked.params.text("prefix").unwrap_or_default();
    let limit = asked.params.limit(20, 1..=1000)?;
    asked.params.finish()?;
    Ok(json(&told(&asked.search()?, &asked.claims, asking, (&field, &prefix), limit).await?))
}

async fn told(
    search: &Search,
    claims: &Claims,
    mut asking: Asking,
    (field, prefix): (&Field, &str),
    limit: usize,
) -> Result<Told, SearchFault> {
    let column = counted(field);
    if column.is_none() {
        asking.also = Some(Query::Match(field.clone(), Test::Exists));
    }
    // In text a beginning is one of words, which isn't one of the value.
    let begins = !prefix.is_empty() && matches!(field, Field::Keyword(_));
    let narrow = begins.then(|| Query::Match(field.clone(), Test::Prefix(prefix.to_owned())));
    let narrow = narrow.map(|query| Asking { also: Some(query), ..asking.clone() });
    let find = async |asking| match column {
        Some(column) => count(search, claims, asking, column).await,
        None => look(search, claims, asking, field).await,
    };
    let found = match narrow {
        None => find(asking).await?,
        Some(narrow) => match find(narrow).await {
            // More values begin so than a pattern may stand for.
            Err(SearchFault::TooMuch(_)) => find(asking).await?,
            found => found?,
        },
    };
    let (counts, sampled, incomplete) = found;
    let mut told = Values { values: Vec::new(), others: counts.omitted, error: counts.error };
    for (value, count) in counts.top(usize::MAX).into_iter().filter(|(value, _)| value.starts_with(prefix)) {
        match told.values.len() < limit {
            true => told.values.push(Value { value: Cow::Owned(value.to_owned()), count }),
            false => told.others += count,
        }
    }
    Ok(Told { values: told, sampled, incomplete })
}

type Counted = (FacetCounts, Option<usize>, Vec<String>);

/// The values of all that is found, by their column.
async fn count(
    search: &Search,
    claims: &Claims,
    mut asking: Asking,
    field: FacetField,
) -> Result<Counted, SearchFault> {
    asking.facets = vec![Facet { field, top: MAX_TOP }];
    (asking.query.limit, asking.query.counts, asking.forget) = (Some(0), Some(false), true);
    let mut found = search.find(asking, claims).await?.answer.found;
    Ok((found.facets.remove(&field).unwrap_or_default(), None, found.incomplete))
}

/// The values of the newest of what is found.
async fn look(search: &Search, claims: &Claims, asking: Asking, field: &Field) -> Result<Counted, SearchFault> {
    let found = newest(search, claims, asking).await?;
    let counts = sample::values(&found, field)?;
    Ok((counts, Some(found.answer.found.hits.len()), found.answer.found.incomplete))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use agentworks_schemas::text::{JsonObject, Text};

    use super::*;
    use crate::search::SearchConfig;
    use crate::search::testing::{Entries, claims};

    /// Two workspaces' entries, with tags and data.
    fn search() -> Search {
        let mut entries = Entries::some(40);
        for (number, entry) in entries.0.iter_mut().enumerate() {
            let text = |text: &str| Text::from(text.to_owned());
            entry.tags = Some(vec![text("all"), text("all"), text(if number < 8 { "old" } else { "new" })]);
            entry.agent_id = (number < 4).then(|| text(&format!("agent-{number}")));
            let secret = if number % 2 == 1 { r#","secret":true"# } else { "" };
            let json = format!(r#"{{"status":{},"a b":{{"c":["x","y"]}}{secret}}}"#, number % 3);
            entry.data = JsonObject::parse(json);
        }
        Search::new(entries, SearchConfig::default())
    }

    async fn values_of(search: &Search, claims: &Claims, field: &str, prefix: &str) -> (Vec<(String, u64)>, Told) {
        let field = named(field).unwrap();
        let told = told(search, claims, Asking::default(), (&field, prefix), 3).await.unwrap();
        (told.values.values.iter().map(|value| (value.value.to_string(), value.count)).collect(), told)
    }

    fn some(values: &[(&str, u64)]) -> Vec<(String, u64)> {
        values.iter().map(|(value, count)| ((*value).to_owned(), *count)).collect()
    }

    #[tokio::test]
    async fn every_field_that_is_told_is_one_of_the_language() {
        let search = search();
        let listed = listed(&search, &claims("acme", None)).await.unwrap();
        for described in &listed.fields {
            let read = parse(&format!("{}:*", described.name), Timestamp(0)).unwrap();
            assert!(matches!(read, Query::Match(field, Test::Exists) if field.to_string() == described.name));
        }
        let counted = listed.fields.iter().filter(|field| field.counted).count();
        assert_eq!((counted, listed.sampled), (FacetField::ALL.len(), 20));
        let data: Vec<_> = listed.fields.iter().filter(|field| field.name.starts_with("data.")).collect();
        let (names, types): (Vec<_>, Vec<_>) =
            data.iter().map(|field| (field.name.as_str(), field.types.clone())).unzip();
        assert_eq!(names, [r"data.a\ b.c", "data.status"]);
        assert_eq!(types, [[Type::Text].into(), [Type::Number].into()]);
    }

    #[tokio::test]
    async fn values_are_counted_or_those_of_the_newest_entries() {
        let (search, own) = (search(), claims("acme", None));
        let (cards, told) = values_of(&search, &own, "cardId", "").await;
        assert_eq!((cards, told.sampled), (some(&[("card-0", 10), ("card-1", 10)]), None));
        assert_eq!(values_of(&search, &own, "card", "card-1").await.0, some(&[("card-1", 10)]));
        assert_eq!(values_of(&search, &own, "component", "plan").await.0, some(&[("planner", 20)]));
        let (tags, told) = values_of(&search, &own, "tags", "").await;
        assert_eq!((tags, told.sampled), (some(&[("all", 20), ("new", 16), ("old", 4)]), Some(20)));
        let (old, told) = values_of(&search, &own, "tag", "o").await;
        assert_eq!((old, told.sampled), (some(&[("old", 4)]), Some(4)));
        assert_eq!(values_of(&search, &own, "agent", "").await.0, some(&[("agent-0", 1), ("agent-2", 1)]));
        assert_eq!(values_of(&search, &own, "data.status", "1").await.0, some(&[("1", 6)]));
        assert_eq!(values_of(&search, &own, r"data.a\ b.c", "").await.0, some(&[("x", 20), ("y", 20)]));
        let (ids, told) = values_of(&search, &own, "id", "").await;
        assert_eq!((ids.len(), told.values.others), (3, 17));
    }

    #[tokio::test]
    async fn others_values_are_told_to_nobody() {
        let search = search();
        let limited = claims("acme", Some(&["card-1"]));
        assert_eq!(values_of(&search, &limited, "card", "").await.0, some(&[("card-1", 10)]));
        assert_eq!(values_of(&search, &limited, "agent", "").await.0, some(&[("agent-2", 1)]));
        assert!(values_of(&search, &limited, "data.secret", "").await.0.is_empty());
        let told = listed(&search, &claims("other", None)).await.unwrap();
        assert!(told.fields.iter().any(|field| field.name == "data.secret" && field.types == [Type::Bool].into()));
        let told = listed(&search, &limited).await.unwrap();
        assert!(!told.fields.iter().any(|field| field.name == "data.secret"));
    }

    #[test]
    fn what_has_no_values_is_refused_by_name() {
        for (name, said) in [
            ("message", "field: `message` has no values"),
            ("timestamp", "field: `timestamp` has no values"),
            ("data", "field: `data` has no values"),
            ("leve", "field: there is no field `leve`; did you mean `level`?"),
            ("card:a OR level", "field: \"card:a OR level\" is not the name"),
            ("workspace", "field: the workspace is that of the token"),
        ] {
            let error = named(name).unwrap_err().parts().2;
            assert!(error.starts_with(said), "{name}: {error}");
        }
    }
}
