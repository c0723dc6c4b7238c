//! Interpolation: replaces `${name}` in strings by a variable of the environment, and `$${` by a literal `${`.
//!
//! [`interpolate`] works on a tree of nodes and reports undefined and malformed variables with their place, and results of more
//! than 64 KiB; such a string becomes invalid. A string that is one variable gets the type of its value. A value is not
//! interpolated again, and keys are never interpolated.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    located::LocatedProblem,
    node::{Entry, Node, Value},
};
use crate::model::{Code, Problem};

/// The maximum length of an interpolated string, in bytes.
const LONGEST: usize = 64 * 1024;

/// Variables by name.
pub(super) type Variables = BTreeMap<Arc<str>, Arc<Node>>;

/// Replaces every variable in a tree. A string that consists of one variable takes the variable's type. A string with an
/// undefined variable is reported and becomes invalid.
pub(super) fn interpolate(node: &Arc<Node>, variables: &Variables, problems: &mut Vec<LocatedProblem>) -> Arc<Node> {
    if !node.subtree.has_variable {
        return Arc::clone(node);
    }
    let value = match &node.value {
        Value::String(text) => match interpolate_text(text, variables) {
            Ok(value) => value,
            Err(problem) => {
                problems.push(LocatedProblem { span: node.span, problem });
                Value::Invalid
            }
        },
        Value::List(items) => Value::List(items.iter().map(|item| interpolate(item, variables, problems)).collect()),
        Value::Map(entries) => Value::Map(
            entries
                .iter()
                .map(|entry| Entry { node: interpolate(&entry.node, variables, problems), ..entry.clone() })
                .collect(),
        ),
        other => other.clone(),
    };
    let mut node = Node::new(node.span, value);
    // A literal `${` is not a variable.
    node.subtree.has_variable = false;
    Arc::new(node)
}

/// Returns the names of the variables in a string. An escaped `$${` does not count.
pub(super) fn used_in(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let inside = &rest[at + 2..];
        if !rest[..at].ends_with('$') {
            names.extend(name_at_start(inside));
        }
        rest = inside;
    }
    names
}

fn interpolate_text(text: &str, variables: &Variables) -> Result<Value, Problem> {
    if let Some(name) = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'))
        && is_name(name)
    {
        return Ok(match &look_up(name, variables)?.value {
            Value::Null | Value::List(_) | Value::Map(_) => Value::Invalid,
            plain => plain.clone(),
        });
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            out.push_str(&rest[..at - 1]);
            out.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let inside = &rest[at + 2..];
        let name = name_at_start(inside).ok_or_else(|| {
            Problem::new(Code::MalformedVariable, "malformed variable: no valid name follows `${`")
                .remedy("Write `${name}` with letters, digits and dashes; or `$${` for a literal `${`.")
        })?;
        match &look_up(name, variables)?.value {
            Value::String(value) => out.push_str(value),
            Value::Bool(value) => out.push_str(&value.to_string()),
            Value::Number(value) => out.push_str(&value.to_string()),
            // The schema rejects any other variable where it is defined.
            Value::Null | Value::List(_) | Value::Map(_) | Value::Invalid => return Ok(Value::Invalid),
        }
        if out.len() > LONGEST {
            let message = format!("the interpolated text has more than {LONGEST} characters");
            return Err(Problem::new(Code::TooLong, message).remedy("Shorten the variable, or use it less often."));
        }
        rest = &inside[name.len() + 1..];
    }
    out.push_str(rest);
    Ok(Value::String(Arc::from(out)))
}

fn look_up<'a>(name: &str, variables: &'a Variables) -> Result<&'a Node, Problem> {
    variables.get(name).map(AsRef::as_ref).ok_or_else(|| {
        let meant = super::suggest::nearest(name, variables.keys().map(AsRef::as_ref));
        let remedy = match meant {
            Some(meant) => {
                format!("Did you mean `${{{meant}}}`? Otherwise define it under `variables` in environment.yaml.")
            }
            None => "Define it under `variables` in environment.yaml, here or in a layer that it extends.".to_owned(),
        };
        Problem::new(Code::UnknownVariable, format!("undefined variable `{name}`")).remedy(remedy)
    })
}

/// Returns the names of the variables in a string, escaped ones included.
pub(super) fn names_in(text: &str) -> impl Iterator<Item = &str> {
    let parts = text.split("${").skip(1);
    parts.filter_map(|part| part.split_once('}').map(|(name, _)| name)).filter(|name| is_name(name))
}

/// Returns the name of a variable that a text after `${` begins with. Reads no more than the maximum length of a name.
fn name_at_start(text: &str) -> Option<&str> {
    let end = text.bytes().take(NAME_LIMIT + 1).position(|byte| byte == b'}')?;
    text.get(..end).filter(|name| is_name(name))
}

/// The maximum length of a variable's name.
const NAME_LIMIT: usize = 64;

/// Returns true for a variable's name: a letter, then letters, digits, dashes and underscores, at most 64 characters.
pub(super) fn is_name(name: &str) -> bool {
    name.len() <= NAME_LIMIT
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::sources::{Sources, Span};

    fn node(value: Value) -> Arc<Node> {
        let file = Sources::default().add("a.yaml".to_owned(), String::new());
        Arc::new(Node::new(Span { file, line: 1, column: 0, end_line: 1, end_column: 1 }, value))
    }

    fn string(text: &str) -> Arc<Node> {
        node(Value::String(Arc::from(text)))
    }

    fn interpolated(template: &str) -> Result<serde_json::Value, Code> {
        let mut variables = Variables::new();
        variables.insert(Arc::from("host"), string("a.example"));
        variables.insert(Arc::from("port"), node(Value::Number(25.into())));
        let mut errors = Vec::new();
        let result = interpolate(&string(template), &variables, &mut errors);
        errors.first().map_or_else(|| Ok(result.to_json()), |error| Err(error.problem.code))
    }

    #[test]
    fn a_variable_alone_keeps_its_type_and_becomes_text_among_text() {
        assert_eq!(interpolated("${port}"), Ok(json!(25)));
        assert_eq!(interpolated("smtp.${host}:${port}"), Ok(json!("smtp.a.example:25")));
        assert_eq!(interpolated("$${host}"), Ok(json!("${host}")));
        assert_eq!(interpolated("${hots}"), Err(Code::UnknownVariable));
        assert_eq!(interpolated("${1}"), Err(Code::MalformedVariable));
        assert_eq!(interpolated("${host"), Err(Code::MalformedVariable));
    }
}
