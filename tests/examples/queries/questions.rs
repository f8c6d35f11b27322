//! What is asked: the queries of dashboards and of rules, each with a name.

/// One query.
pub(crate) struct Question {
    pub(crate) name: &'static str,
    /// How far back a range goes; 0 for an instant.
    pub(crate) range_s: i64,
    pub(crate) step_s: i64,
    pub(crate) expr: &'static str,
}

const fn instant(name: &'static str, expr: &'static str) -> Question {
    Question { name, range_s: 0, step_s: 0, expr }
}

const fn range(name: &'static str, range_s: i64, step_s: i64, expr: &'static str) -> Question {
    Question { name, range_s, step_s, expr }
}

pub(crate) const QUESTIONS: &[Question] = &[
    instant("instant_1", r#"node_memory_Item01_bytes{instance="10.20.0.1:9100"}"#),
    range("single_2h", 7200, 15, r#"node_memory_Item01_bytes{instance="10.20.0.1:9100"}"#),
    range("rate_24_1h", 3600, 15, r#"rate(node_cpu_seconds_total{instance="10.20.0.1:9100",mode="idle"}[5m])"#),
    instant("sumrate_cpu", "sum by (instance) (rate(node_cpu_seconds_total[5m]))"),
    range("sumrate_cpu_1h", 3600, 60, "sum by (instance) (rate(node_cpu_seconds_total[5m]))"),
    range("sumrate_idle_1h", 3600, 15, r#"sum by (instance) (rate(node_cpu_seconds_total{mode="idle"}[5m]))"#),
    instant("sumrate_bucket", "sum by (instance) (rate(http_request_duration_seconds_bucket[5m]))"),
    instant("sumrate_cpu_w1h", "sum by (instance) (rate(node_cpu_seconds_total[1h]))"),
    instant("sum_node", r#"sum by (__name__) ({__name__=~"node_.+"})"#),
    instant("count_all", r#"count by (job) ({__name__=~".+"})"#),
    instant(
        "hist_p99",
        "histogram_quantile(0.99, sum by (le, application) (rate(http_request_duration_seconds_bucket[5m])))",
    ),
    range(
        "hist_p99_30m",
        1800,
        60,
        "histogram_quantile(0.99, sum by (le, application) (rate(http_request_duration_seconds_bucket[5m])))",
    ),
    instant("topk_10", "topk(10, sum by (instance, handler) (rate(http_request_duration_seconds_count[5m])))"),
    instant("regex_fs", r#"count by (fstype) (node_filesystem_avail_bytes{mountpoint=~"/var.*|/srv|/run/.+"})"#),
    instant("regex_pod", r#"count(kube_pod_info{pod=~"workload-[37]-.*a.*"})"#),
    range("long_7d_rate", 604_800, 3600, r#"sum by (mode) (rate(node_cpu_seconds_total{job=~".+-long"}[2h]))"#),
    range("long_7d_max", 604_800, 3600, r#"max_over_time(node_cpu_seconds_total{job=~".+-long",mode="idle"}[1h])"#),
    instant("subquery", r#"max_over_time(sum by (instance) (rate(node_cpu_seconds_total{mode="user"}[5m]))[1h:1m])"#),
    instant(
        "join",
        "sum by (instance, code) (kube_pod_running * on (pod, uid) group_left (namespace) kube_pod_labels)",
    ),
    instant("qot", "quantile_over_time(0.95, node_memory_Item01_bytes[1h])"),
    instant("sumot", "sum by (application) (sum_over_time(app_queue_level[30m]))"),
    instant("count_by", "count by (application, model) (node_systemd_unit_state == 1)"),
    instant("absent", r#"absent(nonexistent_metric{job="x"})"#),
    instant("rule_cpu", r#"1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[5m]))"#),
    instant("rule_net", r#"sum by (instance) (rate(node_network_receive_bytes_total{device!="lo"}[5m]))"#),
    instant("rule_fs", "node_filesystem_avail_bytes / node_filesystem_size_bytes < 0.9"),
    instant(
        "rule_err",
        r#"sum by (unit) (rate(http_request_duration_seconds_count{code="500"}[5m])) / sum by (unit) (rate(http_request_duration_seconds_count[5m]))"#,
    ),
];
