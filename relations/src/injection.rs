//! Binding an expression to the application it came with: the token goes, and every selector gets the topology's matchers.

use relatum_model::Matcher;
use relatum_promql::syntax::{self, Injection, ParseOptions};

use crate::topology::{JUJU_APPLICATION, JUJU_MODEL, JUJU_MODEL_UUID, Topology};

/// Charm authors write this where the topology's matchers go.
pub(crate) const TOKEN: &str = "%%juju_topology%%";

/// What every selector of the application's rules gets: never the unit, never the charm.
pub(crate) fn matchers(topology: &Topology) -> [Matcher; 3] {
    [
        Matcher::equal(JUJU_MODEL, topology.model()),
        Matcher::equal(JUJU_MODEL_UUID, topology.model_uuid()),
        Matcher::equal(JUJU_APPLICATION, topology.application()),
    ]
}

/// `expr` without the token, and without one comma directly after each.
pub(crate) fn without_token(expr: &str) -> String {
    let mut parts = expr.split(TOKEN);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push_str(part.strip_prefix(',').unwrap_or(part));
    }
    text
}

/// Where byte `at` of [`without_token`] stands in `expr`.
pub(crate) fn with_token(expr: &str, at: usize) -> usize {
    let (mut kept, mut rest) = (0, expr);
    while let Some(token) = rest.find(TOKEN).filter(|token| kept + token <= at) {
        kept += token;
        rest = &rest[token + TOKEN.len()..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    expr.len() - rest.len() + (at - kept)
}

/// `expr` with the matchers of `topology`, as PromQL prints it. One that cannot be parsed loses its token only.
pub(crate) fn bound(expr: &str, topology: &Topology) -> String {
    let text = without_token(expr);
    match syntax::parse(&text, &ParseOptions::default()) {
        Ok(mut parsed) => {
            syntax::add_matchers(&mut parsed, &matchers(topology), Injection::SkipIfPresent);
            parsed.to_string()
        }
        Err(_) => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens() {
        for (expr, expected) in [
            ("up{%%juju_topology%%}", "up{}"),
            ("up{%%juju_topology%%, a=\"b\"}", "up{ a=\"b\"}"),
            ("up{a=\"b\", %%juju_topology%%}", "up{a=\"b\", }"),
            ("up{%%juju_topology%%,%%juju_topology%%}", "up{}"),
            ("up", "up"),
        ] {
            assert_eq!(without_token(expr), expected, "{expr}");
            // Each byte that is left is found again.
            for (at, byte) in expected.bytes().enumerate() {
                assert_eq!(expr.as_bytes()[with_token(expr, at)], byte, "{at} of {expr}");
            }
            assert_eq!(with_token(expr, expected.len()), expr.len());
        }
    }

    #[test]
    fn expressions() {
        let topology = Topology::new("m", "12de4fae-06cc-4ceb-9089-567be09fec78", "a").expect("a topology");
        let bound_to =
            "juju_application=\"a\",juju_model=\"m\",juju_model_uuid=\"12de4fae-06cc-4ceb-9089-567be09fec78\"";
        for (expr, expected) in [
            ("up{%%juju_topology%%} < 1", format!("up{{{bound_to}}} < 1")),
            // The library at the other end leaves out an expression that starts like this; nothing speaks against it.
            ("-up", format!("-up{{{bound_to}}}")),
            ("up{%%juju_topology%% <", "up{ <".to_owned()),
        ] {
            assert_eq!(bound(expr, &topology), expected, "{expr}");
        }
    }
}
