//! `/features`: what this server can do, under the names that Prometheus uses for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use relatum_promql::syntax::{ParseOptions, functions};

use super::envelope::{ApiResult, Success};
use crate::Engine;
use crate::flags::Flags;

type Switches = BTreeMap<String, bool>;

/// The operators that are always there; those behind a feature are added where that is known.
const OPERATORS: [&str; 35] = [
    "!=",
    "!~",
    "%",
    "*",
    "+",
    "-",
    "/",
    "<",
    "</",
    "<=",
    "==",
    "=~",
    ">",
    ">/",
    ">=",
    "@",
    "^",
    "and",
    "atan2",
    "avg",
    "bottomk",
    "count",
    "count_values",
    "group",
    "max",
    "min",
    "or",
    "quantile",
    "stddev",
    "stdvar",
    "sum",
    "topk",
    "unless",
    "limit_ratio",
    "limitk",
];

const EXPERIMENTAL_OPERATORS: [&str; 2] = ["limit_ratio", "limitk"];

const TEMPLATE_FUNCTIONS: [&str; 29] = [
    "args",
    "externalURL",
    "first",
    "graphLink",
    "humanize",
    "humanize1024",
    "humanizeDuration",
    "humanizePercentage",
    "humanizeTimestamp",
    "label",
    "match",
    "now",
    "parseDuration",
    "pathPrefix",
    "query",
    "reReplaceAll",
    "safeHtml",
    "sortByLabel",
    "stripDomain",
    "stripPort",
    "strvalue",
    "tableLink",
    "title",
    "toDuration",
    "toLower",
    "toTime",
    "toUpper",
    "urlQueryEscape",
    "value",
];

/// `/api/v1/features`
pub(crate) async fn features(State(engine): State<Arc<Engine>>) -> ApiResult {
    Ok(Success::of(&of(&engine.live().flags)))
}

/// Category, then feature, then whether it is switched on.
fn of(flags: &Flags) -> BTreeMap<&'static str, Switches> {
    let mut syntax = ParseOptions::default();
    for feature in &flags.features {
        syntax.enable(feature);
    }
    let has = |feature: &str| flags.has_feature(feature);
    let experimental = syntax.experimental_functions;
    let switches = |list: &[(&str, bool)]| list.iter().map(|&(name, on)| (name.to_owned(), on)).collect::<Switches>();
    BTreeMap::from([
        (
            "api",
            switches(&[
                ("admin", flags.admin_api),
                ("exclude_alerts", true),
                ("label_values_match", true),
                ("lifecycle", flags.lifecycle),
                ("openapi_3.1", true),
                ("openapi_3.2", false),
                ("otlp_write_receiver", flags.otlp_receiver),
                ("query_stats", true),
                ("query_warnings", true),
                ("remote_write_receiver", true),
                ("search", has("search-api")),
                ("search_fuzz_alg_jarowinkler", has("search-api")),
                ("search_fuzz_alg_subsequence", has("search-api")),
                ("time_range_labels", true),
                ("time_range_series", true),
            ]),
        ),
        (
            "otlp_receiver",
            switches(&[
                ("delta_conversion", has("otlp-deltatocumulative")),
                ("native_delta_ingestion", has("otlp-native-delta-ingestion")),
            ]),
        ),
        (
            "prometheus",
            switches(&[
                ("agent_mode", false),
                ("auto_reload_config", has("auto-reload-config")),
                ("server_mode", true),
                ("stringlabels", true),
            ]),
        ),
        (
            "promql",
            switches(&[
                ("anchored", syntax.extended_range_selectors),
                ("at_modifier", true),
                ("bool", true),
                ("by", true),
                ("delayed_name_removal", has("promql-delayed-name-removal")),
                ("duration_expr", syntax.duration_expressions),
                ("fill", syntax.fill_modifiers),
                ("fill_left", syntax.fill_modifiers),
                ("fill_right", syntax.fill_modifiers),
                ("group_left", true),
                ("group_right", true),
                ("ignoring", true),
                ("negative_offset", true),
                ("offset", true),
                ("on", true),
                ("per_query_lookback_delta", true),
                ("per_step_stats", has("promql-per-step-stats")),
                ("smoothed", syntax.extended_range_selectors),
                ("subqueries", true),
                ("type_and_unit_labels", has("type-and-unit-labels")),
                ("without", true),
            ]),
        ),
        (
            "promql_functions",
            functions()
                .iter()
                .map(|function| (function.name.to_owned(), experimental || !function.is_experimental))
                .collect(),
        ),
        (
            "promql_operators",
            OPERATORS
                .iter()
                .map(|name| ((*name).to_owned(), experimental || !EXPERIMENTAL_OPERATORS.contains(name)))
                .collect(),
        ),
        ("rules", switches(&[("concurrent_rule_eval", false), ("keep_firing_for", true), ("query_offset", true)])),
        (
            "scrape",
            switches(&[
                ("extra_scrape_metrics", has("extra-scrape-metrics")),
                ("start_timestamp_zero_ingestion", false),
                ("type_and_unit_labels", has("type-and-unit-labels")),
            ]),
        ),
        ("service_discovery_providers", switches(&[("static", true)])),
        ("templating_functions", TEMPLATE_FUNCTIONS.iter().map(|name| ((*name).to_owned(), true)).collect()),
        (
            "tsdb",
            switches(&[
                ("delayed_compaction", false),
                ("exemplar_storage", has("exemplar-storage")),
                ("isolation", true),
                ("native_histograms", true),
                ("st_storage", has("st-storage")),
            ]),
        ),
        ("ui", switches(&[("ui_v2", false), ("ui_v3", false)])),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_behind_a_flag_follows_it() {
        let off = of(&Flags::default());
        assert_eq!((off["promql_functions"]["rate"], off["promql_functions"]["info"]), (true, false));
        let on = Flags::parse(["--enable-feature=promql-experimental-functions", "--web.enable-admin-api"]).unwrap();
        let on = of(&on);
        assert!(on["promql_functions"]["info"] && on["promql_operators"]["limitk"] && on["api"]["admin"]);
        // Clients iterate over categories without looking whether they are there.
        assert_eq!((off["promql_operators"].len(), off["templating_functions"].len()), (35, 29));
    }
}
