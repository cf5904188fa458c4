//! Which requests are accepted: none that a web page of another site has sent, although it can reach this machine.
//!
//! A browser lets any page send simple POSTs to any address without asking (no CORS is needed to send), and a page may
//! make its own name resolve to 127.0.0.1 (DNS rebinding). So the `Host` must be one that this gateway is known by, and
//! a request that changes something must not come from another site.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::input::single;
use crate::problem::Problem;

/// The names and sites that are accepted.
#[derive(Clone, Debug, Default)]
pub struct Accepted {
    /// Host names beside IP addresses and `localhost`, in lower case and without ports.
    pub hosts: Vec<String>,
    /// Sites whose pages may send requests, as `https://example.org`.
    pub origins: Vec<String>,
}

impl Accepted {
    /// Returns an error unless the request may be executed.
    fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        let text = |name| single(headers, name).map(|value| value.map(|value| value.to_str().unwrap_or("?")));
        let sent = text("host")?;
        let Some(host) = uri.authority().map(|authority| authority.as_str()).or(sent) else {
            return Err(Problem::bad_request("NO_HOST", "the request has no Host header")
                .hint("send the name and port of the gateway in it, as HTTP/1.1 asks for"));
        };
        if !self.is_own(host) {
            let detail = format!("this gateway is not known as {host:?}");
            return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "WRONG_HOST", detail)
                .hint("start it with --host and the name that its clients use"));
        }
        if method.is_safe() && !is_upgrade(headers) {
            return Ok(());
        }
        let origin = text("origin")?;
        let is_allowed = |origin: &str| self.origins.iter().any(|allowed| allowed == origin);
        let is_same = |origin: &str| origin.split_once("://").is_some_and(|(_, authority)| authority == host);
        let is_foreign = match origin {
            Some(origin) => !is_same(origin) && !is_allowed(origin),
            None => text("sec-fetch-site")? == Some("cross-site"),
        };
        if is_foreign {
            let detail = format!("a page of {} may not use this gateway", origin.unwrap_or("another site"));
            return Err(Problem::new(StatusCode::FORBIDDEN, "FOREIGN_ORIGIN", detail)
                .hint("start it with --allow-origin and that site, if its pages may"));
        }
        Ok(())
    }

    /// Returns true for an IP address, `localhost`, or one of the accepted names, each with any port. No page can make
    /// a browser send an IP address as the host of another machine's name.
    fn is_own(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
            _ => host,
        };
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        let lower = bare.trim_end_matches('.').to_ascii_lowercase();
        bare.parse::<IpAddr>().is_ok() || lower == "localhost" || self.hosts.contains(&lower)
    }
}

/// Returns true for a request to upgrade. It is a GET, but on a WebSocket the page could send anything.
fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(header::UPGRADE)
}

/// Refuses requests that [`Accepted`] does not accept.
pub(crate) async fn guard(State(accepted): State<Arc<Accepted>>, request: Request, next: Next) -> Response {
    match accepted.check(request.method(), request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(accepted: &Accepted, method: Method, headers: &[(&'static str, &str)]) -> String {
        let headers = headers
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        let checked = accepted.check(&method, &Uri::from_static("/v1/topics"), &headers);
        checked.map_or_else(|problem| problem.code().to_owned(), |()| "ok".to_owned())
    }

    #[test]
    fn the_host_is_an_address_or_a_known_name() {
        let accepted = Accepted { hosts: vec!["dht.example.org".to_owned()], origins: vec![] };
        for (host, expected) in [
            ("127.0.0.1:8080", "ok"),
            ("[::1]:8080", "ok"),
            ("[::1]", "ok"),
            ("10.1.2.3", "ok"),
            ("localhost:8080", "ok"),
            ("LOCALHOST.", "ok"),
            ("DHT.example.org:80", "ok"),
            ("evil.example", "WRONG_HOST"),
            ("evil.example:8080", "WRONG_HOST"),
            ("localhost.evil.example", "WRONG_HOST"),
            ("127.0.0.1.evil.example", "WRONG_HOST"),
            ("", "WRONG_HOST"),
        ] {
            assert_eq!(code(&accepted, Method::GET, &[("host", host)]), expected, "{host}");
        }
        assert_eq!(code(&accepted, Method::GET, &[]), "NO_HOST");
        let two = [("host", "127.0.0.1"), ("host", "evil.example")];
        assert_eq!(code(&accepted, Method::GET, &two), "BAD_HEADER");
    }

    #[test]
    fn a_page_of_another_site_changes_nothing() {
        let accepted = Accepted { hosts: vec![], origins: vec!["https://app.example".to_owned()] };
        let own = ("host", "127.0.0.1:8080");
        let foreign = ("origin", "https://evil.example");
        for (method, headers, expected) in [
            (Method::POST, vec![own], "ok"),
            (Method::POST, vec![own, ("origin", "http://127.0.0.1:8080")], "ok"),
            (Method::POST, vec![own, ("origin", "https://app.example")], "ok"),
            (Method::POST, vec![own, foreign], "FOREIGN_ORIGIN"),
            (Method::POST, vec![own, ("origin", "null")], "FOREIGN_ORIGIN"),
            (Method::POST, vec![own, ("origin", "http://127.0.0.1:9090")], "FOREIGN_ORIGIN"),
            (Method::POST, vec![own, ("sec-fetch-site", "cross-site")], "FOREIGN_ORIGIN"),
            (Method::POST, vec![own, ("sec-fetch-site", "same-origin")], "ok"),
            (Method::POST, vec![own, ("origin", "https://app.example"), foreign], "BAD_HEADER"),
            (Method::DELETE, vec![own, foreign], "FOREIGN_ORIGIN"),
            (Method::PUT, vec![own, foreign], "FOREIGN_ORIGIN"),
            (Method::PATCH, vec![own, foreign], "FOREIGN_ORIGIN"),
            (Method::GET, vec![own, foreign], "ok"),
            (Method::GET, vec![own, foreign, ("upgrade", "websocket")], "FOREIGN_ORIGIN"),
        ] {
            assert_eq!(code(&accepted, method.clone(), &headers), expected, "{method} {headers:?}");
        }
    }
}
