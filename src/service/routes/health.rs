//! Endpoints for monitoring: liveness, readiness, metrics.

use std::sync::Arc;

use axum::extract::State;

use crate::{
    model::{Code, rotation::Standing},
    service::{
        Service,
        access::{Authorized, Viewer},
        http::{AnyProblem, HttpProblem},
    },
};

/// Liveness
#[utoipa::path(get, path = "/healthz", tag = "health", security(()), responses((status = 200, description = "The process is running.", content_type = "text/plain", body = String), AnyProblem))]
pub(in crate::service) async fn healthz() -> &'static str {
    "ok\n"
}

/// Readiness
///
/// The service is ready if it can write to its store, so that it accepts mail. The answer counts suspended profiles, which cannot send
/// until an operator fixes them.
#[utoipa::path(get, path = "/readyz", tag = "health", security(()), responses((status = 200, description = "The service accepts mail.", content_type = "text/plain", body = String), AnyProblem))]
pub(super) async fn readyz(State(service): State<Arc<Service>>) -> Result<String, HttpProblem> {
    readiness(&service).await
}

/// Checks that the store can be written to, and counts the profiles that cannot send.
pub(in crate::service) async fn readiness(service: &Service) -> Result<String, HttpProblem> {
    service.store.probe().await?;
    if let Some(restored) = service.restored() {
        return Err(HttpProblem::new(
            Code::RestoreUnconfirmed,
            format!("the store was restored from a backup ({}), and no administrator has confirmed that", restored.why),
        )
        .remedy(format!(
            "Check the messages of `mailwright outbox list {0} --status unknown`, then run: mailwright outbox confirm-restore {0}",
            service.store.environment()
        )));
    }
    let trouble = service.delivery.trouble();
    if !trouble.records {
        return Err(crate::store::StoreError::Database(
            "delivery is paused until the store can be written to".to_owned(),
        )
        .into());
    }
    let mut text = match (trouble.parked.len(), trouble.down.len()) {
        (0, 0) => "ready\n".to_owned(),
        (parked, down) => format!("ready\nparked profiles: {parked}\nprofiles whose server does not answer: {down}\n"),
    };
    let differences = service.store_differences().len();
    if differences > 0 {
        text.push_str(&format!("differences between the store and its audit log: {differences}\n"));
    }
    Ok(text)
}

/// Metrics
///
/// In the Prometheus text format.
#[utoipa::path(get, path = "/metrics", tag = "health", responses((status = 200, description = "The metrics.", content_type = "text/plain", body = String), AnyProblem))]
pub(super) async fn get_metrics(_: Authorized<Viewer>, State(service): State<Arc<Service>>) -> String {
    let state = service.state();
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    {
        metrics::gauge!("mailwright_generation").set(state.generation as f64);
        metrics::gauge!("mailwright_profiles").set(state.live().count() as f64);
        let trouble = service.delivery.trouble();
        metrics::gauge!("mailwright_profiles_parked").set(trouble.parked.len() as f64);
        metrics::gauge!("mailwright_profiles_unreachable").set(trouble.down.len() as f64);
        let refused = trouble.rotations.iter().filter(|rotation| rotation.standing == Standing::Refused);
        metrics::gauge!("mailwright_next_secrets_refused").set(refused.count() as f64);
        let connections = service.connections.counts();
        metrics::gauge!("mailwright_connections").set(connections.open as f64);
        metrics::gauge!("mailwright_connections_limit").set(connections.limit as f64);
        metrics::counter!("mailwright_connections_evicted_total").absolute(connections.evicted);
        metrics::counter!("mailwright_connections_refused_total").absolute(connections.refused);
        metrics::gauge!("mailwright_restore_unconfirmed").set(if service.restored().is_some() { 1.0 } else { 0.0 });
        metrics::gauge!("mailwright_store_differences").set(service.store_differences().len() as f64);
        metrics::gauge!("mailwright_drifted_objects").set(crate::changes::drift::drift(&state).len() as f64);
    }
    service.context.metrics()
}
