//! What can be searched.

use agentworks_query::answer::FacetField;
use agentworks_query::request::Facet;
use agentworks_query::{Field, Keyword};
use agentworks_schemas::{Level, Source, Timestamp};
use serde::Serialize;
use warp::reply::Response;

use super::asking::{facet_field, what};
use super::{Value, Values};
use crate::rest::asked::{Asked, Id};
use crate::rest::error::ApiError;
use crate::rest::json;

#[derive(Serialize)]
struct Listed {
    fields: Vec<Described>,
}

/// A field, as the query language knows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    name: String,
    kind: Kind,
    /// Whether its values are counted, so that they can be asked for.
    counted: bool,
    /// All of its values, where there are only so many.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    values: Vec<&'static str>,
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

/// `GET /v1/fields`: the fields of the query language.
pub(super) async fn list(asked: Asked) -> Result<Response, ApiError> {
    asked.params.finish()?;
    asked.search()?;
    Ok(json(&Listed { fields: all() }))
}

fn all() -> Vec<Described> {
    let named = |field: Field, kind| {
        let name = field.to_string();
        let counted = FacetField::ALL.iter().any(|known| known.name() == name);
        let values = match field {
            Field::Keyword(Keyword::Level) => Level::ALL.map(Level::as_str).to_vec(),
            Field::Keyword(Keyword::Source) => Source::ALL.map(Source::as_str).to_vec(),
            _ => Vec::new(),
        };
        Described { name, kind, counted, values }
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

/// `GET /v1/fields/{field}/values`: the values of a field, the most frequent first, among what a search finds, which is said
/// as for `/v1/search`. Those that begin with `prefix`; at most `limit` (1 to 1000, 20 by default).
pub(super) async fn values(Id(field): Id, mut asked: Asked) -> Result<Response, ApiError> {
    let field = facet_field(&field)?;
    let mut asking = what(&mut asked.params, Timestamp::now())?;
    let prefix = asked.params.text("prefix").unwrap_or_default();
    let limit = asked.params.limit(20, 1..=1000)?;
    asked.params.finish()?;
    asking.facets = vec![Facet { field, top: limit }];
    (asking.query.limit, asking.forget) = (Some(0), true);
    let found = asked.search()?.find(asking, &asked.claims).await?;
    let counts = found.answer.found.facets.get(&field).cloned().unwrap_or_default();
    let matching = counts.top(usize::MAX).into_iter().filter(|(value, _)| value.starts_with(&*prefix));
    let (mut values, mut others) = (Vec::new(), counts.omitted);
    for (value, count) in matching {
        match values.len() < limit {
            true => values.push(Value { value, count }),
            false => others += count,
        }
    }
    Ok(json(&Values { values, others, error: counts.error }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_that_is_told_is_one_of_the_language() {
        let fields = all();
        for described in &fields {
            assert!(Field::named(&described.name).is_ok_and(|field| field.to_string() == described.name));
        }
        let counted = fields.iter().filter(|field| field.counted).count();
        assert_eq!(counted, FacetField::ALL.len());
    }
}
