//! The repository: finds the environments, and reads each layer once however many extend it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use rayon::prelude::*;

use super::{
    Desired, Diagnostic, Report,
    environment::{Loaded, Loading, named_secrets, next_secret_path, provider_of, reader_of, secret_path},
    layer::{Layer, Reporter, is_ignored, unexpected},
    node::Entry,
    selection::Labels,
    sources::{Files, Sources, Span, shown},
    suggest, variables,
};
use crate::{
    credential::CredentialKind,
    model::{Code, Destination, EnvironmentName, Place, ProfileName, SecretReference, code::Severity},
    vfs::Tree,
};

/// What names a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// Profiles.
    pub profiles: Vec<ProfileName>,
    /// Whether the application that reads the directory for verify does.
    pub reader: bool,
    /// What its fields need.
    pub kinds: Vec<CredentialKind>,
    /// Where each of them would send it; none where its files do not say so soundly.
    pub destinations: BTreeMap<String, Option<Destination>>,
}

/// Why there is no one destination that a secret can be sealed for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoDestination {
    /// Nothing names it.
    Unused,
    /// What names it cannot be understood.
    Unclear(String),
    /// Two would send it to different places.
    Different(Box<[(String, Destination); 2]>),
}

impl Uses {
    /// Notes what a field needs.
    fn add_kind(&mut self, key: &str) {
        let kind = CredentialKind::of_field(key).filter(|kind| !self.kinds.contains(kind));
        self.kinds.extend(kind);
    }

    /// For people.
    pub fn names(&self) -> Vec<String> {
        let reader = self.reader.then(|| "verify.reader".to_owned());
        self.profiles.iter().map(ToString::to_string).chain(reader).collect()
    }

    /// The one destination of all that name the secret: where their connections are encrypted differently, the weakest,
    /// which admits the others.
    pub fn destination(&self) -> Result<&Destination, NoDestination> {
        let mut common: Option<(&String, &Destination)> = None;
        for (user, destination) in &self.destinations {
            let destination = destination.as_ref().ok_or_else(|| NoDestination::Unclear(user.clone()))?;
            match common {
                Some((_, known)) if known.admits(destination) => {}
                Some((other, known)) if !destination.admits(known) => {
                    let pair = [(other.clone(), known.clone()), (user.clone(), destination.clone())];
                    return Err(NoDestination::Different(Box::new(pair)));
                }
                _ => common = Some((user, destination)),
            }
        }
        common.map(|(_, destination)| destination).ok_or(NoDestination::Unused)
    }
}

/// The repository.
pub struct Repository {
    root: PathBuf,
    pub(super) files: Files,
    layers: BTreeMap<EnvironmentName, Arc<OnceLock<Arc<Layer>>>>,
    pub(super) reporter: Reporter,
    /// What is wrong with `environments/` itself.
    problems: Vec<Diagnostic>,
}

impl Repository {
    /// Finds the environments below `root`. Reads no file yet.
    pub fn open(root: &Path) -> Result<Self, Report> {
        Self::open_files(root, Files::Disk(root.to_owned()))
    }

    /// The same in the tree of a revision. `root` is where the repository lies on the disk.
    pub fn open_tree(root: &Path, tree: Tree) -> Result<Self, Report> {
        Self::open_files(root, Files::Tree(tree))
    }

    fn open_files(root: &Path, files: Files) -> Result<Self, Report> {
        let entries = files.list(Path::new("environments")).map_err(|problem| Report::new([problem], 0, 0))?;
        let mut layers = BTreeMap::new();
        let mut problems = Vec::new();
        for path in entries {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            if is_ignored(&name) {
                continue;
            }
            match (files.is_folder(&path), name.parse::<EnvironmentName>()) {
                (true, Ok(name)) => {
                    layers.insert(name, Arc::default());
                }
                (true, Err(rule)) => problems.push(Diagnostic::file(
                    Code::InvalidName,
                    &shown(&path),
                    "the folder's name is not the name of an environment".to_owned(),
                    &format!("Rename it: {rule}."),
                )),
                (false, _) => problems.push(unexpected(&path, "each environment is a folder")),
            }
        }
        if layers.is_empty() {
            problems.push(Diagnostic::file(
                Code::UnknownEnvironment,
                "environments",
                "there is no environment here".to_owned(),
                "Make a folder for each, with an environment.yaml: environments/prod/environment.yaml.",
            ));
        }
        let reporter = Reporter { sources: Arc::new(Sources::default()) };
        Ok(Self { root: root.to_owned(), files, layers, reporter, problems })
    }

    /// Takes the layers from `other` that `is_same` says are equal on both sides, so that they are read and parsed
    /// once. Nothing may have been read of this one.
    pub fn share(&mut self, other: &Repository, is_same: impl Fn(&EnvironmentName) -> bool) {
        self.reporter = other.reporter.clone();
        for (name, layer) in &mut self.layers {
            if let Some(theirs) = other.layers.get(name).filter(|_| is_same(name)) {
                *layer = Arc::clone(theirs);
            }
        }
    }

    /// The environment and the layers that it extends, as far as they are there.
    pub fn chain(&self, name: &EnvironmentName) -> Vec<EnvironmentName> {
        let mut chain = Vec::new();
        let mut next = self.layers.contains_key(name).then(|| name.clone());
        while let Some(current) = next {
            let wanted = self.layer(&current).and_then(|layer| layer.extends.clone());
            chain.push(current);
            next = wanted
                .and_then(|(wanted, _)| wanted.parse::<EnvironmentName>().ok())
                .filter(|wanted| self.layers.contains_key(wanted) && !chain.contains(wanted));
        }
        chain
    }

    /// Reads what these environments are made of, each layer by one task. Whoever loads many environments at once
    /// does this first: a thread that reads a shared layer must not come upon another environment that waits for it.
    pub fn read_ahead(&self, names: &[EnvironmentName]) {
        let layers: BTreeSet<EnvironmentName> =
            names.par_iter().map(|name| self.chain(name)).collect::<Vec<_>>().into_iter().flatten().collect();
        layers.into_par_iter().for_each(|name| {
            if let Some(layer) = self.layer(&name) {
                layer.profiles(&self.files, &self.reporter);
            }
        });
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The environments, by name, abstract layers among them.
    pub fn environments(&self) -> Vec<EnvironmentName> {
        self.layers.keys().cloned().collect()
    }

    /// Whether an environment is a layer that is only extended.
    pub fn is_abstract(&self, name: &EnvironmentName) -> bool {
        self.layer(name).is_some_and(|layer| layer.is_abstract)
    }

    /// What the files of an environment amount to; or everything that is wrong with them.
    pub fn load(&self, name: &EnvironmentName) -> Result<Desired, Report> {
        let Loaded { desired, mut problems, age_files } = self.loaded(name);
        problems.extend(self.problems.clone());
        if desired.is_none() && self.is_abstract(name) {
            problems.push(Diagnostic::file(
                Code::AbstractEnvironment,
                &format!("environments/{name}/environment.yaml"),
                format!("`{name}` is abstract: a layer that others extend"),
                "Name an environment that extends it.",
            ));
        }
        desired.filter(|_| self.problems.is_empty()).ok_or_else(|| {
            // Of the files that were read for others nothing is said here.
            let own = self.loading(name).map(|loading| loading.layers.iter().map(|layer| layer.files()).sum());
            Report::new(problems, 1, own.unwrap_or_else(|_| self.files()) + age_files)
        })
    }

    /// Everything that is wrong with the files of these environments, so many of them looked at at once.
    pub fn check_in_parallel(&self, names: &[EnvironmentName], parallel: usize) -> Report {
        // The pool has as many threads as there are cores; only fewer need one of their own.
        if parallel >= rayon::current_num_threads() {
            return self.check(names);
        }
        match rayon::ThreadPoolBuilder::new().num_threads(parallel).build() {
            Ok(pool) => pool.install(|| self.check(names)),
            Err(_) => self.check(names),
        }
    }

    /// Everything that is wrong with the files of these environments.
    pub fn check(&self, names: &[EnvironmentName]) -> Report {
        self.read_ahead(names);
        let loaded: Vec<(EnvironmentName, Loaded)> =
            names.par_iter().map(|name| (name.clone(), self.loaded(name))).collect();
        let has_error = |loaded: &Loaded| loaded.problems.iter().any(|problem| problem.severity == Severity::Error);
        let failed = loaded.iter().filter(|(_, loaded)| has_error(loaded)).map(|(name, _)| name.to_string()).collect();
        let age_files: usize = loaded.iter().map(|(_, loaded)| loaded.age_files).sum();
        let mut problems = self.problems.clone();
        for (name, loaded) in loaded {
            let own = [Path::new("environments").join(name.as_str()), Path::new("secrets").join(name.as_str())];
            problems.extend(loaded.problems.into_iter().map(|problem| {
                // A circle belongs to all that are in it.
                let elsewhere = problem.code != Code::LayerCycle
                    && !own.iter().any(|folder| Path::new(&problem.file).starts_with(folder));
                Diagnostic { environment: elsewhere.then(|| name.to_string()), ..problem }
            }));
        }
        Report { failed, ..Report::new(problems, names.len(), self.files() + age_files) }
    }

    /// The address of an environment's service, as far as the files say so. Asks for no more to be right than that.
    pub fn service_address(&self, name: &EnvironmentName) -> Option<String> {
        let loading = self.loading(name).ok()?;
        let merged = loading.merged_environment()?;
        let values = Loading::variables(&merged);
        let address = variables::put_in(&merged.get("service")?.node, &values, &mut Vec::new());
        address.get("address")?.node.as_str().map(str::to_owned)
    }

    /// What an environment's own `environment.yaml` says, nothing laid under it and no variable put in. None if it cannot
    /// be read.
    pub fn own_document(&self, name: &EnvironmentName) -> Option<serde_json::Value> {
        self.layer(name)?.environment.as_ref().map(|node| node.to_json())
    }

    /// The labels of an environment, as far as the files say so. Asks for no more to be right than that.
    pub fn labels(&self, name: &EnvironmentName) -> Labels {
        let Some(merged) = self.loading(name).ok().and_then(|loading| loading.merged_environment()) else {
            return Labels::new();
        };
        let Some(labels) = merged.get("labels") else { return Labels::new() };
        let values = Loading::variables(&merged);
        let labels = variables::put_in(&labels.node, &values, &mut Vec::new());
        let text = |entry: &Entry| Some((entry.key.to_string(), entry.node.as_str()?.to_owned()));
        labels.entries().iter().filter_map(text).collect()
    }

    /// The names of the profiles that an environment's files declare, whether they are right or not.
    pub fn profile_names(&self, name: &EnvironmentName) -> BTreeSet<ProfileName> {
        self.loading(name).map(|loading| loading.merged_profiles().into_keys().collect()).unwrap_or_default()
    }

    /// Which profiles name which secret, whether its file is there or not.
    pub fn used_secrets(&self, name: &EnvironmentName) -> BTreeMap<SecretReference, Uses> {
        let mut used: BTreeMap<SecretReference, Uses> = BTreeMap::new();
        let Ok(loading) = self.loading(name) else { return used };
        let environment = loading.merged_environment();
        let values = environment.as_deref().map(Loading::variables).unwrap_or_default();
        if let Some(verify) = environment.as_ref().and_then(|node| node.get("verify")) {
            let verify = variables::put_in(&verify.node, &values, &mut Vec::new());
            for (key, reference) in named_secrets(&verify) {
                let destination = reader_of(&verify)
                    .filter(|reader| reader.credential.secret() == Some(&reference))
                    .map(|reader| reader.destination());
                let uses = used.entry(reference).or_default();
                uses.reader = true;
                uses.add_kind(&key);
                uses.destinations.insert("verify.reader".to_owned(), destination);
            }
        }
        for (profile, node) in loading.merged_profiles() {
            let node = variables::put_in(&node, &values, &mut Vec::new());
            for (key, reference) in named_secrets(&node) {
                let destination = provider_of(&node)
                    .filter(|provider| provider.secret().is_some_and(|(own, _)| *own == reference))
                    .map(|provider| provider.destination());
                let uses = used.entry(reference).or_default();
                uses.profiles.push(profile.clone());
                uses.add_kind(&key);
                uses.destinations.insert(profile.to_string(), destination);
            }
        }
        used
    }

    /// Where the file of a secret lies, relative to the repository.
    pub fn secret_path(name: &EnvironmentName, reference: &SecretReference) -> PathBuf {
        secret_path(name, reference)
    }

    /// Where the file of a secret's next value lies, relative to the repository.
    pub fn next_secret_path(name: &EnvironmentName, reference: &SecretReference) -> PathBuf {
        next_secret_path(name, reference)
    }

    /// The environment with its layers; where these cannot be found, by itself.
    pub(super) fn readable<'a>(&'a self, name: &'a EnvironmentName) -> Option<Loading<'a>> {
        self.loading(name).ok().or_else(|| {
            let layers = vec![self.layer(name)?];
            Some(Loading { files: &self.files, name, layers, reporter: &self.reporter, is_whole: false })
        })
    }

    /// The names of an environment's layers, the lowest first, as far as they can be found.
    pub(super) fn layer_names(&self, name: &EnvironmentName) -> Vec<EnvironmentName> {
        let mut names = vec![name.clone()];
        while let Some(wanted) = names.last().and_then(|last| self.layer(last)?.extends.clone())
            && let Ok(wanted) = wanted.0.parse::<EnvironmentName>()
            && self.layers.contains_key(&wanted)
            && !names.contains(&wanted)
        {
            names.push(wanted);
        }
        names.reverse();
        names
    }

    pub(super) fn place(&self, span: Span) -> Place {
        self.reporter.sources.place(span)
    }

    fn layer(&self, name: &EnvironmentName) -> Option<Arc<Layer>> {
        let cell = self.layers.get(name)?;
        Some(Arc::clone(cell.get_or_init(|| Arc::new(Layer::read(&self.files, name, &self.reporter)))))
    }

    /// Reads the own file of every environment, on all cores.
    pub(super) fn read_all(&self) {
        self.layers.par_iter().for_each(|(name, _)| drop(self.layer(name)));
    }

    /// How many files of layers were read.
    fn files(&self) -> usize {
        self.layers.values().filter_map(|layer| layer.get()).map(|layer| layer.files()).sum()
    }

    fn loaded(&self, name: &EnvironmentName) -> Loaded {
        match self.loading(name) {
            Ok(loading) => loading.load(),
            // Its own files are looked at all the same, as far as that can be done without what they are laid over.
            Err(problems) => {
                let layers = self.layer(name).into_iter().collect();
                let alone =
                    Loading { files: &self.files, name, layers, reporter: &self.reporter, is_whole: false }.load();
                Loaded { problems: [problems, alone.problems].concat(), ..alone }
            }
        }
    }

    /// The environment with its layers, found along `extends`.
    fn loading<'a>(&'a self, name: &'a EnvironmentName) -> Result<Loading<'a>, Vec<Diagnostic>> {
        let mut layers: Vec<Arc<Layer>> = Vec::new();
        let mut seen: Vec<EnvironmentName> = Vec::new();
        let mut next = Some(name.clone());
        while let Some(current) = next {
            let Some(layer) = self.layer(&current) else { break };
            seen.push(current);
            next = None;
            if let Some((wanted, span)) = &layer.extends {
                let found = wanted.parse::<EnvironmentName>().ok().filter(|wanted| self.layers.contains_key(wanted));
                match found {
                    Some(found) if seen.contains(&found) => {
                        let circle: Vec<String> = seen.iter().chain([&found]).map(|name| format!("`{name}`")).collect();
                        let message = format!("`extends` goes in a circle: {}", circle.join(" extends "));
                        let problem = self.reporter.at(
                            *span,
                            Code::LayerCycle,
                            message,
                            "Take one of these out.".to_owned(),
                            false,
                        );
                        return Err(vec![problem]);
                    }
                    Some(found) => next = Some(found),
                    None => {
                        let known = self.layers.keys().map(EnvironmentName::as_str);
                        let remedy = match suggest::nearest(wanted, known) {
                            Some(meant) => format!("Did you mean `{meant}`?"),
                            None => "Name a folder under `environments/`.".to_owned(),
                        };
                        let message = format!("there is no folder `environments/{}`", wanted.escape_debug());
                        let mut problems = vec![self.reporter.at(*span, Code::LayerMissing, message, remedy, false)];
                        problems.extend(layer.problems.clone());
                        return Err(problems);
                    }
                }
            }
            layers.push(layer);
        }
        layers.reverse();
        let is_whole = layers.iter().all(|layer| layer.is_whole());
        Ok(Loading { files: &self.files, name, layers, reporter: &self.reporter, is_whole })
    }
}
