//! The layers of an environment: its own folder and those that the `extends` keys lead to.
//!
//! [`layer_stack`] follows them and reports cycles and missing folders, at which it stops. The files of a layer are read by
//! `layer`, and merged by `documents`.

use std::sync::Arc;

use super::{Diagnostic, Repository, layer::Layer, sources::Span, suggest};
use crate::model::{Code, EnvironmentName};

/// The layers of an environment, the lowest first, the environment itself last.
#[derive(Default)]
pub(super) struct LayerStack {
    pub(super) names: Vec<EnvironmentName>,
    pub(super) layers: Vec<Arc<Layer>>,
    /// The problem that ended the search: a cycle, or a folder that does not exist. Empty if all layers were found.
    pub(super) problems: Vec<Diagnostic>,
}

impl LayerStack {
    /// Returns true if every `extends` led to a folder.
    pub(super) fn is_complete(&self) -> bool {
        self.problems.is_empty()
    }

    /// Drops all layers but the environment itself.
    pub(super) fn into_own(self) -> Self {
        Self {
            names: self.names.into_iter().next_back().into_iter().collect(),
            layers: self.layers.into_iter().next_back().into_iter().collect(),
            problems: self.problems,
        }
    }
}

impl Repository {
    /// Returns the names of an environment's layers, the lowest first, the environment itself last, as far as they can be
    /// found. Empty if there is no such environment.
    pub fn layer_names(&self, name: &EnvironmentName) -> Vec<EnvironmentName> {
        self.layer_stack(name).names
    }

    /// Follows `extends` from an environment to its lowest layer.
    pub(super) fn layer_stack(&self, name: &EnvironmentName) -> LayerStack {
        let mut stack = LayerStack::default();
        let mut next = Some(name.clone());
        while let Some(current) = next.take() {
            let Some(layer) = self.layer(&current) else { break };
            stack.names.push(current);
            stack.layers.push(Arc::clone(&layer));
            let Some((wanted, span)) = &layer.extends else { break };
            match self.find_layer(wanted) {
                Some(found) if stack.names.contains(&found) => {
                    stack.problems.push(self.layer_cycle(&stack.names, &found, *span));
                }
                Some(found) => next = Some(found),
                None => {
                    stack.problems.push(self.missing_layer(wanted, *span));
                    stack.problems.extend(layer.problems.clone());
                }
            }
        }
        stack.names.reverse();
        stack.layers.reverse();
        stack
    }

    fn layer_cycle(&self, names: &[EnvironmentName], again: &EnvironmentName, span: Span) -> Diagnostic {
        let circle: Vec<String> = names.iter().chain([again]).map(|name| format!("`{name}`")).collect();
        let message = format!("`extends` forms a cycle: {}", circle.join(" extends "));
        self.builder.diagnostic_at(span, Code::LayerCycle, message, "Remove one of these keys.")
    }

    fn missing_layer(&self, wanted: &str, span: Span) -> Diagnostic {
        let remedy = match suggest::nearest(wanted, self.known_layers()) {
            Some(meant) => format!("Did you mean `{meant}`?"),
            None => "Name a folder under `environments/`.".to_owned(),
        };
        let message = format!("the folder `environments/{}` does not exist", wanted.escape_debug());
        self.builder.diagnostic_at(span, Code::LayerMissing, message, remedy)
    }
}
