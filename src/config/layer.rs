//! A layer: one folder under `environments/`, not yet merged. `environment.yaml` and `access.yaml` are parsed at once, the profiles
//! on first use.
//!
//! [`read_file`], [`is_ignored`] and [`unexpected_file`] serve other files of the repository as well.
//!
//! A missing or unreadable file is a problem of the layer, and the rest is read. [`LayerProfiles::unread`] names the profiles that
//! the layer has but that could not be read.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use rayon::prelude::*;

use super::{
    Diagnostic,
    diagnostic::DiagnosticBuilder,
    located::LocatedProblem,
    node::{Node, Value},
    parse::{Parsed, parse},
    sources::{FileSource, Span, display_path},
};
use crate::model::{Code, EnvironmentName, ProfileName};

/// A layer, as its folder has it.
#[derive(Debug)]
pub(super) struct Layer {
    /// `environment.yaml`; none if it is missing or unreadable.
    pub(super) environment: Option<Arc<Node>>,
    /// `access.yaml`; none if there is none, or if it is unreadable.
    pub(super) access: Option<Arc<Node>>,
    /// The value of `extends`, and its place.
    pub(super) extends: Option<(String, Span)>,
    pub(super) is_abstract: bool,
    /// The problems of the folder itself, without those of its profiles.
    pub(super) problems: Vec<Diagnostic>,
    files: usize,
    /// The path of the `profiles` folder, if there is one.
    profiles_folder: Option<PathBuf>,
    /// The profiles. Read on first use: many commands need no more than the service's address.
    profiles: OnceLock<LayerProfiles>,
}

/// The parsed profiles of a layer.
#[derive(Debug, Default)]
pub(super) struct LayerProfiles {
    /// The documents by profile. A null removes an inherited profile.
    pub(super) nodes: BTreeMap<ProfileName, Arc<Node>>,
    /// The problems of the profile files, each file on its own.
    pub(super) problems: Vec<Diagnostic>,
    /// The profiles whose file is unreadable, or is not a map or null.
    pub(super) unread: BTreeSet<ProfileName>,
    pub(super) files: usize,
}

impl Layer {
    /// Returns the profiles of the layer, with their problems. Reads them on the first call.
    pub(super) fn profiles(&self, files: &FileSource, builder: &DiagnosticBuilder) -> &LayerProfiles {
        self.profiles.get_or_init(|| {
            let mut profiles = LayerProfiles::default();
            if let Some(folder) = &self.profiles_folder {
                profiles.read(files, folder, builder);
            }
            profiles
        })
    }

    /// Returns true if `environment.yaml` could be read, and its `extends` key too.
    pub(super) fn has_readable_extends(&self) -> bool {
        self.environment
            .as_ref()
            .is_some_and(|node| node.get("extends").is_none_or(|entry| entry.node.as_str().is_some()))
    }

    /// Returns the number of files that were read so far.
    pub(super) fn file_count(&self) -> usize {
        self.files + self.profiles.get().map_or(0, |profiles| profiles.files)
    }

    /// Reads the `environment.yaml` of a folder, and collects the folder's problems.
    pub(super) fn read(files: &FileSource, name: &EnvironmentName, builder: &DiagnosticBuilder) -> Self {
        let folder = Path::new("environments").join(name.as_str());
        let mut layer = Self {
            environment: None,
            access: None,
            extends: None,
            is_abstract: false,
            problems: Vec::new(),
            files: 0,
            profiles_folder: None,
            profiles: OnceLock::new(),
        };
        match files.list(&folder) {
            Ok(entries) => layer.read_folder(files, &folder, entries, builder),
            Err(problem) => layer.problems.push(problem),
        }
        layer
    }

    fn read_folder(&mut self, files: &FileSource, folder: &Path, entries: Vec<PathBuf>, builder: &DiagnosticBuilder) {
        let (mut environments, mut policies) = (Vec::new(), Vec::new());
        for path in entries {
            match file_name(&path) {
                "environment.yaml" | "environment.yml" | "environment.json" => environments.push(path),
                "access.yaml" | "access.yml" | "access.json" => policies.push(path),
                "profiles" => self.profiles_folder = Some(path),
                name if is_ignored(name) => {}
                _ => {
                    self.problems.push(unexpected_file(
                        &path,
                        "expected `environment.yaml`, `access.yaml` or the folder `profiles`",
                    ));
                }
            }
        }
        if let Some(second) = environments.get(1) {
            self.problems.push(unexpected_file(second, "the environment is declared in another file already"));
        }
        if let Some(second) = policies.get(1) {
            self.problems.push(unexpected_file(second, "the access policy is declared in another file already"));
        }
        if let Some(path) = policies.first() {
            self.read_access(files, path, builder);
        }
        let Some(path) = environments.first() else {
            let file = display_path(&folder.join("environment.yaml"));
            let remedy = "Create it; `description: ...` is enough to begin with.";
            self.problems.push(Diagnostic::file(Code::Unreadable, &file, "the file is missing".to_owned(), remedy));
            return;
        };
        self.files += 1;
        let (node, problems) = read_file(files, path, builder);
        self.problems.extend(problems);
        if let Some(node) = node {
            self.set_environment(node, builder);
        }
    }

    fn read_access(&mut self, files: &FileSource, path: &Path, builder: &DiagnosticBuilder) {
        self.files += 1;
        let (node, problems) = read_file(files, path, builder);
        self.problems.extend(problems);
        match node {
            Some(node) if matches!(node.value, Value::Map(_)) => self.access = Some(node),
            Some(node) if !matches!(node.value, Value::Invalid) => self.problems.push(builder.diagnostic_at(
                node.span,
                Code::WrongType,
                "an access policy is a map of keys and values".to_owned(),
                "`mailwright schema access` prints the format.".to_owned(),
            )),
            _ => {}
        }
    }

    /// Reads `extends` and `abstract`, which are needed before layers are merged. The schema checks them again later.
    fn set_environment(&mut self, node: Arc<Node>, builder: &DiagnosticBuilder) {
        if !matches!(node.value, Value::Map(_)) {
            self.problems.push(builder.diagnostic_at(
                node.span,
                Code::WrongType,
                "an environment is a map of keys and values".to_owned(),
                "`mailwright schema environment` prints the format.".to_owned(),
            ));
            return;
        }
        if let Some(entry) = node.get("extends") {
            self.extends = entry.node.as_str().map(|name| (name.to_owned(), entry.node.span));
        }
        // An unreadable `abstract` counts as true, so that missing keys are not reported.
        self.is_abstract =
            node.get("abstract").is_some_and(|entry| matches!(entry.node.value, Value::Bool(true) | Value::Invalid));
        self.environment = Some(node);
    }
}

impl LayerProfiles {
    fn read(&mut self, from: &FileSource, folder: &Path, builder: &DiagnosticBuilder) {
        let entries = match from.list(folder) {
            Ok(entries) => entries,
            Err(problem) => return self.problems.push(problem),
        };
        let mut files: Vec<(ProfileName, PathBuf)> = Vec::new();
        for path in entries {
            let name = file_name(&path);
            if is_ignored(name) {
                continue;
            }
            let stem = [".yaml", ".yml", ".json"].iter().find_map(|ending| name.strip_suffix(ending));
            match stem.map(str::parse::<ProfileName>) {
                None => {
                    self.problems.push(unexpected_file(&path, "profiles are files that end in .yaml, .yml or .json"));
                }
                Some(Err(rule)) => self.problems.push(Diagnostic::file(
                    Code::InvalidName,
                    &display_path(&path),
                    "the file's name is not the name of a profile".to_owned(),
                    &format!("Rename the file: {rule}."),
                )),
                Some(Ok(name)) => match files.iter().find(|(other, _)| *other == name) {
                    Some((_, first)) => {
                        let why = format!("the profile is declared in {} already", display_path(first));
                        self.problems.push(unexpected_file(&path, &why));
                    }
                    None => files.push((name, path)),
                },
            }
        }
        self.files += files.len();
        let read: Vec<_> = files.into_par_iter().map(|(name, path)| (name, read_file(from, &path, builder))).collect();
        for (name, (node, problems)) in read {
            self.problems.extend(problems);
            match node {
                Some(node) if matches!(node.value, Value::Map(_) | Value::Null) => {
                    self.nodes.insert(name, node);
                    continue;
                }
                None => {}
                Some(node) if matches!(node.value, Value::Invalid) => {}
                Some(node) => self.problems.push(builder.diagnostic_at(
                    node.span,
                    Code::WrongType,
                    "a profile is a map of keys and values".to_owned(),
                    "`mailwright schema profile` prints the format.".to_owned(),
                )),
            }
            self.unread.insert(name);
        }
    }
}

/// Reads and parses a file, and returns its problems.
pub(super) fn read_file(
    files: &FileSource,
    path: &Path,
    builder: &DiagnosticBuilder,
) -> (Option<Arc<Node>>, Vec<Diagnostic>) {
    let text = match files.read_text(path) {
        Ok(text) => text,
        Err(problem) => return (None, vec![problem]),
    };
    let id = builder.sources.add(display_path(path), text);
    let Some(source) = builder.sources.get(id) else { return (None, Vec::new()) };
    let Parsed { node, problems } = parse(id, &source.text);
    let report =
        |LocatedProblem { span, problem }| builder.diagnostic_at(span, problem.code, problem.message, problem.remedy);
    (node, problems.into_iter().map(report).collect())
}

fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// Returns true for files that people and tools leave in a folder and that are not read: dot files and README files.
pub fn is_ignored(name: &str) -> bool {
    name.starts_with('.') || name.eq_ignore_ascii_case("readme.md") || name.eq_ignore_ascii_case("readme")
}

pub(super) fn unexpected_file(path: &Path, why: &str) -> Diagnostic {
    Diagnostic::file(
        Code::UnexpectedFile,
        &display_path(path),
        format!("unexpected file or folder: {why}"),
        "Remove it, or rename it.",
    )
}
