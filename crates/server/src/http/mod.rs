//! The HTTP surface: Prometheus' API, its operational paths, the remote-write receiver, and plain pages.

mod admin;
mod envelope;
mod exemplars;
mod features;
mod federate;
mod front;
mod health;
mod inflow;
mod json;
mod metrics;
mod notifications;
mod openapi;
mod otlp;
mod pages;
mod params;
mod query;
pub(crate) mod query_stats;
mod read;
mod reading;
mod relabel_steps;
mod rules;
mod search;
mod self_metrics;
mod series;
mod status;
mod stream;
mod targets;
mod traffic;
mod tsdb_status;
mod write;

pub(crate) use front::plain;
pub(crate) use inflow::Inflow;
pub(crate) use traffic::Traffic;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;

use crate::Engine;

/// A form as large as the longest query that is read, with room for its encoding.
const FORM_BYTES_MAX: usize = 4 << 20;

/// All routes.
pub(crate) fn router(engine: Arc<Engine>) -> Router {
    let api = Router::new()
        .route("/query", get(query::instant).post(query::instant))
        .route("/query_range", get(query::range).post(query::range))
        .route("/query_exemplars", get(exemplars::query).post(exemplars::query))
        .route("/format_query", get(query::format).post(query::format))
        .route("/parse_query", get(query::parse).post(query::parse))
        .route("/labels", get(series::names).post(series::names))
        .route("/label/{name}/values", get(series::values))
        .route("/series", get(series::series).post(series::series))
        .route("/search/metric_names", get(search::metric_names).post(search::metric_names))
        .route("/search/label_names", get(search::label_names).post(search::label_names))
        .route("/search/label_values", get(search::label_values).post(search::label_values))
        .route("/targets", get(targets::targets))
        .route("/scrape_pools", get(targets::pools))
        .route("/scrape_pools/config", get(targets::pool_config))
        .route("/targets/metadata", get(targets::targets_metadata))
        .route("/targets/relabel_steps", get(relabel_steps::relabel_steps))
        .route("/metadata", get(targets::metadata))
        .route("/alertmanagers", get(targets::alertmanagers))
        .route("/rules", get(rules::rules))
        .route("/alerts", get(rules::alerts))
        .route("/status/buildinfo", get(status::build_info))
        .route("/status/runtimeinfo", get(status::runtime_info))
        .route("/status/config", get(status::config))
        .route("/status/flags", get(status::flags))
        .route("/status/tsdb", get(tsdb_status::head))
        .route("/status/tsdb/blocks", get(tsdb_status::blocks))
        .route("/status/walreplay", get(tsdb_status::wal_replay))
        .route("/status/self_metrics", get(self_metrics::self_metrics))
        .route("/status/health", get(health::health))
        .route("/admin/tsdb/delete_series", post(admin::delete_series).put(admin::delete_series))
        .route("/admin/tsdb/clean_tombstones", post(admin::clean_tombstones).put(admin::clean_tombstones))
        .route("/admin/tsdb/snapshot", post(admin::snapshot).put(admin::snapshot))
        .route("/features", get(features::features))
        .route("/openapi.yaml", get(openapi::document))
        .route("/notifications", get(notifications::active))
        .fallback(front::not_found)
        .layer(CompressionLayer::new())
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX));
    let routes = Router::new()
        .nest("/api/v1", api)
        .route("/api/v1/notifications/live", get(notifications::live))
        .route("/api/v1/write", post(write::receive))
        .route("/api/v1/read", post(read::read))
        .route("/api/v1/otlp/v1/metrics", post(otlp::receive))
        .route("/metrics", get(metrics::metrics).layer(CompressionLayer::new()))
        .route("/-/healthy", get(status::healthy))
        .route("/-/ready", get(status::ready))
        .route("/-/reload", any(status::reload))
        .route("/-/quit", any(status::quit))
        .route("/version", get(status::version))
        .route("/federate", get(federate::federate).layer(CompressionLayer::new()))
        .route("/graph", get(pages::graph))
        .route("/targets", get(pages::targets))
        .route("/alerts", get(pages::alerts))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&engine), traffic::counted))
        .fallback(front::not_found)
        .with_state(Arc::clone(&engine));
    let routes = below(engine.live().flags.prefix(), Arc::clone(&engine), routes);
    // A router of its own, as the inner one adds the list of allowed methods only when all its layers are done.
    Router::new()
        .fallback_service(routes)
        .layer(middleware::from_fn(front::method_texts))
        .layer(middleware::from_fn_with_state(Arc::clone(&engine), front::cross_origin))
        .layer(middleware::from_fn_with_state(Arc::clone(&engine), front::clean_path))
        .layer(middleware::from_fn(front::one_meaning))
        .layer(CatchPanicLayer::custom(panicked))
}

/// Puts everything below `prefix`, and sends there whoever asks for nothing in particular.
///
/// The first page has a slash at its end there, as its links are relative to that.
fn below(prefix: &str, engine: Arc<Engine>, routes: Router) -> Router {
    if prefix.is_empty() {
        return routes.route("/", get(pages::query).with_state(engine));
    }
    let first = format!("{prefix}/");
    let location = first.clone();
    let to_first = move || async move { (StatusCode::FOUND, [(header::LOCATION, location)]).into_response() };
    Router::new()
        .route("/", get(to_first.clone()))
        .route(prefix, get(to_first))
        .route(&first, get(pages::query).with_state(engine))
        .nest(prefix, routes)
        .fallback(front::not_found)
}

/// A panic in a handler is our bug: the caller learns that, the log has the rest, and all other requests go on.
fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, "internal error\n").into_response()
}
