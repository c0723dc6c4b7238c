//! `/v1/leases`: lists, acquires, renews and releases leases, with which clients on several machines exclude each other.
//!
//! The store grants them. While another client holds a lease, the answer is 409 with its holder and end; a release of a lease that
//! has expired or was replaced is 404. The service itself does not depend on a lease, and does not refuse a change of a client
//! without one.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State, http::StatusCode};
use serde::Deserialize;
use serde_json::json;
use utoipa::IntoParams;

use crate::{
    api::leases::{DURATION_LIMIT, LeaseList, NewLease},
    model::{AuditOutcome, Code, Lease},
    service::{
        Service,
        access::{Authorized, RunRollouts, SeeRollouts},
        http::{
            AnyProblem, HttpProblem,
            extract::{Body, Parameters, Segment},
        },
    },
    store::{AuditEvent, LeaseTaken, WantedLease},
    time::local::format_utc,
};

/// List leases
///
/// Active leases by name.
#[utoipa::path(get, path = "/v1/leases", tag = "access", responses((status = 200, description = "The leases.", body = LeaseList), AnyProblem))]
pub(super) async fn list_leases(
    _: Authorized<SeeRollouts>,
    State(service): State<Arc<Service>>,
) -> Result<Json<LeaseList>, HttpProblem> {
    Ok(Json(LeaseList { leases: service.leases().await? }))
}

/// Acquire or renew a lease
///
/// With `token`, the lease with that fencing token is renewed for the given time from now on. Without it, a new lease is acquired; an
/// earlier lease of the same holder ends. The request is refused with 409 while another client holds the lease.
#[utoipa::path(post, path = "/v1/leases/{name}", tag = "access", request_body = NewLease,
    params(("name" = String, Path, description = "The name: 1 to 120 characters out of A-Z a-z 0-9 . _ : -")),
    responses((status = 200, description = "The lease.", body = Lease), AnyProblem))]
pub(super) async fn acquire_lease(
    Authorized(caller, _): Authorized<RunRollouts>,
    State(service): State<Arc<Service>>,
    Segment(name): Segment<String>,
    Body(wanted, _permit): Body<NewLease>,
) -> Result<Json<Lease>, HttpProblem> {
    check_name(&name)?;
    let length = wanted.holder.chars().count();
    if !(1..=200).contains(&length) || wanted.holder.chars().any(char::is_control) {
        return Err(HttpProblem::malformed("`holder` must have 1 to 200 characters and no control characters"));
    }
    if !(1..=DURATION_LIMIT).contains(&wanted.seconds) {
        return Err(HttpProblem::malformed(format!("`seconds` must be from 1 to {DURATION_LIMIT}")));
    }
    let now = service.clock.now();
    let until = now + Duration::from_secs(wanted.seconds.into());
    let event = AuditEvent {
        at: now,
        actor: caller.name.clone(),
        action: "lease.take",
        outcome: AuditOutcome::Accepted,
        detail: json!({ "name": name, "holder": wanted.holder, "until": until }),
    };
    let wanted = WantedLease { name, holder: wanted.holder, by: caller.name, token: wanted.token, now, until };
    match service.store.take_lease(wanted, event).await? {
        LeaseTaken::Held(lease) => Ok(Json(lease)),
        LeaseTaken::HeldByAnother(lease) => Err(HttpProblem::new(
            Code::LeaseHeld,
            format!(
                "`{}` is held by {} (token `{}`) until {}",
                lease.name,
                lease.holder,
                lease.by,
                format_utc(lease.until)
            ),
        )
        .remedy("Wait for its end. The lease expires by itself if its holder does not renew it.")),
        LeaseTaken::TooMany => {
            Err(HttpProblem::new(Code::Busy, "the service has reached its maximum number of leases")
                .remedy("Wait until some have expired."))
        }
    }
}

/// Parameters of a release.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReleaseParameters {
    /// The fencing token of the lease.
    token: u64,
}

/// Release a lease
#[utoipa::path(delete, path = "/v1/leases/{name}", tag = "access",
    params(("name" = String, Path, description = "The name of the lease."), ReleaseParameters),
    responses((status = 204, description = "Released."), AnyProblem))]
pub(super) async fn release_lease(
    Authorized(caller, _): Authorized<RunRollouts>,
    State(service): State<Arc<Service>>,
    Segment(name): Segment<String>,
    Parameters(parameters): Parameters<ReleaseParameters>,
) -> Result<StatusCode, HttpProblem> {
    check_name(&name)?;
    let event = AuditEvent {
        at: service.clock.now(),
        actor: caller.name,
        action: "lease.release",
        outcome: AuditOutcome::Accepted,
        detail: json!({ "name": name, "token": parameters.token }),
    };
    if service.store.release_lease(&name, parameters.token, event).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(HttpProblem::not_found("lease not found: it expired or was replaced"))
    }
}

fn check_name(name: &str) -> Result<(), HttpProblem> {
    let good = (1..=120).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-'));
    if good {
        return Ok(());
    }
    Err(HttpProblem::malformed(
        "the name of a lease must have 1 to 120 characters out of A-Z a-z 0-9 . _ : - and begin with a letter or digit",
    ))
}
