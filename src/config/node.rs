//! Nodes: the tree that files are parsed into. Every [`Node`] keeps its place when layers are merged and variables
//! interpolated.
//!
//! [`merge`] applies a layer to another as a JSON merge patch (RFC 7396). Subtrees are shared and not changed, so that a layer
//! is held once however many environments inherit it. Nodes are not validated.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use serde_json::{Map, Number, Value as Json};

use super::sources::Span;

/// A value with its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) span: Span,
    pub(super) value: Value,
    /// Properties of the subtree, so that most trees need not be walked.
    pub(super) subtree: Subtree,
}

/// Properties of a node and everything below it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Subtree {
    /// The number of values, with aliases expanded.
    pub(super) size: u32,
    /// True if a null is among them.
    pub(super) has_null: bool,
    /// True if a string with `${` is among them.
    pub(super) has_variable: bool,
    /// True if an invalid value is among them.
    pub(super) has_invalid: bool,
}

/// A value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(Number),
    String(Arc<str>),
    List(Vec<Arc<Node>>),
    Map(Vec<Entry>),
    /// A value that the parser or the interpolation rejected and reported. No further problem is reported for it.
    Invalid,
}

/// A key and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: Arc<str>,
    pub(super) key_span: Span,
    pub(super) node: Arc<Node>,
}

impl Node {
    pub(super) fn new(span: Span, value: Value) -> Self {
        let subtree = match &value {
            Value::Null => Subtree { size: 1, has_null: true, ..Subtree::default() },
            Value::Invalid => Subtree { size: 1, has_invalid: true, ..Subtree::default() },
            Value::Bool(_) | Value::Number(_) => Subtree { size: 1, ..Subtree::default() },
            Value::String(text) => Subtree { size: 1, has_variable: text.contains("${"), ..Subtree::default() },
            Value::List(items) => Subtree::sum(items.iter().map(|item| item.subtree)),
            Value::Map(entries) => Subtree::sum(entries.iter().map(|entry| entry.node.subtree)),
        };
        Self { span, value, subtree }
    }

    pub(super) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key.as_ref() == key)
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn to_json(&self) -> Json {
        match &self.value {
            Value::Null | Value::Invalid => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Number(number) => Json::Number(number.clone()),
            Value::String(text) => Json::String(text.to_string()),
            Value::List(items) => Json::Array(items.iter().map(|item| item.to_json()).collect()),
            Value::Map(entries) => {
                let mut map = Map::new();
                for entry in entries {
                    map.insert(entry.key.to_string(), entry.node.to_json());
                }
                Json::Object(map)
            }
        }
    }

    /// Calls `visit` with the JSON pointer of every invalid value.
    pub(super) fn visit_invalid(&self, pointer: &mut String, visit: &mut impl FnMut(&str)) {
        if !self.subtree.has_invalid {
            return;
        }
        let mut below = |segment: &str, node: &Node| {
            let end = pointer.len();
            pointer.push('/');
            pointer.push_str(segment);
            node.visit_invalid(pointer, visit);
            pointer.truncate(end);
        };
        match &self.value {
            Value::Invalid => visit(pointer),
            Value::List(items) => {
                items.iter().enumerate().for_each(|(index, item)| below(&index.to_string(), item));
            }
            Value::Map(entries) => {
                for entry in entries {
                    below(&entry.key.replace('~', "~0").replace('/', "~1"), &entry.node);
                }
            }
            _ => {}
        }
    }

    /// Returns the node at a JSON pointer, or the nearest one above it, with the place of its key. A list item is found by its
    /// index or by its value, because many lists are sets.
    pub(super) fn nearest(&self, pointer: &str) -> (Option<Span>, &Node) {
        let (mut key_span, mut node) = (None, self);
        for segment in pointer.split('/').skip(1) {
            let segment = segment.replace("~1", "/").replace("~0", "~");
            match &node.value {
                Value::Map(_) => match node.get(&segment) {
                    Some(entry) => (key_span, node) = (Some(entry.key_span), &entry.node),
                    None => break,
                },
                Value::List(items) => {
                    let by_value = items.iter().find(|item| item.as_str() == Some(&segment));
                    let found = by_value.or_else(|| items.get(segment.parse::<usize>().ok()?));
                    match found {
                        Some(item) => (key_span, node) = (None, item),
                        None => break,
                    }
                }
                _ => break,
            }
        }
        (key_span, node)
    }
}

impl Subtree {
    fn sum(parts: impl Iterator<Item = Subtree>) -> Subtree {
        parts.fold(Subtree { size: 1, ..Subtree::default() }, |sum, part| Subtree {
            size: sum.size.saturating_add(part.size),
            has_null: sum.has_null || part.has_null,
            has_variable: sum.has_variable || part.has_variable,
            has_invalid: sum.has_invalid || part.has_invalid,
        })
    }
}

/// Merges a patch into a base (RFC 7396). The result shares all unchanged nodes.
pub(super) fn merge(base: Option<&Arc<Node>>, patch: &Arc<Node>) -> Arc<Node> {
    let Value::Map(changes) = &patch.value else { return Arc::clone(patch) };
    let kept: &[Entry] = base.map_or(&[], |base| base.entries());
    if kept.is_empty() && !patch.subtree.has_null {
        return Arc::clone(patch);
    }
    let mut merged: Vec<Entry> = Vec::with_capacity(kept.len() + changes.len());
    let changed: HashMap<&str, &Entry> = changes.iter().map(|change| (change.key.as_ref(), change)).collect();
    for entry in kept {
        match changed.get(entry.key.as_ref()) {
            None => merged.push(entry.clone()),
            Some(change) if matches!(change.node.value, Value::Null) => {}
            Some(change) => merged.push(Entry { node: merge(Some(&entry.node), &change.node), ..(*change).clone() }),
        }
    }
    let known: HashSet<&str> = kept.iter().map(|entry| entry.key.as_ref()).collect();
    for change in changes {
        let is_new = !known.contains(change.key.as_ref());
        if is_new && !matches!(change.node.value, Value::Null) {
            merged.push(Entry { node: merge(None, &change.node), ..change.clone() });
        }
    }
    Arc::new(Node::new(patch.span, Value::Map(merged)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::{parse::parse, sources::Sources};

    fn parsed(text: &str) -> Arc<Node> {
        let file = Sources::default().add("a.yaml".to_owned(), text.to_owned());
        parse(file, text).node.unwrap()
    }

    #[test]
    fn a_merge_follows_rfc_7396() {
        let base = parsed("a: 1\nb: { c: 2 }\n");
        let merged = merge(Some(&base), &parsed("b: { c: null, d: 3 }\na: [x]\n"));
        assert_eq!(merged.to_json(), json!({ "a": ["x"], "b": { "d": 3 } }));
        assert_eq!(merge(None, &parsed("a: { b: null }")).to_json(), json!({ "a": {} }));
        assert!(Arc::ptr_eq(&merge(Some(&base), &parsed("e: 5")).entries()[0].node, &base.entries()[0].node));
    }

    #[test]
    fn a_pointer_finds_items_by_index_and_by_value() {
        let root = parsed("list: [a, b]\nmap: { x: 1 }\n");
        assert_eq!(root.nearest("/list/1").1.as_str(), Some("b"));
        assert_eq!(root.nearest("/list/b").1.as_str(), Some("b"));
        assert_eq!(root.nearest("/map/x/y").1.to_json(), json!(1), "the nearest one above");
        assert_eq!(root.nearest("/none").1.entries().len(), 2);
    }
}
