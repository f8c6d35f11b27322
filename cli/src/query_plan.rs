//! The plan of a query: what each node took, and what it gave.

use serde_json::Value;

use crate::table::Table;

/// The plan in an answer as a table, each node below the one it is inside of; nothing if the answer has none.
pub(crate) fn plan(data: &Value) -> String {
    let Some(nodes) = data["plan"].as_array() else { return String::new() };
    let mut table = Table::new(&["Node", ">Milliseconds", ">Series", ">Samples read"]);
    for node in nodes {
        let indent = "  ".repeat(node["depth"].as_u64().unwrap_or(0).min(40) as usize);
        let series = node["series"].as_u64().map_or_else(|| "-".to_owned(), |series| series.to_string());
        // What a query has more than once is evaluated where it comes first.
        let shared = if node["shared"].as_bool() == Some(true) { " (as above)" } else { "" };
        table.row([
            format!("{indent}{}{shared}", node["expr"].as_str().unwrap_or_default()),
            format!("{:.3}", node["seconds"].as_f64().unwrap_or(0.0) * 1000.0),
            series,
            node["samplesRead"].as_u64().unwrap_or(0).to_string(),
        ]);
    }
    format!("\n{}", table.render())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_stand_below_one_another() {
        let node = |depth: u64, expr: &str, series: Option<u64>| serde_json::json!({ "depth": depth, "expr": expr, "seconds": 0.0125, "series": series, "samplesRead": 40 });
        let data = serde_json::json!({ "plan": [node(0, "sum(up) / 2", Some(1)), node(1, "sum(up)", Some(1)), node(1, "2", None)] });
        let text = plan(&data);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].is_empty() && lines.len() == 5, "{text}");
        assert!(lines[2].starts_with("sum(up) / 2") && lines[2].contains("12.500"), "{text}");
        assert!(lines[3].starts_with("  sum(up)") && lines[4].starts_with("  2"), "{text}");
        assert!(lines[4].contains(" - "), "{text}");
        let mut again = node(1, "sum(up)", Some(1));
        again["shared"] = true.into();
        let text = plan(&serde_json::json!({ "plan": [again] }));
        assert!(text.contains("  sum(up) (as above)"), "{text}");
        assert_eq!(plan(&serde_json::json!({})), "");
    }
}
