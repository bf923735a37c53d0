//! What a request asks: who, with which parameters.

use std::convert::Infallible;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use agentworks_schemas::access::{Claims, Role};
use agentworks_schemas::codec::MAX_ID;
use http::HeaderMap;
use percent_encoding::percent_decode_str;
use warp::{Filter, Rejection};

use super::error::ApiError;
use crate::auth::bearer;
use crate::search::{Search, SearchFault};
use crate::{Gateway, GatewayConfig};

/// A request whose token is good.
pub(super) struct Asked {
    pub(super) gateway: Gateway,
    pub(super) claims: Claims,
    pub(super) params: Params,
}

impl Asked {
    /// Fails unless the token allows to read `card`, which can be one.
    pub(super) fn check_card(&self, card: &str) -> Result<(), ApiError> {
        check_id("card", card)?;
        if self.claims.may_read(&self.claims.workspace, card) {
            return Ok(());
        }
        Err(ApiError::Denied(format!("the token doesn't allow reading card {card:?}")))
    }

    /// The claims of an operator of the whole workspace.
    pub(super) fn operator(&self) -> Result<&Claims, ApiError> {
        if self.claims.role >= Role::Operator && self.claims.cards.is_none() {
            return Ok(&self.claims);
        }
        let message = "this takes a token with the role operator that isn't limited to some cards";
        Err(ApiError::Denied(message.to_owned()))
    }

    /// The gateway's search, if it has one.
    pub(super) fn search(&self) -> Result<Search, ApiError> {
        self.gateway.search.clone().ok_or_else(|| SearchFault::Unavailable.into())
    }
}

/// The claims of a request's token; rejected with an [`ApiError`] if there is none that is valid.
pub fn authorised(gateway: Gateway) -> impl Filter<Extract = (Claims,), Error = Rejection> + Clone {
    warp::header::headers_cloned().and(raw_query()).and_then(move |headers: HeaderMap, query: String| {
        let gateway = gateway.clone();
        async move {
            let claims = match bearer(&headers, Some(&query), &gateway.config) {
                Ok(token) => gateway.auth.authenticate(&token).await,
                Err(error) => Err(error),
            };
            claims.map_err(|error| warp::reject::custom(ApiError::Unauthorised(error)))
        }
    })
}

/// A request with a good token; which method it is to have is said before.
pub(super) fn asked(gateway: Gateway) -> impl Filter<Extract = (Asked,), Error = Rejection> + Clone {
    authorised(gateway.clone()).and(raw_query()).and_then(move |claims, query: String| {
        let asked =
            Params::parse(&query, &gateway.config).map(|params| Asked { gateway: gateway.clone(), claims, params });
        std::future::ready(asked.map_err(warp::reject::custom))
    })
}

fn raw_query() -> impl Filter<Extract = (String,), Error = Infallible> + Clone {
    warp::query::raw().or(warp::any().map(String::new)).unify()
}

/// Why no card or run can have this id, in words; `None` if one can.
pub(crate) fn id_fault(id: &str) -> Option<String> {
    (id.len() > MAX_ID).then(|| format!("it has {} bytes; ids have at most {MAX_ID}", id.len()))
}

/// Fails if no card or run can have this id.
pub(super) fn check_id(name: &str, id: &str) -> Result<(), ApiError> {
    id_fault(id).map_or(Ok(()), |fault| Err(ApiError::Invalid(format!("{name}: {fault}"))))
}

/// An id in a path: any characters, percent-encoded.
pub(super) struct Id(pub(super) String);

impl FromStr for Id {
    type Err = ();

    fn from_str(segment: &str) -> Result<Self, ()> {
        let id = percent_decode_str(segment).decode_utf8().map_err(|_| ())?;
        if id.is_empty() { Err(()) } else { Ok(Id(id.into_owned())) }
    }
}

/// The parameters of a query. A route takes those that it knows and then calls [`Params::finish`].
#[derive(Debug)]
pub(super) struct Params {
    left: Vec<(String, String)>,
    known: Vec<&'static str>,
}

impl Params {
    fn parse(query: &str, config: &GatewayConfig) -> Result<Self, ApiError> {
        let mut left: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            // The token has done its work by now.
            if name == "token" && config.token_in_query {
                continue;
            }
            if left.iter().any(|(other, _)| *other == name) {
                return Err(ApiError::Invalid(format!("parameter {name:?} is given twice")));
            }
            left.push((name.into_owned(), value.into_owned()));
        }
        Ok(Params { left, known: Vec::new() })
    }

    #[cfg(test)]
    pub(super) fn of(query: &str) -> Self {
        Params::parse(query, &GatewayConfig::default()).expect("a query that names nothing twice")
    }

    /// The text of a parameter.
    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        let index = self.left.iter().position(|(other, _)| other == name)?;
        Some(self.left.swap_remove(index).1)
    }

    /// A parameter of any type that has a text.
    pub(super) fn value<T: FromStr<Err: Display>>(&mut self, name: &'static str) -> Result<Option<T>, ApiError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|error| ApiError::Invalid(format!("{name}: {error}")))
    }

    /// A parameter that lists values, separated by commas.
    pub(super) fn list<T: FromStr<Err: Display>>(&mut self, name: &'static str) -> Result<Option<Vec<T>>, ApiError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let values = text.split(',').map(|item| item.parse::<T>());
        let values: Result<Vec<T>, T::Err> = values.collect();
        values.map(Some).map_err(|error| ApiError::Invalid(format!("{name}: {error}")))
    }

    /// A parameter that is `true` or `false`, and `false` if it isn't there.
    pub(super) fn flag(&mut self, name: &'static str) -> Result<bool, ApiError> {
        match self.text(name).as_deref() {
            None | Some("false") => Ok(false),
            // Also without a value: `?explain`.
            Some("true" | "") => Ok(true),
            Some(other) => Err(ApiError::Invalid(format!("{name}: {other:?} is neither true nor false"))),
        }
    }

    /// `limit`: how much a page holds at most.
    pub(super) fn limit(&mut self, default: usize, range: RangeInclusive<usize>) -> Result<usize, ApiError> {
        let Some(text) = self.text("limit") else { return Ok(default) };
        text.parse().ok().filter(|limit| range.contains(limit)).ok_or_else(|| {
            ApiError::Invalid(format!("limit: {text:?} is not a number from {} to {}", range.start(), range.end()))
        })
    }

    /// Fails if anything is left that no one took.
    pub(super) fn finish(&self) -> Result<(), ApiError> {
        let Some((name, _)) = self.left.first() else { return Ok(()) };
        let known = if self.known.is_empty() { "none".to_owned() } else { self.known.join(", ") };
        Err(ApiError::Invalid(format!("there is no parameter {name:?} here; known: {known}")))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use agentworks_schemas::Level;

    use super::*;

    fn message(error: ApiError) -> String {
        error.parts().2
    }

    #[test]
    fn a_limit_out_of_range_is_named_with_its_value_and_range() {
        assert_eq!(Params::of("").limit(100, 1..=1000).unwrap(), 100);
        assert_eq!(Params::of("limit=1000").limit(100, 1..=1000).unwrap(), 1000);
        for wrong in ["0", "1001", "-1", "many", "", "99999999999999999999"] {
            let error = Params::of(&format!("limit={wrong}")).limit(100, 1..=1000).unwrap_err();
            assert_eq!(message(error), format!("limit: {wrong:?} is not a number from 1 to 1000"));
        }
    }

    #[test]
    fn what_no_one_takes_is_a_fault_that_names_what_is_known() {
        let mut params = Params::of("limit=5&levle=warn");
        params.limit(1, 1..=10).unwrap();
        params.text("level");
        assert_eq!(message(params.finish().unwrap_err()), "there is no parameter \"levle\" here; known: limit, level");
        assert_eq!(message(Params::of("a=1").finish().unwrap_err()), "there is no parameter \"a\" here; known: none");
        assert_eq!(Params::of("").finish(), Ok(()));
    }

    #[test]
    fn a_parameter_is_given_once() {
        let error = Params::parse("limit=1&limit=2", &GatewayConfig::default()).unwrap_err();
        assert_eq!(message(error), "parameter \"limit\" is given twice");
    }

    #[test]
    fn lists_and_values_say_what_they_may_be() {
        assert_eq!(Params::of("level=warn,error").list("level").unwrap(), Some(vec![Level::Warn, Level::Error]));
        assert_eq!(Params::of("").list::<Level>("level").unwrap(), None);
        let error = Params::of("level=loud").list::<Level>("level").unwrap_err();
        assert_eq!(message(error), "level: \"loud\" is none of debug, info, warn, error, fatal");
    }

    #[test]
    fn a_token_in_the_query_is_no_parameter_where_it_is_switched_on() {
        let config = GatewayConfig { token_in_query: true, ..GatewayConfig::default() };
        assert_eq!(Params::parse("token=abc", &config).unwrap().finish(), Ok(()));
        assert!(Params::of("token=abc").finish().is_err());
    }

    #[test]
    fn ids_are_decoded() {
        let id = |segment: &str| segment.parse::<Id>().map(|id| id.0).ok();
        assert_eq!(id("a%2Fb%20%C3%A9%25").as_deref(), Some("a/b é%"));
        assert_eq!(id("a+b").as_deref(), Some("a+b"));
        assert_eq!(id("%ff"), None);
        assert_eq!(id(""), None);
    }

    #[test]
    fn ids_are_as_long_as_an_entrys_may_be() {
        assert_eq!(check_id("run", &"é".repeat(MAX_ID / 2)), Ok(()));
        let error = check_id("run", &"x".repeat(MAX_ID + 1)).unwrap_err();
        assert_eq!(message(error), "run: it has 513 bytes; ids have at most 512");
    }
}
