//! Links and form values of the console: [`address`] builds a URL with a query, and [`parse`] and [`parse_time`] read a value of
//! a form or a query.
//!
//! An empty value is none; one that cannot be parsed is an error, which the page handles. A time without an offset is in UTC.
//! Requests are read in `extract`.

use jiff::{Timestamp, civil, tz::TimeZone};

use crate::text::percent_encode;

/// Returns an address with parameters; those without a value are left out.
pub(super) fn address<'a>(path: &str, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let encode = |text: &str| percent_encode(text.as_bytes(), b"-._~");
    let pairs: Vec<String> = pairs
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| format!("{key}={}", encode(value)))
        .collect();
    if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
}

/// Parses a value of a form; none if it is empty.
pub(super) fn parse<T: std::str::FromStr>(text: &str) -> Result<Option<T>, T::Err> {
    let text = text.trim();
    if text.is_empty() { Ok(None) } else { text.parse().map(Some) }
}

/// Parses a time: with an offset, or in UTC without one, with `T` or a blank before the hour; none if it is empty.
pub(super) fn parse_time(text: &str) -> Result<Option<Timestamp>, jiff::Error> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    if let Ok(at) = text.parse() {
        return Ok(Some(at));
    }
    let local: civil::DateTime = text.parse()?;
    Ok(Some(local.to_zoned(TimeZone::UTC)?.timestamp()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_encoded_and_empty_ones_left_out() {
        assert_eq!(address("/a", [("q", "a&b=ü"), ("x", "")]), "/a?q=a%26b%3D%C3%BC");
        assert_eq!(address("/a", [("x", "")]), "/a");
    }

    #[test]
    fn times_are_in_utc_unless_they_have_an_offset() {
        let at: Timestamp = "2026-11-27T10:30:00Z".parse().unwrap();
        for text in ["2026-11-27T10:30", "2026-11-27T10:30:00Z", "2026-11-27T12:30:00+02:00", " 2026-11-27 10:30 "] {
            assert_eq!(parse_time(text).unwrap(), Some(at), "{text}");
        }
        assert_eq!(parse_time("").unwrap(), None);
        assert!(parse_time("yesterday").is_err() && parse_time("999999-01-01T00:00").is_err());
    }
}
