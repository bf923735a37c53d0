//! Which web pages may connect.

use crate::GatewayConfig;

/// Whether a page of `origin` may connect to a gateway that was addressed as `host`: both are the headers' values.
///
/// Allowed are the gateway's own pages (the origin's authority equals the host) and those of
/// [`GatewayConfig::allowed_origins`]. A request without an `Origin` doesn't come from a page, and passes.
pub fn origin_allowed(origin: Option<&str>, host: Option<&str>, config: &GatewayConfig) -> bool {
    let Some(origin) = origin.map(str::trim) else { return true };
    let listed = config
        .allowed_origins
        .iter()
        .any(|allowed| allowed == "*" || allowed.trim_end_matches('/').eq_ignore_ascii_case(origin));
    listed || host.is_some_and(|host| is_own(origin, host.trim()))
}

/// An origin leaves out its scheme's default port; a host may name it.
fn is_own(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let port = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
    authority.eq_ignore_ascii_case(host.strip_suffix(port).unwrap_or(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(origin: Option<&str>, host: &str, list: &[&str]) -> bool {
        let allowed_origins = list.iter().map(|&origin| origin.to_owned()).collect();
        origin_allowed(origin, Some(host), &GatewayConfig { allowed_origins, ..GatewayConfig::default() })
    }

    #[test]
    fn its_own_pages_may() {
        assert!(allowed(Some("http://127.0.0.1:8080"), "127.0.0.1:8080", &[]));
        assert!(allowed(Some("http://Logs.example"), "logs.example", &[]));
        assert!(allowed(Some("https://logs.example"), "logs.example:443", &[]));
        assert!(allowed(Some("http://[::1]:8080"), "[::1]:8080", &[]));
    }

    #[test]
    fn other_pages_may_not_unless_listed() {
        let evil = Some("https://evil.example");
        assert!(!allowed(evil, "logs.example", &[]));
        assert!(!allowed(Some("https://logs.example.evil.example"), "logs.example", &[]));
        assert!(!allowed(Some("http://logs.example:8081"), "logs.example:8080", &[]));
        assert!(!allowed(Some("http://logs.example"), "logs.example:443", &[]));
        assert!(!allowed(Some("null"), "logs.example", &[]));
        assert!(!allowed(Some(""), "", &[]));
        assert!(allowed(Some("https://board.example"), "logs.example", &["https://board.example/"]));
        assert!(!allowed(evil, "logs.example", &["https://board.example"]));
        assert!(allowed(evil, "logs.example", &["*"]));
    }

    #[test]
    fn what_is_no_page_may() {
        assert!(allowed(None, "logs.example", &[]));
        assert!(origin_allowed(None, None, &GatewayConfig::default()));
        assert!(!origin_allowed(Some("http://a.example"), None, &GatewayConfig::default()));
    }
}
