//! `/v1/proposals`: stores a plan of files as a proposal, and lists what was proposed, there or in the console.
//!
//! A proposal is approved, applied and rejected in the console. To propose needs `propose` in `changes`, to list `see` in
//! `profiles`; one with its changes, which can be those of the settings and of the access policy, needs what the state needs.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};

use crate::{
    api::proposals::{NewProposal, ProposalDetail, ProposalEntry, ProposalList},
    service::{
        Service,
        access::{Authorized, ProposeChanges, SeeProfiles, StateReader},
        http::{
            AnyProblem, HttpProblem,
            extract::{Body, Segment},
        },
    },
};

/// Propose a plan
///
/// Stores a changeset for another person, who applies or rejects it in the console. It is checked as in a dry run, and refused if it
/// could not be applied at the current generation. Needs the right `propose` in `changes`, which the built-in role `planner` has.
#[utoipa::path(post, path = "/v1/proposals", tag = "changes", request_body = NewProposal,
    responses((status = 201, description = "Stored.", body = ProposalEntry), AnyProblem))]
pub(super) async fn propose(
    Authorized(caller, _): Authorized<ProposeChanges>,
    State(service): State<Arc<Service>>,
    Body(new, _permit): Body<NewProposal>,
) -> Result<(StatusCode, Json<ProposalEntry>), HttpProblem> {
    Ok((StatusCode::CREATED, Json(service.propose_files(&caller, new).await?)))
}

/// List proposals
///
/// Open proposals, and those that were decided last.
#[utoipa::path(get, path = "/v1/proposals", tag = "changes",
    responses((status = 200, description = "The proposals.", body = ProposalList), AnyProblem))]
pub(super) async fn list_proposals(
    _: Authorized<SeeProfiles>,
    State(service): State<Arc<Service>>,
) -> Result<Json<ProposalList>, HttpProblem> {
    let proposals = service.proposals().await?;
    Ok(Json(ProposalList {
        proposals: proposals
            .iter()
            .map(|proposal| ProposalEntry::new(proposal, service.is_proposal_expired(proposal)))
            .collect(),
    }))
}

/// Get a proposal
///
/// A proposal with its changes, without age files.
#[utoipa::path(get, path = "/v1/proposals/{id}", tag = "changes", params(("id" = String, Path, description = "The id.")),
    responses((status = 200, description = "The proposal.", body = ProposalDetail), AnyProblem))]
pub(super) async fn get_proposal(
    StateReader(caller): StateReader,
    State(service): State<Arc<Service>>,
    Segment(id): Segment<String>,
) -> Result<Json<ProposalDetail>, HttpProblem> {
    let proposal = service.proposal(&caller, &id).await?;
    let is_expired = service.is_proposal_expired(&proposal);
    Ok(Json(ProposalDetail::new(proposal, is_expired)))
}
