//! The effective configuration of an environment: the merged and interpolated values, each with its place, for display.
//!
//! Works for files with problems too, as far as they can be read. Possible secrets are masked: a literal in a secret's field, the
//! value of an unknown key, a string that looks like a key or a password. A layer that is missing leaves only the environment's own
//! folder; a string with an undefined variable is shown as written. Detection is by names and patterns, so a secret that looks like
//! an ordinary word is not masked.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use serde_json::Value as Json;

use super::{
    Repository,
    excerpt::names_a_secret,
    node::{Node, Value},
    schema::{self, DocumentKind},
    variables::{self, Variables},
};
use crate::model::{EnvironmentName, Place, ProfileName, SecretReference, secret_detection};

/// The text that replaces a possible secret.
const MASK: &str = "*****";

/// The effective configuration of an environment.
#[derive(Clone, Debug)]
pub struct EffectiveEnvironment {
    /// The layers, the lowest first; the environment itself last.
    pub layers: Vec<EnvironmentName>,
    /// The effective `environment.yaml`, with the effective `access.yaml` under `access`.
    pub environment: Sourced,
    /// The effective profiles.
    pub profiles: BTreeMap<ProfileName, Sourced>,
}

/// A value with the places that it comes from.
#[derive(Clone, Debug)]
pub enum Sourced {
    /// A scalar.
    Leaf {
        /// The value, interpolated.
        value: Json,
        /// The place that states it.
        place: Place,
        /// The variables in it, with the places that set them.
        variables: Vec<(String, Place)>,
    },
    /// A list.
    List(Vec<Sourced>),
    /// A map.
    Map(Vec<(String, Sourced)>),
}

impl Sourced {
    /// Returns the value without its places.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Leaf { value, .. } => value.clone(),
            Self::List(items) => Json::Array(items.iter().map(Self::to_json).collect()),
            Self::Map(entries) => entries.iter().map(|(key, value)| (key.clone(), value.to_json())).collect(),
        }
    }
}

impl Repository {
    /// Returns the effective configuration of an environment, as far as its files can be read.
    pub fn effective_environment(&self, name: &EnvironmentName) -> EffectiveEnvironment {
        let documents = self.readable_documents(name);
        let render = |kind: DocumentKind, node: &Arc<Node>| {
            let unknown = schema::unknown_keys(kind, &node.to_json());
            Renderer { repository: self, variables: &documents.variables, unknown }.render(node, "", false)
        };
        let mut environment = match &documents.environment {
            Some(node) => render(DocumentKind::Environment, node),
            None => Sourced::Map(Vec::new()),
        };
        if let (Sourced::Map(entries), Some(node)) = (&mut environment, &documents.access) {
            entries.push(("access".to_owned(), render(DocumentKind::Access, node)));
        }
        let profiles = documents.merged_profiles().into_iter();
        let profiles = profiles.map(|(name, node)| (name, render(DocumentKind::PartialProfile, &node))).collect();
        EffectiveEnvironment { layers: self.layer_names(name), environment, profiles }
    }

    /// Returns the variables that an environment defines, and the names of those that its documents use.
    pub fn variables(&self, name: &EnvironmentName) -> (BTreeMap<String, Json>, Vec<String>) {
        let documents = self.readable_documents(name);
        let mut used = Vec::new();
        let nodes = documents
            .environment
            .iter()
            .chain(&documents.access)
            .cloned()
            .chain(documents.merged_profiles().into_values());
        nodes.for_each(|node| collect_used(&node, &mut used));
        used.sort();
        used.dedup();
        (documents.variables.iter().map(|(name, node)| (name.to_string(), node.to_json())).collect(), used)
    }
}

fn collect_used(node: &Node, used: &mut Vec<String>) {
    match &node.value {
        Value::String(text) => used.extend(variables::used_in(text).into_iter().map(str::to_owned)),
        Value::List(items) => items.iter().for_each(|item| collect_used(item, used)),
        Value::Map(entries) => entries.iter().for_each(|entry| collect_used(&entry.node, used)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Invalid => {}
    }
}

/// Turns a merged tree into values with places.
struct Renderer<'a> {
    repository: &'a Repository,
    variables: &'a Variables,
    /// Pointers to unknown keys.
    unknown: HashSet<String>,
}

impl Renderer<'_> {
    fn render(&self, node: &Arc<Node>, pointer: &str, is_masked: bool) -> Sourced {
        let is_masked = is_masked || self.unknown.contains(pointer);
        match &node.value {
            Value::List(items) => {
                let item = |(at, item): (usize, &Arc<Node>)| self.render(item, &format!("{pointer}/{at}"), is_masked);
                Sourced::List(items.iter().enumerate().map(item).collect())
            }
            Value::Map(entries) => {
                let entries = entries.iter().map(|entry| {
                    let value = self.render(&entry.node, &schema::child_pointer(pointer, &entry.key), is_masked);
                    (entry.key.to_string(), value)
                });
                Sourced::Map(entries.collect())
            }
            _ => self.leaf(node, pointer, is_masked),
        }
    }

    fn leaf(&self, node: &Arc<Node>, pointer: &str, is_masked: bool) -> Sourced {
        // Neither variables nor `extends` are interpolated.
        let is_interpolated = !pointer.starts_with("/variables/") && pointer != "/extends";
        let text = node.as_str().filter(|_| is_interpolated);
        let used = text.map(variables::used_in).unwrap_or_default();
        let value = match text {
            // A string with an undefined variable is shown as the file has it.
            Some(text) => match variables::interpolate(node, self.variables, &mut Vec::new()) {
                interpolated if matches!(interpolated.value, Value::Invalid) => Json::from(text),
                interpolated => interpolated.to_json(),
            },
            None => node.to_json(),
        };
        let is_masked = is_masked
            || may_be_secret(pointer, &value)
            || used.iter().any(|name| names_a_secret(name) && self.variables.contains_key(*name));
        let variables = used.into_iter().filter_map(|name| {
            let place = self.repository.place(self.variables.get(name)?.span);
            Some((name.to_owned(), place))
        });
        Sourced::Leaf {
            value: if is_masked { Json::from(MASK) } else { value },
            place: self.repository.place(node.span),
            variables: variables.collect(),
        }
    }
}

/// Returns true if a value may be a secret.
fn may_be_secret(pointer: &str, value: &Json) -> bool {
    let text = value.as_str();
    let is_reference = || text.is_some_and(|text| text.parse::<SecretReference>().is_ok());
    if schema::is_secret(pointer) {
        return !(pointer.ends_with("/secret") && is_reference());
    }
    let variable = pointer.strip_prefix("/variables/");
    let key = pointer.rsplit('/').next().unwrap_or_default();
    variable.is_some_and(names_a_secret)
        || !secret_detection::is_name(key) && text.is_some_and(|text| secret_detection::detect(text).is_some())
}
