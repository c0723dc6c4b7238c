//! Serves health checks, metrics and the status of a watch over HTTP. No answer contains a secret.
//!
//! Requests need no token, so a page in a browser must not be able to read the answers by DNS rebinding: requests are answered
//! under an IP address, `localhost` and the names that the operator configured, and refused under any other name (421), except for
//! `/healthz`. `/readyz` is 503 while the files cannot be followed or an environment was not planned for three intervals.

use std::{net::IpAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{StatusCode, header, uri::Authority},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;

use super::{EnvironmentStatus, ExpiringCredential, Role, Shared};

/// Returns the routes. `hosts` are the names under which monitors reach the server.
pub fn router(shared: Arc<Shared>, hosts: &[String]) -> Router {
    let hosts: Arc<[String]> = hosts.into();
    Router::new()
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/status", get(async |State(shared): State<Arc<Shared>>| Json(shared.status())))
        .layer(middleware::from_fn(move |request, next| only_known_hosts(Arc::clone(&hosts), request, next)))
        .route("/healthz", get(async || "ok\n"))
        .with_state(shared)
}

async fn only_known_hosts(hosts: Arc<[String]>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if is_known(host, &hosts) {
        return next.run(request).await;
    }
    let why = "unknown host name; start the watch with `--host NAME`, or use the IP address\n";
    (StatusCode::MISDIRECTED_REQUEST, why).into_response()
}

/// Returns true for an IP address, `localhost` and the configured names.
fn is_known(host: &str, names: &[String]) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_matches(['[', ']']).trim_end_matches('.');
    name.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || names.iter().any(|known| known.trim_end_matches('.').eq_ignore_ascii_case(name))
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
    let mut family = |name: &str, kind: &str, value: &dyn Fn(&EnvironmentStatus) -> u64| {
        text.push_str(&format!("# TYPE mailwright_watch_{name} {kind}\n"));
        for (environment, status) in &status.environments {
            text.push_str(&format!("mailwright_watch_{name}{{environment=\"{environment}\"}} {}\n", value(status)));
        }
    };
    family("acting", "gauge", &|environment| u64::from(environment.role == Role::Acting));
    family("drift", "gauge", &|environment| number(environment.drift.len()));
    family("changes_pending", "gauge", &|environment| number(environment.changes));
    family("last_success_timestamp_seconds", "gauge", &|environment| {
        environment.planned_at.and_then(|at| u64::try_from(at.as_second()).ok()).unwrap_or_default()
    });
    family("refused", "gauge", &|environment| u64::from(environment.refused.is_some()));
    family("waiting", "gauge", &|environment| u64::from(environment.waiting.is_some()));
    family("applies_total", "counter", &|environment| environment.applies);
    family("errors_total", "counter", &|environment| environment.errors);
    text.push_str("# TYPE mailwright_watch_credential_expires_days gauge\n");
    for (environment, status) in &status.environments {
        for ExpiringCredential { profile, secret, days, .. } in &status.expiring {
            text.push_str(&format!(
                "mailwright_watch_credential_expires_days{{environment=\"{environment}\",profile=\"{}\",secret=\"{}\"}} {days}\n",
                label(profile), label(secret)
            ));
        }
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

/// Escapes a label value for Prometheus.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_points_a_name_of_its_own_here_is_not_answered() {
        let names = ["watch.example.com".to_owned()];
        for good in
            ["127.0.0.1:9470", "[::1]:9470", "10.1.2.3", "localhost", "LOCALHOST:9470", "Watch.example.com.:9470"]
        {
            assert!(is_known(good, &names), "{good}");
        }
        for bad in [
            "",
            "evil.example",
            "localhost.evil.example:9470",
            "127.0.0.1.evil.example",
            "watch.example.com@evil.example:1",
            "a b",
        ] {
            assert!(!is_known(bad, &names), "{bad}");
        }
    }
}
