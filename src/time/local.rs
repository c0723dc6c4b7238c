//! Times as text for people.
//!
//! Output for one operator has the operator's time zone, which `TZ` selects, and its offset from UTC. Output for several people
//! or programs has UTC: JSON documents, logs, pull request comments, and the messages of a service.

use jiff::{Timestamp, tz::TimeZone};

/// Returns a time in the operator's time zone: `2026-11-26 15:02:00+01:00`, or `2026-11-26 14:02:00Z` in UTC.
pub(crate) fn format_time(time: Timestamp) -> String {
    format_time_in(time, &TimeZone::system())
}

/// Returns a time in UTC: `2026-11-26 14:02:00Z`.
pub(crate) fn format_utc(time: Timestamp) -> String {
    format_time_in(time, &TimeZone::UTC)
}

/// Returns the day of a time in the operator's time zone: `2026-11-26`.
pub(crate) fn format_day(time: Timestamp) -> String {
    format_in(time, &TimeZone::system(), "%Y-%m-%d", "")
}

/// Returns the time of day in the operator's time zone: `15:02:00+01:00`, or `14:02:00Z` in UTC.
pub(crate) fn format_time_of_day(time: Timestamp) -> String {
    format_in(time, &TimeZone::system(), "%H:%M:%S", "%:z")
}

fn format_time_in(time: Timestamp, zone: &TimeZone) -> String {
    format_in(time, zone, "%Y-%m-%d %H:%M:%S", "%:z")
}

/// Formats a time. An offset of zero is written as `Z`.
fn format_in(time: Timestamp, zone: &TimeZone, format: &str, offset: &str) -> String {
    let local = time.to_zoned(zone.clone());
    let offset = if local.offset().is_zero() && !offset.is_empty() { "Z" } else { offset };
    local.strftime(&format!("{format}{offset}")).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_the_offset_of_its_zone() {
        let time: Timestamp = "2026-11-26T23:02:00Z".parse().unwrap();
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        assert_eq!(format_utc(time), "2026-11-26 23:02:00Z");
        assert_eq!(format_time_in(time, &zone), "2026-11-27 00:02:00+01:00");
        assert_eq!(format_in(time, &zone, "%Y-%m-%d", ""), "2026-11-27");
        assert_eq!(format_in(time, &TimeZone::UTC, "%H:%M:%S", "%:z"), "23:02:00Z");
    }
}
