//! Finding the token in a request.

use agentworks_schemas::access::AccessError;
use http::HeaderMap;
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};

use crate::GatewayConfig;

/// The WebSocket subprotocol that a client offers and the gateway chooses.
pub const SUBPROTOCOL: &str = "agentworks.v1";

/// What a client's second subprotocol begins with; the token follows. A browser can set no header on a WebSocket, so
/// that the offer of subprotocols is where it can put one. It is never echoed.
pub const SUBPROTOCOL_TOKEN: &str = "agentworks.bearer.";

/// The token of a request: from the `Authorization` header, else from the offered WebSocket subprotocols
/// ([`SUBPROTOCOL_TOKEN`]), else, only where `config.token_in_query` says so, from `?token=`.
///
/// # Errors
/// [`AccessError::Missing`] if there is none in any of these places.
pub fn bearer(headers: &HeaderMap, query: Option<&str>, config: &GatewayConfig) -> Result<String, AccessError> {
    let in_query = || query.filter(|_| config.token_in_query).and_then(from_query);
    from_authorization(headers)
        .or_else(|| from_subprotocols(headers))
        .or_else(in_query)
        .filter(|token| !token.is_empty())
        .ok_or(AccessError::Missing)
}

fn from_authorization(headers: &HeaderMap) -> Option<String> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

fn from_subprotocols(headers: &HeaderMap) -> Option<String> {
    let offers = headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter().filter_map(|value| value.to_str().ok());
    offers
        .flat_map(|value| value.split(','))
        .find_map(|offer| offer.trim().strip_prefix(SUBPROTOCOL_TOKEN))
        .map(str::to_owned)
}

fn from_query(query: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(name, _)| name == "token").map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http::HeaderValue;

    use super::*;

    fn with(name: http::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    fn token(headers: &HeaderMap, query: Option<&str>) -> Result<String, AccessError> {
        bearer(headers, query, &GatewayConfig::default())
    }

    #[test]
    fn it_is_found_where_clients_put_it() {
        assert_eq!(token(&with(AUTHORIZATION, "Bearer abc"), None).unwrap(), "abc");
        assert_eq!(token(&with(AUTHORIZATION, "bearer  abc "), None).unwrap(), "abc");
        let offers = "agentworks.v1, agentworks.bearer.a.b-c_d";
        assert_eq!(token(&with(SEC_WEBSOCKET_PROTOCOL, offers), None).unwrap(), "a.b-c_d");
        let mut two = with(SEC_WEBSOCKET_PROTOCOL, "agentworks.v1");
        two.append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("agentworks.bearer.abc"));
        assert_eq!(token(&two, None).unwrap(), "abc");
    }

    #[test]
    fn the_header_comes_first() {
        let mut both = with(AUTHORIZATION, "Bearer header");
        both.append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("agentworks.bearer.offer"));
        assert_eq!(token(&both, Some("token=query")).unwrap(), "header");
    }

    #[test]
    fn the_query_counts_only_where_it_is_switched_on() {
        let query = Some("history=5&token=a.b%2Bc");
        assert_eq!(token(&HeaderMap::new(), query), Err(AccessError::Missing));
        let config = GatewayConfig { token_in_query: true, ..GatewayConfig::default() };
        assert_eq!(bearer(&HeaderMap::new(), query, &config).unwrap(), "a.b+c");
    }

    #[test]
    fn what_is_no_token_is_none() {
        for value in ["Basic YTpi", "Bearer", "Bearer ", ""] {
            assert_eq!(token(&with(AUTHORIZATION, value), None), Err(AccessError::Missing), "{value:?}");
        }
        assert_eq!(token(&with(SEC_WEBSOCKET_PROTOCOL, "agentworks.bearer."), None), Err(AccessError::Missing));
    }
}
