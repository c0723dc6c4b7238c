//! Rollout files, `rollouts/NAME.yaml`: reads and checks them, and resolves the waves to environments of the repository.
//!
//! `Repository::load_rollout` returns a [`RolloutFile`]. Its settings are [`crate::model::rollout`]; a rollout is carried out by
//! [`crate::rollout`]. A file with any problem is a report instead. Environments of earlier waves are left out of later ones; a
//! wave that is empty then is an error.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Diagnostic, Report, Repository, Selection,
    layer::{is_ignored, read_file, unexpected_file},
    node::{Node, Value},
    parse::PROBLEM_LIMIT,
    schema::{self, DocumentKind, Mismatch},
    sources::display_path,
    suggest,
};
use crate::model::{
    Code, Digest, EnvironmentName, Rollout, RolloutName,
    rollout::{Terms, Wave},
    rules,
};

/// The folder of the rollout files.
const FOLDER: &str = "rollouts";

/// A rollout with the environments of its waves. Exists only if the file passed every rule.
#[derive(Clone, Debug)]
pub struct RolloutFile {
    /// The name of the rollout.
    pub name: RolloutName,
    /// The path, relative to the repository.
    pub path: String,
    /// The digest of the contents without comments.
    pub digest: Digest,
    /// The purpose of the rollout.
    pub description: String,
    /// The environment whose service holds the lease.
    pub coordinator: EnvironmentName,
    /// True if each service verifies the changes before it applies them.
    pub gate: bool,
    /// The waves in order. No environment is in two of them.
    pub waves: Vec<RolloutWave>,
}

/// A wave with its environments.
#[derive(Clone, Debug)]
pub struct RolloutWave {
    /// The name.
    pub name: String,
    /// The terms: the defaults of the rollout with those of the wave.
    pub terms: Terms,
    /// The environments by name, without those of earlier waves.
    pub environments: Vec<EnvironmentName>,
}

impl RolloutFile {
    /// Returns all environments, wave by wave.
    pub fn environments(&self) -> impl Iterator<Item = &EnvironmentName> {
        self.waves.iter().flat_map(|wave| &wave.environments)
    }

    /// Removes the other environments, and waves without any.
    pub fn retain(&mut self, is_kept: impl Fn(&EnvironmentName) -> bool) {
        for wave in &mut self.waves {
            wave.environments.retain(&is_kept);
        }
        self.waves.retain(|wave| !wave.environments.is_empty());
    }
}

impl Repository {
    /// Returns the rollout files by name, and the problems of their folder.
    fn list_rollouts(&self) -> (BTreeMap<RolloutName, PathBuf>, Vec<Diagnostic>) {
        let entries = match self.files.list(Path::new(FOLDER)) {
            Ok(entries) => entries,
            Err(problem) => return (BTreeMap::new(), vec![problem]),
        };
        let (mut files, mut problems) = (BTreeMap::<RolloutName, PathBuf>::new(), Vec::new());
        for path in entries {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if is_ignored(name) {
                continue;
            }
            let stem = [".yaml", ".yml", ".json"].iter().find_map(|ending| name.strip_suffix(ending));
            match stem.map(str::parse::<RolloutName>) {
                None => problems.push(unexpected_file(&path, "rollouts are files that end in .yaml, .yml or .json")),
                Some(Err(rule)) => problems.push(Diagnostic::file(
                    Code::InvalidName,
                    &display_path(&path),
                    "the file's name is not the name of a rollout".to_owned(),
                    &format!("Rename the file: {rule}."),
                )),
                Some(Ok(name)) => match files.get(&name) {
                    Some(first) => {
                        let why = format!("the rollout is declared in {} already", display_path(first));
                        problems.push(unexpected_file(&path, &why));
                    }
                    None => drop(files.insert(name, path)),
                },
            }
        }
        (files, problems)
    }

    /// Returns the names of the rollouts.
    pub fn rollout_names(&self) -> Vec<RolloutName> {
        self.list_rollouts().0.into_keys().collect()
    }

    /// Loads a rollout by its name, or reports its problems. None if there is no such file.
    pub fn load_rollout(&self, name: &RolloutName) -> Option<Result<RolloutFile, Report>> {
        let path = self.list_rollouts().0.remove(name)?;
        Some(self.read_rollout(name, &path).map_err(|problems| Report::new(problems, 0, 1)))
    }

    /// Checks all rollout files.
    pub fn check_rollouts(&self) -> Report {
        let (files, mut problems) = self.list_rollouts();
        for (name, path) in &files {
            problems.extend(self.read_rollout(name, path).err().into_iter().flatten());
        }
        Report::new(problems, 0, files.len())
    }

    fn read_rollout(&self, name: &RolloutName, path: &Path) -> Result<RolloutFile, Vec<Diagnostic>> {
        let (node, problems) = read_file(&self.files, path, &self.builder);
        let node = node.filter(|_| problems.is_empty()).ok_or(problems)?;
        let document = node.to_json();
        let mut checker = RolloutChecker { repository: self, node: &node, problems: Vec::new() };
        checker.check_schema(&document);
        if !checker.problems.is_empty() {
            return Err(checker.problems);
        }
        let Ok(rollout) = serde_json::from_value::<Rollout>(document.clone()) else {
            let remedy = "`mailwright schema rollout` prints the format.";
            return Err(vec![Diagnostic::file(
                Code::InvalidValue,
                &display_path(path),
                "the rollout is invalid".to_owned(),
                remedy,
            )]);
        };
        let waves = checker.resolve_waves(&rollout);
        checker.check_addresses(&rollout);
        let coordinator = checker.find_coordinator(&rollout, &waves);
        match coordinator {
            Some(coordinator) if checker.problems.is_empty() => Ok(RolloutFile {
                name: name.clone(),
                path: display_path(path),
                digest: Digest::of_value(&document),
                description: rollout.description,
                coordinator,
                gate: rollout.gate,
                waves,
            }),
            _ => Err(checker.problems),
        }
    }
}

/// Checks one rollout file and collects its problems.
struct RolloutChecker<'a> {
    repository: &'a Repository,
    node: &'a Arc<Node>,
    problems: Vec<Diagnostic>,
}

impl RolloutChecker<'_> {
    fn report(&mut self, pointer: &str, at_key: bool, code: Code, message: String, remedy: String) {
        let (key_span, found) = self.node.nearest(pointer);
        let key = key_span.or_else(|| found.entries().first().map(|entry| entry.key_span));
        let span = if at_key { key.unwrap_or(found.span) } else { found.span };
        self.problems.push(self.repository.builder.diagnostic_at(span, code, message, remedy));
    }

    fn check_schema(&mut self, document: &serde_json::Value) {
        if !matches!(self.node.value, Value::Map(_)) {
            let remedy = "`mailwright schema rollout` prints the format.".to_owned();
            let message = "a rollout is a map of keys and values".to_owned();
            return self.report("", false, Code::WrongType, message, remedy);
        }
        for mismatch in schema::check(DocumentKind::Rollout, document).into_iter().take(PROBLEM_LIMIT) {
            let Mismatch { pointer, at_key, problem } = mismatch;
            let at_key = at_key || problem.code == Code::MissingKey;
            self.report(&pointer, at_key, problem.code, problem.message, problem.remedy);
        }
    }

    fn resolve_waves(&mut self, rollout: &Rollout) -> Vec<RolloutWave> {
        let mut taken: BTreeSet<EnvironmentName> = BTreeSet::new();
        let mut names: BTreeSet<&str> = BTreeSet::new();
        let mut waves = Vec::new();
        for (index, wave) in rollout.waves.iter().enumerate() {
            let pointer = format!("/waves/{index}");
            if !names.insert(&wave.name) {
                let message = format!("there is a wave `{}` already", wave.name);
                let remedy = "Give each wave a unique name; the journal identifies waves by name.".to_owned();
                self.report(&format!("{pointer}/name"), false, Code::InvalidValue, message, remedy);
            }
            let Some(selected) = self.select_wave(wave, &pointer) else { continue };
            let environments: Vec<EnvironmentName> =
                selected.iter().filter(|name| !taken.contains(*name)).cloned().collect();
            if environments.is_empty() {
                let message =
                    format!("the wave `{}` is empty: earlier waves contain all of its environments", wave.name);
                let remedy = "Remove it, or move it before the wave that contains its environments.".to_owned();
                self.report(&format!("{pointer}/name"), false, Code::WaveEmpty, message, remedy);
            }
            taken.extend(environments.iter().cloned());
            waves.push(RolloutWave { name: wave.name.clone(), terms: wave.terms.or(&rollout.defaults), environments });
        }
        waves
    }

    /// Returns the environments that a wave selects by itself; none if it is invalid.
    fn select_wave(&mut self, wave: &Wave, pointer: &str) -> Option<Vec<EnvironmentName>> {
        let before = self.problems.len();
        if wave.environments.is_empty() && wave.selector.is_none() {
            let message = format!("the wave `{}` has neither `environments` nor `selector`", wave.name);
            let remedy = "Add `environments: ['*']` to select all that are left.".to_owned();
            self.report(&format!("{pointer}/name"), false, Code::MissingKey, message, remedy);
        }
        // Each pattern by itself first, so that a problem has its place.
        for (item, text) in wave.environments.iter().enumerate() {
            let place = format!("{pointer}/environments/{item}");
            match Selection::parse(std::slice::from_ref(text), &[]).and_then(|s| self.repository.select(&s)) {
                Err(error) => self.report(&place, false, error.code, error.message, error.remedy),
                Ok(found) => {
                    if let Some(name) = found.iter().find(|name| self.repository.is_abstract(name)) {
                        let message = format!("`{name}` is abstract: a layer that others extend");
                        let remedy = "Name an environment that extends it.".to_owned();
                        self.report(&place, false, Code::AbstractEnvironment, message, remedy);
                    }
                }
            }
        }
        if let Some(text) = &wave.selector
            && let Err(error) = Selection::parse(&[], std::slice::from_ref(text))
        {
            self.report(&format!("{pointer}/selector"), false, error.code, error.message, error.remedy);
        }
        if self.problems.len() > before {
            return None;
        }
        let selectors: Vec<String> = wave.selector.iter().cloned().collect();
        match Selection::parse(&wave.environments, &selectors).and_then(|s| self.repository.select(&s)) {
            Ok(found) => Some(found),
            Err(error) => {
                let message = format!("the wave `{}` selects nothing: {}", wave.name, error.message);
                self.report(&format!("{pointer}/selector"), false, Code::WaveEmpty, message, error.remedy);
                None
            }
        }
    }

    /// Checks that the recipient of each probe is an address, which a schema cannot.
    fn check_addresses(&mut self, rollout: &Rollout) {
        let own = (String::new(), &rollout.defaults);
        let waves = rollout.waves.iter().enumerate().map(|(index, wave)| (format!("/waves/{index}"), &wave.terms));
        for (pointer, terms) in std::iter::once(own).chain(waves) {
            let Some(probe) = terms.checks.as_ref().and_then(|checks| checks.probe.as_ref()) else { continue };
            if let Some((message, remedy)) = rules::address_problem(&probe.to) {
                self.report(&format!("{pointer}/checks/probe/to"), false, Code::InvalidAddress, message, remedy);
            }
        }
    }

    fn find_coordinator(&mut self, rollout: &Rollout, waves: &[RolloutWave]) -> Option<EnvironmentName> {
        let Some(wanted) = &rollout.coordinator else {
            return waves.first().and_then(|wave| wave.environments.first()).cloned();
        };
        let known = self.repository.environments();
        let found = known.iter().find(|name| name.as_str() == wanted);
        match found {
            Some(name) if !self.repository.is_abstract(name) => Some(name.clone()),
            Some(name) => {
                let message = format!("`{name}` is abstract, and has no service");
                let remedy = "Name an environment that has one.".to_owned();
                self.report("/coordinator", false, Code::AbstractEnvironment, message, remedy);
                None
            }
            None => {
                let remedy = match suggest::nearest(wanted, known.iter().map(EnvironmentName::as_str)) {
                    Some(meant) => format!("Did you mean `{meant}`?"),
                    None => "Name a folder under `environments/`.".to_owned(),
                };
                let message = format!("unknown environment `{}`", wanted.escape_debug());
                self.report("/coordinator", false, Code::UnknownEnvironment, message, remedy);
                None
            }
        }
    }
}
