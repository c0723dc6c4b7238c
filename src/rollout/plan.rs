//! What a rollout would change: every environment is planned, and equal changes are told once.
//!
//! Two changes are equal if the same actions do the same to the same fields. What stands in an environment's variables,
//! and its name, differs from one to the next and means the same, so they are written as `${name}` before comparing; the
//! digests of secrets and the places in files do not count.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use serde::Serialize;
use serde_json::{Value, json};
use tokio::{sync::Semaphore, task::JoinSet};

use super::{Material, Problem, environment::Target};
use crate::{
    changes::guards::Guard,
    config::Repository,
    model::{Digest, EnvironmentName, Lapse, ProfileName, RolloutName},
    reconcile::{
        Plan,
        plan::{Action, Cause, FieldChange, SecretChangeKind, Summary},
    },
    time::Clock,
};

/// The shortest value of a variable that is recognised elsewhere: shorter ones occur by chance.
const SHORTEST: usize = 3;

/// What a rollout would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutPlan {
    /// Version of this document.
    pub format_version: u32,
    /// The rollout.
    pub rollout: RolloutName,
    /// What it is for.
    pub description: String,
    /// The waves, each with how many environments it has.
    pub waves: Vec<PlannedWave>,
    /// Equal changes, those of the most environments first.
    pub groups: Vec<Group>,
    /// Environments that have what the files say.
    pub already: Vec<EnvironmentName>,
    /// Environments that could not be planned, with why.
    pub failed: BTreeMap<EnvironmentName, Problem>,
}

/// A wave, in a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedWave {
    /// What it is called.
    pub name: String,
    /// Its environments.
    pub environments: Vec<EnvironmentName>,
    /// How many are worked on at once.
    pub parallel: usize,
    /// How long it soaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soak: Option<Lapse>,
}

/// Environments in which the same would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    /// The digest of the change.
    pub digest: Digest,
    /// The change.
    pub change: Change,
    /// The environments, by name.
    pub environments: Vec<EnvironmentName>,
}

/// A change, without what is particular to an environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// How much it changes.
    pub summary: Summary,
    /// The fields of the environment's settings that differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<Field>,
    /// The profiles that differ.
    pub profiles: Vec<Profile>,
    /// Why the rollout would refuse it: guards and secrets that would travel elsewhere.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<String>,
}

/// A profile that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// Which.
    pub name: ProfileName,
    /// What happens to it.
    pub action: Action,
    /// The name before, for a rename.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_name: Option<ProfileName>,
    /// Where the difference comes from.
    pub cause: Cause,
    /// The fields that differ.
    pub fields: Vec<Field>,
}

/// A field that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Field {
    /// Which.
    pub path: String,
    /// What is live.
    pub before: Value,
    /// What it becomes.
    pub after: Value,
    /// Where the difference comes from.
    pub cause: Cause,
    /// For a secret: what kind of change it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretChangeKind>,
}

/// Asks every service, so many at once, and groups what comes of it. `each` is told of every environment as it is done.
pub async fn plan(
    material: Arc<Material>,
    repository: &Repository,
    clock: &Clock,
    parallel: usize,
    mut each: impl FnMut(&EnvironmentName, usize),
) -> RolloutPlan {
    let places = Arc::new(Semaphore::new(parallel.max(1)));
    let mut under_way = JoinSet::new();
    for wave in &material.file.waves {
        for name in &wave.environments {
            let (material, places, clock) = (Arc::clone(&material), Arc::clone(&places), clock.clone());
            let (name, deadline) = (name.clone(), wave.terms.deadline());
            under_way.spawn(async move {
                let _place = places.acquire().await;
                let target = Target { name: &name, material: &material, clock: &clock, held: None, deadline };
                let planned = target.planned().await;
                (name, planned)
            });
        }
    }
    let (mut changes, mut already, mut failed) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
    let mut done = 0;
    while let Some(ended) = under_way.join_next().await {
        let Ok((name, planned)) = ended else { continue };
        done += 1;
        each(&name, done);
        match planned {
            Ok(plan) if plan.has_nothing_to_send() => already.push(name),
            Ok(plan) => {
                let particular = Particular::of(&name, repository);
                changes.insert(name, particular.change(&plan));
            }
            Err(problem) => drop(failed.insert(name, problem)),
        }
    }
    already.sort();
    let file = &material.file;
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
        groups: group(changes),
        already,
        failed,
    }
}

/// Equal changes together; the order depends on nothing but names and contents.
pub fn group(changes: BTreeMap<EnvironmentName, Change>) -> Vec<Group> {
    let mut groups: HashMap<Digest, Group> = HashMap::new();
    for (name, change) in changes {
        let digest = Digest::of_document(&change);
        let fresh = || Group { digest: digest.clone(), change, environments: Vec::new() };
        groups.entry(digest.clone()).or_insert_with(fresh).environments.push(name);
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by(|a, b| {
        b.environments
            .len()
            .cmp(&a.environments.len())
            .then_with(|| a.environments.first().cmp(&b.environments.first()))
    });
    groups
}

/// What is particular to an environment: what is written instead of which text, the longest text first.
pub struct Particular(Vec<(String, String)>);

impl Particular {
    /// Of an environment of a repository.
    pub fn of(name: &EnvironmentName, repository: &Repository) -> Self {
        let (variables, _) = repository.variables(name);
        let mut texts: Vec<(String, String)> = variables
            .into_iter()
            .filter_map(|(key, value)| Some((value.as_str()?.to_owned(), format!("${{{key}}}"))))
            .chain([(name.to_string(), "${environment}".to_owned())])
            .filter(|(value, _)| value.chars().count() >= SHORTEST)
            .collect();
        texts.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.cmp(b)));
        Self(texts)
    }

    /// A plan without what is particular.
    pub fn change(&self, plan: &Plan) -> Change {
        let fields = |fields: &[FieldChange]| fields.iter().map(|field| self.field(field)).collect();
        let guards = plan.guards.iter().map(Guard::message);
        let redirected = plan.redirected.iter().map(|secret| {
            let (what, profile) = (&secret.secret, secret.user());
            self.general(&format!("the secret `{what}` of `{profile}` would travel to {}", secret.would_go_to))
        });
        Change {
            summary: plan.summary,
            settings: plan.settings.as_ref().map(|settings| fields(&settings.fields)).unwrap_or_default(),
            profiles: plan
                .changes
                .iter()
                .map(|change| Profile {
                    name: change.name.clone(),
                    action: change.action,
                    previous_name: change.previous_name.clone(),
                    cause: change.cause,
                    fields: fields(&change.fields),
                })
                .collect(),
            refused: guards.chain(redirected).collect(),
        }
    }

    fn field(&self, field: &FieldChange) -> Field {
        Field {
            path: field.path.clone(),
            before: self.value(&field.before),
            after: self.value(&field.after),
            cause: field.cause,
            secret: field.secret.as_ref().map(|secret| secret.kind),
        }
    }

    fn value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => json!(self.general(text)),
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect(),
            Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), self.value(value))).collect(),
            other => other.clone(),
        }
    }

    /// One pass from left to right, so that what was put in is not looked at again.
    fn general(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            let found = self.0.iter().find(|(value, _)| rest.starts_with(value.as_str()));
            if let Some((value, instead)) = found {
                out.push_str(instead);
                rest = &rest[value.len()..];
            } else {
                out.push(next);
                rest = &rest[next.len_utf8()..];
            }
        }
        out
    }
}
