//! [`ChangedPaths`]: the paths that differ between two sides of a comparison, with the links that lead to them.
//!
//! [`ChangedPaths::names_below`] finds the environments or folders that are affected; it returns none if the folder itself differs,
//! so that everything below it may. The paths are found by `comparison`.

use std::collections::BTreeSet;

/// The paths that differ between two sides, relative to the repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangedPaths {
    paths: BTreeSet<String>,
}

impl ChangedPaths {
    /// Takes the paths that differ, and adds every link that leads to one of them. Each link comes with its target.
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

    /// Returns the names directly below a folder under which a path differs and `counts`, given the rest of the path after
    /// the name, returns true. None if the folder itself differs, so that everything below it may.
    pub fn names_below(&self, folder: &str, counts: impl Fn(&str) -> bool) -> Option<BTreeSet<String>> {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(paths: &[&str], links: &[(&str, &str)]) -> ChangedPaths {
        let links: Vec<_> = links.iter().map(|(link, target)| ((*link).to_owned(), (*target).to_owned())).collect();
        ChangedPaths::new(paths.iter().map(|path| (*path).to_owned()).collect(), &links)
    }

    #[test]
    fn a_link_to_a_changed_path_is_changed_too() {
        let all = |changed: ChangedPaths| changed.paths.into_iter().collect::<Vec<_>>();
        assert_eq!(
            all(changed(&["shared/a.yaml"], &[("environments/x", "shared")])),
            ["environments/x", "shared/a.yaml"]
        );
        assert_eq!(all(changed(&["a/b"], &[("c", "d"), ("d", "a")])), ["a/b", "c", "d"], "links to links count");
        assert_eq!(all(changed(&["ab"], &[("c", "a")])), ["ab"], "a common prefix is not a folder");
    }

    #[test]
    fn names_below_a_folder_are_those_with_a_change_that_counts() {
        let changed = changed(&["environments/a/profiles/x.yaml", "environments/b", "environments/c/README.md"], &[]);
        let names = changed.names_below("environments", |rest| !rest.ends_with("README.md")).unwrap();
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["a", "b"]);
        assert!(self::changed(&["environments"], &[]).names_below("environments", |_| true).is_none());
    }
}
