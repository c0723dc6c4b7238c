//! [`ascii_field`]: conversion of a header field to ASCII, by the kind of its value.
//!
//! Addresses, parameters and free text have a form in ASCII each; the local part of an address and the ids of messages have none.
//! A list of addresses that cannot be parsed is [`Malformed`].

use super::{Field, Malformed, address_list, parameter};

/// Converts a field to ASCII. Only the local part of an address stays: no encoding exists for it. Returns none for a field
/// that has no form in ASCII: ids of messages cannot be encoded (RFC 2047, 5).
pub fn ascii_field(field: Field) -> Result<Option<Field>, Malformed> {
    if field.as_str().is_ascii() {
        return Ok(Some(field));
    }
    let name = field.name().to_owned();
    if address_list::is_address_field(&name) {
        let list = address_list::parse(&field.unfolded())
            .map_err(|error| Malformed::new(format!("`{name}`: {error}")).remedy(error.remedy))?;
        return Ok(Some(address_list::field(&name, &list.entries)));
    }
    if ["references", "in-reply-to"].iter().any(|own| name.eq_ignore_ascii_case(own)) {
        let value = field.unfolded();
        let ids: Vec<&str> = value.split([' ', '\t']).filter(|id| !id.is_empty() && id.is_ascii()).collect();
        return Ok((!ids.is_empty()).then(|| Field::new(&name, &ids.join("\r\n "))));
    }
    if ["content-type", "content-disposition"].iter().any(|own| name.eq_ignore_ascii_case(own)) {
        return Ok(Some(Field::new(&name, &parameter::in_ascii(&field.unfolded()))));
    }
    Ok(Some(Field::unstructured(&name, &field.unfolded())))
}
