//! `rollouts/NAME.yaml`: the shape by its schema, and its waves against the environments that there are.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Diagnostic, Report, Repository, Selection,
    layer::{is_ignored, read_file, unexpected},
    node::{Node, Value},
    parse::PROBLEM_LIMIT,
    schema::{self, Kind},
    sources::shown,
    suggest,
};
use crate::model::{
    Code, Digest, EnvironmentName, Rollout, RolloutName,
    rollout::{Terms, Wave},
    rules,
};

/// The folder that rollouts lie in.
const FOLDER: &str = "rollouts";

/// A rollout with the environments that its waves mean. Exists only if the file passed every rule.
#[derive(Clone, Debug)]
pub struct RolloutFile {
    /// Its name.
    pub name: RolloutName,
    /// Where it is, relative to the repository.
    pub path: String,
    /// The digest of what it says, comments apart.
    pub digest: Digest,
    /// What is rolled out, and why.
    pub description: String,
    /// The environment whose service keeps the lease.
    pub coordinator: EnvironmentName,
    /// Whether each service verifies what changes before it takes it.
    pub gate: bool,
    /// The waves, the first one first. No environment is in two.
    pub waves: Vec<RolloutWave>,
}

/// A wave with the environments that it means.
#[derive(Clone, Debug)]
pub struct RolloutWave {
    /// What it is called.
    pub name: String,
    /// What holds for it.
    pub terms: Terms,
    /// Its environments, by name; those of earlier waves left out.
    pub environments: Vec<EnvironmentName>,
}

impl RolloutFile {
    /// Every environment, wave by wave.
    pub fn environments(&self) -> impl Iterator<Item = &EnvironmentName> {
        self.waves.iter().flat_map(|wave| &wave.environments)
    }
}

impl Repository {
    /// The names of the rollouts, and what is wrong with their folder.
    fn rollout_files(&self) -> (BTreeMap<RolloutName, PathBuf>, Vec<Diagnostic>) {
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
                None => problems.push(unexpected(&path, "rollouts are files that end in .yaml, .yml or .json")),
                Some(Err(rule)) => problems.push(Diagnostic::file(
                    Code::InvalidName,
                    &shown(&path),
                    "the file's name is not the name of a rollout".to_owned(),
                    &format!("Rename the file: {rule}."),
                )),
                Some(Ok(name)) => match files.get(&name) {
                    Some(first) => {
                        let why = format!("the rollout is declared in {} already", shown(first));
                        problems.push(unexpected(&path, &why));
                    }
                    None => drop(files.insert(name, path)),
                },
            }
        }
        (files, problems)
    }

    /// The names of the rollouts.
    pub fn rollouts(&self) -> Vec<RolloutName> {
        self.rollout_files().0.into_keys().collect()
    }

    /// A rollout by its name; none if there is no such file, or everything that is wrong with it.
    pub fn rollout(&self, name: &RolloutName) -> Option<Result<RolloutFile, Report>> {
        let path = self.rollout_files().0.remove(name)?;
        Some(self.read_rollout(name, &path).map_err(|problems| Report::new(problems, 0, 1)))
    }

    /// Everything that is wrong with the rollouts.
    pub fn check_rollouts(&self) -> Report {
        let (files, mut problems) = self.rollout_files();
        for (name, path) in &files {
            problems.extend(self.read_rollout(name, path).err().into_iter().flatten());
        }
        Report::new(problems, 0, files.len())
    }

    fn read_rollout(&self, name: &RolloutName, path: &Path) -> Result<RolloutFile, Vec<Diagnostic>> {
        let (node, problems) = read_file(&self.files, path, &self.reporter);
        let node = node.filter(|_| problems.is_empty()).ok_or(problems)?;
        let document = node.to_json();
        let mut reading = Reading { repository: self, node: &node, problems: Vec::new() };
        reading.shape(&document);
        if !reading.problems.is_empty() {
            return Err(reading.problems);
        }
        let Ok(rollout) = serde_json::from_value::<Rollout>(document.clone()) else {
            let remedy = "`mailwright schema rollout` prints what belongs here.";
            return Err(vec![Diagnostic::file(
                Code::InvalidValue,
                &shown(path),
                "the rollout makes no sense as a whole".to_owned(),
                remedy,
            )]);
        };
        let waves = reading.waves(&rollout);
        reading.addresses(&rollout);
        let coordinator = reading.coordinator(&rollout, &waves);
        match coordinator {
            Some(coordinator) if reading.problems.is_empty() => Ok(RolloutFile {
                name: name.clone(),
                path: shown(path),
                digest: Digest::of_value(&document),
                description: rollout.description,
                coordinator,
                gate: rollout.gate,
                waves,
            }),
            _ => Err(reading.problems),
        }
    }
}

/// A file that is being read.
struct Reading<'a> {
    repository: &'a Repository,
    node: &'a Arc<Node>,
    problems: Vec<Diagnostic>,
}

impl Reading<'_> {
    fn tell(&mut self, pointer: &str, at_key: bool, code: Code, message: String, remedy: String) {
        let (key_span, found) = self.node.nearest(pointer);
        let key = key_span.or_else(|| found.entries().first().map(|entry| entry.key_span));
        let span = if at_key { key.unwrap_or(found.span) } else { found.span };
        self.problems.push(self.repository.reporter.at(span, code, message, remedy));
    }

    fn shape(&mut self, document: &serde_json::Value) {
        if !matches!(self.node.value, Value::Map(_)) {
            let remedy = "`mailwright schema rollout` prints what belongs here.".to_owned();
            let message = "a rollout is a map of keys and values".to_owned();
            return self.tell("", false, Code::WrongType, message, remedy);
        }
        for mismatch in schema::check(Kind::Rollout, document).into_iter().take(PROBLEM_LIMIT) {
            let at_key = mismatch.at_key || mismatch.problem.code == Code::MissingKey;
            self.tell(
                &mismatch.pointer,
                at_key,
                mismatch.problem.code,
                mismatch.problem.message,
                mismatch.problem.remedy,
            );
        }
    }

    fn waves(&mut self, rollout: &Rollout) -> Vec<RolloutWave> {
        let mut taken: BTreeSet<EnvironmentName> = BTreeSet::new();
        let mut names: BTreeSet<&str> = BTreeSet::new();
        let mut waves = Vec::new();
        for (index, wave) in rollout.waves.iter().enumerate() {
            let pointer = format!("/waves/{index}");
            if !names.insert(&wave.name) {
                let message = format!("there is a wave `{}` already", wave.name);
                let remedy = "Give each wave a name of its own; the journal tells them apart by it.".to_owned();
                self.tell(&format!("{pointer}/name"), false, Code::InvalidValue, message, remedy);
            }
            let Some(selected) = self.selected(wave, &pointer) else { continue };
            let environments: Vec<EnvironmentName> =
                selected.iter().filter(|name| !taken.contains(*name)).cloned().collect();
            if environments.is_empty() {
                let message = format!("nothing is left for the wave `{}`: earlier waves have it all", wave.name);
                let remedy = "Remove it, or put it before the wave that takes its environments.".to_owned();
                self.tell(&format!("{pointer}/name"), false, Code::WaveEmpty, message, remedy);
            }
            taken.extend(environments.iter().cloned());
            waves.push(RolloutWave { name: wave.name.clone(), terms: wave.terms.or(&rollout.defaults), environments });
        }
        waves
    }

    /// What a wave selects by itself; none if that cannot be told.
    fn selected(&mut self, wave: &Wave, pointer: &str) -> Option<Vec<EnvironmentName>> {
        let before = self.problems.len();
        if wave.environments.is_empty() && wave.selector.is_none() {
            let message = format!("the wave `{}` says neither `environments` nor `selector`", wave.name);
            let remedy = "Add `environments: ['*']` if all that are left are meant.".to_owned();
            self.tell(&format!("{pointer}/name"), false, Code::MissingKey, message, remedy);
        }
        // Each by itself first, so that a problem has its place.
        for (item, text) in wave.environments.iter().enumerate() {
            let place = format!("{pointer}/environments/{item}");
            match Selection::parse(std::slice::from_ref(text), &[]).and_then(|s| self.repository.select(&s)) {
                Err(error) => self.tell(&place, false, error.code, error.message, error.remedy),
                Ok(found) => {
                    if let Some(name) = found.iter().find(|name| self.repository.is_abstract(name)) {
                        let message = format!("`{name}` is abstract: a layer that others extend");
                        let remedy = "Name an environment that extends it.".to_owned();
                        self.tell(&place, false, Code::AbstractEnvironment, message, remedy);
                    }
                }
            }
        }
        if let Some(text) = &wave.selector
            && let Err(error) = Selection::parse(&[], std::slice::from_ref(text))
        {
            self.tell(&format!("{pointer}/selector"), false, error.code, error.message, error.remedy);
        }
        if self.problems.len() > before {
            return None;
        }
        let selectors: Vec<String> = wave.selector.iter().cloned().collect();
        match Selection::parse(&wave.environments, &selectors).and_then(|s| self.repository.select(&s)) {
            Ok(found) => Some(found),
            Err(error) => {
                let message = format!("the wave `{}` selects nothing: {}", wave.name, error.message);
                self.tell(&format!("{pointer}/selector"), false, Code::WaveEmpty, message, error.remedy);
                None
            }
        }
    }

    /// What the schema cannot tell of a probe: that its recipient is an address.
    fn addresses(&mut self, rollout: &Rollout) {
        let own = (String::new(), &rollout.defaults);
        let waves = rollout.waves.iter().enumerate().map(|(index, wave)| (format!("/waves/{index}"), &wave.terms));
        for (pointer, terms) in std::iter::once(own).chain(waves) {
            let Some(probe) = terms.checks.as_ref().and_then(|checks| checks.probe.as_ref()) else { continue };
            if let Some((message, remedy)) = rules::address_problem(&probe.to) {
                self.tell(&format!("{pointer}/checks/probe/to"), false, Code::InvalidAddress, message, remedy);
            }
        }
    }

    fn coordinator(&mut self, rollout: &Rollout, waves: &[RolloutWave]) -> Option<EnvironmentName> {
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
                self.tell("/coordinator", false, Code::AbstractEnvironment, message, remedy);
                None
            }
            None => {
                let remedy = match suggest::nearest(wanted, known.iter().map(EnvironmentName::as_str)) {
                    Some(meant) => format!("Did you mean `{meant}`?"),
                    None => "Name a folder under `environments/`.".to_owned(),
                };
                let message = format!("there is no environment `{}`", wanted.escape_debug());
                self.tell("/coordinator", false, Code::UnknownEnvironment, message, remedy);
                None
            }
        }
    }
}
