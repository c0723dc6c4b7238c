//! `/v1/audit`: pages of the audit log, and the comparison of the store with it.
//!
//! The pages need the right `see` in `audit`, the comparison `verify`; of the built-in roles, `admin` has both. Entries cannot be
//! changed or removed through the API. A difference is part of the answer to the comparison, not an error. Clients verify the hash
//! chain themselves ([`crate::model::audit`]).

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    api::AuditPage,
    model::integrity::StoreCheck,
    service::{
        Service,
        access::{Authorized, SeeAudit, VerifyAudit},
        http::{AnyProblem, HttpProblem, extract::Parameters},
    },
};

/// Paging parameters.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    /// Return entries after this sequence number.
    #[serde(default)]
    after: u64,
    /// Maximum number of entries, from 1 to 1000.
    #[serde(default = "Page::default_limit")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: u32,
}

impl Page {
    fn default_limit() -> u32 {
        100
    }
}

/// List audit entries
///
/// Oldest first. Each entry has the hash of the one before; `mailwright audit verify` recomputes the chain.
#[utoipa::path(get, path = "/v1/audit", tag = "access", params(Page),
    responses((status = 200, description = "One page of audit entries.", body = AuditPage), AnyProblem))]
pub(super) async fn list_audit_entries(
    Authorized(caller, _): Authorized<SeeAudit>,
    State(service): State<Arc<Service>>,
    Parameters(page): Parameters<Page>,
) -> Result<Json<AuditPage>, HttpProblem> {
    service.audit_entries(&caller, page.after, page.limit).await.map(Json)
}

/// Compare the store with its audit log
///
/// Recomputes the chain of hashes, and compares profiles, settings, tokens and all generations with the audit entries. Reads
/// the whole store, which can take a while.
#[utoipa::path(get, path = "/v1/audit/check", tag = "access",
    responses((status = 200, description = "The result of the comparison.", body = StoreCheck), AnyProblem))]
pub(super) async fn check_store(
    _: Authorized<VerifyAudit>,
    State(service): State<Arc<Service>>,
) -> Result<Json<StoreCheck>, HttpProblem> {
    service.compare_with_audit_log().await.map(Json)
}
