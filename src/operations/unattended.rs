//! [`select_allowed`]: limits a plan to what may be applied without an operator, by the `watch` settings of the environment.
//!
//! These are changes of the files if the environment applies automatically, and changes made outside Git if drift is reverted
//! there. A change of the files that would undo one made outside Git is refused (MW0372), and then nothing of the commit is
//! applied; so is a change of the settings in the files while a profile was changed outside Git, because settings cannot be applied
//! apart from it. If nothing is allowed, the result is `Nothing`, which is not an error. Used by passes of watch and by the waves
//! of its rollouts.

use crate::{
    model::{Code, Problem, ProfileName, watch_settings::DriftMode},
    reconcile::plan::{Cause, Plan},
};

/// The part of a plan that may be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedPart {
    /// The whole plan.
    All,
    /// These profiles alone, without the environment's settings.
    Only(Vec<ProfileName>),
    /// Nothing.
    Nothing,
}

/// Selects the part of a plan that may be applied. Fails with MW0372 if a change of the files would undo a change that was made
/// outside Git and stays.
pub fn select_allowed(plan: &Plan, applies_files: bool, drift: DriftMode) -> Result<AllowedPart, Problem> {
    let reverts = drift == DriftMode::Revert;
    let is_allowed = |cause: Cause| match cause {
        Cause::Git => applies_files,
        Cause::Drift => reverts,
        Cause::Both => applies_files && reverts,
    };
    if plan.cause().map_or(applies_files, is_allowed) {
        return Ok(AllowedPart::All);
    }
    if applies_files {
        check_drift_conflict(plan)?;
    }
    let changes = plan.changes.iter().filter(|change| !change.is_note() && is_allowed(change.cause));
    let only: Vec<ProfileName> = changes.map(|change| change.name.clone()).collect();
    Ok(if only.is_empty() { AllowedPart::Nothing } else { AllowedPart::Only(only) })
}

/// Checks that no change of Git would undo a change that was made outside Git.
fn check_drift_conflict(plan: &Plan) -> Result<(), Problem> {
    let both = plan.changes.iter().find(|change| change.cause == Cause::Both);
    let both = both.map(|change| format!("`{}` was changed in Git and outside it", change.name));
    let settings = plan.settings.iter().find(|settings| !settings.fields.is_empty() && settings.cause != Cause::Drift);
    let settings = settings.map(|settings| match settings.cause {
        Cause::Both => "the environment's settings were changed in Git and outside it".to_owned(),
        _ => "the environment's settings were changed in Git, and profiles outside it".to_owned(),
    });
    let Some(conflict) = both.or(settings) else { return Ok(()) };
    let message = format!("{conflict}; nothing of the commit is applied, since that would undo the other change");
    let remedy = format!(
        "Write the outside change into the files, or undo it: mailwright apply {}; `watch: {{ drift: revert }}` always undoes such changes.",
        plan.environment
    );
    Err(Problem::new(Code::DriftConflict, message).remedy(remedy))
}
