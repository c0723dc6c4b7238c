//! Short texts that several commands share: ages, counts, ids, commits, and summaries of changes.
//!
//! Pure functions without colour and without a trailing line break. Bounded text from outside is made printable by [`cut`] and
//! [`crate::text`].

use crate::{
    model::{ChangeSummary, Provenance, Resolution, provenance::Author},
    text::{printable, shortened},
};

/// Returns an age in its largest units: `42 s`, `12 min`, `3 h 5 min`, `2 d 4 h`.
pub(crate) fn format_age(seconds: u64) -> String {
    let with_rest = |count: u64, unit: &str, rest: u64, small: &str| {
        if rest == 0 { format!("{count} {unit}") } else { format!("{count} {unit} {rest} {small}") }
    };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => with_rest(seconds / 3600, "h", seconds % 3600 / 60, "min"),
        _ => with_rest(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

/// Returns a number with its noun: `1 message`, `2 messages`.
pub(crate) fn count_of(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// Returns a text from elsewhere on one line without control characters, cut at a number of characters.
pub(crate) fn cut(text: &str, length: usize) -> String {
    shortened(&printable(text), length).into_owned()
}

/// The characters of a short id: the milliseconds of a UUID of version 7. Fewer would be equal for all messages of a minute,
/// also for those that a table does not show.
const SHORT_ID: usize = 13;

/// Returns the beginnings of ids that distinguish them: at least [`SHORT_ID`] characters.
pub(crate) fn short_ids(ids: &[String]) -> Vec<String> {
    let cut = |id: &str, length: usize| id.get(..length).unwrap_or(id).trim_end_matches('-').to_owned();
    let is_unique = |length: &usize| {
        let mut cuts: Vec<String> = ids.iter().map(|id| cut(id, *length)).collect();
        cuts.sort_unstable();
        cuts.windows(2).all(|pair| pair.first() != pair.last())
    };
    let longest = ids.iter().map(String::len).max().unwrap_or_default();
    let length = (SHORT_ID..longest).find(is_unique).unwrap_or(longest);
    ids.iter().map(|id| cut(id, length)).collect()
}

/// Returns the name of a status or a class as JSON documents write it.
pub(crate) fn wire_name(value: impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Returns the first characters of a commit's hash, with a plus sign if there were uncommitted changes. The client that
/// applied the generation sent it.
pub(crate) fn short_commit(provenance: &Provenance) -> String {
    let mut commit = provenance.commit.as_deref().map_or("-".to_owned(), |c| printable(c).chars().take(12).collect());
    if provenance.dirty {
        commit.push('+');
    }
    commit
}

/// Returns the author of the commit: the name, or else the address.
pub(crate) fn short_author(provenance: &Provenance) -> String {
    match &provenance.author {
        None => "-".to_owned(),
        Some(Author { name, email }) => cut(if name.is_empty() { email } else { name }, 30),
    }
}

/// Returns the steps of a resolution in one line: `all-documents for EDU1: none; default system-wide: relay`.
pub(crate) fn resolution_steps(resolution: &Resolution) -> String {
    let steps = resolution.steps.iter().map(|step| {
        let scope = step.company.as_ref().map_or("system-wide".to_owned(), |company| format!("for {company}"));
        let found = step.found.as_ref().map_or("none".to_owned(), ToString::to_string);
        format!("{} {scope}: {found}", step.function)
    });
    steps.collect::<Vec<_>>().join("; ")
}

/// Returns the number of changes of each kind: `2 added, 1 changed`.
pub(crate) fn describe_changes(summary: &ChangeSummary) -> String {
    let counts = [
        (summary.added, "added"),
        (summary.changed, "changed"),
        (summary.destroyed, "destroyed"),
        (summary.renamed, "renamed"),
        (summary.adopted, "adopted"),
        (summary.forgotten, "forgotten"),
    ];
    let mut parts: Vec<String> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, verb)| format!("{count} {verb}")).collect();
    if summary.settings {
        parts.push("settings".to_owned());
    }
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_lists_the_kinds_that_occur() {
        let summary = ChangeSummary { added: 2, changed: 1, settings: true, ..ChangeSummary::default() };
        assert_eq!(describe_changes(&summary), "2 added, 1 changed, settings");
        assert_eq!(describe_changes(&ChangeSummary::default()), "nothing");
    }

    #[test]
    fn a_commit_is_short_and_marks_uncommitted_changes() {
        let commit = Some("0123456789abcdef0123456789abcdef01234567".to_owned());
        assert_eq!(short_commit(&Provenance { commit, dirty: true, ..Provenance::default() }), "0123456789ab+");
        assert_eq!(short_commit(&Provenance::default()), "-");
    }

    #[test]
    fn ids_are_as_short_as_they_can_be() {
        let ids = |texts: &[&str]| short_ids(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        let one = "01a21b05-be4b-761c-bb05-c580c10bfa3c";
        assert_eq!(ids(&[one]), ["01a21b05-be4b"]);
        assert_eq!(ids(&[one, "01a21b05-be4b-8000-8000-000000000000"]), ["01a21b05-be4b-7", "01a21b05-be4b-8"]);
        assert_eq!(ids(&[]), Vec::<String>::new());
        assert_eq!(ids(&["abc", "abd"]), ["abc", "abd"]);
    }

    #[test]
    fn an_age_has_its_two_largest_units() {
        let ages = [59, 61, 3600, 11_130, 90_000].map(format_age);
        assert_eq!(ages, ["59 s", "1 min", "1 h", "3 h 5 min", "1 d 1 h"]);
    }

    #[test]
    fn a_count_agrees_with_its_noun() {
        assert_eq!(count_of(1, "message"), "1 message");
        assert_eq!(count_of(0, "message"), "0 messages");
    }
}
