//! Search of a tenant's directory for recipients: users, groups and contacts of the organization.
//!
//! [`search_directory`] makes one request for one kind, with `$search` and `ConsistencyLevel: eventual`, and returns the entries
//! that can receive mail; [`search_contacts`] searches the contacts of the signed-in user. [`search_clause`] escapes the text of a person for `$search`. Only the first [`RESULTS`] are read: the
//! caller asks for more text instead of more pages. A request is not repeated here, so that a person who types gets an answer at
//! once; the caller obeys the time that Graph asks to wait. Nothing is kept here.
//!
//! Sources: Microsoft Graph, "Use the $search query parameter" (the clause is in double quotes; double quotes and backslashes in
//! it are escaped with a backslash; `displayName` is split into words, any other property must begin with the text) and "List
//! users", "List groups", "List orgContacts". How letters with diacritics are compared is not documented.

use std::time::Duration;

use secrecy::SecretString;
use serde_json::Value;

use super::{
    Endpoints, Http, HttpError,
    graph::{GraphError, quote_odata},
    http::Request,
};
use crate::{
    model::address_book::{AddressBookEntry, AddressKind},
    text::percent_encode,
};

/// The largest number of entries of one kind that are read.
pub const RESULTS: usize = 200;

/// The largest number of addresses of a contact that are read. Exchange keeps three.
const ADDRESSES: usize = 10;

/// The properties that every permission for users shows.
const BASIC_OF_USERS: &str = "displayName,mail";

/// The entries of one kind that a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundEntries {
    /// The entries, in no particular order.
    pub entries: Vec<AddressBookEntry>,
    /// True if the directory has more.
    pub has_more: bool,
}

/// The reason why a kind was not searched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    /// The token is not accepted.
    #[error("Graph did not accept the token (HTTP 401)")]
    TokenRefused,
    /// The token has no permission for the kind.
    #[error("Graph answered HTTP 403 {code}")]
    Denied {
        /// Graph's code.
        code: String,
    },
    /// Graph asks to wait.
    #[error("Graph asks to wait (HTTP {status})")]
    Throttled {
        /// The HTTP status.
        status: u16,
        /// The time to wait, if Graph names one.
        retry_after: Option<Duration>,
    },
    /// Another answer, or none.
    #[error("{0}")]
    Failed(String),
}

/// Returns the permission that a search for a kind needs, as the remedy names it.
pub fn needed_permission(kind: AddressKind) -> &'static str {
    match kind {
        AddressKind::Person => "User.Read.All",
        AddressKind::Group => "Group.Read.All",
        AddressKind::Contact => "OrgContact.Read.All",
    }
}

/// Returns the sentence about the permission that is missing for a kind.
pub fn describe_missing(kind: AddressKind) -> String {
    let permission = needed_permission(kind);
    match kind {
        AddressKind::Person => format!(
            "users are missing: the application has neither `{permission}` nor `User.ReadBasic.All` (which shows neither department nor company)"
        ),
        AddressKind::Group => format!("groups are missing: the application does not have `{permission}`"),
        AddressKind::Contact => {
            format!("contacts of the organization are missing: the application does not have `{permission}`")
        }
    }
}

/// Returns a clause of `$search` for a property: in double quotes, with double quotes and backslashes escaped.
pub fn search_clause(property: &str, text: &str) -> String {
    let mut clause = format!("\"{property}:");
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            clause.push('\\');
        }
        clause.push(c);
    }
    clause.push('"');
    clause
}

/// Returns the query for a kind, without the question mark.
fn search_query(kind: AddressKind, text: &str, properties: &str) -> String {
    let search = format!("{} OR {}", search_clause("displayName", text), search_clause("mail", text));
    let filter = if kind == AddressKind::Group { "&$filter=mailEnabled%20eq%20true" } else { "" };
    format!(
        "$search={}{filter}&$select={properties}&$top={RESULTS}&$count=true&$orderby=displayName",
        percent_encode(search.as_bytes(), b"-._~")
    )
}

/// Searches one kind of entries once.
pub async fn search_directory(
    http: &Http,
    endpoints: &Endpoints,
    token: &SecretString,
    kind: AddressKind,
    text: &str,
) -> Result<FoundEntries, SearchError> {
    let (set, properties) = match kind {
        AddressKind::Person => ("users", "displayName,mail,department,companyName"),
        AddressKind::Group => ("groups", "displayName,mail"),
        AddressKind::Contact => ("contacts", "displayName,mail,department,companyName"),
    };
    let body = match read(http, endpoints, token, set, &search_query(kind, text, properties)).await {
        // The permission may show the basic properties only.
        Err(SearchError::Denied { .. }) if kind == AddressKind::Person => {
            read(http, endpoints, token, set, &search_query(kind, text, BASIC_OF_USERS)).await
        }
        answered => answered,
    }?;
    let Some(items) = body["value"].as_array() else {
        return Err(SearchError::Failed(GraphError::Unknown.to_string()));
    };
    Ok(FoundEntries {
        entries: items.iter().take(RESULTS).filter_map(|item| entry(kind, item)).collect(),
        has_more: body["@odata.nextLink"].is_string() || items.len() > RESULTS,
    })
}

/// Searches the contacts that the signed-in user keeps in the mailbox, by the beginning of a name. One with several addresses is
/// several entries.
pub async fn search_contacts(
    http: &Http,
    endpoints: &Endpoints,
    token: &SecretString,
    text: &str,
) -> Result<FoundEntries, SearchError> {
    let quoted = quote_odata(text);
    let begins = |property: &str| format!("startswith({property},'{quoted}')");
    let filter = ["displayName", "givenName", "surname"].map(begins).join("%20or%20");
    let query = format!("$filter={filter}&$select=displayName,companyName,emailAddresses&$top={RESULTS}");
    let body = read(http, endpoints, token, "me/contacts", &query).await?;
    let Some(items) = body["value"].as_array() else {
        return Err(SearchError::Failed(GraphError::Unknown.to_string()));
    };
    let entries = items.iter().take(RESULTS).flat_map(|item| {
        let addresses = item["emailAddresses"].as_array().into_iter().flatten().take(ADDRESSES);
        addresses.filter_map(|address| {
            let name = item["displayName"].as_str().unwrap_or_default();
            let found = AddressBookEntry::new(AddressKind::Contact, name, address["address"].as_str()?)?;
            Some(found.of_company(None, item["companyName"].as_str()))
        })
    });
    Ok(FoundEntries { entries: entries.collect(), has_more: body["@odata.nextLink"].is_string() })
}

/// Returns the entry of an object; none if it cannot receive mail.
fn entry(kind: AddressKind, item: &Value) -> Option<AddressBookEntry> {
    let text = |key: &str| item[key].as_str();
    let found = AddressBookEntry::new(kind, text("displayName").unwrap_or_default(), text("mail")?)?;
    Some(found.of_company(text("department"), text("companyName")))
}

async fn read(
    http: &Http,
    endpoints: &Endpoints,
    token: &SecretString,
    set: &str,
    query: &str,
) -> Result<Value, SearchError> {
    let failed = |error: &dyn std::fmt::Display| SearchError::Failed(error.to_string());
    let mut url = endpoints.graph.join(&format!("v1.0/{set}")).map_err(|error| failed(&error))?;
    url.set_query(Some(query));
    let request = Request::get(url).bearer(token).header("ConsistencyLevel", "eventual").only_once();
    let answer = match http.send(request).await {
        Ok(answer) => answer,
        Err(HttpError::Busy { status, asked, .. }) => {
            return Err(SearchError::Throttled { status, retry_after: asked.map(Duration::from_secs) });
        }
        Err(error) => return Err(failed(&error)),
    };
    let code = || GraphError::from_response(answer.status, &answer.body).code().to_owned();
    match answer.status {
        200..300 => Ok(answer.body),
        401 => Err(SearchError::TokenRefused),
        403 => Err(SearchError::Denied { code: code() }),
        status @ (429 | 503 | 504) => Err(SearchError::Throttled { status, retry_after: answer.retry_after }),
        status => Err(SearchError::Failed(format!("Graph answered HTTP {status} {}", code()).trim_end().to_owned())),
    }
}

/// Returns the address of a search, for tests.
#[cfg(test)]
fn search_url(kind: AddressKind, text: &str) -> Option<reqwest::Url> {
    reqwest::Url::parse(&format!("https://graph.invalid/v1.0/users?{}", search_query(kind, text, BASIC_OF_USERS))).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends there")]

    use proptest::prelude::*;

    use super::*;

    /// Reads a clause as Graph documents it: the property, the text, and what follows the closing quote.
    fn read_clause(clause: &str) -> Option<(String, String, String)> {
        let mut content = String::new();
        let mut rest = clause.strip_prefix('"')?.chars();
        loop {
            match rest.next()? {
                '"' => break,
                '\\' => content.push(rest.next()?),
                other => content.push(other),
            }
        }
        let (property, text) = content.split_once(':')?;
        Some((property.to_owned(), text.to_owned(), rest.collect()))
    }

    #[test]
    fn quotes_and_backslashes_are_escaped_and_an_apostrophe_is_not() {
        assert_eq!(search_clause("mail", r#"a"b\c'd"#), r#""mail:a\"b\\c'd""#);
        let url = search_url(AddressKind::Person, "O'Neil & \"co\" #+%").unwrap();
        let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        assert_eq!(pairs.len(), 5, "{url}");
        assert_eq!(pairs[0].1, r#""displayName:O'Neil & \"co\" #+%" OR "mail:O'Neil & \"co\" #+%""#);
        assert!(search_url(AddressKind::Group, "a").unwrap().query().unwrap().contains("mailEnabled%20eq%20true"));
    }

    proptest! {
        #[test]
        fn any_text_stays_inside_its_clause(text in any::<String>()) {
            let read = read_clause(&search_clause("displayName", &text));
            prop_assert_eq!(read, Some(("displayName".to_owned(), text, String::new())));
        }

        #[test]
        fn any_text_stays_inside_its_parameter(text in any::<String>()) {
            let url = search_url(AddressKind::Contact, &text).unwrap();
            let names: Vec<String> = url.query_pairs().map(|(name, _)| name.into_owned()).collect();
            prop_assert_eq!(names, ["$search", "$select", "$top", "$count", "$orderby"]);
            let search = url.query_pairs().next().unwrap().1.into_owned();
            let (_, first, rest) = read_clause(&search).unwrap();
            let (property, second, end) = read_clause(rest.strip_prefix(" OR ").unwrap()).unwrap();
            prop_assert_eq!((property.as_str(), &first, &second, end.as_str()), ("mail", &text, &text, ""));
        }
    }
}
