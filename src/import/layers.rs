//! Proposes layers for live environments: one abstract base, and a short folder for each environment.
//!
//! The proposal is a heuristic, which the caller proves with [`prove`](super::prove) before it is written. A value that most
//! environments share is part of the base; the others override it. Where nearly every environment has a value of its own, the base
//! uses a variable, for the whole value or for the part of the string that differs, and values that differ in the same way share
//! one variable. A value that few environments have is left to them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

use crate::model::{
    EnvironmentName, ProfileName, Settings, State,
    file_text::{self, FileKind},
};

/// A live environment, with the parts of its file that no service stores.
#[derive(Clone, Debug)]
pub struct LiveEnvironment {
    /// The environment.
    pub name: EnvironmentName,
    /// The state of its service.
    pub state: State,
    /// The keys that the new `environment.yaml` keeps: the service's address, labels, a description.
    pub kept: Map<String, Value>,
}

/// Proposed files, whose effective contents equal the state of the services.
#[derive(Clone, Debug, Default)]
pub struct ProposedLayers {
    /// The text by path, relative to the repository.
    pub files: BTreeMap<PathBuf, String>,
    /// The number of values that the base states for all, and the number of all values.
    pub shared: (usize, usize),
    /// The variables, with the number of environments that set them.
    pub variables: BTreeMap<String, usize>,
}

/// A variable, with its value in each environment that sets it.
struct Variable {
    name: String,
    values: Vec<Option<Value>>,
}

/// The variables found so far.
struct Variables(Vec<Variable>);

/// Proposes layers for environments. `base` is the name of the folder that they will extend.
pub fn propose_layers(sites: &[LiveEnvironment], base: &EnvironmentName) -> ProposedLayers {
    let mut variables = Variables(Vec::new());
    let settings: Vec<Option<Value>> = sites.iter().map(|site| Some(settings_document(&site.state.settings))).collect();
    let names: BTreeSet<&ProfileName> = sites.iter().flat_map(|site| site.state.live().map(|(name, _)| name)).collect();
    let profiles: BTreeMap<&ProfileName, Vec<Option<Value>>> = names
        .into_iter()
        .map(|name| {
            let of = |site: &LiveEnvironment| {
                let live = site.state.profiles.get(name).and_then(|state| state.live.as_ref());
                live.map(|stored| file_text::profile_document(&stored.profile))
            };
            (name, sites.iter().map(of).collect())
        })
        .collect();

    let base_settings = find_common("", "settings", &settings, &mut variables);
    let base_profiles: BTreeMap<&ProfileName, Option<Value>> = profiles
        .iter()
        .map(|(name, documents)| (*name, find_common(name.as_str(), "", documents, &mut variables)))
        .collect();

    let mut out = ProposedLayers::default();
    out.write_base(base, base_settings.as_ref(), &base_profiles, sites.len());
    for (index, site) in sites.iter().enumerate() {
        out.write_site(site, base, &variables.values_of(index), base_settings.as_ref(), settings.get(index), |file| {
            for (name, documents) in &profiles {
                file(
                    name,
                    base_profiles.get(name).and_then(Option::as_ref),
                    documents.get(index).and_then(Option::as_ref),
                );
            }
        });
    }
    out.variables = variables.0.iter().map(|v| (v.name.clone(), v.values.iter().flatten().count())).collect();
    out
}

impl ProposedLayers {
    fn write_base(
        &mut self,
        base: &EnvironmentName,
        settings: Option<&Value>,
        profiles: &BTreeMap<&ProfileName, Option<Value>>,
        count: usize,
    ) {
        let mut own = settings.and_then(Value::as_object).cloned().unwrap_or_default();
        own.insert("description".to_owned(), json!(format!("Shared by {count} environments")));
        own.insert("abstract".to_owned(), json!(true));
        self.put(base, None, &Value::Object(own));
        for (name, document) in profiles {
            if let Some(document) = document {
                self.put(base, Some(name), document);
            }
        }
    }

    fn write_site(
        &mut self,
        site: &LiveEnvironment,
        base: &EnvironmentName,
        variables: &Map<String, Value>,
        base_settings: Option<&Value>,
        settings: Option<&Option<Value>>,
        profiles: impl FnOnce(&mut dyn FnMut(&ProfileName, Option<&Value>, Option<&Value>)),
    ) {
        let mut own = site.kept.clone();
        own.insert("extends".to_owned(), json!(base));
        if !variables.is_empty() {
            own.insert("variables".to_owned(), Value::Object(variables.clone()));
        }
        if let Some(Some(settings)) = settings {
            self.add_counts(base_settings, settings, variables);
            let patch = merge_patch(base_settings.map(|base| interpolate(base, variables)).as_ref(), settings);
            own.extend(patch.as_ref().and_then(Value::as_object).cloned().unwrap_or_default());
        }
        self.put(&site.name, None, &Value::Object(own));
        profiles(&mut |name, base, wanted| {
            let filled = base.map(|base| interpolate(base, variables));
            match (wanted, &filled) {
                (None, None) => {}
                // A null removes an inherited profile.
                (None, Some(_)) => self.put(&site.name, Some(name), &Value::Null),
                (Some(wanted), _) => {
                    self.add_counts(base, wanted, variables);
                    if let Some(patch) = merge_patch(filled.as_ref(), wanted) {
                        self.put(&site.name, Some(name), &patch);
                    }
                }
            }
        });
    }

    fn add_counts(&mut self, base: Option<&Value>, wanted: &Value, variables: &Map<String, Value>) {
        let filled = base.map(|base| interpolate(base, variables));
        let own = merge_patch(filled.as_ref(), wanted).as_ref().map_or(0, count_values);
        let all = count_values(wanted);
        self.shared.0 += all.saturating_sub(own);
        self.shared.1 += all;
    }

    fn put(&mut self, environment: &EnvironmentName, profile: Option<&ProfileName>, document: &Value) {
        let folder = Path::new("environments").join(environment.as_str());
        let (path, kind) = match profile {
            Some(name) => (folder.join("profiles").join(format!("{name}.yaml")), FileKind::Profile),
            None => (folder.join("environment.yaml"), FileKind::Environment),
        };
        self.files.insert(path, file_text::render_file(kind, document));
    }
}

/// Returns the settings as an environment's file states them: without defaults.
fn settings_document(settings: &Settings) -> Value {
    let mut all = serde_json::to_value(settings).unwrap_or_default();
    // The files state the reader below `verify`, without the digest.
    if let Some(all) = all.as_object_mut() {
        all.remove("reader");
        // They have a file of their own.
        all.remove("secretRecipients");
        if let Some(reader) = &settings.reader {
            all.insert("verify".to_owned(), json!({ "reader": reader.application }));
        }
    }
    let usual = serde_json::to_value(Settings::default()).unwrap_or_default();
    // The companies are stated even if there are none, because an environment without the key has none either.
    merge_patch(Some(&usual), &all).unwrap_or_else(|| json!({}))
}

/// Returns the value that the base gets if environments have these values; none if the base gets none.
fn find_common(profile: &str, key: &str, values: &[Option<Value>], variables: &mut Variables) -> Option<Value> {
    let present: Vec<&Value> = values.iter().flatten().collect();
    if present.is_empty() || present.len() * 2 < values.len() {
        return None;
    }
    let maps = present.iter().filter(|value| value.is_object()).count();
    if maps * 2 > present.len() {
        let keys: BTreeSet<&String> =
            present.iter().filter_map(|value| value.as_object()).flat_map(Map::keys).collect();
        let merged: Map<String, Value> = keys
            .into_iter()
            .filter_map(|key| {
                let below: Vec<Option<Value>> =
                    values.iter().map(|value| value.as_ref()?.as_object()?.get(key).cloned()).collect();
                Some((key.clone(), find_common(profile, key, &below, variables)?))
            })
            .collect();
        return (!merged.is_empty()).then_some(Value::Object(merged));
    }
    let (most, count) = most_frequent(&present)?;
    if count * 2 > present.len() || present.len() == 1 {
        return Some(file_text::escape_variables(most.clone()));
    }
    variables.template(profile, key, values)
}

fn most_frequent<'a>(values: &[&'a Value]) -> Option<(&'a Value, usize)> {
    let mut counts: Vec<(&Value, usize)> = Vec::new();
    for value in values {
        match counts.iter_mut().find(|(known, _)| known == value) {
            Some((_, count)) => *count += 1,
            None => counts.push((value, 1)),
        }
    }
    // The first of equal counts is used, so that the proposal is deterministic.
    counts.into_iter().rev().max_by_key(|(_, count)| *count)
}

impl Variables {
    /// Returns the variables of one environment.
    fn values_of(&self, index: usize) -> Map<String, Value> {
        let value = |variable: &Variable| Some((variable.name.clone(), variable.values.get(index)?.clone()?));
        self.0.iter().filter_map(value).collect()
    }

    /// Returns a string with a variable that yields each environment's value.
    fn template(&mut self, profile: &str, key: &str, values: &[Option<Value>]) -> Option<Value> {
        let takes = |value: &Value| match value {
            // Variables cannot contain variables.
            Value::String(text) => !text.contains("${"),
            Value::Number(_) | Value::Bool(_) => true,
            _ => false,
        };
        if !values.iter().flatten().all(takes) {
            return None;
        }
        if let Some(known) = self.0.iter().find_map(|variable| reuse_variable(variable, values)) {
            return Some(Value::String(known));
        }
        let (front, back) = shared_ends(values);
        let middle = |value: &Value| match value {
            Value::String(text) => Value::String(text[front.len()..text.len() - back.len()].to_owned()),
            other => other.clone(),
        };
        let name = self.free_name(profile, key, &front);
        self.0.push(Variable { name: name.clone(), values: values.iter().map(|v| v.as_ref().map(middle)).collect() });
        Some(Value::String(format!("{}${{{name}}}{}", front.replace("${", "$${"), back.replace("${", "$${"))))
    }

    fn free_name(&self, profile: &str, key: &str, front: &str) -> String {
        let usual = if front.ends_with(['@', '.', '/']) { "domain" } else { key };
        let usual: String = usual.chars().filter(char::is_ascii_alphanumeric).collect();
        let usual = if usual.is_empty() { "value".to_owned() } else { usual };
        let qualified: String = profile.chars().map(|c| if c == '.' { '-' } else { c }).collect();
        let qualified = if qualified.starts_with(|c: char| c.is_ascii_alphabetic()) {
            format!("{qualified}-{usual}")
        } else {
            format!("profile-{qualified}-{usual}")
        };
        let qualified: String = qualified.chars().take(56).collect();
        let numbered = (2..).map(|number| format!("{qualified}-{number}"));
        let is_free = |name: &String| self.0.iter().all(|variable| variable.name != *name);
        [usual, qualified.clone()].into_iter().chain(numbered).find(is_free).unwrap_or(qualified)
    }
}

/// Returns a string with an existing variable that yields the values; none if there is no such string.
fn reuse_variable(variable: &Variable, values: &[Option<Value>]) -> Option<String> {
    let mut ends: Option<(&str, &str)> = None;
    for (own, value) in variable.values.iter().zip(values) {
        let Some(value) = value else { continue };
        let own = own.as_ref()?;
        let here = match (own, value) {
            (Value::String(own), Value::String(value)) if !own.is_empty() => value.split_once(own.as_str())?,
            (own, value) if own == value => ("", ""),
            _ => return None,
        };
        if ends.is_some_and(|ends| ends != here) {
            return None;
        }
        ends = Some(here);
    }
    let (front, back) = ends?;
    Some(format!("{}${{{}}}{}", front.replace("${", "$${"), variable.name, back.replace("${", "$${")))
}

/// Returns the common prefix and suffix of strings, cut at the separators of addresses and names, so that a domain and a GUID
/// stay whole. Empty if a value is not a string.
fn shared_ends(values: &[Option<Value>]) -> (String, String) {
    let texts: Option<Vec<&str>> = values.iter().flatten().map(Value::as_str).collect();
    let Some((first, others)) = texts.as_deref().and_then(<[&str]>::split_first) else { return Default::default() };
    let same = |pairs: &mut dyn Iterator<Item = (char, char)>| {
        pairs.take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum::<usize>()
    };
    let (mut front, mut back) = (*first, *first);
    for text in others {
        front = &front[..same(&mut front.chars().zip(text.chars()))];
        back = &back[back.len() - same(&mut back.chars().rev().zip(text.chars().rev()))..];
    }
    let front = front.rfind(['@', '/', ':', '.', ' ']).map_or("", |at| &front[..=at]);
    let back = back.find(['@', '/', ':', ' ']).map_or("", |at| &back[at..]);
    // A part must remain for the variable.
    let shortest = values.iter().flatten().filter_map(Value::as_str).map(str::len).min().unwrap_or(0);
    if front.len() + back.len() < shortest { (front.to_owned(), back.to_owned()) } else { Default::default() }
}

/// Interpolates a layer's document with an environment's variables, as `config` will.
fn interpolate(document: &Value, variables: &Map<String, Value>) -> Value {
    match document {
        Value::String(text) => interpolate_text(text, variables),
        Value::Array(items) => items.iter().map(|item| interpolate(item, variables)).collect(),
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), interpolate(value, variables))).collect(),
        other => other.clone(),
    }
}

fn interpolate_text(text: &str, variables: &Map<String, Value>) -> Value {
    if let Some(value) = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).and_then(|n| variables.get(n))
    {
        return value.clone();
    }
    let mut out = text.replace("$${", "\u{0}");
    for (name, value) in variables {
        let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        out = out.replace(&format!("${{{name}}}"), &shown);
    }
    Value::String(out.replace('\u{0}', "${"))
}

/// Returns the merge patch (RFC 7396) from one document to another, with `${` escaped in strings; none if they are equal.
fn merge_patch(from: Option<&Value>, to: &Value) -> Option<Value> {
    if from == Some(to) {
        return None;
    }
    let Value::Object(wanted) = to else { return Some(file_text::escape_variables(to.clone())) };
    let Some(Value::Object(old)) = from else { return Some(file_text::escape_variables(to.clone())) };
    let mut changes = Map::new();
    for key in old.keys().filter(|key| !wanted.contains_key(*key)) {
        changes.insert(key.clone(), Value::Null);
    }
    for (key, value) in wanted {
        if let Some(change) = merge_patch(old.get(key), value) {
            changes.insert(key.clone(), change);
        }
    }
    Some(Value::Object(changes))
}

/// Returns the number of values in a document.
fn count_values(document: &Value) -> usize {
    match document {
        Value::Object(map) => map.values().map(count_values).sum(),
        Value::Array(_) | Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => 1,
    }
}
