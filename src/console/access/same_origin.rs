//! Where a request that changes something comes from.

use axum::http::{
    Uri,
    header::{HOST, ORIGIN},
    request::Parts,
    uri::Authority,
};

/// Returns whether a page of the console itself sent the request, as only a browser can say: a page of another site,
/// which the operator happens to have open, must not act in their name.
///
/// Browsers say so by `Sec-Fetch-Site`, older ones by `Origin`, and pages cannot set either. A program that is not a
/// browser has to send `Origin`.
pub(super) fn is_same_origin(parts: &Parts) -> bool {
    if let Some(site) = parts.headers.get("sec-fetch-site") {
        return site == "same-origin";
    }
    let text = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
    // HTTP/2 has the host in the URI.
    let host = text(HOST).or_else(|| parts.uri.authority().map(Authority::as_str));
    let origin = text(ORIGIN).and_then(|origin| origin.parse::<Uri>().ok());
    let origin = origin.as_ref().and_then(Uri::authority);
    host.zip(origin).is_some_and(|(host, origin)| host.eq_ignore_ascii_case(origin.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    #[test]
    fn only_pages_of_the_same_origin_pass() {
        let host = ("host", "ops.example:8080");
        for (headers, passes) in [
            (vec![host, ("sec-fetch-site", "same-origin")], true),
            (vec![host, ("sec-fetch-site", "same-site"), ("origin", "http://ops.example:8080")], false),
            (vec![host, ("sec-fetch-site", "cross-site")], false),
            (vec![host, ("sec-fetch-site", "none")], false),
            (vec![host, ("origin", "http://ops.example:8080")], true),
            (vec![host, ("origin", "https://OPS.example:8080")], true),
            (vec![host, ("origin", "http://ops.example")], false),
            (vec![host, ("origin", "http://evil.example")], false),
            (vec![host, ("origin", "http://ops.example:8080@evil.example")], false),
            (vec![host, ("origin", "null")], false),
            (vec![host], false),
            (vec![("origin", "http://ops.example:8080")], false),
        ] {
            let mut request = Request::post("/x");
            for (name, value) in &headers {
                request = request.header(*name, *value);
            }
            let (parts, ()) = request.body(()).unwrap().into_parts();
            assert_eq!(is_same_origin(&parts), passes, "{headers:?}");
        }
    }
}
