//! Properties of every plan, whatever the states: after an apply it is empty, it is deterministic, it changes only what
//! the files ask for, and it says where each difference comes from.

use std::{collections::BTreeMap, sync::LazyLock};

use crate::support::generated;
use mailwright::{
    config::Desired,
    model::{ChangeKind, ChangeRecord, ProfileChange, ProfileName, Settings, State, StoredProfile, rules},
    reconcile::{self, PlanRequest, Planned, plan::Cause},
};
use proptest::prelude::*;

/// One thread, and sixteen.
static POOLS: LazyLock<(rayon::ThreadPool, rayon::ThreadPool)> = LazyLock::new(|| {
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    (pool(1), pool(16))
});

fn record(state: &State, kind: ChangeKind) -> ChangeRecord {
    let by = if kind == ChangeKind::Apply { "pipeline" } else { "alice" };
    ChangeRecord { generation: state.generation + 1, at: jiff::Timestamp::UNIX_EPOCH, by: by.to_owned(), kind }
}

fn plan(desired: &Desired, state: &State) -> Planned {
    reconcile::plan(&PlanRequest::new(desired, state, "http://127.0.0.1:1")).unwrap()
}

fn apply(state: &State, planned: &Planned) -> State {
    let mut after = state.clone();
    let record = record(state, ChangeKind::Apply);
    after.change(planned.changeset.settings.as_ref(), &planned.changeset.changes, &record).unwrap();
    after
}

/// Changes the live profiles to these, as an administrator does by hand.
fn by_hand(state: &State, profiles: &BTreeMap<ProfileName, StoredProfile>) -> State {
    let live: BTreeMap<_, _> = state.live_stored().map(|(name, stored)| (name.clone(), stored.clone())).collect();
    let mut changes = Vec::new();
    for (name, profile) in profiles {
        let (name, profile) = (name.clone(), profile.clone());
        match live.get(&name) {
            None => changes.push(ProfileChange::Create { name, profile }),
            Some(old) if *old != profile => changes.push(ProfileChange::Update { name, profile }),
            Some(_) => {}
        }
    }
    for name in live.keys().filter(|name| !profiles.contains_key(*name)) {
        changes.push(ProfileChange::Delete { name: name.clone() });
    }
    let mut after = state.clone();
    after.change(None, &changes, &record(state, ChangeKind::Manual)).unwrap();
    after
}

fn start(settings: &Settings, profiles: &BTreeMap<ProfileName, StoredProfile>) -> State {
    let empty = State::empty(generated::environment());
    let desired = generated::desired(settings.clone(), profiles.clone());
    apply(&empty, &plan(&desired, &empty))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn an_applied_plan_is_empty(
        settings in generated::any_settings(),
        before in generated::any_profiles(),
        hand in generated::any_profiles(),
        after in generated::any_profiles(),
    ) {
        let drifted = by_hand(&start(&settings, &before), &hand);
        let desired = generated::desired(settings, after.clone());
        let planned = plan(&desired, &drifted);
        let applied = apply(&drifted, &planned);
        let again = plan(&desired, &applied);
        prop_assert!(again.plan.has_nothing_to_send(), "{:#?}", again.plan);
        prop_assert_eq!(again.plan.drift, vec![]);
        // Everything declared is live as declared; the rest was never applied and is left alone.
        for (name, stored) in &after {
            prop_assert_eq!(applied.profiles[name].live.as_ref(), Some(stored));
        }
        for name in applied.live().map(|(name, _)| name) {
            prop_assert!(after.contains_key(name) || planned.plan.unmanaged.contains(name));
        }
    }

    #[test]
    fn the_same_states_give_the_same_plan_and_the_same_changeset(
        settings in generated::any_settings(),
        before in generated::any_profiles(),
        after in generated::any_profiles(),
    ) {
        let state = start(&settings, &before);
        let desired = generated::desired(settings, after);
        let (one, other) = (plan(&desired, &state), plan(&desired, &state));
        prop_assert_eq!(one.plan.digest(), other.plan.digest());
        prop_assert_eq!(one.changeset, other.changeset);
    }

    #[test]
    fn plans_and_broken_rules_are_the_same_under_one_and_sixteen_threads(
        settings in generated::any_settings(),
        before in generated::any_profiles(),
        hand in generated::any_profiles(),
        after in generated::any_profiles(),
    ) {
        let state = by_hand(&start(&settings, &before), &hand);
        let desired = generated::desired(settings.clone(), after.clone());
        let all = after.iter().map(|(name, stored)| (name, &stored.profile)).collect();
        let work = || {
            let planned = plan(&desired, &state);
            (serde_json::to_string(&planned.plan).unwrap(), planned.changeset, rules::Check::new(&settings, &all).run())
        };
        prop_assert_eq!(POOLS.0.install(work), POOLS.1.install(work));
    }

    #[test]
    fn the_cause_is_git_if_the_service_is_unchanged_and_drift_if_the_files_are_unchanged(
        settings in generated::any_settings(),
        before in generated::any_profiles(),
        other in generated::any_profiles(),
    ) {
        let state = start(&settings, &before);
        let ahead = plan(&generated::desired(settings.clone(), other.clone()), &state).plan;
        prop_assert!(matches!(ahead.cause(), None | Some(Cause::Git)), "{:?}", ahead);
        prop_assert_eq!(ahead.drift, vec![]);

        let behind = plan(&generated::desired(settings, before), &by_hand(&state, &other)).plan;
        prop_assert!(matches!(behind.cause(), None | Some(Cause::Drift)), "{:?}", behind);
        prop_assert_eq!(behind.is_empty(), behind.drift.is_empty());
    }

    #[test]
    fn senders_differ_exactly_where_resolution_differs(
        settings in generated::any_settings(),
        before in generated::any_profiles(),
        after in generated::any_profiles(),
    ) {
        use mailwright::model::resolution::{Cell, Resolver};
        let state = start(&settings, &before);
        let planned = plan(&generated::desired(settings.clone(), after.clone()), &state);
        let old = Resolver::new(before.iter().map(|(n, s)| (n, &s.profile)));
        let new = Resolver::new(after.iter().map(|(n, s)| (n, &s.profile)));
        for cell in Cell::all(&settings.companies) {
            let sender = |resolver: &Resolver<'_>| {
                resolver.explain(&cell).profile.map(|name| name.to_string())
            };
            let from = |resolver: &Resolver<'_>| {
                resolver.sender(&cell).and_then(|(_, p)| p.from_address().map(str::to_owned))
            };
            let differs = sender(&old) != sender(&new) || from(&old) != from(&new);
            prop_assert_eq!(planned.plan.routing_changes.iter().any(|change| change.cell == cell), differs);
        }
    }

    #[test]
    fn a_document_survives_its_own_json(
        settings in generated::any_settings(),
        before in generated::any_profiles(),
        after in generated::any_profiles(),
    ) {
        let state = start(&settings, &before);
        let plan = plan(&generated::desired(settings, after), &state).plan;
        let text = serde_json::to_string(&plan).unwrap();
        let read: mailwright::reconcile::Plan = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(read.digest(), plan.digest());
        let state_text = serde_json::to_string(&state).unwrap();
        prop_assert_eq!(serde_json::from_str::<State>(&state_text).unwrap(), state);
    }
}
