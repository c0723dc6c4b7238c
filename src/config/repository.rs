//! [`Repository`]: the environments below a folder or in a Git revision. Entry point of this module.
//!
//! [`Repository::load`] returns the desired state of one environment or its problems, [`Repository::check`] the problems of many;
//! other methods read single facts, such as the service's address, of files that may have problems, and return none or nothing
//! where those cannot be read. Each layer is read once, however many environments extend it. It writes nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use rayon::prelude::*;

use super::{
    Desired, Diagnostic, Report,
    diagnostic::DiagnosticBuilder,
    documents::{EffectiveDocuments, labels_in},
    layer::{Layer, is_ignored, unexpected_file},
    loader::{Loaded, Loader},
    selection::Labels,
    sources::{FileSource, Sources, Span, display_path},
};
use crate::{
    model::{Code, EnvironmentName, Place, ProfileName, code::Severity, watch_settings::ApplyMode},
    vfs::Tree,
};

/// A repository of environments, on disk or in a Git revision.
pub struct Repository {
    root: PathBuf,
    pub(super) files: FileSource,
    layers: BTreeMap<EnvironmentName, Arc<OnceLock<Arc<Layer>>>>,
    pub(super) builder: DiagnosticBuilder,
    /// The problems of `environments/` itself.
    problems: Vec<Diagnostic>,
}

impl Repository {
    /// Finds the environments below `root`. Reads no file yet.
    pub fn open(root: &Path) -> Result<Self, Report> {
        Self::open_files(root, FileSource::Disk(root.to_owned()))
    }

    /// Finds the environments in the tree of a revision. `root` is the repository's folder on disk.
    pub fn open_tree(root: &Path, tree: Tree) -> Result<Self, Report> {
        Self::open_files(root, FileSource::Tree(tree))
    }

    fn open_files(root: &Path, files: FileSource) -> Result<Self, Report> {
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
                    &display_path(&path),
                    "the folder's name is not the name of an environment".to_owned(),
                    &format!("Rename it: {rule}."),
                )),
                (false, _) => problems.push(unexpected_file(&path, "each environment is a folder")),
            }
        }
        if layers.is_empty() {
            problems.push(Diagnostic::file(
                Code::UnknownEnvironment,
                "environments",
                "no environment found".to_owned(),
                "Create a folder with an environment.yaml for each: environments/prod/environment.yaml.",
            ));
        }
        let builder = DiagnosticBuilder { sources: Arc::new(Sources::default()) };
        Ok(Self { root: root.to_owned(), files, layers, builder, problems })
    }

    /// Takes over the layers of `other` that `is_same` says are equal in both, so that they are read and parsed once. Must
    /// be called before anything of this repository is read.
    pub fn share_layers(&mut self, other: &Repository, is_same: impl Fn(&EnvironmentName) -> bool) {
        self.builder = other.builder.clone();
        for (name, layer) in &mut self.layers {
            if let Some(theirs) = other.layers.get(name).filter(|_| is_same(name)) {
                *layer = Arc::clone(theirs);
            }
        }
    }

    /// Reads all layers of these environments, one task per layer. Must be called before many environments are loaded in
    /// parallel: otherwise a thread that reads a shared layer may run a task that waits for the same layer.
    pub fn read_ahead(&self, names: &[EnvironmentName]) {
        let layers: BTreeSet<EnvironmentName> =
            names.par_iter().map(|name| self.layer_names(name)).collect::<Vec<_>>().into_iter().flatten().collect();
        layers.into_par_iter().for_each(|name| {
            if let Some(layer) = self.layer(&name) {
                layer.profiles(&self.files, &self.builder);
            }
        });
    }

    /// Returns the repository's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the names of all environments, abstract ones among them.
    pub fn environments(&self) -> Vec<EnvironmentName> {
        self.layers.keys().cloned().collect()
    }

    /// Returns true if an environment is abstract: a layer that others extend, without a service.
    pub fn is_abstract(&self, name: &EnvironmentName) -> bool {
        self.layer(name).is_some_and(|layer| layer.is_abstract)
    }

    /// Loads an environment's desired state, or reports all its problems.
    pub fn load(&self, name: &EnvironmentName) -> Result<Desired, Report> {
        let (Loaded { desired, problems, age_files }, files) = self.load_with_problems(name);
        let mut problems: Vec<_> = problems.into_iter().map(|problem| self.name_environment(name, problem)).collect();
        problems.extend(self.problems.clone());
        if desired.is_none() && self.is_abstract(name) {
            problems.push(Diagnostic::file(
                Code::AbstractEnvironment,
                &format!("environments/{name}/environment.yaml"),
                format!("`{name}` is abstract: a layer that others extend"),
                "Name an environment that extends it.",
            ));
        }
        desired.filter(|_| self.problems.is_empty()).ok_or_else(|| Report::new(problems, 1, files + age_files))
    }

    /// Checks environments with a limited number of threads.
    pub fn check_in_parallel(&self, names: &[EnvironmentName], parallel: usize) -> Report {
        // The global pool has one thread per core; only fewer threads need a pool of their own.
        if parallel >= rayon::current_num_threads() {
            return self.check(names);
        }
        match rayon::ThreadPoolBuilder::new().num_threads(parallel).build() {
            Ok(pool) => pool.install(|| self.check(names)),
            Err(_) => self.check(names),
        }
    }

    /// Checks environments and reports all problems of their files.
    pub fn check(&self, names: &[EnvironmentName]) -> Report {
        self.read_ahead(names);
        let loaded: Vec<(EnvironmentName, Loaded)> =
            names.par_iter().map(|name| (name.clone(), self.load_with_problems(name).0)).collect();
        let has_error = |loaded: &Loaded| loaded.problems.iter().any(|problem| problem.severity == Severity::Error);
        let failed = loaded.iter().filter(|(_, loaded)| has_error(loaded)).map(|(name, _)| name.to_string()).collect();
        let age_files: usize = loaded.iter().map(|(_, loaded)| loaded.age_files).sum();
        let mut problems = self.problems.clone();
        for (name, loaded) in loaded {
            let own = [Path::new("environments").join(name.as_str()), Path::new("secrets").join(name.as_str())];
            problems.extend(loaded.problems.into_iter().map(|problem| {
                // A cycle belongs to all environments in it.
                let is_inherited = problem.code != Code::LayerCycle
                    && !own.iter().any(|folder| Path::new(&problem.file).starts_with(folder));
                let problem = if is_inherited { problem } else { self.name_environment(&name, problem) };
                Diagnostic { environment: is_inherited.then(|| name.to_string()), ..problem }
            }));
        }
        Report { failed, ..Report::new(problems, names.len(), self.count_files() + age_files) }
    }

    /// Fills in the name of the environment that a problem belongs to. An abstract layer has no secrets and no service: there `ENV`
    /// is any environment that extends it.
    fn name_environment(&self, name: &EnvironmentName, problem: Diagnostic) -> Diagnostic {
        if !problem.remedy.contains(" ENV ") || self.is_abstract(name) {
            return problem;
        }
        Diagnostic { remedy: problem.remedy.replace(" ENV ", &format!(" {name} ")), ..problem }
    }

    /// Returns the address of an environment's service. Other parts of the files may be invalid.
    pub fn service_address(&self, name: &EnvironmentName) -> Option<String> {
        self.documents(name)?.section("service")?.get("address")?.node.as_str().map(str::to_owned)
    }

    /// Returns how a watch applies changes of an environment's files; none if that cannot be read. Other parts of the files
    /// may be invalid.
    pub fn apply_mode(&self, name: &EnvironmentName) -> Option<ApplyMode> {
        let documents = self.documents(name)?;
        let is_readable = |layer: &EnvironmentName| self.layer(layer).is_some_and(|layer| layer.has_readable_extends());
        if !self.layer_names(name).iter().all(is_readable) {
            return None;
        }
        match documents.section("watch").as_ref().and_then(|section| section.get("apply")) {
            Some(apply) => apply.node.as_str()?.to_owned().try_into().ok(),
            None => Some(ApplyMode::default()),
        }
    }

    /// Returns the companies of an environment, valid or not. Other parts of the files may be invalid.
    pub fn companies(&self, name: &EnvironmentName) -> BTreeSet<String> {
        let listed = self.documents(name).and_then(|documents| documents.section("companies"));
        let listed = listed.map(|listed| listed.to_json());
        let items = listed.iter().filter_map(serde_json::Value::as_array).flatten();
        items.filter_map(|item| item.as_str().map(str::to_owned)).collect()
    }

    /// Returns the labels of an environment. Other parts of the files may be invalid.
    pub fn labels(&self, name: &EnvironmentName) -> Labels {
        let section = self.documents(name).and_then(|documents| documents.section("labels"));
        section.map(|section| labels_in(&section)).unwrap_or_default()
    }

    /// Returns the names of the profiles that an environment's files declare, valid or not.
    pub fn profile_names(&self, name: &EnvironmentName) -> BTreeSet<ProfileName> {
        self.documents(name).map(|documents| documents.merged_profiles().into_keys().collect()).unwrap_or_default()
    }

    /// Returns an environment's own `environment.yaml`, neither merged nor interpolated; none if it cannot be read.
    pub fn own_document(&self, name: &EnvironmentName) -> Option<serde_json::Value> {
        self.layer(name)?.environment.as_ref().map(|node| node.to_json())
    }

    /// Returns an environment's effective documents; none if a layer is missing.
    pub(super) fn documents<'a>(&'a self, name: &'a EnvironmentName) -> Option<EffectiveDocuments<'a>> {
        let stack = self.layer_stack(name);
        stack.is_complete().then(|| EffectiveDocuments::new(name, stack, &self.files, &self.builder))
    }

    /// Returns an environment's effective documents; where a layer is missing, those of the environment's own folder.
    pub(super) fn readable_documents<'a>(&'a self, name: &'a EnvironmentName) -> EffectiveDocuments<'a> {
        let stack = self.layer_stack(name);
        let stack = if stack.is_complete() { stack } else { stack.into_own() };
        EffectiveDocuments::new(name, stack, &self.files, &self.builder)
    }

    /// Returns the desired state, all problems, and the number of files of its layers.
    fn load_with_problems(&self, name: &EnvironmentName) -> (Loaded, usize) {
        let stack = self.layer_stack(name);
        let load = |stack| Loader::new(EffectiveDocuments::new(name, stack, &self.files, &self.builder)).load();
        if stack.is_complete() {
            let layers = stack.layers.clone();
            return (load(stack), layers.iter().map(|layer| layer.file_count()).sum());
        }
        // A layer is missing: the environment's own files are checked as far as that is possible without it.
        let mut problems = stack.problems.clone();
        let loaded = load(stack.into_own());
        problems.extend(loaded.problems);
        (Loaded { problems, ..loaded }, self.count_files())
    }

    pub(super) fn place(&self, span: Span) -> Place {
        self.builder.sources.place(span)
    }

    /// Returns the layer of a name, and reads its own file if that has not happened yet.
    pub(super) fn layer(&self, name: &EnvironmentName) -> Option<Arc<Layer>> {
        let cell = self.layers.get(name)?;
        Some(Arc::clone(cell.get_or_init(|| Arc::new(Layer::read(&self.files, name, &self.builder)))))
    }

    /// Returns the folder that an `extends` key names, if it exists.
    pub(super) fn find_layer(&self, wanted: &str) -> Option<EnvironmentName> {
        wanted.parse::<EnvironmentName>().ok().filter(|wanted| self.layers.contains_key(wanted))
    }

    /// Returns the names of all folders below `environments/`.
    pub(super) fn known_layers(&self) -> impl Iterator<Item = &str> {
        self.layers.keys().map(EnvironmentName::as_str)
    }

    /// Reads the own file of every environment, on all cores.
    pub(super) fn read_all(&self) {
        self.layers.par_iter().for_each(|(name, _)| drop(self.layer(name)));
    }

    /// Returns the number of files of layers that were read so far.
    fn count_files(&self) -> usize {
        self.layers.values().filter_map(|layer| layer.get()).map(|layer| layer.file_count()).sum()
    }
}
