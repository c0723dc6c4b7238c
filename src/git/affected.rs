//! Which environments a change of files touches: through layers on either side, and through their secrets.

use std::collections::BTreeSet;

use rayon::prelude::*;

use crate::{config::Repository, model::EnvironmentName};

/// The paths that differ between two sides, relative to the repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    paths: BTreeSet<String>,
}

impl Changed {
    /// These paths, and every link that leads to one of them. Links come with the path that they lead to.
    pub fn new(mut paths: BTreeSet<String>, links: &[(String, String)]) -> Self {
        let is_within = |path: &str, folder: &str| {
            path == folder || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
        };
        loop {
            let more: Vec<String> = links
                .iter()
                .filter(|(link, target)| {
                    let leads_to = |path: &String| is_within(path, target) || is_within(target, path);
                    !paths.contains(link) && paths.iter().any(leads_to)
                })
                .map(|(link, _)| link.clone())
                .collect();
            if more.is_empty() {
                return Self { paths };
            }
            paths.extend(more);
        }
    }

    /// The paths.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().map(String::as_str)
    }

    /// The names below a folder that have a change; none if the folder itself is what changed.
    fn below(&self, folder: &str, counts: impl Fn(&str) -> bool) -> Option<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        for path in &self.paths {
            if path == folder {
                return None;
            }
            let Some(rest) = path.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/')) else { continue };
            let (name, rest) = rest.split_once('/').unwrap_or((rest, ""));
            if counts(rest) {
                names.insert(name.to_owned());
            }
        }
        Some(names)
    }

    /// The folders of `environments/` that differ; none if all have to be taken for different.
    pub fn layers(&self) -> Option<BTreeSet<String>> {
        // What people and tools leave beside means nothing to `config` either.
        let ignored = |part: &str| {
            part.starts_with('.') || part.eq_ignore_ascii_case("readme.md") || part.eq_ignore_ascii_case("readme")
        };
        self.below("environments", |rest| rest.is_empty() || !rest.split('/').any(ignored))
    }

    /// The folders of `secrets/` in which an age file differs; none if all have to be taken for different.
    fn secrets(&self) -> Option<BTreeSet<String>> {
        let is_age = |rest: &str| rest.strip_suffix(".age").is_some();
        // A link or a submodule in place of a folder has no ending.
        self.below("secrets", |rest| is_age(rest) || !rest.rsplit('/').next().unwrap_or_default().contains('.'))
    }
}

/// The environments whose files differ, or those of a layer that they extend on either side. Abstract layers are not
/// among them. An environment that is there on one side only is.
pub fn touched(old: &Repository, new: &Repository, changed: &Changed) -> BTreeSet<EnvironmentName> {
    let names: BTreeSet<EnvironmentName> = old.environments().into_iter().chain(new.environments()).collect();
    let (layers, secrets) = (changed.layers(), changed.secrets());
    let has = |set: &Option<BTreeSet<String>>, name: &EnvironmentName| {
        set.as_ref().is_none_or(|set| set.contains(name.as_str()))
    };
    names
        .into_par_iter()
        .filter(|name| {
            let is_touched = |side: &Repository| {
                let chain = side.chain(name);
                !chain.is_empty()
                    && !side.is_abstract(name)
                    && (has(&secrets, name) || chain.iter().any(|layer| has(&layers, layer)))
            };
            is_touched(old) || is_touched(new)
        })
        .collect()
}
