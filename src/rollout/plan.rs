//! The plan of a rollout: every environment is planned, and equal changes form a group.
//!
//! Two changes are equal if the same actions do the same to the same fields. The name of an environment, its companies and the
//! values of its variables differ between environments, so they are replaced by `${name}` before the comparison. The digests of
//! secrets and the places in files are ignored. Values shorter than 3 characters are not replaced. An environment that cannot be
//! planned, or whose planning panics, is listed as failed and stops nothing. Nothing is changed in a service.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use serde::Serialize;
use serde_json::{Value, json};
use tokio::{
    sync::Semaphore,
    task::{self, JoinSet},
};

use super::{LoadedRollout, environment::EnvironmentTask};
use crate::{
    changes::guards::Guard,
    config::Repository,
    model::{Code, Digest, EnvironmentName, HumanDuration, Problem, ProfileName, RolloutName, approvals::ApprovalNeed},
    reconcile::{
        Plan,
        plan::{Action, Cause, FieldChange, SecretChangeKind, Summary},
    },
    time::Clock,
};

/// The shortest value of a variable that is replaced, in characters: shorter ones occur by chance.
const SHORTEST_VALUE: usize = 3;

/// The plan of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutPlan {
    /// The version of this document.
    pub format_version: u32,
    /// The rollout.
    pub rollout: RolloutName,
    /// The description of the rollout.
    pub description: String,
    /// The waves.
    pub waves: Vec<PlannedWave>,
    /// Groups of equal changes, the largest group first.
    pub groups: Vec<ChangeGroup>,
    /// Environments that are as the files say.
    pub unchanged: Vec<EnvironmentName>,
    /// Environments that could not be planned, with the reasons.
    pub failed: BTreeMap<EnvironmentName, Problem>,
}

/// A wave, in a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedWave {
    /// The name of the wave.
    pub name: String,
    /// The environments of the wave.
    pub environments: Vec<EnvironmentName>,
    /// The number of environments that are changed at once.
    pub parallel: usize,
    /// The soak time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soak: Option<HumanDuration>,
}

/// Environments with equal changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeGroup {
    /// The digest of the change.
    pub digest: Digest,
    /// The change.
    pub change: GeneralizedChange,
    /// The environments, ordered by name.
    pub environments: Vec<EnvironmentName>,
}

/// The changes of one environment, with its own values replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GeneralizedChange {
    /// The number of changes of each kind.
    pub summary: Summary,
    /// The fields of the environment's settings that differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<FieldDifference>,
    /// The profiles that differ.
    pub profiles: Vec<ProfileDifference>,
    /// The reasons for which the rollout would not apply the change: redirected secrets, the source policy, guards, approvals.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<String>,
}

/// The changes of one profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProfileDifference {
    /// The name of the profile.
    pub name: ProfileName,
    /// The action.
    pub action: Action,
    /// The previous name, for a rename.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_name: Option<ProfileName>,
    /// The origin of the change.
    pub cause: Cause,
    /// The fields that differ.
    pub fields: Vec<FieldDifference>,
}

/// The change of one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldDifference {
    /// The path of the field.
    pub path: String,
    /// The live value.
    pub before: Value,
    /// The new value.
    pub after: Value,
    /// The origin of the change.
    pub cause: Cause,
    /// The kind of change, if the field is a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretChangeKind>,
}

/// Plans every environment, several at once, and groups the changes. `observe` is called with each environment when it is done.
pub async fn plan_rollout(
    rollout: Arc<LoadedRollout>,
    repository: &Repository,
    clock: &Clock,
    parallel: usize,
    mut observe: impl FnMut(&EnvironmentName, usize),
) -> RolloutPlan {
    let permits = Arc::new(Semaphore::new(parallel.max(1)));
    let (mut running, mut names) = (JoinSet::new(), HashMap::new());
    for wave in &rollout.file.waves {
        for name in &wave.environments {
            let (rollout, permits, clock) = (Arc::clone(&rollout), Arc::clone(&permits), clock.clone());
            let (own, deadline) = (name.clone(), wave.terms.deadline());
            let task = running.spawn(async move {
                let _permit = permits.acquire().await;
                let task = EnvironmentTask {
                    name: &own,
                    rollout: &rollout,
                    clock: &clock,
                    lease: None,
                    obeys_watch: false,
                    deadline,
                };
                task.plan().await
            });
            names.insert(task.id(), name.clone());
        }
    }
    let (mut changes, mut unchanged, mut failed) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
    let mut done = 0;
    while let Some((name, planned)) = join_next(&mut running, &mut names).await {
        done += 1;
        observe(&name, done);
        match planned {
            Ok(plan) if plan.has_nothing_to_send() => unchanged.push(name),
            Ok(plan) => {
                let generalizer = Generalizer::for_environment(&name, repository);
                changes.insert(name, generalizer.generalize_plan(&plan));
            }
            Err(problem) => drop(failed.insert(name, problem)),
        }
    }
    unchanged.sort();
    let file = &rollout.file;
    RolloutPlan {
        format_version: 1,
        rollout: file.name.clone(),
        description: file.description.clone(),
        waves: file
            .waves
            .iter()
            .map(|wave| PlannedWave {
                name: wave.name.clone(),
                environments: wave.environments.clone(),
                parallel: wave.terms.parallel(),
                soak: wave.terms.soak,
            })
            .collect(),
        groups: group_changes(changes),
        unchanged,
        failed,
    }
}

/// Waits for the next result of the tasks, which `names` knows. A task that panicked is the failure of its environment.
async fn join_next<T: 'static>(
    running: &mut JoinSet<Result<T, Problem>>,
    names: &mut HashMap<task::Id, EnvironmentName>,
) -> Option<(EnvironmentName, Result<T, Problem>)> {
    let ended = running.join_next_with_id().await?;
    let id = ended.as_ref().map_or_else(task::JoinError::id, |(id, _)| *id);
    let name = names.remove(&id)?;
    let planned = match ended {
        Ok((_, planned)) => planned,
        Err(error) => {
            tracing::error!(environment = %name, %error, "planning an environment ended with an internal error");
            Err(Problem::new(Code::Internal, "planning the environment ended with an internal error"))
        }
    };
    Some((name, planned))
}

/// Groups equal changes. The order of the groups depends on the names and changes alone.
pub fn group_changes(changes: BTreeMap<EnvironmentName, GeneralizedChange>) -> Vec<ChangeGroup> {
    let mut groups: HashMap<Digest, ChangeGroup> = HashMap::new();
    for (name, change) in changes {
        let digest = Digest::of_document(&change);
        let new = || ChangeGroup { digest: digest.clone(), change, environments: Vec::new() };
        groups.entry(digest.clone()).or_insert_with(new).environments.push(name);
    }
    let mut groups: Vec<ChangeGroup> = groups.into_values().collect();
    groups.sort_by(|a, b| {
        b.environments
            .len()
            .cmp(&a.environments.len())
            .then_with(|| a.environments.first().cmp(&b.environments.first()))
    });
    groups
}

/// Replaces what is particular to an environment: its name, its companies, and the values of its variables.
pub struct Generalizer {
    /// Pairs of value and replacement, the longest value first.
    texts: Vec<(String, String)>,
    companies: BTreeSet<String>,
}

impl Generalizer {
    /// Creates the replacements for an environment: its name, and the values of its variables.
    pub fn for_environment(name: &EnvironmentName, repository: &Repository) -> Self {
        let (variables, _) = repository.variables(name);
        let mut texts: Vec<(String, String)> = variables
            .into_iter()
            .filter_map(|(key, value)| Some((value.as_str()?.to_owned(), format!("${{{key}}}"))))
            .chain([(name.to_string(), "${environment}".to_owned())])
            .filter(|(value, _)| value.chars().count() >= SHORTEST_VALUE)
            .collect();
        texts.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.cmp(b)));
        Self { texts, companies: repository.companies(name) }
    }

    /// Returns a text in which the values are replaced and runs of white space are one space. Environments whose texts are
    /// equal then have the same result but for their own values, and for the width of columns.
    pub fn normalize(&self, text: &str) -> String {
        let replaced = self.generalize(text);
        let words: Vec<&str> = replaced.split_whitespace().collect();
        let mut text = words.join(" ");
        // The number of companies is particular, too.
        while text.contains("${company}, ${company}") {
            text = text.replace("${company}, ${company}", "${company}");
        }
        text
    }

    /// Returns the changes of a plan with the values replaced.
    pub fn generalize_plan(&self, plan: &Plan) -> GeneralizedChange {
        let fields = |fields: &[FieldChange]| fields.iter().map(|field| self.field(field)).collect();
        let redirected = plan.redirected.iter().map(|secret| self.generalize(&secret.message()));
        let breaches = plan.policy.iter().map(|breach| self.generalize(&breach.message));
        let guards = plan.guards.iter().map(Guard::message);
        let approvals = plan.approvals.iter().flat_map(|approvals| &approvals.needs);
        let approvals = approvals.map(|need| format!("it needs {}", ApprovalNeed::describe(need)));
        GeneralizedChange {
            summary: plan.summary,
            settings: plan.settings.as_ref().map(|settings| fields(&settings.fields)).unwrap_or_default(),
            profiles: plan
                .changes
                .iter()
                .map(|change| ProfileDifference {
                    name: change.name.clone(),
                    action: change.action,
                    previous_name: change.previous_name.clone(),
                    cause: change.cause,
                    fields: fields(&change.fields),
                })
                .collect(),
            refused: redirected.chain(breaches).chain(guards).chain(approvals).collect(),
        }
    }

    fn field(&self, field: &FieldChange) -> FieldDifference {
        FieldDifference {
            path: field.path.clone(),
            before: self.value(&field.before),
            after: self.value(&field.after),
            cause: field.cause,
            secret: field.secret.as_ref().map(|secret| secret.kind),
        }
    }

    /// Returns a value in which the values are replaced. A list of all companies is one replacement, whatever their number.
    pub fn value(&self, value: &Value) -> Value {
        let is_company = |item: &Value| item.as_str().is_some_and(|text| self.companies.contains(text));
        match value {
            Value::String(text) => json!(self.generalize(text)),
            Value::Array(items) if !items.is_empty() && items.iter().all(is_company) => {
                let listed: BTreeSet<&str> = items.iter().filter_map(Value::as_str).collect();
                json!([if listed.len() == self.companies.len() { "${companies}" } else { "${company}" }])
            }
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect(),
            Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), self.value(value))).collect(),
            other => other.clone(),
        }
    }

    /// Replaces values in one pass from left to right, so that replacements are not replaced again. Companies are replaced
    /// where they are a whole word.
    fn generalize(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        let mut is_in_word = false;
        while let Some(next) = rest.chars().next() {
            let value = self.texts.iter().find(|(value, _)| rest.starts_with(value.as_str()));
            let found = value.map(|(value, replacement)| (value.len(), replacement.as_str()));
            let company = || Some((self.company_at(rest)?, "${company}"));
            if let Some((length, replacement)) = found.or_else(|| if is_in_word { None } else { company() }) {
                out.push_str(replacement);
                rest = &rest[length..];
                is_in_word = true;
            } else {
                out.push(next);
                rest = &rest[next.len_utf8()..];
                is_in_word = is_word_character(next);
            }
        }
        out
    }

    /// Returns the length of the word that a text begins with, if it is a company.
    fn company_at(&self, text: &str) -> Option<usize> {
        let word = text.split(|character| !is_word_character(character)).next()?.trim_end_matches('.');
        (word.chars().count() >= SHORTEST_VALUE && self.companies.contains(word)).then_some(word.len())
    }
}

/// Returns true for characters of identifiers.
fn is_word_character(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '-' | '_' | '.')
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails where it panics")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_environment_whose_planning_panics_has_failed() {
        let (mut running, mut names) = (JoinSet::new(), HashMap::new());
        for name in ["good", "bad"] {
            let task = running.spawn(async move { if name == "bad" { panic!("a defect") } else { Ok(name) } });
            names.insert(task.id(), name.parse::<EnvironmentName>().unwrap());
        }
        let mut found = BTreeMap::new();
        while let Some((name, planned)) = join_next(&mut running, &mut names).await {
            found.insert(name.to_string(), planned.map_err(|problem| problem.code));
        }
        assert_eq!(found, BTreeMap::from([("bad".to_owned(), Err(Code::Internal)), ("good".to_owned(), Ok("good"))]));
    }

    fn change(description: &str) -> GeneralizedChange {
        let after = Value::from(description);
        let path = "description".to_owned();
        let field = FieldDifference { path, before: Value::Null, after, cause: Cause::Git, secret: None };
        GeneralizedChange {
            summary: Summary::default(),
            settings: vec![field],
            profiles: Vec::new(),
            refused: Vec::new(),
        }
    }

    #[test]
    fn values_are_replaced_once_and_the_longest_first() {
        let pairs = [("mail.example.com", "${host}"), ("example", "${name}"), ("host", "${other}")];
        let texts = pairs.map(|(value, name)| (value.to_owned(), name.to_owned())).to_vec();
        let generalizer = Generalizer { texts, companies: BTreeSet::new() };
        assert_eq!(generalizer.generalize("erp@mail.example.com"), "erp@${host}");
        assert_eq!(generalizer.generalize("example.example.net"), "${name}.${name}.net");
        assert_eq!(generalizer.generalize("\u{fc}host\u{fc}"), "\u{fc}${other}\u{fc}");
    }

    #[test]
    fn companies_are_replaced_as_words_and_as_lists() {
        let own = |companies: &[&str]| Generalizer {
            texts: Vec::new(),
            companies: companies.iter().map(|id| (*id).to_owned()).collect(),
        };
        let (one, two) = (own(&["EDU1"]), own(&["A01", "A02"]));
        assert_eq!(one.value(&json!(["EDU1"])), two.value(&json!(["A01", "A02"])));
        assert_ne!(one.value(&json!(["EDU1"])), two.value(&json!(["A02"])));
        assert_eq!(one.value(&json!(["EDU2"])), json!(["EDU2"]));
        assert_eq!(one.generalize("EDU1: EDU10, xEDU1, EDU1-x"), "${company}: EDU10, xEDU1, EDU1-x");
        assert_eq!(one.normalize("EDU1  sends"), two.normalize("A01, A02   sends"));
        // A short id occurs by chance.
        assert_eq!(own(&["10"]).generalize("10 checks"), "10 checks");
        assert_eq!(own(&["10"]).value(&json!(["10"])), json!(["${companies}"]));
    }

    #[test]
    fn equal_changes_form_one_group_and_the_largest_comes_first() {
        let names = ["a", "b", "c", "d"].map(|name| name.parse::<EnvironmentName>().unwrap());
        let changes = ["rare", "usual", "usual", "other"].map(change);
        let groups = group_changes(names.clone().into_iter().zip(changes).collect());
        let environments: Vec<&[EnvironmentName]> = groups.iter().map(|group| group.environments.as_slice()).collect();
        assert_eq!(environments, [&names[1..3], &names[..1], &names[3..]]);
    }
}
