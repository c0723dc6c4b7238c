//! `/healthz`, `/readyz` and `/metrics`: liveness, readiness, and metrics in the Prometheus text format.
//!
//! Readiness means that mail is accepted: the store can be written, and no restore from a backup waits for confirmation. Suspended
//! profiles are counted and do not change it. If the store cannot be read, metrics are answered with 503. The gauges that are
//! computed from the store are set when metrics are requested.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axum::extract::State;

use crate::{
    model::{WaitReason, rotation::Standing},
    service::{
        Service,
        access::{Authorized, SeeService},
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
    service.readiness().await.map(|readiness| readiness.to_string())
}

/// Metrics
///
/// In the Prometheus text format.
#[utoipa::path(get, path = "/metrics", tag = "health", responses((status = 200, description = "The metrics.", content_type = "text/plain", body = String), AnyProblem))]
pub(super) async fn get_metrics(
    _: Authorized<SeeService>,
    State(service): State<Arc<Service>>,
) -> Result<String, HttpProblem> {
    let state = service.state();
    set_queue_metrics(&service).await?;
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    {
        metrics::gauge!("mailwright_generation").set(state.generation as f64);
        metrics::gauge!("mailwright_profiles").set(state.live().count() as f64);
        let trouble = service.delivery.trouble();
        metrics::gauge!("mailwright_profiles_suspended").set(trouble.suspended.len() as f64);
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
    Ok(service.context.metrics())
}

/// Sets the gauges of messages, of the queue and of credentials.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
async fn set_queue_metrics(service: &Service) -> Result<(), HttpProblem> {
    for (status, count) in service.store.counts().await? {
        metrics::gauge!("mailwright_messages", "status" => status.id()).set(count as f64);
    }
    let labels = service.delivery.labels();
    let mut queued: BTreeMap<(String, WaitReason), u64> = BTreeMap::new();
    let mut oldest: BTreeMap<String, u64> = BTreeMap::new();
    let mut suspended: BTreeSet<String> = BTreeSet::new();
    for group in service.delivery.waiting(|_| true).await? {
        // Mail without a profile has the empty label.
        let profile = group.profile.as_ref().map(|profile| labels.label(profile)).unwrap_or_default();
        *queued.entry((profile.clone(), group.reason)).or_default() += group.messages;
        let age = oldest.entry(profile.clone()).or_default();
        *age = group.oldest_seconds.max(*age);
        if group.reason == WaitReason::Suspended {
            suspended.insert(profile);
        }
    }
    let state = service.state();
    for (name, _) in state.live() {
        labels.label(name);
    }
    // Every label that was ever used is set, so that no value outlives its cause.
    for profile in labels.used().into_iter().chain([String::new()]) {
        for reason in WaitReason::ALL {
            let count = queued.get(&(profile.clone(), *reason)).copied().unwrap_or_default();
            let labels = [("profile", profile.clone()), ("reason", reason.id().to_owned())];
            metrics::gauge!("mailwright_queue_messages", &labels).set(count as f64);
        }
        let seconds = oldest.get(&profile).copied().unwrap_or_default();
        metrics::gauge!("mailwright_queue_oldest_seconds", "profile" => profile.clone()).set(seconds as f64);
        if !profile.is_empty() {
            let is_suspended = f64::from(u8::from(suspended.contains(&profile)));
            metrics::gauge!("mailwright_profile_suspended", "profile" => profile).set(is_suspended);
        }
    }
    set_credential_metrics(service).await
}

/// Sets when the credentials of live profiles end, as the last verification saw it.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
async fn set_credential_metrics(service: &Service) -> Result<(), HttpProblem> {
    let now = service.clock.now();
    let state = service.state();
    let verified = service.store.last_verified().await?;
    let live: BTreeSet<_> = state.live().map(|(name, _)| name).collect();
    let labels = service.delivery.labels();
    let mut ends: BTreeMap<String, i64> = BTreeMap::new();
    for (profile, last) in verified {
        let current = last.credentials.iter().find(|credential| !credential.next).filter(|_| live.contains(&profile));
        let Some(current) = current else { continue };
        let end = current.ends.as_second();
        ends.entry(labels.label(&profile)).and_modify(|earlier| *earlier = end.min(*earlier)).or_insert(end);
    }
    for profile in labels.used() {
        // A profile without a credential that ends counts as one whose credential never ends.
        let seconds = ends.get(&profile).map_or(f64::INFINITY, |end| (end - now.as_second()) as f64);
        metrics::gauge!("mailwright_credential_expires_seconds", "profile" => profile).set(seconds);
    }
    let delivers = f64::from(u8::from(service.delivery.trouble().records));
    metrics::gauge!("mailwright_delivery_leader").set(delivers);
    Ok(())
}
