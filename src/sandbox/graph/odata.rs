//! The query parameters `$select`, `$filter`, `$orderby` and `$top`, with Graph's errors for what it does not support.
//!
//! A [`Query`] is applied to the JSON of `documents`. A query for a property that the sandbox does not have fails, as if Graph did not
//! have it.

use serde_json::{Value, json};

use super::error::{ODataError, refusal};
use crate::{sandbox::Sandbox, text};

/// Items of a page, if the request has no `$top`.
const PAGE: usize = 100;

/// A type of Graph, with the properties that the sandbox has.
#[derive(Debug)]
pub(super) struct EntityType {
    name: &'static str,
    properties: &'static [&'static str],
}

pub(super) const APPLICATION: EntityType = EntityType {
    name: "application",
    properties: &[
        "id",
        "appId",
        "displayName",
        "signInAudience",
        "isFallbackPublicClient",
        "disabledByMicrosoftStatus",
        "isDisabled",
        "requiredResourceAccess",
        "web",
        "spa",
        "publicClient",
        "passwordCredentials",
        "keyCredentials",
        "tags",
        "createdDateTime",
    ],
};
pub(super) const SERVICE_PRINCIPAL: EntityType = EntityType {
    name: "servicePrincipal",
    properties: &[
        "id",
        "appId",
        "displayName",
        "accountEnabled",
        "appRoleAssignmentRequired",
        "disabledByMicrosoftStatus",
        "isDisabled",
        "appOwnerOrganizationId",
        "appRoles",
        "oauth2PermissionScopes",
        "servicePrincipalType",
    ],
};
pub(super) const USER: EntityType = EntityType {
    name: "user",
    properties: &[
        "id",
        "displayName",
        "givenName",
        "surname",
        "mail",
        "userPrincipalName",
        "accountEnabled",
        "assignedPlans",
        "proxyAddresses",
        "userType",
    ],
};
pub(super) const ORGANIZATION: EntityType =
    EntityType { name: "organization", properties: &["id", "displayName", "verifiedDomains"] };
pub(super) const DOMAIN: EntityType = EntityType { name: "domain", properties: &["id", "isVerified"] };
pub(super) const GRANT: EntityType = EntityType {
    name: "oAuth2PermissionGrant",
    properties: &["id", "clientId", "consentType", "principalId", "resourceId", "scope"],
};
pub(super) const ASSIGNMENT: EntityType = EntityType {
    name: "appRoleAssignment",
    properties: &[
        "id",
        "appRoleId",
        "createdDateTime",
        "principalDisplayName",
        "principalId",
        "principalType",
        "resourceDisplayName",
        "resourceId",
    ],
};
pub(super) const FEDERATED: EntityType =
    EntityType { name: "federatedIdentityCredential", properties: &["id", "name", "issuer", "subject", "audiences"] };
pub(super) const MESSAGE: EntityType =
    EntityType { name: "message", properties: &["id", "internetMessageId", "sentDateTime"] };

impl EntityType {
    fn check(&self, property: &str, clause: &str) -> Result<(), ODataError> {
        if self.properties.contains(&property) {
            return Ok(());
        }
        let name = self.name;
        Err(refusal(
            400,
            "BadRequest",
            format!("{clause}: Could not find a property named '{property}' on type 'microsoft.graph.{name}'."),
        ))
    }
}

/// The parameters of an address that begin with `$`.
#[derive(Debug, Default)]
pub(super) struct Query {
    select: Option<Vec<String>>,
    filter: Option<String>,
    top: Option<usize>,
    skip: usize,
}

impl Query {
    /// Splits an address into its path and its query parameters.
    pub(super) fn parse(url: &str) -> Result<(String, Self), ODataError> {
        let Ok(parsed) = reqwest::Url::parse(&format!("https://graph.invalid{url}")) else {
            return Ok((String::new(), Self::default()));
        };
        let mut query = Self::default();
        for (key, value) in parsed.query_pairs() {
            match key.as_ref() {
                "$select" => query.select = Some(value.split(',').map(|name| name.trim().to_owned()).collect()),
                "$filter" => query.filter = Some(value.into_owned()),
                "$top" => {
                    let wrong = || {
                        format!(
                            "Invalid value '{value}' for $top query option found. The $top query option requires a non-negative integer value."
                        )
                    };
                    query.top = Some(value.parse().map_err(|_| refusal(400, "BadRequest", wrong()))?);
                }
                "$skiptoken" => query.skip = value.parse().unwrap_or(0),
                // The directory can sort only for some queries, and the sandbox for none.
                "$orderby" => {
                    return Err(refusal(400, "Request_UnsupportedQuery", "Sorting not supported for current query."));
                }
                "$count" => {}
                other if other.starts_with('$') => {
                    return Err(refusal(400, "BadRequest", format!("The query parameter '{other}' is not supported.")));
                }
                _ => {}
            }
        }
        let path = text::percent_decode(parsed.path().as_bytes());
        Ok((String::from_utf8_lossy(&path).into_owned(), query))
    }

    /// Returns the selected properties of an object.
    pub(super) fn selected(&self, of: &EntityType, mut item: Value) -> Result<Value, ODataError> {
        let Some(select) = &self.select else { return Ok(item) };
        for name in select {
            of.check(name, "Parsing OData Select and Expand failed")?;
        }
        if let Some(map) = item.as_object_mut() {
            map.retain(|key, _| select.contains(key));
        }
        Ok(item)
    }

    /// Returns the objects that match the filter.
    pub(super) fn filtered(&self, of: &EntityType, items: Vec<Value>) -> Result<Vec<Value>, ODataError> {
        let Some(text) = &self.filter else { return Ok(items) };
        let filter = Filter::parse(of, text)?;
        Ok(items.into_iter().filter(|item| filter.matches(item)).collect())
    }

    /// Returns one page of a filtered list, with the address of the next one.
    pub(super) fn page(
        &self,
        sandbox: &Sandbox,
        path: &str,
        of: &EntityType,
        items: Vec<Value>,
    ) -> Result<Value, ODataError> {
        let top = self.top.unwrap_or(PAGE).clamp(1, 999);
        let more = items.len() > self.skip + top;
        // The selected names are checked even if the list is empty.
        self.selected(of, json!({}))?;
        let page: Vec<Value> = items
            .into_iter()
            .skip(self.skip)
            .take(top)
            .map(|item| self.selected(of, item))
            .collect::<Result<_, _>>()?;
        let mut answer = json!({ "@odata.context": format!("{}/v1.0/$metadata#{}", sandbox.address(), path.trim_start_matches('/')), "value": page });
        if more {
            let mut next = format!("{}/v1.0{path}?$skiptoken={}", sandbox.address(), self.skip + top);
            for (key, value) in [
                ("$top", self.top.map(|top| top.to_string())),
                ("$select", self.select.as_ref().map(|select| select.join(","))),
                ("$filter", self.filter.clone()),
            ] {
                if let Some(value) = value {
                    next = format!("{next}&{key}={}", crate::entra::graph::percent_encode(&value));
                }
            }
            answer["@odata.nextLink"] = json!(next);
        }
        Ok(answer)
    }
}

/// A filter: alternatives, each of comparisons that all hold.
#[derive(Debug)]
struct Filter(Vec<Vec<Comparison>>);

#[derive(Debug)]
enum Comparison {
    Equals(String, Value),
    StartsWith(String, String),
    AnyEquals(String, Value),
}

impl Filter {
    fn parse(of: &EntityType, text: &str) -> Result<Self, ODataError> {
        let alternatives = split(text, " or ").into_iter().map(|alternative| {
            split(alternative, " and ").into_iter().map(|part| Comparison::parse(of, part.trim())).collect()
        });
        alternatives.collect::<Result<_, _>>().map(Self)
    }

    fn matches(&self, item: &Value) -> bool {
        self.0.iter().any(|all| all.iter().all(|comparison| comparison.matches(item)))
    }
}

impl Comparison {
    fn parse(of: &EntityType, text: &str) -> Result<Self, ODataError> {
        const CLAUSE: &str = "Invalid filter clause";
        let unsupported =
            || refusal(400, "Request_UnsupportedQuery", "Unsupported or invalid query filter clause specified.");
        if let Some(inside) = text.strip_prefix("startswith(").and_then(|rest| rest.strip_suffix(')')) {
            let (property, value) = inside.split_once(',').ok_or_else(unsupported)?;
            of.check(property.trim(), CLAUSE)?;
            let Some(Value::String(value)) = literal(value) else { return Err(unsupported()) };
            return Ok(Self::StartsWith(property.trim().to_owned(), value));
        }
        if let Some((property, rest)) = text.split_once("/any(") {
            of.check(property, CLAUSE)?;
            let (variable, rest) =
                rest.strip_suffix(')').and_then(|rest| rest.split_once(':')).ok_or_else(unsupported)?;
            let (left, value) = rest.split_once(" eq ").ok_or_else(unsupported)?;
            let value = literal(value).filter(|_| left.trim() == variable.trim()).ok_or_else(unsupported)?;
            return Ok(Self::AnyEquals(property.to_owned(), value));
        }
        let (property, value) = text.split_once(" eq ").ok_or_else(unsupported)?;
        of.check(property.trim(), CLAUSE)?;
        Ok(Self::Equals(property.trim().to_owned(), literal(value).ok_or_else(unsupported)?))
    }

    /// Returns true if an object matches. Texts are compared without regard to case, as the directory does.
    fn matches(&self, item: &Value) -> bool {
        let same = |found: &Value, wanted: &Value| match (found.as_str(), wanted.as_str()) {
            (Some(found), Some(wanted)) => found.eq_ignore_ascii_case(wanted),
            _ => found == wanted,
        };
        match self {
            Self::Equals(property, wanted) => same(&item[property], wanted),
            Self::StartsWith(property, wanted) => {
                item[property].as_str().is_some_and(|found| found.to_lowercase().starts_with(&wanted.to_lowercase()))
            }
            Self::AnyEquals(property, wanted) => {
                item[property].as_array().into_iter().flatten().any(|found| same(found, wanted))
            }
        }
    }
}

/// Parses a text in quotes, or a word such as `true`.
fn literal(text: &str) -> Option<Value> {
    let text = text.trim();
    match text.strip_prefix('\'') {
        Some(rest) => rest.strip_suffix('\'').map(|inside| json!(inside.replace("''", "'"))),
        None => match text {
            "true" => Some(json!(true)),
            "false" => Some(json!(false)),
            "null" => Some(Value::Null),
            _ => None,
        },
    }
}

/// Splits a text at a word outside quotes.
fn split<'t>(text: &'t str, word: &str) -> Vec<&'t str> {
    let mut parts = Vec::new();
    let (mut start, mut at) = (0, 0);
    while let Some(found) = text[at..].find(word) {
        let end = at + found;
        at = end + word.len();
        if text[start..end].matches('\'').count().is_multiple_of(2) {
            parts.push(&text[start..end]);
            start = at;
        }
    }
    parts.push(&text[start..]);
    parts
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test ends there")]

    use super::*;

    #[test]
    fn filters_compare_without_case_and_respect_quotes() {
        let user = json!({ "id": "1", "mail": "A or B@example.com", "proxyAddresses": ["SMTP:a@example.com"] });
        for (filter, matches) in [
            ("mail eq 'a or B@example.com'", true),
            ("mail eq 'a' or id eq '1'", true),
            ("mail eq 'a' and id eq '1'", false),
            ("startswith(mail,'a or')", true),
            ("proxyAddresses/any(p:p eq 'smtp:a@example.com')", true),
            ("proxyAddresses/any(p:p eq 'smtp:b@example.com')", false),
        ] {
            assert_eq!(Filter::parse(&USER, filter).unwrap().matches(&user), matches, "{filter}");
        }
    }

    #[test]
    fn unknown_properties_and_operators_are_refused() {
        for filter in ["unknown eq 'a'", "mail ne 'a'", "mail eq a", "endswith(mail,'a')"] {
            assert!(Filter::parse(&USER, filter).is_err(), "{filter}");
        }
    }
}
