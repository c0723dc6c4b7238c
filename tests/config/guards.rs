//! Guards: how much one plan may delete, at every size where a share of the profiles rounds to something else.

use std::collections::BTreeMap;

use crate::support::generated::{self, smtp, stored};
use mailwright::{
    changes::guards::{self, Guard},
    model::{
        Allowances, ChangeKind, ChangeRecord, ProfileChange, ProfileName, Settings, State, StoredProfile,
        settings::{DeleteLimit, Policy},
    },
};

fn names(count: usize) -> Vec<ProfileName> {
    (0..count).map(|index| format!("p{index:02}").parse().unwrap()).collect()
}

/// A state with one profile that serves everything and `count - 1` that serve a company of their own.
fn state_of(count: usize, limit: DeleteLimit) -> State {
    let mut state = State::empty(generated::environment());
    let profiles: BTreeMap<ProfileName, StoredProfile> = names(count)
        .into_iter()
        .enumerate()
        .map(|(index, name)| {
            let functions: &[&str] = if index == 0 { &["default"] } else { &["all-reports"] };
            (name, stored(smtp("a.example", functions, None), ""))
        })
        .collect();
    let settings = Settings {
        companies: ["EDU1".parse().unwrap()].into(),
        policy: Policy { deletes: limit, ..Policy::default() },
        ..Settings::default()
    };
    let changes: Vec<_> = profiles.into_iter().map(|(name, profile)| ProfileChange::Create { name, profile }).collect();
    let record =
        ChangeRecord { generation: 1, at: jiff::Timestamp::UNIX_EPOCH, by: "t".to_owned(), kind: ChangeKind::Apply };
    state.change(Some(&settings), &changes, &record).unwrap();
    state
}

fn delete(state: &State, names: &[ProfileName], allowances: &Allowances) -> Vec<Guard> {
    let changes: Vec<_> = names.iter().map(|name| ProfileChange::Delete { name: name.clone() }).collect();
    let mut after = state.clone();
    let record =
        ChangeRecord { generation: 2, at: jiff::Timestamp::UNIX_EPOCH, by: "t".to_owned(), kind: ChangeKind::Apply };
    after.change(None, &changes, &record).unwrap();
    guards::check(state, &after, &changes, allowances)
}

/// The most profiles (never the default one) that may go at once without a word.
fn most_deletable(count: usize, limit: DeleteLimit) -> usize {
    let state = state_of(count, limit);
    let others = names(count).split_off(1.min(count));
    (0..=others.len())
        .take_while(|deletes| delete(&state, &others[..*deletes], &Allowances::default()).is_empty())
        .last()
        .unwrap_or(0)
}

#[test]
fn the_limit_counts_whole_profiles_and_has_a_floor() {
    let limit = DeleteLimit::default();
    let table: Vec<(usize, usize)> =
        [0, 1, 2, 9, 10, 11, 100].map(|count| (count, most_deletable(count, limit))).into();
    assert_eq!(table, [(0, 0), (1, 0), (2, 1), (9, 2), (10, 3), (11, 3), (100, 30)]);
    let strict = DeleteLimit { percent: 0, at_least: 0 };
    assert_eq!([2, 10, 100].map(|count| most_deletable(count, strict)), [0, 0, 0]);
}

#[test]
fn the_only_profile_is_never_deleted_by_accident() {
    let state = state_of(1, DeleteLimit { percent: 100, at_least: 10 });
    let guards = delete(&state, &names(1), &Allowances::default());
    assert!(guards.iter().any(|guard| matches!(guard, Guard::TooManyDeletes { deletes: 1, allowed: 0, live: 1, .. })));
    assert!(guards.iter().any(|guard| matches!(guard, Guard::DefaultProfile { .. })));
    assert!(guards.iter().any(|guard| matches!(guard, Guard::LastSender { .. })), "{guards:?}");
}

#[test]
fn an_allowance_lifts_what_it_names_and_no_more() {
    let state = state_of(10, DeleteLimit::default());
    let all = names(10);
    let by_number = |deletes| Allowances { deletes: Some(deletes), ..Allowances::default() };
    let by_name =
        |names: &[ProfileName]| Allowances { names: names.iter().cloned().collect(), ..Allowances::default() };
    assert_eq!(delete(&state, &all[1..6], &by_number(5)), vec![]);
    assert_eq!(delete(&state, &all[1..6], &by_number(4)).len(), 1);
    assert_eq!(delete(&state, &all[1..6], &by_name(&all[1..6])), vec![]);
    assert_eq!(delete(&state, &all[1..6], &by_name(&all[1..5])).len(), 1);
    // The default profile is guarded even where a deletion more would be allowed.
    let guards = delete(&state, &all[..1], &Allowances::default());
    assert!(guards.iter().any(|guard| matches!(guard, Guard::DefaultProfile { .. })), "{guards:?}");
    assert_eq!(delete(&state, &all[..1], &by_name(&all[..1])), vec![]);
}

#[test]
fn a_disabled_last_sender_is_guarded_like_a_deleted_one() {
    let state = state_of(1, DeleteLimit::default());
    let name = names(1).remove(0);
    let mut profile = state.profiles[&name].live.clone().unwrap();
    profile.profile.enabled = false;
    let changes = [ProfileChange::Update { name: name.clone(), profile }];
    let mut after = state.clone();
    let record =
        ChangeRecord { generation: 2, at: jiff::Timestamp::UNIX_EPOCH, by: "t".to_owned(), kind: ChangeKind::Apply };
    after.change(None, &changes, &record).unwrap();
    let guards = guards::check(&state, &after, &changes, &Allowances::default());
    assert!(
        matches!(guards.as_slice(), [Guard::LastSender { name: guarded, cells }] if *guarded == name && cells.len() == 14),
        "{guards:?}"
    );
}
