//! Which environments are meant: by name, by pattern, by labels.
//!
//! Patterns are globs over names (`prod-*`); selectors are those of Kubernetes over the labels of `environment.yaml`
//! (`region=emea,tier!=test`, `wave in (1, 2)`, `canary`, `!frozen`). Both given, both must hold. Abstract layers are
//! never selected by a pattern or a selector, and a selection that selects nothing is an error: a misspelt pattern must
//! not look like an environment without changes.

use std::{collections::BTreeMap, fmt, str::FromStr};

use globset::{GlobBuilder, GlobMatcher};

use super::{Repository, suggest};
use crate::model::{Code, EnvironmentName, Problem};

/// Labels of an environment: what its files say under `labels`, layers merged and variables put in.
pub type Labels = BTreeMap<String, String>;

/// Which environments are meant.
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
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Exists,
    Missing,
    In(Vec<String>),
    NotIn(Vec<String>),
}

impl Selection {
    /// Understands patterns and selectors as they are typed.
    pub fn parse(patterns: &[String], selectors: &[String]) -> Result<Self, Problem> {
        Ok(Self {
            patterns: patterns.iter().map(|text| Pattern::parse(text)).collect::<Result<_, _>>()?,
            selectors: selectors.iter().map(|text| text.parse()).collect::<Result<_, _>>()?,
        })
    }

    /// Whether nothing was asked for, so that a command may take its own default.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty() && self.selectors.is_empty()
    }

    /// Whether one environment is named and nothing else is asked for: the caller may answer for it alone.
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
            Problem::new(Code::Usage, format!("`{}` is not a pattern: {}", text.escape_debug(), error.kind()))
                .remedy("Write a name, or a pattern such as `prod-*`, in quotes so that the shell leaves it alone.")
        })?;
        Ok(Self::Glob(text.to_owned(), glob.compile_matcher()))
    }
}

impl Selector {
    /// Whether labels are what is asked for. As in Kubernetes, a label that is not there differs from every value.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = labels.get(&requirement.key);
            match &requirement.test {
                Test::Exists => value.is_some(),
                Test::Missing => value.is_none(),
                Test::In(values) => value.is_some_and(|value| values.contains(value)),
                Test::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
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
            Problem::new(Code::Usage, format!("`{}` is not a label selector", part.trim().escape_debug())).remedy(
                "Write `key=value`, `key!=value`, `key in (a, b)`, `key notin (a, b)`, `key` or `!key`, separated by commas.",
            )
        };
        let requirements = split_outside_brackets(text)
            .map(|part| requirement(part).ok_or_else(|| wrong(part)))
            .collect::<Result<_, _>>()?;
        Ok(Self { text: text.to_owned(), requirements })
    }
}

/// Splits at the commas that do not separate the values of a set.
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

fn requirement(text: &str) -> Option<Requirement> {
    let text = text.trim();
    let set = |word: &str| {
        let (key, rest) = text.split_once(word)?;
        let values = rest.trim().strip_prefix('(')?.strip_suffix(')')?;
        let values: Option<Vec<String>> = values.split(',').map(str::trim).map(value).collect();
        Some((key, values?))
    };
    let (key, test) = if let Some((key, values)) = set(" notin ") {
        (key, Test::NotIn(values))
    } else if let Some((key, values)) = set(" in ") {
        (key, Test::In(values))
    } else if let Some((key, wanted)) = text.split_once("!=") {
        (key, Test::NotIn(vec![value(wanted.trim())?]))
    } else if let Some((key, wanted)) = text.split_once('=') {
        // `==` is `=`, as elsewhere.
        (key, Test::In(vec![value(wanted.strip_prefix('=').unwrap_or(wanted).trim())?]))
    } else if let Some(key) = text.strip_prefix('!') {
        (key, Test::Missing)
    } else {
        (text, Test::Exists)
    };
    let key = key.trim();
    is_label(key).then(|| Requirement { key: key.to_owned(), test })
}

fn value(text: &str) -> Option<String> {
    is_label(text).then(|| text.to_owned())
}

/// A key or a value of a label: 1 to 63 characters out of A-Z a-z 0-9 . _ -, a letter or digit at both ends.
fn is_label(text: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let ends = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    text.len() <= 63 && text.bytes().all(is_inner) && ends(text.as_bytes().first()) && ends(text.as_bytes().last())
}

impl Repository {
    /// The environments that are meant, by name. Abstract layers are among them only where they are named, or where
    /// nothing was asked for and all are meant.
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
                return Err(pattern.selects_nothing(&known));
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
                .remedy(
                    "Set labels in environment.yaml: `labels: { region: emea }`. `mailwright render ENV` shows them.",
                ));
        }
        Ok(meant)
    }
}

impl Pattern {
    fn selects_nothing(&self, known: &[EnvironmentName]) -> Problem {
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
                format!("there is no environment `{}`", name.escape_debug()),
                suggest::nearest(name, names()).map_or_else(there_are, |meant| format!("Did you mean `{meant}`?")),
            ),
            Pattern::Glob(text, _) => (format!("no environment's name matches `{}`", text.escape_debug()), there_are()),
        };
        Problem::new(Code::UnknownEnvironment, message).remedy(remedy)
    }
}
