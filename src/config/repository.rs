//! The repository: finds the environments, and reads each layer once however many extend it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use rayon::prelude::*;

use super::{
    Desired, Diagnostic, Report,
    environment::{Loaded, Loading, named_secrets, secret_path},
    layer::{Layer, Reporter, is_ignored, unexpected},
    node::Entry,
    selection::Labels,
    sources::{Sources, list, shown},
    suggest, variables,
};
use crate::model::{Code, EnvironmentName, ProfileName, SecretReference};

/// What names a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// Profiles.
    pub profiles: Vec<ProfileName>,
    /// Whether the application that reads the directory for verify does.
    pub reader: bool,
}

impl Uses {
    /// For people.
    pub fn names(&self) -> Vec<String> {
        let reader = self.reader.then(|| "verify.reader".to_owned());
        self.profiles.iter().map(ToString::to_string).chain(reader).collect()
    }
}

/// The repository.
pub struct Repository {
    root: PathBuf,
    layers: BTreeMap<EnvironmentName, OnceLock<Arc<Layer>>>,
    reporter: Reporter,
    /// What is wrong with `environments/` itself.
    problems: Vec<Diagnostic>,
}

impl Repository {
    /// Finds the environments below `root`. Reads no file yet.
    pub fn open(root: &Path) -> Result<Self, Report> {
        let entries = list(root, Path::new("environments")).map_err(|problem| Report::new([problem], 0, 0))?;
        let mut layers = BTreeMap::new();
        let mut problems = Vec::new();
        for path in entries {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            if is_ignored(&name) {
                continue;
            }
            match (root.join(&path).is_dir(), name.parse::<EnvironmentName>()) {
                (true, Ok(name)) => {
                    layers.insert(name, OnceLock::new());
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
        Ok(Self { root: root.to_owned(), layers, reporter, problems })
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
        match desired.filter(|_| self.problems.is_empty()) {
            Some(desired) => Ok(desired),
            None => Err(Report::new(problems, 1, self.files() + age_files)),
        }
    }

    /// Everything that is wrong with the files of these environments.
    pub fn check(&self, names: &[EnvironmentName]) -> Report {
        let loaded: Vec<(EnvironmentName, Loaded)> =
            names.par_iter().map(|name| (name.clone(), self.loaded(name))).collect();
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
        Report::new(problems, names.len(), self.files() + age_files)
    }

    /// The address of an environment's service, as far as the files say so. Asks for no more to be right than that.
    pub fn service_address(&self, name: &EnvironmentName) -> Option<String> {
        let loading = self.loading(name).ok()?;
        let merged = loading.merged_environment()?;
        let values = Loading::variables(&merged);
        let address = variables::put_in(&merged.get("service")?.node, &values, &mut Vec::new());
        address.get("address")?.node.as_str().map(str::to_owned)
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
            for reference in named_secrets(&verify) {
                used.entry(reference).or_default().reader = true;
            }
        }
        for (profile, node) in loading.merged_profiles() {
            let node = variables::put_in(&node, &values, &mut Vec::new());
            for reference in named_secrets(&node) {
                used.entry(reference).or_default().profiles.push(profile.clone());
            }
        }
        used
    }

    /// Where the file of a secret lies, relative to the repository.
    pub fn secret_path(name: &EnvironmentName, reference: &SecretReference) -> PathBuf {
        secret_path(name, reference)
    }

    fn layer(&self, name: &EnvironmentName) -> Option<Arc<Layer>> {
        let cell = self.layers.get(name)?;
        Some(Arc::clone(cell.get_or_init(|| Arc::new(Layer::read(&self.root, name, &self.reporter)))))
    }

    /// How many files of layers were read.
    fn files(&self) -> usize {
        self.layers.values().filter_map(OnceLock::get).map(|layer| layer.files()).sum()
    }

    fn loaded(&self, name: &EnvironmentName) -> Loaded {
        match self.loading(name) {
            Ok(loading) => loading.load(),
            // Its own files are looked at all the same, as far as that can be done without what they are laid over.
            Err(problems) => {
                let layers = self.layer(name).into_iter().collect();
                let alone =
                    Loading { root: &self.root, name, layers, reporter: &self.reporter, is_whole: false }.load();
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
        Ok(Loading { root: &self.root, name, layers, reporter: &self.reporter, is_whole })
    }
}
