//! Preview of a rollback: what it would change, the guards that it needs, and what would refuse it.
//!
//! Runs the same checks as the rollback and commits nothing. [`Service::lift_guards`] returns the allowances with which a caller who
//! has seen the guards confirms them; the generation that the preview was made for is part of the request, so they are the same.

use std::{collections::BTreeMap, sync::Arc};

use super::Change;
use crate::{
    api::Rollback,
    changes::{
        GenerationContents, GenerationDifference, compare_generations,
        guards::{self, Guard},
    },
    model::{Allowances, ChangeKind, ChangeRecord, Code, ProfileName, State, StoredProfile},
    service::{Service, caller::Caller, http::HttpProblem},
};

/// The effects of a rollback that is not done yet.
pub(crate) struct RollbackPreview {
    /// The current generation.
    pub(crate) base: u64,
    /// The changes; none if the state is the same.
    pub(crate) differences: Vec<GenerationDifference>,
    /// The guards that must be lifted.
    pub(crate) guards: Vec<Guard>,
    /// The approvals that are needed.
    pub(crate) approvals: Vec<String>,
    /// Warnings of the rules.
    pub(crate) warnings: Vec<String>,
    /// The problem for which the rollback would be refused.
    pub(crate) refused: Option<HttpProblem>,
}

impl Service {
    /// Returns what a rollback to an earlier generation would do.
    pub(crate) async fn preview_rollback(
        self: &Arc<Self>,
        caller: &Caller,
        to: u64,
    ) -> Result<RollbackPreview, HttpProblem> {
        let state = self.state();
        let base = state.generation;
        let mut preview = RollbackPreview {
            base,
            differences: Vec::new(),
            guards: Vec::new(),
            approvals: Vec::new(),
            warnings: Vec::new(),
            refused: None,
        };
        let Some((mut change, after)) = self.rollback_result(caller, &state, to).await? else { return Ok(preview) };
        preview.guards = guards::check(&state, &after, &change.changes, &Allowances::default());
        let (one, other) = (live(&state), live(&after));
        preview.differences = compare_generations(
            GenerationContents { settings: &state.settings, profiles: &one },
            GenerationContents { settings: &after.settings, profiles: &other },
        );
        change.allowances = allowances(&preview.guards);
        change.dry_run = true;
        match self.check(caller, change).await {
            Ok(checked) => {
                preview.refused = checked.missing_right.map(|problem| *problem);
                preview.approvals = checked.evaluation.missing.iter().map(|(need, _)| need.describe()).collect();
                preview.warnings = checked.warnings.iter().map(|warning| warning.problem.message.clone()).collect();
            }
            Err(problem) => preview.refused = Some(problem),
        }
        Ok(preview)
    }

    /// Returns the allowances that lift every guard of a rollback.
    pub(crate) async fn lift_guards(self: &Arc<Self>, caller: &Caller, to: u64) -> Result<Allowances, HttpProblem> {
        let state = self.state();
        let result = self.rollback_result(caller, &state, to).await?;
        Ok(result.map_or_else(Allowances::default, |(change, after)| {
            allowances(&guards::check(&state, &after, &change.changes, &Allowances::default()))
        }))
    }

    /// Returns the change of a rollback, and the state after it; none if the state is the same.
    async fn rollback_result(
        &self,
        caller: &Caller,
        state: &State,
        to: u64,
    ) -> Result<Option<(Change, State)>, HttpProblem> {
        let base = state.generation;
        let request = Rollback { to, base, allowances: Allowances::default(), approvals: Vec::new() };
        let Some(change) = self.rollback_change(state, request).await? else { return Ok(None) };
        let record = ChangeRecord {
            generation: base + 1,
            at: self.clock.now(),
            by: caller.name.clone(),
            kind: ChangeKind::Rollback,
        };
        let mut after = state.clone();
        after.change(change.settings.as_ref(), &change.changes, &record).map_err(|conflict| {
            HttpProblem::new(Code::StaleGeneration, format!("the change does not fit the state: {conflict}"))
                .remedy("Plan again.")
        })?;
        Ok(Some((change, after)))
    }
}

fn live(state: &State) -> BTreeMap<ProfileName, StoredProfile> {
    state.live_stored().map(|(name, stored)| (name.clone(), stored.clone())).collect()
}

/// Returns the allowances that lift guards.
fn allowances(guards: &[Guard]) -> Allowances {
    let mut allowances = Allowances::default();
    for guard in guards {
        match guard {
            Guard::TooManyDeletes { names, .. } => allowances.names.extend(names.iter().cloned()),
            Guard::RightsAdded { .. } | Guard::RecipientsAdded { .. } | Guard::RecipientsRemoved { .. } => {
                allowances.rights = true;
            }
            Guard::DefaultProfile { name } | Guard::LastSender { name, .. } => {
                allowances.names.insert(name.clone());
            }
        }
    }
    allowances
}
