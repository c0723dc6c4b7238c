//! Rules that profiles and settings must satisfy.
//!
//! `validate` reports a [`Violation`] at its place in a file, the service rejects a changeset that has one (a warning is reported
//! with the answer instead), and `resolve` and the planner rely on them; none of them has rules of its own. [`Check`] runs the
//! rules; [`check_reader`], [`check_secret_recipients`] and [`check_watch`] have those for sections that it does not see. Nothing
//! here reads a file or opens a connection.

mod access;
mod approvals;
mod delivery;
mod graph;
mod names;
mod profile;
mod routing;
mod secret_recipients;
mod smtp;
mod watch;

use std::{collections::BTreeMap, fmt};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Address, Code, Problem, Profile, ProfileName, Settings, resolution::Resolver};

pub use graph::check_reader;
pub use secret_recipients::check_secret_recipients;
pub use watch::check_watch;

/// A broken rule with its place: a profile (or the settings) and a JSON pointer into it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Violation {
    /// The profile; none for the environment's settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<ProfileName>,
    /// The place in it, as a JSON pointer; an empty pointer is the whole document.
    pub pointer: String,
    /// The rule that is broken, and how to satisfy it.
    #[serde(flatten)]
    pub problem: Problem,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.profile {
            Some(name) => write!(f, "profile `{name}`")?,
            None => write!(f, "the environment")?,
        }
        write!(f, "{}: {} [{}]", self.pointer, self.problem.message, self.problem.code)
    }
}

/// Collects the violations of one profile, or of the settings.
struct Violations<'a> {
    profile: Option<&'a ProfileName>,
    /// The pointer that all pointers are relative to.
    base: &'a str,
    found: &'a mut Vec<Violation>,
}

impl<'a> Violations<'a> {
    fn of_profile(name: &'a ProfileName, found: &'a mut Vec<Violation>) -> Self {
        Self { profile: Some(name), base: "", found }
    }

    fn of_settings(base: &'a str, found: &'a mut Vec<Violation>) -> Self {
        Self { profile: None, base, found }
    }

    fn add(&mut self, pointer: &str, code: Code, message: impl Into<String>, remedy: impl Into<String>) {
        self.found.push(Violation {
            profile: self.profile.cloned(),
            pointer: format!("{}{pointer}", self.base),
            problem: Problem::new(code, message).remedy(remedy),
        });
    }
}

/// Profiles to search for keys, tokens and masked values in their strings.
enum Searched<'a> {
    All,
    Only(Box<dyn Fn(&ProfileName) -> bool + Sync + 'a>),
    None,
}

/// Returns the rank of a profile, such as the index of the layer that declares it.
type Rank<'a> = Box<dyn Fn(&ProfileName) -> Option<usize> + Sync + 'a>;

/// A check of profiles and settings against all rules.
pub struct Check<'a> {
    settings: &'a Settings,
    profiles: &'a BTreeMap<&'a ProfileName, &'a Profile>,
    searched: Searched<'a>,
    rank: Rank<'a>,
}

impl<'a> Check<'a> {
    /// Checks everything, and searches the strings of all profiles for secrets.
    pub fn new(settings: &'a Settings, profiles: &'a BTreeMap<&'a ProfileName, &'a Profile>) -> Self {
        Self { settings, profiles, searched: Searched::All, rank: Box::new(|_| None) }
    }

    /// Searches the strings of these profiles only: the others were searched when they were accepted.
    #[must_use]
    pub fn search_only(self, is_searched: impl Fn(&ProfileName) -> bool + Sync + 'a) -> Self {
        Self { searched: Searched::Only(Box::new(is_searched)), ..self }
    }

    /// Searches no strings: the caller has searched them in the files.
    #[must_use]
    pub fn without_search(self) -> Self {
        Self { searched: Searched::None, ..self }
    }

    /// Reports a function that two profiles claim at the one with the higher rank, such as the index of its layer.
    #[must_use]
    pub fn rank_claims(self, rank: impl Fn(&ProfileName) -> Option<usize> + Sync + 'a) -> Self {
        Self { rank: Box::new(rank), ..self }
    }

    /// Returns all violations, ordered. Costs two passes over the profiles and one lookup per cell of the routing table.
    pub fn run(self) -> Vec<Violation> {
        let ((mut violations, of_each), of_strings) =
            rayon::join(|| rayon::join(|| self.check_together(), || self.check_each()), || self.search_strings());
        violations.extend(of_each);
        violations.extend(of_strings);
        violations.sort();
        violations
    }

    /// Checks the rules that concern all profiles together, and the settings.
    fn check_together(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        names::check(self.profiles, &mut found);
        let resolver = Resolver::new(self.profiles.iter().map(|(name, profile)| (*name, *profile)));
        routing::check_claims(&resolver, &self.rank, &mut found);
        routing::check_unserved(self.settings, &mut found);
        delivery::check(&self.settings.delivery, &mut found);
        access::check(self.settings, &mut found);
        approvals::check(self.settings, &mut found);
        routing::check_cells(self.settings, &resolver, &mut found);
        found
    }

    /// Checks the rules that concern one profile each.
    fn check_each(&self) -> Vec<Violation> {
        let check = |(name, profile): (&&ProfileName, &&Profile)| {
            let mut found = Vec::new();
            profile::check(self.settings, profile, &mut Violations::of_profile(name, &mut found));
            found
        };
        self.profiles.par_iter().flat_map_iter(check).collect()
    }

    fn search_strings(&self) -> Vec<Violation> {
        let is_searched = |name: &ProfileName| match &self.searched {
            Searched::All => true,
            Searched::Only(is_searched) => is_searched(name),
            Searched::None => false,
        };
        let searched = self.profiles.par_iter().filter(|(name, _)| is_searched(name));
        let mut found: Vec<Violation> = searched
            .flat_map_iter(|(name, profile)| {
                let mut found = Vec::new();
                profile::search_strings(profile, &mut Violations::of_profile(name, &mut found));
                found
            })
            .collect();
        if !matches!(self.searched, Searched::None) {
            profile::search_strings(self.settings, &mut Violations::of_settings("", &mut found));
        }
        found
    }
}

/// Returns the reason why a text is not an e-mail address, with a remedy; none if it is one.
pub fn address_problem(text: &str) -> Option<(String, String)> {
    let error = Address::parse(text).err()?;
    Some((format!("this is not an e-mail address: {error}"), error.remedy.to_owned()))
}
