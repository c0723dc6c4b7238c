//! Names in files, requests and answers, and on the command line, that were replaced by others.
//!
//! [`RENAMED`] lists them. A name that a program may send is still read, by an alias where the document or the flag is declared.
//! A name in a file that a person writes is refused, and the remedy has the current one ([`current_name`]).
//! `tests/service/renamed.rs` goes over the list.

/// A place where a name is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamePlace {
    /// A file, by the name of its schema. The old name is refused.
    File(&'static str),
    /// A document of the API or of the store, by its type. The old name is read as the current one.
    Document(&'static str),
    /// The query of a request to this path. The old name is read as the current one.
    Query(&'static str),
    /// The options of a command. The old name is read as the current one.
    Command(&'static str),
}

/// A name that was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renamed {
    /// The place.
    pub place: NamePlace,
    /// The name before.
    pub old: &'static str,
    /// The current name.
    pub new: &'static str,
}

const fn renamed(place: NamePlace, old: &'static str, new: &'static str) -> Renamed {
    Renamed { place, old, new }
}

/// All names that were replaced: keys, values and options.
pub const RENAMED: &[Renamed] = &[
    renamed(NamePlace::File("environment"), "look", "search-sent-items"),
    renamed(NamePlace::File("environment"), "parked", "suspended"),
    renamed(NamePlace::Document("OidcSettings"), "longestMinutes", "maxLifetimeMinutes"),
    renamed(NamePlace::Document("Delivery"), "look", "search-sent-items"),
    renamed(NamePlace::Document("Delivery"), "parked", "suspended"),
    renamed(NamePlace::Document("Event"), "parked", "suspended"),
    renamed(NamePlace::Document("Message"), "lookFirst", "searchFirst"),
    renamed(NamePlace::Document("OutboxStatus"), "ended", "finished"),
    renamed(NamePlace::Document("OutboxStatus"), "down", "unreachable"),
    renamed(NamePlace::Document("OutboxStatus"), "records", "storeWritable"),
    renamed(NamePlace::Document("Rotation"), "told", "alerted"),
    renamed(NamePlace::Document("Submission"), "again", "allowDuplicate"),
    renamed(NamePlace::Document("ActionOptions"), "again", "allRecipients"),
    renamed(NamePlace::Document("VerifyRequest"), "beside", "siblings"),
    renamed(NamePlace::Query("/v1/messages"), "again", "allowDuplicate"),
    renamed(NamePlace::Query("/v1/outbox"), "over", "finishedWithin"),
    renamed(NamePlace::Command("send"), "--again", "--allow-duplicate"),
    renamed(NamePlace::Command("outbox replay"), "--again", "--all-recipients"),
];

/// Returns the current name for an old name in a file, if it is one of those that are allowed at the place.
pub fn current_name<'a>(old: &str, allowed: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let is_current = |allowed: &&str| {
        let is_in_file = |renamed: &Renamed| matches!(renamed.place, NamePlace::File(_));
        RENAMED.iter().any(|renamed| is_in_file(renamed) && renamed.old == old && renamed.new == *allowed)
    };
    allowed.into_iter().find(is_current)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_name_is_only_replaced_where_the_current_one_is_allowed() {
        assert_eq!(current_name("look", ["hold", "search-sent-items"]), Some("search-sent-items"));
        assert_eq!(current_name("look", ["hold", "retry"]), None);
        assert_eq!(current_name("told", ["alerted"]), None, "not in a file");
    }
}
