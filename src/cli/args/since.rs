//! The value of `--since` for commands about mail: a moment in the past, as a duration (`2h`), a day, or a time.
//!
//! [`Since::timestamp`] returns the moment. Days begin in the local time zone. This is not the `--since REVISION` of commands on
//! environments, which is in `environments`. A text that is none of the three is an error; a duration that reaches too far back
//! means 1970.

use std::str::FromStr;

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use crate::model::HumanDuration;

/// A moment in the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// So long ago.
    Ago(HumanDuration),
    /// The beginning of a day in the local time zone.
    Day(Date),
    /// A time with its offset.
    At(Timestamp),
}

impl Since {
    /// Returns the moment.
    pub(crate) fn timestamp(self, now: Timestamp) -> Timestamp {
        match self {
            Since::Ago(duration) => now.checked_sub(duration.duration()).unwrap_or(Timestamp::UNIX_EPOCH),
            Since::Day(day) => start_of(day).unwrap_or(Timestamp::UNIX_EPOCH),
            Since::At(time) => time,
        }
    }
}

impl FromStr for Since {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(duration) = text.parse() {
            return Ok(Since::Ago(duration));
        }
        if let Ok(day) = parse_day(text) {
            return Ok(Since::Day(day));
        }
        let time = text.parse().map(Since::At);
        time.map_err(|_| "write a duration such as 2h or 3d, a day such as 2026-11-23, or a time with its offset such as 2026-11-23T08:00:00Z".to_owned())
    }
}

/// Parses a day: `2026-11-23`.
pub(crate) fn parse_day(text: &str) -> Result<Date, String> {
    let day = text.parse::<Date>().ok().filter(|day| text.len() == 10 && start_of(*day).is_some());
    day.ok_or_else(|| "write a day such as 2026-11-23".to_owned())
}

/// Returns the beginning of a day in the local time zone, if that can be expressed.
pub(crate) fn start_of(day: Date) -> Option<Timestamp> {
    day.to_zoned(TimeZone::system()).ok().map(|start| start.timestamp())
}

/// Returns the beginning of the next day in the local time zone.
pub(crate) fn end_of(day: Date) -> Option<Timestamp> {
    day.tomorrow().ok().and_then(start_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_duration_a_day_or_a_time() {
        let now: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        let at = |text: &str| text.parse::<Since>().map(|since| since.timestamp(now));
        assert_eq!(at("2h"), Ok("2026-11-23T10:00:00Z".parse().unwrap()));
        assert_eq!(at("2026-11-22T08:00:00+01:00"), Ok("2026-11-22T07:00:00Z".parse().unwrap()));
        assert!(matches!("2026-11-23".parse(), Ok(Since::Day(_))));
        assert!("friday".parse::<Since>().unwrap_err().contains("2026-11-23"));
        assert!("-5h".parse::<Since>().is_err() && "2026-13-01".parse::<Since>().is_err());
    }

    #[test]
    fn a_day_ends_where_the_next_one_begins() {
        let day = parse_day("2026-11-23").unwrap();
        assert_eq!(end_of(day), start_of(parse_day("2026-11-24").unwrap()));
    }
}
