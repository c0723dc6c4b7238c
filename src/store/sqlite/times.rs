//! Conversion between [`jiff::Timestamp`] and the columns of `SQLite`: milliseconds, times since 1970.
//!
//! A value that is too large becomes the largest time, instead of an error. Outside of the store, times have types.

use jiff::{SignedDuration, Timestamp};

/// Returns the time in a column.
pub(super) fn timestamp(milliseconds: i64) -> Timestamp {
    let limit = if milliseconds < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_millisecond(milliseconds).unwrap_or(limit)
}

/// Returns a length of time for a column.
pub(super) fn milliseconds(duration: SignedDuration) -> i64 {
    let limit = if duration.is_negative() { i64::MIN } else { i64::MAX };
    i64::try_from(duration.as_millis()).unwrap_or(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_of_a_column_overflows() {
        assert_eq!(timestamp(1500).as_millisecond(), 1500);
        assert_eq!((timestamp(i64::MIN), timestamp(i64::MAX)), (Timestamp::MIN, Timestamp::MAX));
        assert_eq!(milliseconds(SignedDuration::from_millis(-7)), -7);
        assert_eq!((milliseconds(SignedDuration::MIN), milliseconds(SignedDuration::MAX)), (i64::MIN, i64::MAX));
    }
}
