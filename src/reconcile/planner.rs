//! The planner: compares desired, live and last applied state field by field. Pure; the order of the result depends on names
//! alone.
//!
//! [`plan`] adds what follows from the changes: guards, approvals, routing, redirected secrets, and the changeset. A state of
//! another environment, a name in `only` that neither side has, and a rename that is not possible are problems. Guards, approvals
//! and redirected secrets are not: the plan lists them, and the caller decides. It reads no file and asks no service. Costs one
//! comparison per profile; fields are compared only where two profiles differ.

mod state_comparison;

use std::collections::BTreeMap;

use uuid::Uuid;

use super::plan::{Action, FORMAT_VERSION, Plan, PlanApprovals, PlannedChange, PreviousVerification, Summary};
use crate::{
    api::LastVerifiedList,
    changes::{
        approval_needs,
        drift::{self},
        guards, routing,
    },
    config::{Desired, suggest},
    model::{
        Allowances, ChangeKind, ChangeRecord, Changeset, Code, Digest, Problem, ProfileChange, ProfileName, Provenance,
        State,
        approvals::{self, SignedAction},
    },
    reconcile::secret_destinations,
};
use state_comparison::{StateComparison, plan_settings};

/// The input of a plan.
pub struct PlanRequest<'a> {
    /// The desired state.
    pub desired: &'a Desired,
    /// The live state, with the last applied one.
    pub state: &'a State,
    /// The service's address, for the document.
    pub service: &'a str,
    /// The provenance of the files.
    pub source: Provenance,
    /// The profiles that the plan is limited to; empty means all.
    pub only: &'a [ProfileName],
    /// True if a limited plan includes the environment's settings.
    pub with_settings: bool,
    /// The guards that are lifted.
    pub allowances: Allowances,
    /// The results of `verify`.
    pub verified: &'a LastVerifiedList,
}

impl<'a> PlanRequest<'a> {
    /// Creates a request that plans everything, with no provenance, every guard in place, and no results of `verify`.
    pub fn new(desired: &'a Desired, state: &'a State, service: &'a str) -> Self {
        static NEVER_VERIFIED: LastVerifiedList =
            LastVerifiedList { profiles: BTreeMap::new(), planned: BTreeMap::new() };
        Self {
            desired,
            state,
            service,
            source: Provenance::default(),
            only: &[],
            with_settings: false,
            allowances: Allowances::default(),
            verified: &NEVER_VERIFIED,
        }
    }
}

/// A plan with the changeset that carries it out. The age files are not attached yet.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// The changeset.
    pub changeset: Changeset,
}

/// Computes the plan.
pub fn plan(request: &PlanRequest<'_>) -> Result<Planned, Problem> {
    let PlanRequest { desired, state, service, source, only, with_settings, allowances, verified } = request;
    if state.environment != desired.environment {
        let (ours, theirs) = (&desired.environment, &state.environment);
        let message = format!("the service at {service} belongs to environment `{theirs}`, not `{ours}`");
        let remedy = format!("Correct the address, or plan `{theirs}`. A service serves one environment.");
        return Err(Problem::new(Code::WrongEnvironment, message).remedy(remedy));
    }
    check_only(desired, state, only)?;
    let comparison = StateComparison { desired, state };
    let mut hints = Vec::new();
    let mut pairs = comparison.plan_profiles(&mut hints)?;
    if !only.is_empty() {
        pairs.retain(|(planned, change)| {
            only.contains(&planned.name) || change.names().any(|touched| only.contains(touched))
        });
    }
    comparison.hint_renames(&pairs, &mut hints);
    let settings = if only.is_empty() || *with_settings { plan_settings(&comparison) } else { None };
    let (changes, operations): (Vec<PlannedChange>, Vec<ProfileChange>) = pairs.into_iter().unzip();

    let brought = settings.is_some().then_some(&desired.settings);
    let after = state_after(state, brought, &operations)?;
    let provenance = Provenance { mailwright: Some(env!("CARGO_PKG_VERSION").to_owned()), ..source.clone() };
    let is_nothing = changes.is_empty() && settings.is_none();
    let needs = approval_needs::find_needs(state, &after, &operations);
    let plan = Plan {
        approvals: (!needs.is_empty()).then(|| PlanApprovals {
            digest: approvals::digest(&state.environment, state.generation, SignedAction::Apply, brought, &operations),
            needs,
        }),
        format_version: FORMAT_VERSION,
        mailwright: env!("CARGO_PKG_VERSION").to_owned(),
        environment: desired.environment.clone(),
        service: (*service).to_owned(),
        base: state.generation,
        source: source.clone(),
        only: only.to_vec(),
        drift: drift::drift(state),
        summary: summarize(&changes, settings.as_ref().is_some_and(|settings| !settings.fields.is_empty())),
        unmanaged: comparison.find_unmanaged(&operations),
        routing_changes: routing::find_routing_changes(state, &after, &operations),
        redirected: secret_destinations::find_redirected(desired, state, brought, &operations),
        guards: guards::check(state, &after, &operations, allowances),
        policy: if is_nothing { Vec::new() } else { guards::check_source(&state.settings, brought, &provenance) },
        verified: previous_verifications(&operations, verified),
        hints,
        moved: None,
        settings,
        changes,
    };
    let mut changeset = Changeset {
        id: Uuid::nil(),
        environment: desired.environment.clone(),
        base: state.generation,
        settings: brought.cloned(),
        changes: operations,
        secrets: BTreeMap::new(),
        allowances: allowances.clone(),
        approvals: Vec::new(),
        provenance: Provenance { plan: Some(plan.digest()), ..provenance },
    };
    changeset.id = content_id(&changeset);
    Ok(Planned { plan, changeset })
}

/// Derives the changeset's id from its contents: the same plan from the same generation has the same id, so that a job that is
/// killed and run again cannot apply twice.
fn content_id(changeset: &Changeset) -> Uuid {
    let digest = Digest::of_document(changeset);
    let mut bytes = [0; 16];
    for (index, byte) in bytes.iter_mut().enumerate() {
        let pair = digest.as_str().get(7 + 2 * index..9 + 2 * index).unwrap_or("00");
        *byte = u8::from_str_radix(pair, 16).unwrap_or(0);
    }
    Uuid::new_v8(bytes)
}

fn check_only(desired: &Desired, state: &State, only: &[ProfileName]) -> Result<(), Problem> {
    for name in only {
        if !desired.profiles.contains_key(name) && !state.profiles.contains_key(name) {
            let known = desired.profiles.keys().chain(state.profiles.keys()).map(ProfileName::as_str);
            let remedy = match suggest::nearest(name.as_str(), known) {
                Some(meant) => format!("Did you mean `{meant}`?"),
                None => "`mailwright status` lists the live ones.".to_owned(),
            };
            let message = format!("no profile `{name}` in the files or in the service");
            return Err(Problem::new(Code::NotFound, message).remedy(remedy));
        }
    }
    Ok(())
}

fn state_after(
    state: &State,
    settings: Option<&crate::model::Settings>,
    operations: &[ProfileChange],
) -> Result<State, Problem> {
    let mut after = state.clone();
    let record = ChangeRecord {
        generation: state.generation + 1,
        at: jiff::Timestamp::UNIX_EPOCH,
        by: String::new(),
        kind: ChangeKind::Apply,
    };
    after.change(settings, operations, &record).map_err(|conflict| {
        // This is a bug.
        Problem::new(Code::Internal, format!("the plan does not fit the state it was made from: {conflict}"))
            .remedy("Nothing was changed. Please report this.")
    })?;
    Ok(after)
}

fn summarize(changes: &[PlannedChange], settings: bool) -> Summary {
    let mut summary = Summary { change: usize::from(settings), ..Summary::default() };
    for change in changes {
        match change.action {
            Action::Create => summary.add += 1,
            Action::Update => summary.change += 1,
            Action::Rename => summary.rename += 1,
            Action::Adopt => summary.adopt += 1,
            Action::Delete => summary.destroy += 1,
            Action::Forget => summary.forget += 1,
        }
    }
    summary
}

/// Returns the last results of `verify` for the profiles that the plan sets.
fn previous_verifications(operations: &[ProfileChange], known: &LastVerifiedList) -> Vec<PreviousVerification> {
    let set = operations.iter().filter_map(|change| Some((change.name(), change.profile()?)));
    set.filter(|(_, stored)| stored.profile.enabled)
        .map(|(name, stored)| {
            let of = stored.verified_digest();
            let last = known.find(name, &of);
            PreviousVerification {
                profile: name.clone(),
                current: last.is_some_and(|last| last.of == of),
                last: last.cloned(),
            }
        })
        .collect()
}
