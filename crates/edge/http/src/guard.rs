//! Whom a door answers. A browser lets any page send requests to `localhost`, and lets a page whose name was made to point there
//! (DNS rebinding) read the answers too. So a request must name this server as its host, and one that a page of another origin
//! sends is refused.

use std::net::{IpAddr, Ipv6Addr};

use axum::extract::Request;
use axum::http::{HeaderMap, Method, header};

/// The host names that a door answers to. An IP address is always one: rebinding needs a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// `localhost`, names under it, and IP addresses: for a door on a loopback address.
    Local,
    /// Any name: for a door that others reach under names that only they know.
    Any,
}

impl Hosts {
    /// What fits a door that listens on `address`.
    pub fn for_address(address: IpAddr) -> Self {
        if address.is_loopback() { Self::Local } else { Self::Any }
    }

    fn has(&self, authority: &str) -> bool {
        let host = host_of(authority);
        match self {
            Self::Any => !host.is_empty(),
            Self::Local => {
                let host = host.trim_end_matches('.').to_ascii_lowercase();
                host == "localhost" || host.ends_with(".localhost") || is_ip(&host)
            }
        }
    }
}

/// Why a request is refused; `None` when it may pass.
pub(crate) fn refuse(hosts: &Hosts, request: &Request) -> Option<String> {
    let headers = request.headers();
    // HTTP/1.0 knows no Host; no browser speaks it.
    let host = match (headers.get(header::HOST), request.uri().authority()) {
        (Some(host), _) => host.to_str().unwrap_or("").to_string(),
        (None, Some(authority)) => authority.to_string(),
        (None, None) => String::new(),
    };
    if !host.is_empty() && !hosts.has(&host) {
        return Some(format!("this server is not called '{host}'; use localhost or its IP address"));
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        let origin = origin.to_str().unwrap_or("");
        let authority = origin.split_once("://").map_or("", |(_, authority)| authority);
        if !authority.eq_ignore_ascii_case(&host) || host.is_empty() {
            return Some(format!("a page of another origin ('{origin}') may not use this server"));
        }
    } else if comes_from_another_site(headers) && request.method() != Method::GET {
        return Some("a page of another site may not use this server".into());
    }
    None
}

pub(crate) fn comes_from_another_site(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site" || site == "same-site")
}

/// The host of `host[:port]` or `[v6][:port]`.
fn host_of(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split_once(']').map_or("", |(host, _)| host);
    }
    authority.split_once(':').map_or(authority, |(host, _)| host)
}

fn is_ip(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok() || host.parse::<Ipv6Addr>().is_ok()
}

#[cfg(test)]
mod tests;
