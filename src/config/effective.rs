//! What an environment's layers amount to, each value with the place that it comes from.
//!
//! Works for files with problems too, as far as they can be read. What could be a secret is masked: a literal where a
//! secret belongs, the value of a key that nobody knows, what looks like a key or a password.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::{
    Repository,
    environment::Loading,
    excerpt::is_word_for_secret,
    node::{Node, Value},
    schema::{self, Kind},
    variables::{self, Variables},
};
use crate::model::{EnvironmentName, Place, ProfileName, SecretReference, secret_detection};

/// What is written over a value.
const MASK: &str = "*****";

/// What the layers of an environment amount to.
#[derive(Clone, Debug)]
pub struct Amounts {
    /// The layers, the lowest first; the environment itself last.
    pub layers: Vec<EnvironmentName>,
    /// What `environment.yaml` amounts to.
    pub environment: Placed,
    /// What each profile amounts to.
    pub profiles: BTreeMap<ProfileName, Placed>,
}

/// A value with the places that it comes from.
#[derive(Clone, Debug)]
pub enum Placed {
    /// A value that has no parts.
    Leaf {
        /// The value, variables put in.
        value: Json,
        /// Where it is written.
        place: Place,
        /// The variables in it, and where their values are written.
        variables: Vec<(String, Place)>,
    },
    /// A list.
    List(Vec<Placed>),
    /// A map.
    Map(Vec<(String, Placed)>),
}

impl Placed {
    /// The value alone.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Leaf { value, .. } => value.clone(),
            Self::List(items) => Json::Array(items.iter().map(Self::to_json).collect()),
            Self::Map(entries) => entries.iter().map(|(key, value)| (key.clone(), value.to_json())).collect(),
        }
    }
}

impl Repository {
    /// What the layers of an environment amount to, as far as they can be read.
    pub fn amounts(&self, name: &EnvironmentName) -> Option<Amounts> {
        let loading = self.readable(name)?;
        let environment = loading.merged_environment();
        let variables = environment.as_deref().map(Loading::variables).unwrap_or_default();
        let teller = |kind: Kind, document: &Json| Teller {
            repository: self,
            variables: &variables,
            unknown: schema::unknown_keys(kind, document),
        };
        let shown = match &environment {
            Some(node) => teller(Kind::Environment, &node.to_json()).tell(node, "", false),
            None => Placed::Map(Vec::new()),
        };
        let profiles = loading.merged_profiles().into_iter().map(|(name, node)| {
            let shown = teller(Kind::PartialProfile, &node.to_json()).tell(&node, "", false);
            (name, shown)
        });
        Some(Amounts { profiles: profiles.collect(), environment: shown, layers: self.layer_names(name) })
    }

    /// The variables that an environment has, as far as its files say so, and those that something takes.
    pub fn variables(&self, name: &EnvironmentName) -> (BTreeMap<String, Json>, Vec<String>) {
        let Some(loading) = self.readable(name) else { return Default::default() };
        let environment = loading.merged_environment();
        let variables = environment.as_deref().map(Loading::variables).unwrap_or_default();
        let mut taken = Vec::new();
        let nodes = environment.iter().cloned().chain(loading.merged_profiles().into_values());
        nodes.for_each(|node| collect_taken(&node, &mut taken));
        taken.sort();
        taken.dedup();
        (variables.iter().map(|(name, node)| (name.to_string(), node.to_json())).collect(), taken)
    }
}

fn collect_taken(node: &Node, taken: &mut Vec<String>) {
    match &node.value {
        Value::String(text) => taken.extend(variables::taken(text).into_iter().map(str::to_owned)),
        Value::List(items) => items.iter().for_each(|item| collect_taken(item, taken)),
        Value::Map(entries) => entries.iter().for_each(|entry| collect_taken(&entry.node, taken)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Unsure => {}
    }
}

/// Walks a merged tree.
struct Teller<'a> {
    repository: &'a Repository,
    variables: &'a Variables,
    /// Pointers to keys that mean nothing.
    unknown: Vec<String>,
}

impl Teller<'_> {
    fn tell(&self, node: &std::sync::Arc<Node>, pointer: &str, masked: bool) -> Placed {
        let masked = masked || self.unknown.iter().any(|unknown| unknown == pointer);
        match &node.value {
            Value::List(items) => Placed::List(
                items
                    .iter()
                    .enumerate()
                    .map(|(at, item)| self.tell(item, &format!("{pointer}/{at}"), masked))
                    .collect(),
            ),
            Value::Map(entries) => Placed::Map(
                entries
                    .iter()
                    .map(|entry| {
                        let pointer = format!("{pointer}/{}", entry.key.replace('~', "~0").replace('/', "~1"));
                        (entry.key.to_string(), self.tell(&entry.node, &pointer, masked))
                    })
                    .collect(),
            ),
            _ => self.leaf(node, pointer, masked),
        }
    }

    fn leaf(&self, node: &std::sync::Arc<Node>, pointer: &str, masked: bool) -> Placed {
        // Variables are not put into variables, nor into what decides about layers.
        let takes = !pointer.starts_with("/variables/") && pointer != "/extends";
        let text = node.as_str().filter(|_| takes);
        let taken = text.map(variables::taken).unwrap_or_default();
        let shown = match text {
            // What takes a variable that nobody knows is shown as it is written.
            Some(text) => match variables::put_in(node, self.variables, &mut Vec::new()) {
                filled if matches!(filled.value, Value::Unsure) => Json::from(text),
                filled => filled.to_json(),
            },
            None => node.to_json(),
        };
        let masked = masked
            || is_masked(pointer, &shown)
            || taken.iter().any(|name| is_word_for_secret(name) && self.variables.contains_key(*name));
        let variables = taken.into_iter().filter_map(|name| {
            let place = self.repository.place(self.variables.get(name)?.span);
            Some((name.to_owned(), place))
        });
        Placed::Leaf {
            value: if masked { Json::from(MASK) } else { shown },
            place: self.repository.place(node.span),
            variables: variables.collect(),
        }
    }
}

/// Whether a value could be a secret.
fn is_masked(pointer: &str, value: &Json) -> bool {
    let text = value.as_str();
    let names_one = || text.is_some_and(|text| text.parse::<SecretReference>().is_ok());
    if schema::is_secret(pointer) {
        return !(pointer.ends_with("/secret") && names_one());
    }
    let variable = pointer.strip_prefix("/variables/");
    let key = pointer.rsplit('/').next().unwrap_or_default();
    let is_name = matches!(key, "secret" | "functions" | "extends" | "renamedFrom");
    variable.is_some_and(is_word_for_secret)
        || !is_name && text.is_some_and(|text| secret_detection::alarm(text).is_some())
}
