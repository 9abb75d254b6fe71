use axum::body::Body;

use super::*;

fn refused(hosts: Hosts, method: Method, headers: &[(&str, &str)]) -> Option<String> {
    let mut request = Request::builder().method(method).uri("/v1/sql");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    refuse(&hosts, &request.body(Body::empty()).unwrap())
}

#[test]
fn a_local_door_answers_to_local_names_and_addresses() {
    for host in
        ["localhost", "LOCALHOST:8080", "localhost.", "a.localhost:1", "127.0.0.1:8080", "[::1]:8080", "10.0.0.7"]
    {
        assert_eq!(refused(Hosts::Local, Method::GET, &[("host", host)]), None, "{host}");
    }
    for host in ["evil.example", "localhost.evil.example:8080", "127.0.0.1.evil.example", "notlocalhost", "[::1"] {
        assert!(refused(Hosts::Local, Method::GET, &[("host", host)]).is_some(), "{host}");
    }
    assert_eq!(refused(Hosts::Any, Method::GET, &[("host", "fleuve.internal:8080")]), None);
    assert_eq!(refused(Hosts::Local, Method::GET, &[]), None);
}

#[test]
fn a_page_must_be_of_this_server() {
    let host = ("host", "localhost:8080");
    assert_eq!(refused(Hosts::Local, Method::POST, &[host]), None);
    assert_eq!(refused(Hosts::Local, Method::POST, &[host, ("origin", "http://localhost:8080")]), None);
    for origin in ["http://evil.example", "http://localhost:9999", "https://localhost", "null", "localhost:8080", ""] {
        for method in [Method::POST, Method::GET] {
            assert!(refused(Hosts::Local, method, &[host, ("origin", origin)]).is_some(), "{origin}");
        }
    }
    assert!(refused(Hosts::Local, Method::POST, &[host, ("sec-fetch-site", "cross-site")]).is_some());
    // A link from another page to the status page.
    assert_eq!(refused(Hosts::Local, Method::GET, &[host, ("sec-fetch-site", "cross-site")]), None);
    assert_eq!(refused(Hosts::Local, Method::POST, &[host, ("sec-fetch-site", "same-origin")]), None);
}

#[test]
fn the_address_says_who_may_ask() {
    assert_eq!(Hosts::for_address("127.0.0.1".parse().unwrap()), Hosts::Local);
    assert_eq!(Hosts::for_address("::1".parse().unwrap()), Hosts::Local);
    assert_eq!(Hosts::for_address("0.0.0.0".parse().unwrap()), Hosts::Any);
}
