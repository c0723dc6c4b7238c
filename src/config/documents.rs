//! [`EffectiveDocuments`]: the documents of an environment after merging its layers and interpolating its variables, each
//! value with its place.
//!
//! `loader` checks them, `effective` displays them, and `secret_usage` searches them. They are not validated here: a document
//! may break the schema, or lack a layer that could not be read.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Diagnostic,
    diagnostic::DiagnosticBuilder,
    layer::Layer,
    layers::LayerStack,
    node::{Entry, Node, Value, merge},
    selection::Labels,
    sources::FileSource,
    variables::{self, Variables},
};
use crate::model::{EnvironmentName, ProfileName};

/// The keys of `environment.yaml` that an extending environment does not inherit.
const NOT_INHERITED: [&str; 3] = ["extends", "abstract", "description"];

/// The effective documents of an environment. Profiles are read and merged on request, because many commands need no more
/// than `environment.yaml`.
pub(super) struct EffectiveDocuments<'a> {
    pub(super) name: &'a EnvironmentName,
    pub(super) files: &'a FileSource,
    pub(super) builder: &'a DiagnosticBuilder,
    /// The merged `environment.yaml`, before interpolation; none if no layer has a readable one.
    pub(super) environment: Option<Arc<Node>>,
    /// The merged `access.yaml`, before interpolation; none if no layer has a readable one.
    pub(super) access: Option<Arc<Node>>,
    /// The variables of the merged `environment.yaml`.
    pub(super) variables: Variables,
    stack: LayerStack,
}

impl<'a> EffectiveDocuments<'a> {
    /// Merges `environment.yaml` and `access.yaml` of all layers.
    pub(super) fn new(
        name: &'a EnvironmentName,
        stack: LayerStack,
        files: &'a FileSource,
        builder: &'a DiagnosticBuilder,
    ) -> Self {
        let environment = merge_environments(&stack.layers);
        let access = stack
            .layers
            .iter()
            .filter_map(|layer| layer.access.as_ref())
            .fold(None, |merged, node| Some(merge(merged.as_ref(), node)));
        let variables = environment.as_deref().map(variables_of).unwrap_or_default();
        Self { name, files, builder, environment, access, variables, stack }
    }

    /// Returns the environment's own folder.
    pub(super) fn own(&self) -> Option<&Layer> {
        self.stack.layers.last().map(AsRef::as_ref)
    }

    /// Returns true if every layer was found and could be read as far as its `extends` key.
    pub(super) fn has_all_layers(&self) -> bool {
        self.stack.is_complete() && self.stack.layers.iter().all(|layer| layer.has_readable_extends())
    }

    /// Returns the problems of the layers' files, each file on its own.
    pub(super) fn problems(&self) -> Vec<Diagnostic> {
        let of_layer = |layer: &Arc<Layer>| {
            [layer.problems.clone(), layer.profiles(self.files, self.builder).problems.clone()].concat()
        };
        self.stack.layers.iter().flat_map(of_layer).collect()
    }

    /// Returns the profiles that have a file in some layer which could not be read as a whole.
    pub(super) fn unread(&self) -> BTreeSet<&ProfileName> {
        self.stack.layers.iter().flat_map(|layer| &layer.profiles(self.files, self.builder).unread).collect()
    }

    /// Returns the index of the highest layer that has a file for a profile.
    pub(super) fn declaring_layer(&self, name: &ProfileName) -> Option<usize> {
        self.stack.layers.iter().rposition(|layer| layer.profiles(self.files, self.builder).nodes.contains_key(name))
    }

    /// Returns one section of `environment.yaml`, interpolated.
    pub(super) fn section(&self, key: &str) -> Option<Arc<Node>> {
        Some(self.interpolate(&self.environment.as_ref()?.get(key)?.node))
    }

    /// Returns every profile, merged, before interpolation.
    pub(super) fn merged_profiles(&self) -> BTreeMap<ProfileName, Arc<Node>> {
        let mut profiles: BTreeMap<ProfileName, Arc<Node>> = BTreeMap::new();
        for layer in &self.stack.layers {
            for (name, node) in &layer.profiles(self.files, self.builder).nodes {
                if matches!(node.value, Value::Null) {
                    profiles.remove(name);
                    continue;
                }
                let merged = merge(profiles.get(name), node);
                profiles.insert(name.clone(), merged);
            }
        }
        profiles
    }

    /// Returns a profile as the layers below the environment's own folder have it, merged, before interpolation.
    pub(super) fn inherited_profile(&self, name: &ProfileName) -> Option<Arc<Node>> {
        let (_, below) = self.stack.layers.split_last()?;
        let nodes = below.iter().filter_map(|layer| layer.profiles(self.files, self.builder).nodes.get(name));
        nodes.fold(None, |merged: Option<Arc<Node>>, node| match node.value {
            Value::Null => None,
            _ => Some(merge(merged.as_ref(), node)),
        })
    }

    /// Returns every profile, merged and interpolated.
    pub(super) fn profiles(&self) -> impl Iterator<Item = (ProfileName, Arc<Node>)> {
        self.merged_profiles().into_iter().map(|(name, node)| (name, self.interpolate(&node)))
    }

    fn interpolate(&self, node: &Arc<Node>) -> Arc<Node> {
        variables::interpolate(node, &self.variables, &mut Vec::new())
    }
}

fn merge_environments(layers: &[Arc<Layer>]) -> Option<Arc<Node>> {
    let mut merged: Option<Arc<Node>> = None;
    for (index, layer) in layers.iter().enumerate() {
        let Some(node) = &layer.environment else { continue };
        let is_own = index + 1 == layers.len();
        let node = if is_own { Arc::clone(node) } else { without(node, &NOT_INHERITED) };
        merged = Some(merge(merged.as_ref(), &node));
    }
    merged
}

/// Returns the variables of a merged `environment.yaml`. A null removes an inherited variable.
fn variables_of(environment: &Node) -> Variables {
    let entries = environment.get("variables").map_or(&[][..], |entry| entry.node.entries());
    entries
        .iter()
        .filter(|entry| !matches!(entry.node.value, Value::Null))
        .map(|entry| (Arc::clone(&entry.key), Arc::clone(&entry.node)))
        .collect()
}

/// Returns the labels in an interpolated `labels` section. Values that are not strings are left out.
pub(super) fn labels_in(section: &Node) -> Labels {
    let text = |entry: &Entry| Some((entry.key.to_string(), entry.node.as_str()?.to_owned()));
    section.entries().iter().filter_map(text).collect()
}

/// Returns a map without some of its keys.
fn without(node: &Arc<Node>, keys: &[&str]) -> Arc<Node> {
    if !keys.iter().any(|key| node.get(key).is_some()) {
        return Arc::clone(node);
    }
    let kept = node.entries().iter().filter(|entry| !keys.contains(&entry.key.as_ref())).cloned().collect();
    Arc::new(Node::new(node.span, Value::Map(kept)))
}
