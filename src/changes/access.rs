//! The rights that a change needs, computed from the difference of two states.
//!
//! [`needed_rights`] compares field by field, so that every way to change a profile needs the same rights: a changeset, a
//! rollback, an edit by hand. [`NeededRight::decide`] asks [`crate::model::access::decide`] for each company and function of the
//! profile, as it is before the change and as it would be after it. The service enforces the result; `mailwright access who` shows
//! it. A change of the access policy is not a right of a field: [`check_access_change`] has its rules.

mod credentials;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;

use credentials::Credentials;

use super::fields::{self, NEXT};
use crate::model::{
    AppliesTo, CompanyId, Digest, Function, Profile, ProfileChange, ProfileName, Settings, State, StoredProfile,
    access::{
        self, AccessPolicy, Activity, Area, Decision, Extent, Gain, NAME_FIELD, Principal, Question, Subject, decide,
    },
    operator::Operator,
    token::{Role, Token},
};

/// Every area and activity of the rights that a change can need.
const FIELD_RIGHTS: [(Area, Activity); 6] = [
    (Area::Profiles, Activity::Create),
    (Area::Profiles, Activity::Change),
    (Area::Profiles, Activity::Delete),
    (Area::Profiles, Activity::Enable),
    (Area::Profiles, Activity::Rotate),
    (Area::Settings, Activity::Change),
];

/// A right that a change needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NeededRight {
    /// The profile; none for the settings.
    pub profile: Option<ProfileName>,
    /// The area.
    pub area: Area,
    /// The activity.
    pub activity: Activity,
    /// The field that changes.
    pub field: Field,
    /// The companies that the change concerns; none means all.
    pub companies: Option<BTreeSet<CompanyId>>,
    /// The functions that the change concerns; empty means all.
    pub functions: BTreeSet<Function>,
    /// True if the field names a credential that other profiles use: then their companies and functions are concerned too.
    pub takes_credential: bool,
}

/// The field of a needed right.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// No field: the change only records something.
    None,
    /// One field, as plans show it.
    One(String),
    /// Every field: the profile is removed.
    All,
}

/// A refused right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// The right.
    pub right: NeededRight,
    /// The decision that refused it.
    pub decision: Decision,
    /// The request in words, for the company and function that was refused.
    pub request: String,
}

/// Ids of values by age file.
pub type ValueIds = HashMap<Digest, String>;

/// Returns the rights that the change from `before` to `after` needs, in order. The access policy itself is not compared. `sent` has
/// the age files of the change that are not in use so far.
pub fn needed_rights(before: &State, after: &State, changes: &[ProfileChange], sent: &ValueIds) -> Vec<NeededRight> {
    let mut rights = settings_rights(&before.settings, &after.settings);
    let credentials = Credentials::new(before, sent);
    rights.extend(credentials.reader_rights(before.settings.reader.as_ref(), after.settings.reader.as_ref()));
    for change in changes {
        rights.extend(profile_rights(before, &credentials, change));
    }
    rights
}

/// Returns the rights to verify profiles: each as it is live and as it would be, and all profiles that use a credential which it
/// does not have so far, because a verification signs in with it. `sent` has the ids of values in files that are not in use.
pub fn verify_rights(
    state: &State,
    profiles: &BTreeMap<ProfileName, StoredProfile>,
    sent: &ValueIds,
) -> Vec<NeededRight> {
    let credentials = Credentials::new(state, sent);
    let mut rights = Vec::new();
    for (name, stored) in profiles {
        let live = state.profiles.get(name).and_then(|found| found.live.as_ref());
        let both = live.into_iter().chain([stored]);
        rights.extend(both.map(|stored| NeededRight::of_profile(name, &stored.profile, Activity::Verify)));
        let of_credential = |path: String| NeededRight::of_field(name, &stored.profile, Activity::Verify, &path);
        let mut borrowed: Vec<NeededRight> = credentials.keys(stored).into_keys().map(of_credential).collect();
        credentials.extend(&mut borrowed, live, stored);
        let borrowed = borrowed.into_iter().filter(|right| right.takes_credential);
        rights.extend(borrowed.map(|right| NeededRight { field: Field::None, ..right }));
    }
    rights
}

fn settings_rights(before: &Settings, after: &Settings) -> Vec<NeededRight> {
    if before == after {
        return Vec::new();
    }
    let table = |settings: &Settings| {
        fields::settings_fields(&Settings { access: AccessPolicy::default(), ..settings.clone() })
    };
    let (old, new) = (table(before), table(after));
    let (differing, _) = fields::differing_paths(&old, &new);
    differing
        .into_iter()
        .map(|path| NeededRight {
            profile: None,
            area: Area::Settings,
            activity: Activity::Change,
            field: Field::One(path.to_owned()),
            companies: None,
            functions: BTreeSet::new(),
            takes_credential: false,
        })
        .collect()
}

/// Returns the rights that the change of one profile needs.
fn profile_rights(before: &State, credentials: &Credentials<'_>, change: &ProfileChange) -> Vec<NeededRight> {
    let live = |name: &ProfileName| before.profiles.get(name).and_then(|state| state.live.as_ref());
    let old = match change {
        ProfileChange::Rename { from, .. } => live(from),
        ProfileChange::Create { .. } | ProfileChange::Forget { .. } => None,
        other => live(other.name()),
    };
    let new = change.profile();
    let (companies, functions) = concerned(old.into_iter().chain(new).map(|stored| &stored.profile));
    let right = |activity: Activity, field: Field| NeededRight {
        profile: Some(change.name().clone()),
        area: Area::Profiles,
        activity,
        field,
        companies: companies.clone(),
        functions: functions.clone(),
        takes_credential: false,
    };
    let mut rights = Vec::new();
    match (change, old, new) {
        (ProfileChange::Delete { .. } | ProfileChange::Forget { .. }, ..) | (_, _, None) => {
            rights.push(right(Activity::Delete, Field::All));
        }
        (_, None, Some(new)) => {
            let set = fields::profile_fields(new).into_keys().map(|path| right(Activity::Create, Field::One(path)));
            rights.extend(set);
        }
        (_, Some(old), Some(new)) => {
            if matches!(change, ProfileChange::Rename { .. }) {
                rights.push(right(Activity::Change, Field::One(NAME_FIELD.to_owned())));
            }
            rights
                .extend(changed_fields(old, new).into_iter().map(|(activity, path)| right(activity, Field::One(path))));
            if rights.is_empty() {
                // The files take the profile over, and nothing else changes.
                rights.push(right(Activity::Change, Field::None));
            }
        }
    }
    if let Some(new) = new {
        credentials.extend(&mut rights, old, new);
    }
    rights
}

/// Returns the fields in which two profiles differ, each with the activity that changes it.
fn changed_fields(old: &StoredProfile, new: &StoredProfile) -> Vec<(Activity, String)> {
    let (old, new) = (fields::profile_fields(old), fields::profile_fields(new));
    let (differing, _) = fields::differing_paths(&old, &new);
    differing
        .into_iter()
        .map(|path| {
            let (before, after) = (old.get(path), new.get(path));
            // Another file under the same name of a secret.
            let is_rotation = path.ends_with(NEXT)
                || matches!((before, after), (Some(before), Some(after))
                    if before.value == after.value && before.digest != after.digest);
            let activity = match path {
                "enabled" => Activity::Enable,
                _ if is_rotation => Activity::Rotate,
                _ => Activity::Change,
            };
            (activity, path.to_owned())
        })
        .collect()
}

/// Returns the companies and functions of profiles together; no companies if one of them is system-wide.
fn concerned<'a>(profiles: impl Iterator<Item = &'a Profile>) -> (Option<BTreeSet<CompanyId>>, BTreeSet<Function>) {
    let (mut companies, mut functions) = (Some(BTreeSet::new()), BTreeSet::new());
    for profile in profiles {
        functions.extend(&profile.functions);
        match (&profile.applies_to, &mut companies) {
            (AppliesTo::Companies(own), Some(all)) => all.extend(own.iter().cloned()),
            (AppliesTo::SystemWide, _) => companies = None,
            (AppliesTo::Companies(_), None) => {}
        }
    }
    (companies.filter(|companies| !companies.is_empty()), functions)
}

impl NeededRight {
    /// Creates the right to change a field of a profile.
    pub fn of_field(name: &ProfileName, profile: &Profile, activity: Activity, field: &str) -> Self {
        let (companies, functions) = concerned(std::iter::once(profile));
        let field = Field::One(field.to_owned());
        Self {
            profile: Some(name.clone()),
            area: Area::Profiles,
            activity,
            field,
            companies,
            functions,
            takes_credential: false,
        }
    }

    /// Creates the right to do something with a whole profile, whatever the field.
    pub fn of_profile(name: &ProfileName, profile: &Profile, activity: Activity) -> Self {
        Self { field: Field::None, ..Self::of_field(name, profile, activity, "") }
    }

    /// Decides whether a principal has the right for every company and function that it concerns. Returns the first decision
    /// that does not allow it, with the request in words; otherwise the decision that allows it.
    pub fn decide(&self, policy: &AccessPolicy, principal: &Principal, now: Timestamp) -> (Decision, String) {
        let field = match &self.field {
            Field::None => Extent::Any,
            Field::One(path) => Extent::One(path.as_str()),
            Field::All => Extent::All,
        };
        let all = Question::everywhere(self.area, self.activity).of_field(field);
        // The usual case: a grant without limits.
        let decision = decide(policy, principal, &all, now);
        if decision.is_allowed() {
            return (decision, self.describe(&all));
        }
        let companies: Vec<Extent<&CompanyId>> = match &self.companies {
            None => vec![Extent::All],
            Some(companies) => companies.iter().map(Extent::One).collect(),
        };
        let functions: Vec<Extent<Function>> = if self.functions.is_empty() {
            vec![Extent::All]
        } else {
            self.functions.iter().map(|function| Extent::One(*function)).collect()
        };
        let mut last = (decision, self.describe(&all));
        for company in &companies {
            for function in &functions {
                let question = all.at(*company, *function);
                let decision = decide(policy, principal, &question, now);
                let is_allowed = decision.is_allowed();
                last = (decision, self.describe(&question));
                if !is_allowed {
                    return last;
                }
            }
        }
        last
    }

    fn describe(&self, question: &Question<'_>) -> String {
        let request = access::describe_question(question);
        match &self.profile {
            Some(name) if self.takes_credential => {
                format!("{request}, profile `{name}`, because other profiles use this credential")
            }
            Some(name) => format!("{request}, profile `{name}`"),
            None => request,
        }
    }

    /// Returns the subjects of bindings, and the built-in roles, that have the right. A person may have to confirm its identity
    /// first.
    pub fn holders(&self, policy: &AccessPolicy, now: Timestamp) -> Vec<String> {
        let roles = Role::ALL.iter().filter(|role| {
            let principal = Principal { role: Some(**role), ..Principal::default() };
            self.decide(policy, &principal, now).0.is_allowed()
        });
        let subjects = policy.subjects().into_iter().filter(|subject| {
            let authenticated_at = is_person(subject).then_some(now);
            let principal = Principal { subjects: vec![(*subject).clone()], authenticated_at, ..Principal::default() };
            self.decide(policy, &principal, now).0.is_allowed()
        });
        roles
            .map(|role| format!("tokens and operators with the role `{}`", role.id()))
            .chain(subjects.map(|s| format!("`{s}`")))
            .collect()
    }
}

/// Returns true for a subject that can confirm its identity again.
pub fn is_person(subject: &Subject) -> bool {
    subject.operator.is_some() || subject.group.is_some() || subject.role.is_some()
}

/// Returns the first right that a principal does not have.
pub fn find_denied(
    policy: &AccessPolicy,
    principal: &Principal,
    before: &State,
    after: &State,
    changes: &[ProfileChange],
    sent: &ValueIds,
    now: Timestamp,
) -> Option<Denied> {
    // Without limits there is nothing to compare: ten thousand profiles have many fields.
    let has_all = |(area, activity): &(Area, Activity)| {
        let question = Question::everywhere(*area, *activity).of_field(Extent::All);
        decide(policy, principal, &question, now).is_allowed()
    };
    if FIELD_RIGHTS.iter().all(has_all) {
        return None;
    }
    needed_rights(before, after, changes, sent).into_iter().find_map(|right| {
        let (decision, request) = right.decide(policy, principal, now);
        (!decision.is_allowed()).then_some(Denied { right, decision, request })
    })
}

/// The reason why a change of the access policy, or of the rules about approvals, is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessChangeDenied {
    /// The caller may not change the policy, and no other person has approved the change.
    NoRight(Decision),
    /// The caller may not change who approves, and no other person has approved the change.
    NoRightToApprovals(Decision),
    /// The caller would give rights that it does not have, to itself or to others.
    Beyond(Vec<Gain>),
}

/// Checks a change of the access policy, and of the signers and rules about approvals.
///
/// * The approval of another person is enough for every caller: the signer has seen the added rights in the plan.
/// * Without it, the caller needs `change` in `access`, and can give only rights that it has itself: otherwise it could give more
///   to a token that it holds.
///
/// Where the environment has rules about approvals, each of them matches a change of the policy
/// ([`crate::changes::approval_needs::find_needs`]), so that there another person always approves.
///
/// A signer can approve every right. So a change of the signers or rules gives every right: without the approval of another
/// person, it needs a caller who has them all. Otherwise a caller could name a key of its own, and approve its own rights with it.
pub fn check_access_change(
    before: &Settings,
    after: &Settings,
    principal: &Principal,
    is_approved_by_another: bool,
    now: Timestamp,
) -> Result<(), AccessChangeDenied> {
    let (old, new) = (&before.access, &after.access);
    let changes_approvals = before.policy.approvals != after.policy.approvals;
    if old == new && !changes_approvals || is_approved_by_another {
        return Ok(());
    }
    let decision = decide(old, principal, &Question::any(Area::Access, Activity::Change), now);
    if !decision.is_allowed() && old != new {
        return Err(AccessChangeDenied::NoRight(decision));
    }
    if changes_approvals {
        let everything = Area::pairs().map(|(area, activity)| {
            let question = Question::everywhere(area, activity).of_field(Extent::All);
            decide(old, principal, &question, now)
        });
        if let Some(refused) = everything.into_iter().find(|decision| !decision.is_allowed()) {
            return Err(AccessChangeDenied::NoRightToApprovals(refused));
        }
    }
    let beyond = access::gains_beyond(old, new, principal);
    if !beyond.is_empty() {
        return Err(AccessChangeDenied::Beyond(beyond));
    }
    Ok(())
}

/// Returns true if a change of the access policy takes the last administrator away: no binding gives the role `admin` afterwards,
/// no token in effect has it, and no operator who can sign in.
pub fn loses_administrator(
    before: &AccessPolicy,
    after: &AccessPolicy,
    (tokens, operators): (&[Token], &[Operator]),
    now: Timestamp,
) -> bool {
    let is_admin = |token: &Token| token.role == Role::Admin && token.suspended_at.is_none() && token.is_in_effect(now);
    let is_operator =
        |operator: &Operator| operator.role == Role::Admin && operator.is_active() && !operator.passkeys.is_empty();
    access::has_administrator(before)
        && !access::has_administrator(after)
        && !tokens.iter().any(is_admin)
        && !operators.iter().any(is_operator)
}
