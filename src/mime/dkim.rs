//! DKIM signatures (RFC 6376) of a message whose header was changed.
//!
//! [`remove_broken`] keeps the signatures that the change does not touch and removes the others, because a broken signature counts
//! against the message. A signature that names no fields is removed. Signatures are not verified cryptographically, so one that was
//! broken before stays.

use std::collections::{HashMap, HashSet};

use super::Field;

/// Removes the signatures that a change of the message breaks. `before` is the header that was signed; line ends and folding of
/// a field count as a change of it.
///
/// The cost grows with the length of both headers alone, however many names a signature lists.
pub fn remove_broken(fields: &mut Vec<Field>, before: &[Field], is_body_changed: bool) {
    if !fields.iter().any(is_signature) {
        return;
    }
    let changed = changed_names(before, fields);
    fields.retain(|field| !is_signature(field) || (!is_body_changed && covers_none(field, &changed)));
}

fn is_signature(field: &Field) -> bool {
    field.is("dkim-signature")
}

/// Returns the names, in lower case, whose fields differ between two headers.
fn changed_names(before: &[Field], after: &[Field]) -> HashSet<String> {
    let (before, after) = (by_name(before), by_name(after));
    let names = before.keys().chain(after.keys());
    names.filter(|name| before.get(*name) != after.get(*name)).cloned().collect()
}

/// Indexes fields by their name in lower case.
fn by_name(fields: &[Field]) -> HashMap<String, Vec<&str>> {
    let mut index: HashMap<String, Vec<&str>> = HashMap::new();
    for field in fields {
        index.entry(field.name().to_ascii_lowercase()).or_default().push(field.as_str());
    }
    index
}

/// Returns true if a signature covers none of these names. If a signature covers a name that is not in the message, no field of
/// that name may be added, so such a name counts as well.
fn covers_none(signature: &Field, changed: &HashSet<String>) -> bool {
    let value: String = signature.unfolded().chars().filter(|c| !c.is_whitespace()).collect();
    let Some(names) = value.split(';').find_map(|tag| tag.strip_prefix("h=")) else { return false };
    names.split(':').all(|name| !changed.contains(&name.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mime::field::NAMES_READ;

    fn signature(names: &str) -> Field {
        Field::new("DKIM-Signature", &format!("v=1; d=example.com; h={names}; b=x"))
    }

    #[test]
    fn a_signature_is_removed_if_a_field_that_it_covers_was_changed_added_or_removed() {
        let kept = signature("from : subject:TO");
        let before = [Field::new("From", "a"), Field::new("Subject", "x"), Field::new("X-Other", "1"), kept.clone()];
        let after = |change: &dyn Fn(&mut Vec<Field>)| {
            let mut fields = before.to_vec();
            change(&mut fields);
            remove_broken(&mut fields, &before, false);
            fields.contains(&kept)
        };
        assert!(after(&|_| {}));
        assert!(after(&|fields| fields[2] = Field::new("X-Other", "2")), "not covered");
        assert!(!after(&|fields| fields[1] = Field::new("Subject", "y")), "changed");
        assert!(!after(&|fields| fields.push(Field::new("to", "b"))), "added");
        assert!(!after(&|fields| drop(fields.remove(0))), "removed");
        let mut fields = before.to_vec();
        remove_broken(&mut fields, &before, true);
        assert!(!fields.contains(&kept), "the body was changed");
    }

    #[test]
    fn names_times_fields_cost_no_more_than_their_sum() {
        let many = signature(&vec!["x"; 20_000].join(":"));
        let mut before: Vec<Field> = (0..20_000).map(|_| Field::new("X", "a")).collect();
        before.extend([many.clone(), many]);
        let mut fields = before.clone();
        NAMES_READ.set(0);
        remove_broken(&mut fields, &before, false);
        assert_eq!(fields.len(), before.len());
        let read = NAMES_READ.get();
        assert!(read <= 10 * before.len(), "{read} names of fields were read for {} fields", before.len());
    }
}
