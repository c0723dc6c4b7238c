//! Selection of environments by name, pattern and labels.
//!
//! Patterns are globs over names (`prod-*`); selectors are those of Kubernetes over the labels of `environment.yaml`
//! (`region=emea,tier!=test`, `wave in (1, 2)`, `canary`, `!frozen`). Where both are given, an environment must match both.
//! Abstract layers are not selected by a pattern or a selector, only by their name or by an empty selection, which means all. A
//! pattern without a match, or a selection that is empty in the end, is an error: a misspelt pattern must not look like an
//! environment without changes.

use std::{collections::BTreeMap, fmt, str::FromStr};

use globset::{GlobBuilder, GlobMatcher};

use super::{Repository, suggest};
use crate::model::{Code, EnvironmentName, Problem};

/// Labels of an environment: the effective `labels` section of its files.
pub type Labels = BTreeMap<String, String>;

/// A selection of environments.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    patterns: Vec<Pattern>,
    selectors: Vec<Selector>,
}

/// A name, or a glob over names.
#[derive(Clone, Debug)]
enum Pattern {
    Name(String),
    Glob(String, GlobMatcher),
}

/// Requirements on labels that must all hold: `region=emea,!frozen`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    text: String,
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operator {
    Exists,
    Missing,
    In(Vec<String>),
    NotIn(Vec<String>),
}

impl Selection {
    /// Parses patterns and selectors.
    pub fn parse(patterns: &[String], selectors: &[String]) -> Result<Self, Problem> {
        Ok(Self {
            patterns: patterns.iter().map(|text| Pattern::parse(text)).collect::<Result<_, _>>()?,
            selectors: selectors.iter().map(|text| text.parse()).collect::<Result<_, _>>()?,
        })
    }

    /// Returns true if there is neither a pattern nor a selector, so that a command uses its default.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty() && self.selectors.is_empty()
    }

    /// Returns the name if the selection is a single name without a selector.
    pub fn single_name(&self) -> Option<&str> {
        match (&self.patterns[..], &self.selectors[..]) {
            ([Pattern::Name(name)], []) => Some(name),
            _ => None,
        }
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, Problem> {
        if !text.contains(['*', '?', '[', '{']) {
            return Ok(Self::Name(text.to_owned()));
        }
        let glob = GlobBuilder::new(text).build().map_err(|error| {
            Problem::new(Code::InvalidPattern, format!("`{}` is not a pattern: {}", text.escape_debug(), error.kind()))
                .remedy("Write a name, or a pattern such as `prod-*`, in quotes so that the shell does not expand it.")
        })?;
        Ok(Self::Glob(text.to_owned(), glob.compile_matcher()))
    }
}

impl Selector {
    /// Returns true if labels satisfy all requirements. As in Kubernetes, a label that is not set differs from every value.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = labels.get(&requirement.key);
            match &requirement.operator {
                Operator::Exists => value.is_some(),
                Operator::Missing => value.is_none(),
                Operator::In(values) => value.is_some_and(|value| values.contains(value)),
                Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            }
        })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Selector {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let wrong = |part: &str| {
            Problem::new(Code::InvalidPattern, format!("`{}` is not a label selector", part.trim().escape_debug())).remedy(
                "Write `key=value`, `key!=value`, `key in (a, b)`, `key notin (a, b)`, `key` or `!key`, separated by commas.",
            )
        };
        let requirements = split_outside_brackets(text)
            .map(|part| parse_requirement(part).ok_or_else(|| wrong(part)))
            .collect::<Result<_, _>>()?;
        Ok(Self { text: text.to_owned(), requirements })
    }
}

/// Splits at the commas outside of sets.
fn split_outside_brackets(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_u32;
    text.split(move |c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
}

fn parse_requirement(text: &str) -> Option<Requirement> {
    let text = text.trim();
    let set = |word: &str| {
        let (key, rest) = text.split_once(word)?;
        let values = rest.trim().strip_prefix('(')?.strip_suffix(')')?;
        let values: Option<Vec<String>> = values.split(',').map(str::trim).map(parse_value).collect();
        Some((key, values?))
    };
    let (key, operator) = if let Some((key, values)) = set(" notin ") {
        (key, Operator::NotIn(values))
    } else if let Some((key, values)) = set(" in ") {
        (key, Operator::In(values))
    } else if let Some((key, wanted)) = text.split_once("!=") {
        (key, Operator::NotIn(vec![parse_value(wanted.trim())?]))
    } else if let Some((key, wanted)) = text.split_once('=') {
        // `==` is `=`, as elsewhere.
        (key, Operator::In(vec![parse_value(wanted.strip_prefix('=').unwrap_or(wanted).trim())?]))
    } else if let Some(key) = text.strip_prefix('!') {
        (key, Operator::Missing)
    } else {
        (text, Operator::Exists)
    };
    let key = key.trim();
    is_label(key).then(|| Requirement { key: key.to_owned(), operator })
}

fn parse_value(text: &str) -> Option<String> {
    is_label(text).then(|| text.to_owned())
}

/// Returns true for a key or a value of a label: 1 to 63 characters of A-Z a-z 0-9 . _ -, with a letter or digit at both ends.
fn is_label(text: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let ends = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    text.len() <= 63 && text.bytes().all(is_inner) && ends(text.as_bytes().first()) && ends(text.as_bytes().last())
}

impl Repository {
    /// Returns the selected environments by name. Abstract layers are among them only if they are named, or if the selection is
    /// empty.
    pub fn select(&self, selection: &Selection) -> Result<Vec<EnvironmentName>, Problem> {
        let known = self.environments();
        if selection.is_empty() {
            return Ok(known);
        }
        if selection.patterns.iter().any(|pattern| matches!(pattern, Pattern::Glob(..)))
            || selection.patterns.is_empty()
        {
            self.read_all();
        }
        let mut meant: Vec<EnvironmentName> = Vec::new();
        for pattern in &selection.patterns {
            let found: Vec<&EnvironmentName> = match pattern {
                Pattern::Name(name) => known.iter().filter(|known| known.as_str() == name).collect(),
                Pattern::Glob(_, glob) => {
                    known.iter().filter(|known| glob.is_match(known.as_str()) && !self.is_abstract(known)).collect()
                }
            };
            if found.is_empty() {
                return Err(pattern.no_match(&known));
            }
            meant.extend(found.into_iter().cloned());
        }
        if selection.patterns.is_empty() {
            meant = known.into_iter().filter(|name| !self.is_abstract(name)).collect();
        }
        if !selection.selectors.is_empty() {
            meant.retain(|name| {
                let labels = self.labels(name);
                selection.selectors.iter().all(|selector| selector.matches(&labels))
            });
        }
        meant.sort();
        meant.dedup();
        if meant.is_empty() {
            let selectors = selection.selectors.iter().map(|s| format!("`{s}`")).collect::<Vec<_>>().join(" and ");
            return Err(Problem::new(Code::UnknownEnvironment, format!("no environment has the labels {selectors}"))
                .remedy("Set labels in environment.yaml: `labels: { region: emea }`, or in a layer that it extends."));
        }
        Ok(meant)
    }
}

impl Pattern {
    fn no_match(&self, known: &[EnvironmentName]) -> Problem {
        let names = || known.iter().map(EnvironmentName::as_str);
        let there_are = || {
            let mut listed: Vec<&str> = names().take(20).collect();
            if known.len() > listed.len() {
                listed.push("...");
            }
            format!("There are: {}.", listed.join(", "))
        };
        let (message, remedy) = match self {
            Pattern::Name(name) => (
                format!("unknown environment `{}`", name.escape_debug()),
                suggest::nearest(name, names()).map_or_else(there_are, |meant| format!("Did you mean `{meant}`?")),
            ),
            Pattern::Glob(text, _) => (format!("no environment's name matches `{}`", text.escape_debug()), there_are()),
        };
        Problem::new(Code::UnknownEnvironment, message).remedy(remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_those_of_kubernetes() {
        let labels: Labels =
            [("region", "emea"), ("wave", "1")].map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        for (selector, matches) in [
            ("region=emea", true),
            ("region==emea,!wave", false),
            ("region!=emea", false),
            ("tier!=test", true),
            ("wave in (1, 2)", true),
            ("wave notin (1,2)", false),
            ("wave,!frozen", true),
        ] {
            assert_eq!(selector.parse::<Selector>().unwrap().matches(&labels), matches, "{selector}");
        }
        for selector in ["", "=a", "a b", "wave in 1", "a=-b"] {
            assert!(selector.parse::<Selector>().is_err(), "{selector}");
        }
    }
}
