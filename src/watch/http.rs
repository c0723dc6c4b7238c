//! What a monitor asks: alive, ready, metrics, everything. No secret is in any of it.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;

use super::{Expiring, Role, Shared, Standing};

/// The addresses.
pub fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/status", get(async |State(shared): State<Arc<Shared>>| Json(shared.status())))
        .with_state(shared)
}

async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    let (late, files) = (shared.not_ready(), shared.status().files);
    let is_ready = shared.is_ready();
    let code = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let late: std::collections::BTreeMap<_, _> = late.into_iter().collect();
    (code, Json(json!({ "ready": is_ready, "notReady": late, "files": files.problem }))).into_response()
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let status = shared.status();
    let mut text = format!(
        "# TYPE mailwright_watch_environments gauge\nmailwright_watch_environments {}\n\
         # TYPE mailwright_watch_files_followed gauge\nmailwright_watch_files_followed {}\n",
        status.environments.len(),
        u8::from(status.files.problem.is_none()),
    );
    let (waiting, given_up) = shared.reports.counts();
    text.push_str(&format!(
        "# TYPE mailwright_watch_reports_waiting gauge\nmailwright_watch_reports_waiting {waiting}\n\
         # TYPE mailwright_watch_reports_given_up_total counter\nmailwright_watch_reports_given_up_total {given_up}\n"
    ));
    let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let mut family = |name: &str, kind: &str, value: &dyn Fn(&Standing) -> u64| {
        text.push_str(&format!("# TYPE mailwright_watch_{name} {kind}\n"));
        for (environment, standing) in &status.environments {
            text.push_str(&format!("mailwright_watch_{name}{{environment=\"{environment}\"}} {}\n", value(standing)));
        }
    };
    family("acting", "gauge", &|one| u64::from(one.role == Role::Acting));
    family("drift", "gauge", &|one| number(one.drift.len()));
    family("changes_pending", "gauge", &|one| number(one.changes));
    family("last_success_timestamp_seconds", "gauge", &|one| {
        one.planned_at.and_then(|at| u64::try_from(at.as_second()).ok()).unwrap_or_default()
    });
    family("refused", "gauge", &|one| u64::from(one.refused.is_some()));
    family("waiting", "gauge", &|one| u64::from(one.waiting.is_some()));
    family("applies_total", "counter", &|one| one.applies);
    family("errors_total", "counter", &|one| one.errors);
    text.push_str("# TYPE mailwright_watch_credential_expires_days gauge\n");
    for (environment, standing) in &status.environments {
        for Expiring { profile, secret, days, .. } in &standing.expiring {
            text.push_str(&format!(
                "mailwright_watch_credential_expires_days{{environment=\"{environment}\",profile=\"{}\",secret=\"{}\"}} {days}\n",
                label(profile), label(secret)
            ));
        }
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

/// A label's value as Prometheus reads it.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
