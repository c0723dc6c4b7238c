//! `${name}` in strings: takes a variable of the environment. `$${` is a literal `${`. There is nothing else.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    located::LocatedProblem,
    node::{Entry, Node, Value},
};
use crate::model::{Code, Problem};

/// The longest text that variables make, in bytes.
const LONGEST: usize = 64 * 1024;

/// Name to value.
pub(super) type Variables = BTreeMap<Arc<str>, Arc<Node>>;

/// The tree with every variable put in. A string that is one variable and nothing else takes its type too.
/// Unknown variables are told, and what they stand in is not looked at any further.
pub(super) fn interpolate(node: &Arc<Node>, variables: &Variables, problems: &mut Vec<LocatedProblem>) -> Arc<Node> {
    if !node.subtree.has_variable {
        return Arc::clone(node);
    }
    let value = match &node.value {
        Value::String(text) => match in_text(text, variables) {
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
    // A literal `${` is none.
    node.subtree.has_variable = false;
    Arc::new(node)
}

/// The variables that a text takes.
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

fn in_text(text: &str, variables: &Variables) -> Result<Value, Problem> {
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
            Problem::new(Code::MalformedVariable, "`${` begins a variable, and no well-formed name follows")
                .remedy("Write `${name}` with letters, digits and dashes; or `$${` for a literal `${`.")
        })?;
        match &look_up(name, variables)?.value {
            Value::String(value) => out.push_str(value),
            Value::Bool(value) => out.push_str(&value.to_string()),
            Value::Number(value) => out.push_str(&value.to_string()),
            // The schema lets no other variable through, and says so where it is defined.
            Value::Null | Value::List(_) | Value::Map(_) | Value::Invalid => return Ok(Value::Invalid),
        }
        if out.len() > LONGEST {
            let message = format!("with its variables replaced, the text has more than {LONGEST} characters");
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
        Problem::new(Code::UnknownVariable, format!("no layer defines the variable `{name}`")).remedy(remedy)
    })
}

/// The names of the variables that stand in a text.
pub(super) fn names(text: &str) -> impl Iterator<Item = &str> {
    let parts = text.split("${").skip(1);
    parts.filter_map(|part| part.split_once('}').map(|(name, _)| name)).filter(|name| is_name(name))
}

/// The name of a variable that a text begins with, behind `${`. Looks no further than a name goes.
fn name_at_start(text: &str) -> Option<&str> {
    let end = text.bytes().take(NAME_LIMIT + 1).position(|byte| byte == b'}')?;
    text.get(..end).filter(|name| is_name(name))
}

/// How long a variable's name may be.
const NAME_LIMIT: usize = 64;

/// A variable's name: a letter, then letters, digits, dashes and underscores, 64 at most.
pub(super) fn is_name(name: &str) -> bool {
    name.len() <= NAME_LIMIT
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}
