//! DKIM signatures (RFC 6376) of a message whose header was changed: the ones that still hold stay, the others go, because
//! a broken one counts against the message.

use super::Field;

/// Removes the signatures that what was changed breaks. `before` is the header that was signed; line ends and folding of
/// a field count as a change of it.
pub fn remove_broken(fields: &mut Vec<Field>, before: &[Field], is_body_changed: bool) {
    if !fields.iter().any(is_signature) {
        return;
    }
    let after = fields.clone();
    fields.retain(|field| !is_signature(field) || (!is_body_changed && holds(field, before, &after)));
}

fn is_signature(field: &Field) -> bool {
    field.is("dkim-signature")
}

/// Returns true if every field that a signature covers is as it was; a name that it covers and that is not there must not
/// have been added.
fn holds(signature: &Field, before: &[Field], after: &[Field]) -> bool {
    let value: String = signature.unfolded().chars().filter(|c| !c.is_whitespace()).collect();
    let Some(names) = value.split(';').find_map(|tag| tag.strip_prefix("h=")) else { return false };
    names.split(':').all(|name| {
        let of = |fields: &[Field]| -> Vec<String> {
            fields.iter().filter(|field| field.is(name)).map(|field| field.as_str().to_owned()).collect()
        };
        of(before) == of(after)
    })
}
