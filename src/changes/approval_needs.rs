//! The approvals that a change needs by the rules of the environment: [`find_needs`].
//!
//! The plan shows the needs and the service enforces them. The rules are those of the live settings, not those of the changeset:
//! a change cannot weaken the rules that apply to it. A change of the rules about approvals or of the access policy, and one that
//! adds a recipient of secrets, matches every rule.
//!
//! A rule with a condition on fields ([`FieldCondition`]) compares what the rule is about before and after the change: the values
//! of these fields in each profile that claims a function and a company of the rule, and, for each such company and function, in
//! the profile that sends for them. The change matches if a value that meets the condition appears or disappears. These values
//! follow from the state alone. So a change cannot avoid a rule by several steps: a value that is in one state and not in the
//! other appears or disappears in one of them. The same holds for another way to the same state: a profile that is deleted and
//! created again, disabled, overtaken by another one, or rolled back.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::Value;

use super::fields::{Field, Fields, profile_fields, settings_fields};
use crate::model::{
    AppliesTo, CompanyId, Digest, Function, Profile, ProfileChange, ProfileName, Settings, State, StoredProfile,
    access::{AccessPolicy, NAME_FIELD},
    approvals::{ApprovalNeed, ApprovalRule, ApprovedAction, FieldCondition},
    resolution::{Cell, Resolver},
    secret_recipient::find_added,
};

/// The maximum number of reasons that a need lists.
const REASONS: usize = 10;

/// The effect of one change on one live profile.
struct Effect<'a> {
    actions: BTreeSet<ApprovedAction>,
    before: Option<Side<'a>>,
    after: Option<Side<'a>>,
}

/// A profile before or after a change.
type Side<'a> = (&'a ProfileName, &'a StoredProfile);

/// Returns the approvals that a change from `before` to `after` needs by the rules that are live before it: one need for each
/// rule that matches.
pub fn find_needs(before: &State, after: &State, changes: &[ProfileChange]) -> Vec<ApprovalNeed> {
    let approvals = &before.settings.policy.approvals;
    if approvals.rules.is_empty() {
        return Vec::new();
    }
    let settings = before.settings != after.settings;
    let secret = |state: &State| state.settings.reader.as_ref().and_then(|reader| reader.secret.clone());
    let reader = secret(after).is_some_and(|new| secret(before) != Some(new));
    // A person who could change the rules or the access policy alone could avoid every approval.
    let rules = *approvals != after.settings.policy.approvals;
    let access = before.settings.access != after.settings.access;
    // The holder of an added key reads every secret that is encrypted afterwards.
    let has_new_recipients =
        !find_added(&before.settings.secret_recipients, &after.settings.secret_recipients).is_empty();
    let effects: Vec<Effect<'_>> = changes.iter().filter_map(|change| find_effect(before, change)).collect();
    let narrow = |rule: &ApprovalRule| !rule.functions.is_empty() || !rule.companies.is_empty();
    let serving = approvals.rules.iter().any(narrow).then(|| (Serving::new(before), Serving::new(after)));
    let is_conditional = |rule: &ApprovalRule| rule.when.is_some();
    let comparison =
        approvals.rules.iter().any(is_conditional).then(|| Comparison::new(before, after, changes, &effects));
    let mut needs = Vec::new();
    for rule in &approvals.rules {
        let mut because = Vec::new();
        if rules {
            because.push("changes the rules about approvals".to_owned());
        } else if access {
            because.push("changes the access policy".to_owned());
        } else if has_new_recipients {
            because.push("lets more persons decrypt secrets".to_owned());
        }
        if let (Some(when), Some(comparison)) = (&rule.when, &comparison) {
            comparison.find_reasons(rule, when, &mut because);
        } else {
            if because.is_empty() && settings && rule.is_for(ApprovedAction::Settings) {
                because.push("changes the environment's settings".to_owned());
            } else if because.is_empty() && reader && rule.is_for(ApprovedAction::Secrets) {
                because.push(format!("{} `verify.reader`", ApprovedAction::Secrets.description()));
            }
            for effect in &effects {
                let Some(action) = effect.actions.iter().copied().find(|action| rule.is_for(*action)) else { continue };
                let concerned = serving
                    .as_ref()
                    .is_none_or(|(old, new)| rule.concerns(effect.before, old) || rule.concerns(effect.after, new));
                if concerned && because.len() < REASONS {
                    because.push(format!("{} `{}`", action.description(), effect.name()));
                }
            }
        }
        if !because.is_empty() {
            needs.push(approvals.describe_need(rule, because));
        }
    }
    needs
}

/// Returns the effect of a change on live profiles; none if the change only records something.
fn find_effect<'a>(state: &'a State, change: &'a ProfileChange) -> Option<Effect<'a>> {
    let live = |name: &ProfileName| {
        let (name, found) = state.profiles.get_key_value(name)?;
        Some((name, found.live.as_ref()?))
    };
    let before = match change {
        ProfileChange::Rename { from, .. } => live(from),
        ProfileChange::Forget { .. } => None,
        other => live(other.name()),
    };
    let after = change.profile().map(|profile| (change.name(), profile));
    let mut actions = BTreeSet::new();
    match (before, after) {
        (None, Some(_)) => drop(actions.insert(ApprovedAction::Create)),
        (Some(_), None) => drop(actions.insert(ApprovedAction::Delete)),
        (Some((old, before)), Some((new, after))) => {
            if old != new {
                actions.insert(ApprovedAction::Rename);
            }
            if before.profile != after.profile {
                actions.insert(ApprovedAction::Update);
            }
        }
        (None, None) => {}
    }
    let had = |digest: &Digest| before.is_some_and(|(_, stored)| stored.secrets.values().any(|own| own == digest));
    // A staged next value is used as soon as the server accepts it.
    let had_next = |digest: &Digest| before.is_some_and(|(_, stored)| stored.age_files().any(|(_, own)| own == digest));
    if after.is_some_and(|(_, stored)| {
        stored.secrets.values().any(|digest| !had(digest)) || stored.next.values().any(|digest| !had_next(digest))
    }) {
        actions.insert(ApprovedAction::Secrets);
    }
    (!actions.is_empty()).then_some(Effect { actions, before, after })
}

impl Effect<'_> {
    fn name(&self) -> &str {
        self.after.or(self.before).map_or("", |(name, _)| name.as_str())
    }
}

/// The cells that each profile sends for, by profile.
struct Serving<'a>(HashMap<&'a ProfileName, Vec<Cell>>);

impl<'a> Serving<'a> {
    fn new(state: &'a State) -> Self {
        let resolver = Resolver::new(state.live());
        let mut cells: HashMap<&ProfileName, Vec<Cell>> = HashMap::new();
        for cell in Cell::all(&state.settings.companies) {
            if let Some((name, _)) = resolver.sender(&cell) {
                cells.entry(name).or_default().push(cell);
            }
        }
        Self(cells)
    }
}

impl ApprovalRule {
    fn is_for(&self, action: ApprovedAction) -> bool {
        self.actions.is_empty() || self.actions.contains(&action)
    }

    fn names(&self, company: &CompanyId, function: Function) -> bool {
        (self.companies.is_empty() || self.companies.contains(company))
            && (self.functions.is_empty() || self.functions.contains(&function))
    }

    /// Returns true if a profile claims what the rule is about, or sends for it by fallback.
    fn concerns(&self, side: Option<Side<'_>>, serving: &Serving<'_>) -> bool {
        let Some((name, stored)) = side else { return false };
        let sends = serving.0.get(name).into_iter().flatten();
        self.claimed_by(&stored.profile) || sends.into_iter().any(|cell| self.names(&cell.company, cell.function))
    }

    fn claimed_by(&self, profile: &Profile) -> bool {
        let functions = self.functions.is_empty() || profile.functions.iter().any(|own| self.functions.contains(own));
        let companies = match &profile.applies_to {
            AppliesTo::SystemWide => true,
            AppliesTo::Companies(own) => {
                self.companies.is_empty() || own.iter().any(|company| self.companies.contains(company))
            }
        };
        functions && companies
    }
}

/// The fields before and after a change, for rules with a condition on fields.
struct Comparison<'a> {
    settings: (Fields, Fields),
    /// Each effect with the fields of its sides.
    effects: Vec<(&'a Effect<'a>, Option<Fields>, Option<Fields>)>,
    /// The cells whose sender is another profile than before, or was changed: the senders, as indices of `senders`.
    cells: Vec<(Cell, Option<usize>, Option<usize>)>,
    senders: Vec<(&'a ProfileName, Fields)>,
}

impl<'a> Comparison<'a> {
    fn new(before: &'a State, after: &'a State, changes: &'a [ProfileChange], effects: &'a [Effect<'a>]) -> Self {
        let own =
            |settings: &Settings| settings_fields(&Settings { access: AccessPolicy::default(), ..settings.clone() });
        let fields = |side: Option<Side<'_>>| side.map(|(name, stored)| named_fields(name, stored));
        let mut comparison = Self {
            settings: (own(&before.settings), own(&after.settings)),
            effects: effects.iter().map(|effect| (effect, fields(effect.before), fields(effect.after))).collect(),
            cells: Vec::new(),
            senders: Vec::new(),
        };
        comparison.find_cells(before, after, changes);
        comparison
    }

    fn find_cells(&mut self, before: &'a State, after: &'a State, changes: &'a [ProfileChange]) {
        let touched: HashSet<&ProfileName> = changes.iter().flat_map(ProfileChange::names).collect();
        let (old, new) = (Resolver::new(before.live()), Resolver::new(after.live()));
        let companies: BTreeSet<&CompanyId> =
            before.settings.companies.iter().chain(&after.settings.companies).collect();
        let mut known: HashMap<(bool, &ProfileName), usize> = HashMap::new();
        for cell in Cell::all(companies) {
            let has = |state: &State| state.settings.companies.contains(&cell.company);
            let old = old.sender(&cell).map(|(name, _)| name).filter(|_| has(before));
            let new = new.sender(&cell).map(|(name, _)| name).filter(|_| has(after));
            let is_touched = new.is_some_and(|name| touched.contains(name));
            if new == old && !is_touched {
                continue;
            }
            let mut find = |state: &'a State, is_after: bool, name: Option<&'a ProfileName>| {
                let name = name?;
                let stored = state.profiles.get(name)?.live.as_ref()?;
                Some(*known.entry((is_after, name)).or_insert_with(|| {
                    self.senders.push((name, named_fields(name, stored)));
                    self.senders.len() - 1
                }))
            };
            let (old, new) = (find(before, false, old), find(after, true, new));
            self.cells.push((cell, old, new));
        }
    }

    /// Adds the reasons why a rule with a condition matches the change.
    fn find_reasons(&self, rule: &ApprovalRule, when: &FieldCondition, because: &mut Vec<String>) {
        let (old, new) = &self.settings;
        if let Some(path) = find_field(when, Some(old), Some(new)) {
            because.push(format!("changes `{path}` of the environment's settings"));
        }
        for (effect, before, after) in &self.effects {
            if because.len() >= REASONS {
                return;
            }
            let is_claimed = |side: Option<Side<'_>>| side.is_some_and(|(_, stored)| rule.claimed_by(&stored.profile));
            let before = before.as_ref().filter(|_| is_claimed(effect.before));
            let after = after.as_ref().filter(|_| is_claimed(effect.after));
            if let Some(path) = find_field(when, before, after) {
                because.push(format!("changes `{path}` of `{}`", effect.name()));
            }
        }
        let mut seen = HashSet::new();
        for (cell, old, new) in &self.cells {
            if because.len() >= REASONS {
                return;
            }
            if !rule.names(&cell.company, cell.function) || !seen.insert((old, new)) {
                continue;
            }
            let sender = |index: &Option<usize>| index.and_then(|index| self.senders.get(index));
            let (old, new) = (sender(old), sender(new));
            let is_known = |name: &ProfileName, path: &str| because.contains(&format!("changes `{path}` of `{name}`"));
            match find_field(when, old.map(|(_, fields)| fields), new.map(|(_, fields)| fields)) {
                Some(path) if !new.is_some_and(|(name, _)| is_known(name, &path)) => {
                    let (company, function) = (&cell.company, cell.function);
                    because.push(format!("changes `{path}` of the sender of `{function}` for `{company}`"));
                }
                _ => {}
            }
        }
    }
}

/// Returns the fields of a profile with its name.
fn named_fields(name: &ProfileName, stored: &StoredProfile) -> Fields {
    let mut fields = profile_fields(stored);
    fields.insert(NAME_FIELD.to_owned(), Field { value: Value::String(name.to_string()), digest: None });
    fields
}

/// Returns the first field of a condition that has a value which meets the condition on one side and not on the other. A side is
/// `None` if the profile does not exist there.
fn find_field(when: &FieldCondition, before: Option<&Fields>, after: Option<&Fields>) -> Option<String> {
    let paths: BTreeSet<&String> =
        before.into_iter().chain(after).flat_map(BTreeMap::keys).filter(|path| when.names(path)).collect();
    for path in paths {
        let values = |side: Option<&Fields>| side.and_then(|fields| fields.get(path)).map(items).unwrap_or_default();
        let (old, new) = (values(before), values(after));
        if old == new {
            continue;
        }
        let changed = old.iter().filter(|(key, _)| !new.contains_key(*key));
        let mut changed = changed.chain(new.iter().filter(|(key, _)| !old.contains_key(*key)));
        if changed.any(|(_, texts)| texts.iter().any(|text| when.includes(text))) {
            return Some(path.clone());
        }
    }
    // A profile without the field sends otherwise than by an accepted value of it.
    if when.other_than.is_empty() || !when.includes("") {
        return None;
    }
    let lacks = |side: Option<&Fields>, path: &dyn Fn(&str) -> bool| {
        side.is_some_and(|fields| !fields.keys().any(|own| path(own)))
    };
    let appears = when.fields.iter().find(|pattern| {
        let is_field = |path: &str| pattern.includes(path);
        lacks(before, &is_field) != lacks(after, &is_field)
    });
    appears.map(ToString::to_string)
}

/// Returns the values of a field by what distinguishes them, with their texts: the items of a list, or the one value.
fn items(field: &Field) -> BTreeMap<(String, Option<Digest>), Vec<String>> {
    let item = |value: &Value| {
        let mut texts = Vec::new();
        collect_texts(value, &mut texts);
        ((value.to_string(), field.digest.clone()), texts)
    };
    match &field.value {
        Value::Array(values) => values.iter().map(item).collect(),
        value => std::iter::once(item(value)).collect(),
    }
}

fn collect_texts(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) => texts.push(text.clone()),
        Value::Array(values) => values.iter().for_each(|value| collect_texts(value, texts)),
        Value::Object(map) => map.values().for_each(|value| collect_texts(value, texts)),
        other => texts.push(other.to_string()),
    }
}
