//! Checks `environment.yaml` and `access.yaml`: variables, service address, waivers, signers, reader of the directory, and the
//! settings that the service stores.
//!
//! [`CheckedSettings`] is the result after error recovery. The profiles are checked in `profile`, the rules between settings and
//! profiles in `rules`. A section with an error counts as absent in it, and the other sections are kept.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::{Loader, Origin, first_key};
use crate::{
    config::{
        Diagnostic,
        node::{Entry, Node, Value},
        recovery::{Recovered, remove_invalid},
        schema::DocumentKind,
        secret_usage::parse_verify_reader,
    },
    model::{Code, GraphDirect, Settings, WatchSettings, rules},
};

/// The sections that are not interpolated.
const NOT_INTERPOLATED: [&str; 2] = ["variables", "extends"];
/// The sections that the service stores.
const SERVICE_SECTIONS: [&str; 5] = ["companies", "unserved", "policy", "delivery", ACCESS];
/// The key under which the access policy is a part of the settings. Files declare it in `access.yaml`.
const ACCESS: &str = "access";

/// An environment's settings after recovery.
pub(super) struct CheckedSettings {
    /// The merged and interpolated `environment.yaml`, with the access policy under `access`.
    pub(super) node: Arc<Node>,
    pub(super) settings: Settings,
    pub(super) recovered: Recovered,
}

impl Loader<'_> {
    pub(super) fn check_settings(
        &self,
        merged: &Arc<Node>,
        is_partial: bool,
        problems: &mut Vec<Diagnostic>,
    ) -> CheckedSettings {
        self.check_variables(problems);
        let node = if is_partial { Arc::clone(merged) } else { self.interpolate_sections(merged, problems) };
        let origin = Origin { raw: merged, variables: &self.documents.variables };
        let (mut document, mut recovered) = self.check_schema(DocumentKind::Environment, &node, &origin, problems);
        let node = self.add_access(node, is_partial, &mut document, &mut recovered, problems);
        self.search_for_secrets(&node, problems);
        self.check_service_address(&node, is_partial, problems);
        self.check_waivers(&node, problems);
        self.check_signers(&node, problems);
        if !is_partial {
            self.check_reader(&node, &recovered, problems);
        }
        remove_invalid(&mut document, &recovered);
        if is_partial {
            return CheckedSettings { node, settings: Settings::default(), recovered };
        }
        let settings = self.service_settings(&document, &node, &mut recovered, problems);
        CheckedSettings { node, settings, recovered }
    }

    /// Checks `access.yaml`, and adds it to the document and to the node of the environment.
    fn add_access(
        &self,
        environment: Arc<Node>,
        is_partial: bool,
        document: &mut Json,
        recovered: &mut Recovered,
        problems: &mut Vec<Diagnostic>,
    ) -> Arc<Node> {
        let is_access = |entry: &&Entry| entry.key.as_ref() == ACCESS;
        // The schema of `environment.yaml` has no such key, so that it was reported.
        if let Json::Object(map) = document {
            map.remove(ACCESS);
        }
        let mut entries: Vec<Entry> = environment.entries().iter().filter(|entry| !is_access(entry)).cloned().collect();
        if let Some(merged) = &self.documents.access {
            let node = if is_partial { Arc::clone(merged) } else { self.interpolate(merged, problems) };
            let origin = Origin { raw: merged, variables: &self.documents.variables };
            let (access, found) = self.check_schema(DocumentKind::Access, &node, &origin, problems);
            recovered.add_below(&format!("/{ACCESS}"), &found);
            if let Json::Object(map) = document {
                map.insert(ACCESS.to_owned(), access);
            }
            entries.push(Entry { key: ACCESS.into(), key_span: first_key(&node), node });
        }
        Arc::new(Node::new(environment.span, Value::Map(entries)))
    }

    /// Reads the sections that the service stores, one by one: an invalid section must not hide the others.
    fn service_settings(
        &self,
        document: &Json,
        node: &Node,
        recovered: &mut Recovered,
        problems: &mut Vec<Diagnostic>,
    ) -> Settings {
        let mut settings = serde_json::Map::new();
        for key in SERVICE_SECTIONS {
            let Some(section) = document.get(key) else { continue };
            if serde_json::from_value::<Settings>(json!({ key: section })).is_ok() {
                settings.insert(key.to_owned(), section.clone());
                continue;
            }
            let pointer = format!("/{key}");
            if !recovered.overlaps(&pointer) {
                // The schema accepts nothing that the types reject; a test compares the two.
                self.report(
                    problems,
                    node.nearest(&pointer).1.span,
                    Code::InvalidValue,
                    "the settings are invalid",
                    "`mailwright schema environment` prints the format.",
                );
            }
            recovered.add(pointer);
        }
        serde_json::from_value(Json::Object(settings)).unwrap_or_default()
    }

    fn check_variables(&self, problems: &mut Vec<Diagnostic>) {
        for (name, node) in &self.documents.variables {
            if node.subtree.has_variable {
                self.report(
                    problems,
                    node.span,
                    Code::MalformedVariable,
                    &format!("the variable `{name}` contains another variable"),
                    "Variables are plain values. Write the value out, or combine the two where they are used.",
                );
            }
        }
    }

    fn interpolate_sections(&self, node: &Arc<Node>, problems: &mut Vec<Diagnostic>) -> Arc<Node> {
        let entries = node
            .entries()
            .iter()
            .map(|entry| {
                if NOT_INTERPOLATED.contains(&entry.key.as_ref()) {
                    return entry.clone();
                }
                Entry { node: self.interpolate(&entry.node, problems), ..entry.clone() }
            })
            .collect();
        Arc::new(Node::new(node.span, Value::Map(entries)))
    }

    fn check_service_address(&self, node: &Node, is_partial: bool, problems: &mut Vec<Diagnostic>) {
        if let Some(entry) = node.get("service").and_then(|entry| entry.node.get("address"))
            && let Some(address) = entry.node.as_str()
            && !(is_partial && address.contains("${"))
            && !(address.starts_with("https://") || address.starts_with("http://"))
        {
            problems.push(self.documents.builder.diagnostic_with_concealment(
                entry.node.span,
                Code::InvalidValue,
                "this is not the address of a service",
                "Write it as https://host or https://host:port.",
                address.contains('@'),
            ));
        }
    }

    /// Checks that the last day of each waiver exists, which a schema cannot.
    fn check_waivers(&self, environment: &Node, problems: &mut Vec<Diagnostic>) {
        let waivers = environment.get("verify").and_then(|entry| entry.node.get("waivers"));
        let Some(Value::List(waivers)) = waivers.map(|entry| &entry.node.value) else { return };
        for expires in waivers.iter().filter_map(|waiver| waiver.get("expires")) {
            self.check_day(expires, problems);
        }
    }

    /// Checks that the last day of each signer exists, which a schema cannot.
    fn check_signers(&self, environment: &Node, problems: &mut Vec<Diagnostic>) {
        let approvals = environment.get("policy").and_then(|entry| entry.node.get("approvals"));
        let signers = approvals.and_then(|entry| entry.node.get("signers")).map(|entry| &entry.node.value);
        let Some(Value::List(signers)) = signers else { return };
        for until in signers.iter().filter_map(|signer| signer.get("until")) {
            self.check_day(until, problems);
        }
    }

    fn check_day(&self, entry: &Entry, problems: &mut Vec<Diagnostic>) {
        if matches!(entry.node.as_str().map(str::parse::<jiff::civil::Date>), Some(Err(_))) {
            self.report(
                problems,
                entry.node.span,
                Code::InvalidValue,
                "this day does not exist",
                "Write the last day as year, month and day: 2027-03-31.",
            );
        }
    }

    /// Checks the application that reads the directory. The schema lets a layer state a part of it; merged, it must be
    /// complete.
    fn check_reader(&self, environment: &Node, recovered: &Recovered, problems: &mut Vec<Diagnostic>) {
        let Some(entry) = environment.get("verify").and_then(|entry| entry.node.get("reader")) else { return };
        if matches!(entry.node.value, Value::Null) {
            return;
        }
        let missing: Vec<&str> = ["tenant", "client", "credential"]
            .into_iter()
            .filter(|key| entry.node.get(key).is_none_or(|entry| matches!(entry.node.value, Value::Null)))
            .collect();
        for key in &missing {
            self.report(
                problems,
                entry.key_span,
                Code::MissingKey,
                &format!("`{key}` is missing"),
                &format!("Add `{key}`, here or in a layer that this one extends."),
            );
        }
        if !missing.is_empty() || recovered.overlaps("/verify/reader") {
            return;
        }
        let Some(reader) = parse_reader(environment) else {
            self.report(
                problems,
                entry.key_span,
                Code::InvalidValue,
                "the reader must have exactly one credential",
                "Write `credential: { clientSecret: { secret: NAME/KEY } }`, or a certificate.",
            );
            return;
        };
        for violation in rules::check_reader(&reader) {
            let (_, found) = environment.nearest(&violation.pointer);
            self.report(
                problems,
                found.span,
                violation.problem.code,
                &violation.problem.message,
                &violation.problem.remedy,
            );
        }
    }

    /// Checks the receivers of a watch's notifications. The service does not store them, so they are checked here only.
    pub(super) fn check_watch(&self, settings: &CheckedSettings, problems: &mut Vec<Diagnostic>) {
        let watch = parse_watch(&settings.node);
        for violation in rules::check_watch(&watch, &settings.settings.companies) {
            let is_uncertain =
                violation.problem.code == Code::UnknownCompany && settings.recovered.overlaps("/companies");
            if is_uncertain || settings.recovered.explains(violation.problem.code, &violation.pointer) {
                continue;
            }
            let (_, found) = settings.node.nearest(&violation.pointer);
            self.report(
                problems,
                found.span,
                violation.problem.code,
                &violation.problem.message,
                &violation.problem.remedy,
            );
        }
    }
}

/// Returns the settings of `watch` in an interpolated `environment.yaml`.
pub(super) fn parse_watch(environment: &Node) -> WatchSettings {
    let watch = environment.get("watch").and_then(|entry| serde_json::from_value(entry.node.to_json()).ok());
    watch.unwrap_or_default()
}

/// Returns the application that reads the directory; none if `environment.yaml` names none or an incomplete one.
pub(super) fn parse_reader(environment: &Node) -> Option<GraphDirect> {
    parse_verify_reader(&environment.get("verify")?.node)
}
