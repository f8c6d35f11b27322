//! `/openapi.yaml`: what is answered, described for programs.

use axum::http::header;
use axum::response::{IntoResponse, Response};

const DOCUMENT: &str = include_str!("openapi.yaml");

/// `/api/v1/openapi.yaml`
pub(crate) async fn document() -> Response {
    ([(header::CONTENT_TYPE, "application/yaml")], DOCUMENT).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every path of the router is in the document, and the other way round.
    #[test]
    fn all_paths_are_described() {
        let router = include_str!("mod.rs");
        let (inside, outside) = router.split_once("let routes = Router::new()").expect("the router has two parts");
        let paths = |text: &str| -> BTreeSet<String> {
            let routes = text.split(".route(\"").skip(1).filter_map(|rest| rest.split_once('"'));
            routes.map(|(path, _)| path.strip_prefix("/api/v1").unwrap_or(path).to_owned()).collect()
        };
        // Pages that people look at are no part of an API.
        let mut outside = paths(outside);
        outside.retain(|path| !["/graph", "/targets", "/alerts", "/"].contains(&path.as_str()));
        let mut expected = paths(inside);
        expected.append(&mut outside);
        let described: BTreeSet<String> = DOCUMENT
            .lines()
            .filter_map(|line| line.strip_prefix("  /")?.strip_suffix(':'))
            .map(|path| format!("/{path}"))
            .collect();
        assert_eq!(described, expected);
    }
}
