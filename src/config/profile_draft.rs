//! [`ProfileDraft`]: the own file of an environment for a profile, and what is below it, for a change of that file.
//!
//! A draft answers which profile another text of the file would give. Nothing is written here.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::Value as Json;

use super::{
    Repository,
    node::{Node, Value, merge},
    parse::parse,
    sources::display_path,
    variables::{self, Variables},
};
use crate::model::{EnvironmentName, Profile, ProfileName};

/// The names that the file of a profile can have, by their endings.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// A profile of an environment before a change of its file.
pub struct ProfileDraft {
    /// The path of the environment's own file, which may not exist.
    pub path: PathBuf,
    /// The text of that file; none if it does not exist.
    pub text: Option<String>,
    /// The document that the lower layers give, before interpolation; none if they have no such profile.
    pub inherited: Option<Json>,
    inherited_node: Option<Arc<Node>>,
    variables: Variables,
    sources: Arc<super::sources::Sources>,
}

impl Repository {
    /// Returns the draft of a profile; none if a layer of the environment is missing, or its file cannot be read.
    pub fn profile_draft(&self, environment: &EnvironmentName, name: &ProfileName) -> Option<ProfileDraft> {
        let documents = self.documents(environment)?;
        let inherited_node = documents.inherited_profile(name);
        let folder = Path::new("environments").join(environment.as_str()).join("profiles");
        let path = |ending: &str| folder.join(format!("{name}.{ending}"));
        let existing = ENDINGS.iter().map(|ending| path(ending)).find(|path| self.files.exists(path));
        let text = match &existing {
            Some(path) => Some(self.files.read_text(path).ok()?),
            None => None,
        };
        Some(ProfileDraft {
            path: existing.unwrap_or_else(|| folder.join(format!("{name}.yaml"))),
            text,
            inherited: inherited_node.as_ref().map(|node| node.to_json()),
            inherited_node,
            variables: documents.variables.clone(),
            sources: Arc::clone(&self.builder.sources),
        })
    }
}

impl ProfileDraft {
    /// Returns the profile that the environment has with this text of its own file, or without the file; none if it has no such
    /// profile. A text that is not a profile is an error.
    pub fn profile_with(&self, text: Option<&str>) -> Result<Option<Profile>, String> {
        let own = match text {
            None => None,
            Some(text) => {
                let file = self.sources.add(display_path(&self.path), text.to_owned());
                let parsed = parse(file, text.trim_start_matches('\u{feff}'));
                if let Some(problem) = parsed.problems.first() {
                    return Err(problem.problem.message.clone());
                }
                Some(parsed.node.ok_or_else(|| "the file has no document".to_owned())?)
            }
        };
        let merged = match own {
            Some(node) if matches!(node.value, Value::Null) => None,
            Some(node) => Some(merge(self.inherited_node.as_ref(), &node)),
            None => self.inherited_node.clone(),
        };
        let Some(merged) = merged else { return Ok(None) };
        let mut problems = Vec::new();
        let mut document = variables::interpolate(&merged, &self.variables, &mut problems).to_json();
        if let Some(problem) = problems.first() {
            return Err(problem.problem.message.clone());
        }
        if let Json::Object(map) = &mut document {
            map.remove("renamedFrom");
        }
        serde_json::from_value(document).map(Some).map_err(|error| error.to_string())
    }
}
