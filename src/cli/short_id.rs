//! Short ids: finds the thing whose id begins with a text.
//!
//! Tables show ids of messages by their first characters, and every command accepts the beginning of an id. Hyphens and capital
//! letters make no difference. A beginning that is too short (4 characters, 8 for messages), or that several or none have, is an
//! error.

use uuid::Uuid;

use crate::{
    cli::CliError,
    client::Client,
    model::Code,
    text::{enumerate, printable},
};

/// The number of characters that an abbreviated id has at least, so that a slip of the finger does not select something.
const MIN_LENGTH: usize = 4;
/// The number of ids that are named if a beginning is ambiguous.
const SHOWN: usize = 5;

/// Returns the one of `ids` that is `text` or begins with it. `noun` is the kind of thing, and `list` the command that lists all.
pub(crate) fn find_id(noun: &str, ids: &[String], text: &str, list: &str) -> Result<String, CliError> {
    let plain = |id: &str| id.replace('-', "").to_ascii_lowercase();
    let wanted = plain(text);
    let found: Vec<&String> = ids.iter().filter(|id| plain(id).starts_with(&wanted)).collect();
    if let Some(exact) = found.iter().find(|id| plain(id) == wanted) {
        return Ok((*exact).clone());
    }
    let shown = text.escape_debug();
    if wanted.len() < MIN_LENGTH {
        return Err(CliError::coded(Code::Usage, format!("`{shown}` is too short for the id of a {noun}"))
            .remedy(format!("Give at least {MIN_LENGTH} characters; `{list}` shows the ids.")));
    }
    match found[..] {
        [] => Err(CliError::coded(Code::NotFound, format!("no {noun} has an id that begins with `{shown}`"))
            .remedy(format!("`{list}` shows the ids."))),
        [id] => Ok(id.clone()),
        _ => Err(ambiguous(noun, &shown.to_string(), found.into_iter())),
    }
}

/// Returns the error for the beginning of several ids.
pub(crate) fn ambiguous<'a>(noun: &str, shown: &str, ids: impl Iterator<Item = &'a String>) -> CliError {
    let ids = enumerate(ids.map(|id| format!("`{}`", printable(id))), SHOWN);
    CliError::coded(Code::AmbiguousArgument, format!("the ids of several {noun}s begin with `{shown}`"))
        .remedy(format!("Give more characters: {ids}."))
}

/// Returns true if a text can be the id of a message.
pub(crate) fn is_message_id(text: &str) -> bool {
    text.len() >= 8 && text.chars().all(|character| character.is_ascii_hexdigit() || character == '-')
}

/// Returns the id of the message whose id begins with a text.
pub(crate) async fn find_message_id(client: &Client, environment: &str, text: &str) -> Result<Uuid, CliError> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let shown = text.escape_debug();
    let list = format!("`mailwright outbox list {environment}` shows the ids.");
    if !is_message_id(text) {
        return Err(CliError::coded(
            Code::Usage,
            format!("`{shown}` is not a message id, or at least 8 of its digits"),
        )
        .remedy(list));
    }
    let found = client.messages(&[("id", text.to_owned()), ("limit", SHOWN.to_string())]).await?.messages;
    match found.as_slice() {
        [] => {
            Err(CliError::coded(Code::NotFound, format!("no message has an id that begins with `{shown}`"))
                .remedy(list))
        }
        [message] => Ok(message.id),
        several => {
            let ids: Vec<String> = several.iter().map(|message| message.id.to_string()).collect();
            Err(ambiguous("message", &shown.to_string(), ids.iter()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str) -> Result<String, CliError> {
        let ids = ["1f0c63a2b4d5", "1f0c99", "abcd", "abcd12"].map(str::to_owned);
        find_id("token", &ids, text, "mailwright token list prod")
    }

    #[test]
    fn the_beginning_of_one_id_selects_it() {
        assert_eq!(find("1f0c6").unwrap(), "1f0c63a2b4d5");
        assert_eq!(find("1F0C-63").unwrap(), "1f0c63a2b4d5");
        assert_eq!(find("abcd").unwrap(), "abcd", "an exact id is not ambiguous");
    }

    #[test]
    fn other_beginnings_are_refused() {
        let several = find("1f0c").unwrap_err();
        assert_eq!(several.code, Some(Code::AmbiguousArgument));
        assert_eq!(several.remedy.unwrap(), "Give more characters: `1f0c63a2b4d5`, `1f0c99`.");
        for text in ["", "1", "abc"] {
            assert_eq!(find(text).unwrap_err().code, Some(Code::Usage), "{text}");
        }
        let none = find("ffff").unwrap_err();
        assert_eq!(none.code, Some(Code::NotFound));
        assert_eq!(none.remedy.unwrap(), "`mailwright token list prod` shows the ids.");
    }
}
