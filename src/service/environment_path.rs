//! The path prefix `/environments/NAME` of a process that serves several environments: splitting it off, and rewriting a URI.
//!
//! `hosting` uses it before a request reaches an environment's routes. A path without the prefix names no environment; whether one
//! of that name is served is not checked here.

use axum::http::{
    Uri,
    uri::{Parts, PathAndQuery},
};

/// Prefix of the path of an environment.
pub(super) const PREFIX: &str = "/environments/";

/// Splits a path into the name of its environment and the path within the environment.
pub(super) fn split(uri: &Uri) -> Option<(&str, &str)> {
    let rest = uri.path().strip_prefix(PREFIX)?;
    Some(rest.find('/').map_or((rest, "/"), |at| rest.split_at(at)))
}

/// Returns the address with another path and the same query.
pub(super) fn with_path(uri: &Uri, path: &str) -> Option<Uri> {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut parts = Parts::from(uri.clone());
    parts.path_and_query = Some(PathAndQuery::try_from(format!("{path}{query}")).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_split_at_the_name_and_keeps_its_query() {
        let uri = |text: &str| text.parse::<Uri>().unwrap();
        assert_eq!(split(&uri("/environments/dev/v1/state")), Some(("dev", "/v1/state")));
        assert_eq!(split(&uri("/environments/dev")), Some(("dev", "/")));
        assert_eq!(split(&uri("/v1/state")), None);
        assert_eq!(with_path(&uri("/environments/dev/v1?a=b"), "/v1"), Some(uri("/v1?a=b")));
    }
}
