//! Patches of the console, applied to files in any form: [`apply_profile`] computes the file of a profile that a patch leads to.
//!
//! A patch has the profile as Git had it and as it shall be. Each field in which they differ must be in the files as the patch
//! expects it, or as it shall be; other fields stay as they are. The environment's own file is changed, because lower layers are
//! those of other environments too; what it inherits and shall not have is `null` in it. Comments stay where the text can be changed
//! at its places. Pure: the caller reads and writes.

use serde_json::{Map, Value};

use crate::{
    config::{ProfileDraft, edit_text, read_text},
    model::{
        Profile,
        file_text::{FileKind, escape_variables, profile_document, render_file},
    },
};

/// The file of a profile after a patch.
#[derive(Debug, PartialEq, Eq)]
pub enum PatchedFile {
    /// The files have the change already.
    Same,
    /// The text of the file; `lost_comments` if its comments are not in it.
    Written {
        /// The text.
        text: String,
        /// True if comments were lost.
        lost_comments: bool,
    },
    /// The file is removed.
    Removed,
}

/// A reason for which a patch cannot be applied.
#[derive(Debug, PartialEq, Eq)]
pub enum PatchProblem {
    /// The files have other values in these fields than the patch expects.
    Conflict(Vec<String>),
    /// The result would not be what the patch wants.
    Unfit(String),
}

/// A field that a patch changes: the keys that lead to it, its earlier value and its later one.
struct FieldChange {
    path: Vec<String>,
    before: Option<Value>,
    after: Option<Value>,
}

/// Reads a profile from the text that a patch has of its file.
pub fn read_profile(text: &str) -> Option<Profile> {
    serde_json::from_value(unescape_variables(read_text(text)?)).ok()
}

/// Computes the environment's own file of a profile after a patch.
pub fn apply_profile(
    draft: &ProfileDraft,
    before: Option<&Profile>,
    after: Option<&Profile>,
) -> Result<PatchedFile, PatchProblem> {
    let current = draft.profile_with(draft.text.as_deref()).map_err(PatchProblem::Unfit)?;
    let (Some(current), Some(after)) = (&current, after) else {
        return replace_whole(draft, current.as_ref(), before, after);
    };
    let Some(before) = before else {
        return if current == after { Ok(PatchedFile::Same) } else { Err(exists()) };
    };
    let (now, wanted) = (profile_document(current), profile_document(after));
    let mut changes = Vec::new();
    compare(&profile_document(before), &wanted, &mut Vec::new(), &mut changes);
    changes.retain(|change| find(&now, &change.path) != change.after.as_ref());
    let is_other = |change: &&FieldChange| find(&now, &change.path) != change.before.as_ref();
    let conflicts: Vec<String> = changes.iter().filter(is_other).map(|change| change.path.join(".")).collect();
    if !conflicts.is_empty() {
        return Err(PatchProblem::Conflict(conflicts));
    }
    if changes.is_empty() {
        return Ok(PatchedFile::Same);
    }
    let own = draft.text.as_deref().and_then(read_text).unwrap_or_else(|| Value::Object(Map::new()));
    let mut document = own;
    for FieldChange { path, after, .. } in &changes {
        let is_inherited = draft.inherited.as_ref().is_some_and(|inherited| find(inherited, path).is_some());
        match after {
            Some(value) => set(&mut document, path, escape_variables(value.clone())),
            None if is_inherited => set(&mut document, path, Value::Null),
            None => remove(&mut document, path),
        }
    }
    let file = write(draft, &document);
    let PatchedFile::Written { text, .. } = &file else { return Ok(file) };
    // The changed fields must be as the patch wants them, whatever variables and layers make of the file.
    let result = draft.profile_with(Some(text)).map_err(PatchProblem::Unfit)?;
    let result = result.map(|profile| profile_document(&profile)).unwrap_or_default();
    match changes.iter().find(|change| find(&result, &change.path) != change.after.as_ref()) {
        None => Ok(file),
        Some(change) => {
            Err(PatchProblem::Unfit(format!("the field `{}` would have another value", change.path.join("."))))
        }
    }
}

/// Applies a patch that creates or removes the profile.
fn replace_whole(
    draft: &ProfileDraft,
    current: Option<&Profile>,
    before: Option<&Profile>,
    after: Option<&Profile>,
) -> Result<PatchedFile, PatchProblem> {
    match (current, after) {
        (None, None) => Ok(PatchedFile::Same),
        (Some(current), None) if before != Some(current) => Err(match before {
            None => exists(),
            Some(before) => {
                let mut changes = Vec::new();
                compare(&profile_document(before), &profile_document(current), &mut Vec::new(), &mut changes);
                PatchProblem::Conflict(changes.iter().map(|change| change.path.join(".")).collect())
            }
        }),
        (Some(_), None) if draft.inherited.is_some() => Ok(write(draft, &Value::Null)),
        (Some(_), None) => Ok(PatchedFile::Removed),
        (None, Some(_)) if before.is_some() => Err(PatchProblem::Unfit("the files have no such profile".to_owned())),
        (_, Some(after)) => {
            let wanted = escape_variables(profile_document(after));
            let document = match &draft.inherited {
                None => wanted,
                Some(inherited) => overlay(inherited, &wanted),
            };
            let file = PatchedFile::Written { text: render(draft, &document), lost_comments: false };
            let PatchedFile::Written { text, .. } = &file else { return Ok(file) };
            let result = draft.profile_with(Some(text)).map_err(PatchProblem::Unfit)?;
            if result.as_ref() == Some(after) {
                Ok(file)
            } else {
                Err(PatchProblem::Unfit("the profile would have other values".to_owned()))
            }
        }
    }
}

fn exists() -> PatchProblem {
    PatchProblem::Unfit("the files have a profile of this name already".to_owned())
}

/// Writes the document into the text of the file, or a new text if that is not possible.
fn write(draft: &ProfileDraft, document: &Value) -> PatchedFile {
    let edited = draft.text.as_deref().and_then(|text| edit_text(text, document, is_json(draft)));
    if let Some(text) = edited {
        return PatchedFile::Written { text, lost_comments: false };
    }
    let is_comment = |line: &str| line.trim_start().starts_with('#') && !line.contains("yaml-language-server");
    let lost_comments =
        draft.text.as_deref().is_some_and(|text| text.lines().any(|line| is_comment(line) || line.contains(" #")));
    PatchedFile::Written { text: render(draft, document), lost_comments: lost_comments && !is_json(draft) }
}

fn render(draft: &ProfileDraft, document: &Value) -> String {
    if is_json(draft) { format!("{document:#}\n") } else { render_file(FileKind::Profile, document) }
}

fn is_json(draft: &ProfileDraft) -> bool {
    draft.path.extension().is_some_and(|ending| ending == "json")
}

/// Collects the fields in which two documents differ: the highest one that only one of them has, otherwise the lowest one.
fn compare(before: &Value, after: &Value, path: &mut Vec<String>, changes: &mut Vec<FieldChange>) {
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        if before != after {
            let change = FieldChange { path: path.clone(), before: Some(before.clone()), after: Some(after.clone()) };
            changes.push(change);
        }
        return;
    };
    for (key, value) in old {
        path.push(key.clone());
        match new.get(key) {
            Some(after) => compare(value, after, path, changes),
            None => changes.push(FieldChange { path: path.clone(), before: Some(value.clone()), after: None }),
        }
        path.pop();
    }
    for (key, value) in new.iter().filter(|(key, _)| !old.contains_key(*key)) {
        let path = path.iter().cloned().chain([key.clone()]).collect();
        changes.push(FieldChange { path, before: None, after: Some(value.clone()) });
    }
}

fn find<'a>(document: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(document, |value, key| value.get(key))
}

fn set(document: &mut Value, path: &[String], value: Value) {
    let Some((last, above)) = path.split_last() else { return };
    let mut at = document;
    for key in above {
        at = at_key(at, key);
    }
    *at_key(at, last) = value;
}

/// Returns the value of a key in a map; what is not a map becomes one.
fn at_key<'a>(value: &'a mut Value, key: &str) -> &'a mut Value {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    &mut value[key]
}

/// Removes a field, and each map that is empty then.
fn remove(document: &mut Value, path: &[String]) {
    let Some((key, rest)) = path.split_first() else { return };
    let Some(map) = document.as_object_mut() else { return };
    if !rest.is_empty()
        && let Some(below) = map.get_mut(key)
    {
        remove(below, rest);
        if below.as_object().is_none_or(|below| !below.is_empty()) {
            return;
        }
    }
    map.remove(key);
}

/// Returns the merge patch that makes one document of another.
fn overlay(inherited: &Value, wanted: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (inherited, wanted) else { return wanted.clone() };
    let removed = old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let changed = new.iter().filter(|(key, value)| old.get(*key) != Some(value)).map(|(key, value)| {
        let value = old.get(key).map_or_else(|| value.clone(), |old| overlay(old, value));
        (key.clone(), value)
    });
    removed.chain(changed).collect()
}

/// Reverts [`escape_variables`].
fn unescape_variables(document: Value) -> Value {
    match document {
        Value::String(text) => Value::String(text.replace("$${", "${")),
        Value::Array(items) => items.into_iter().map(unescape_variables).collect(),
        Value::Object(map) => map.into_iter().map(|(key, value)| (key, unescape_variables(value))).collect(),
        other => other,
    }
}
