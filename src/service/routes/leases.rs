//! Leases: only one may do a thing at a time, on whichever machine it runs.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State, http::StatusCode};
use serde::Deserialize;
use serde_json::json;
use utoipa::IntoParams;

use crate::{
    api::leases::{LONGEST, LeaseList, NewLease},
    model::{AuditOutcome, Code, Lease},
    service::{
        Service,
        access::{As, Deployer, Viewer},
        http::extract::{Body, Parameters, Segment},
        http::{AnyProblem, HttpProblem},
    },
    store::{AuditEvent, LeaseTaken, WantedLease},
};

/// The leases that last, by name
#[utoipa::path(get, path = "/v1/leases", tag = "access", responses((status = 200, description = "The leases.", body = LeaseList), AnyProblem))]
pub(super) async fn list(_: As<Viewer>, State(service): State<Arc<Service>>) -> Result<Json<LeaseList>, HttpProblem> {
    Ok(Json(LeaseList { leases: service.store.leases(service.clock.now()).await? }))
}

/// Take a lease, or renew one's own
///
/// With `token`, the holding of that number is renewed, and lasts from now on for so many seconds. Without it, a new
/// holding is taken, also by the same holder, whose earlier holding ends. Either is refused with 409 while somebody else
/// holds the name.
#[utoipa::path(post, path = "/v1/leases/{name}", tag = "access", request_body = NewLease,
    params(("name" = String, Path, description = "What is held: 1 to 120 characters out of A-Z a-z 0-9 . _ : -")),
    responses((status = 200, description = "It is held.", body = Lease), AnyProblem))]
pub(super) async fn take(
    As(caller, _): As<Deployer>,
    State(service): State<Arc<Service>>,
    Segment(name): Segment<String>,
    Body(wanted, _room): Body<NewLease>,
) -> Result<Json<Lease>, HttpProblem> {
    check_name(&name)?;
    let length = wanted.holder.chars().count();
    if !(1..=200).contains(&length) || wanted.holder.chars().any(char::is_control) {
        return Err(HttpProblem::malformed("a holder has 1 to 200 characters, and no control characters"));
    }
    if !(1..=LONGEST).contains(&wanted.seconds) {
        return Err(HttpProblem::malformed(format!("`seconds` is 1 to {LONGEST}")));
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
        LeaseTaken::HeldBySomebody(lease) => Err(HttpProblem::new(
            Code::LeaseHeld,
            format!(
                "`{}` is held by {} (token `{}`) until {}",
                lease.name,
                lease.holder,
                lease.by,
                lease.until.strftime("%Y-%m-%d %H:%M:%SZ")
            ),
        )
        .remedy("Wait for its end. It lapses by itself if whoever holds it is gone.")),
        LeaseTaken::TooMany => Err(HttpProblem::new(Code::Busy, "more leases are held than the service keeps")
            .remedy("Wait until some have lapsed.")),
    }
}

/// Which holding.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Holding {
    /// Its number.
    token: u64,
}

/// Give a lease back
#[utoipa::path(delete, path = "/v1/leases/{name}", tag = "access",
    params(("name" = String, Path, description = "What is held."), Holding),
    responses((status = 204, description = "It is free."), AnyProblem))]
pub(super) async fn release(
    As(caller, _): As<Deployer>,
    State(service): State<Arc<Service>>,
    Segment(name): Segment<String>,
    Parameters(holding): Parameters<Holding>,
) -> Result<StatusCode, HttpProblem> {
    check_name(&name)?;
    let event = AuditEvent {
        at: service.clock.now(),
        actor: caller.name,
        action: "lease.release",
        outcome: AuditOutcome::Accepted,
        detail: json!({ "name": name, "token": holding.token }),
    };
    if service.store.release_lease(&name, holding.token, event).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(HttpProblem::not_found("there is no such holding; it has lapsed, or another one took its place"))
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
        "a lease's name has 1 to 120 characters out of A-Z a-z 0-9 . _ : - and begins with a letter or digit",
    ))
}
