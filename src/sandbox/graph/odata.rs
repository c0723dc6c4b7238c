//! The query parameters `$select`, `$filter`, `$search`, `$orderby`, `$expand`, `$count` and `$top`, with Graph's errors for
//! what it does not support.
//!
//! A [`Query`] is applied to the JSON of `documents`. A query for a property that the sandbox does not have fails, as if Graph
//! did not have it. Source of what needs the header `ConsistencyLevel: eventual`, and of the errors without it: Microsoft
//! Graph, "Advanced query capabilities on directory objects" (2023-04-14).

use std::{cmp::Ordering, ops::Range};

use serde_json::{Value, json};

use super::{
    error::{ODataError, refusal},
    filter::Filter,
    search::Search,
};
use crate::{sandbox::Sandbox, text};

/// Items of a page, if the request has no `$top`.
const PAGE: usize = 100;

/// A type of Graph, with the properties that the sandbox has.
#[derive(Debug)]
pub(super) struct EntityType {
    name: &'static str,
    /// The name of the set of all objects, for `@odata.context`.
    set: &'static str,
    /// The properties of an answer without `$select`.
    properties: &'static [&'static str],
    /// The properties that only `$select` returns.
    selectable: &'static [&'static str],
    /// The properties that the directory sorts by without an advanced query.
    sorted: &'static [&'static str],
    /// The relationships that `$expand` can name.
    expanded: &'static [&'static str],
    /// True if the type belongs to the directory, where counts and some operators need an advanced query.
    is_directory: bool,
}

const BASE: EntityType =
    EntityType { name: "", set: "", properties: &[], selectable: &[], sorted: &[], expanded: &[], is_directory: true };

pub(super) const APPLICATION: EntityType = EntityType {
    name: "application",
    set: "applications",
    properties: &[
        "id",
        "appId",
        "displayName",
        "description",
        "identifierUris",
        "publisherDomain",
        "signInAudience",
        "isFallbackPublicClient",
        "disabledByMicrosoftStatus",
        "isDisabled",
        "requiredResourceAccess",
        "web",
        "spa",
        "publicClient",
        "api",
        "appRoles",
        "passwordCredentials",
        "keyCredentials",
        "tags",
        "createdDateTime",
    ],
    expanded: &["owners"],
    ..BASE
};
pub(super) const SERVICE_PRINCIPAL: EntityType = EntityType {
    name: "servicePrincipal",
    set: "servicePrincipals",
    properties: &[
        "id",
        "appId",
        "displayName",
        "appDisplayName",
        "accountEnabled",
        "appRoleAssignmentRequired",
        "disabledByMicrosoftStatus",
        "isDisabled",
        "appOwnerOrganizationId",
        "appRoles",
        "oauth2PermissionScopes",
        "servicePrincipalNames",
        "servicePrincipalType",
        "replyUrls",
        "signInAudience",
        "tags",
    ],
    expanded: &["owners", "appRoleAssignments"],
    ..BASE
};
pub(super) const USER: EntityType = EntityType {
    name: "user",
    set: "users",
    // "Get a user": the properties that are returned by default.
    properties: &[
        "id",
        "businessPhones",
        "displayName",
        "givenName",
        "jobTitle",
        "mail",
        "mobilePhone",
        "officeLocation",
        "preferredLanguage",
        "surname",
        "userPrincipalName",
    ],
    selectable: &["accountEnabled", "assignedPlans", "companyName", "department", "proxyAddresses", "userType"],
    sorted: &["displayName", "userPrincipalName"],
    ..BASE
};
pub(super) const GROUP: EntityType = EntityType {
    name: "group",
    set: "groups",
    properties: &[
        "id",
        "displayName",
        "description",
        "mail",
        "mailEnabled",
        "mailNickname",
        "securityEnabled",
        "groupTypes",
        "proxyAddresses",
        "visibility",
    ],
    sorted: &["displayName"],
    ..BASE
};
pub(super) const ORG_CONTACT: EntityType = EntityType {
    name: "orgContact",
    set: "contacts",
    properties: &[
        "id",
        "displayName",
        "givenName",
        "surname",
        "mail",
        "mailNickname",
        "companyName",
        "department",
        "jobTitle",
        "proxyAddresses",
    ],
    ..BASE
};
pub(super) const CONTACT: EntityType = EntityType {
    name: "contact",
    set: "contacts",
    properties: &["id", "displayName", "givenName", "surname", "companyName", "emailAddresses"],
    is_directory: false,
    ..BASE
};
pub(super) const ORGANIZATION: EntityType = EntityType {
    name: "organization",
    set: "organization",
    properties: &["id", "displayName", "verifiedDomains"],
    ..BASE
};
pub(super) const DOMAIN: EntityType =
    EntityType { name: "domain", set: "domains", properties: &["id", "isVerified"], ..BASE };
pub(super) const GRANT: EntityType = EntityType {
    name: "oAuth2PermissionGrant",
    set: "oauth2PermissionGrants",
    properties: &["id", "clientId", "consentType", "principalId", "resourceId", "scope"],
    ..BASE
};
pub(super) const ASSIGNMENT: EntityType = EntityType {
    name: "appRoleAssignment",
    set: "appRoleAssignments",
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
    ..BASE
};
pub(super) const FEDERATED: EntityType = EntityType {
    name: "federatedIdentityCredential",
    set: "federatedIdentityCredentials",
    properties: &["id", "name", "issuer", "subject", "audiences"],
    ..BASE
};
pub(super) const DIRECTORY_OBJECT: EntityType =
    EntityType { name: "directoryObject", set: "directoryObjects", properties: &["id"], ..BASE };
pub(super) const MESSAGE: EntityType = EntityType {
    name: "message",
    set: "messages",
    properties: &["id", "internetMessageId", "sentDateTime"],
    is_directory: false,
    ..BASE
};

impl EntityType {
    /// Fails unless the type has a property. `clause` begins the message.
    pub(super) fn check(&self, property: &str, clause: &str) -> Result<(), ODataError> {
        let is_known = self.properties.contains(&property) || self.selectable.contains(&property);
        if is_known { Ok(()) } else { Err(self.unknown(property, clause)) }
    }

    fn unknown(&self, property: &str, clause: &str) -> ODataError {
        let name = self.name;
        refusal(
            400,
            "BadRequest",
            format!("{clause}: Could not find a property named '{property}' on type 'microsoft.graph.{name}'."),
        )
    }
}

/// The parameters of an address that begin with `$`.
#[derive(Debug, Default)]
pub(super) struct Query {
    select: Option<Vec<String>>,
    filter: Option<String>,
    search: Option<String>,
    /// Properties to sort by, with true for the descending order.
    order: Vec<(String, bool)>,
    expand: Vec<String>,
    top: Option<usize>,
    skip: usize,
    counts: bool,
    /// True if the request has the header `ConsistencyLevel: eventual`.
    is_eventual: bool,
}

impl Query {
    /// Splits an address into its path and its query parameters.
    pub(super) fn parse(url: &str, is_eventual: bool) -> Result<(String, Self), ODataError> {
        let Ok(parsed) = reqwest::Url::parse(&format!("https://graph.invalid{url}")) else {
            return Ok((String::new(), Self::default()));
        };
        let mut query = Self { is_eventual, ..Self::default() };
        let names = |value: &str| value.split(',').map(|name| name.trim().to_owned()).collect::<Vec<_>>();
        for (key, value) in parsed.query_pairs() {
            match key.as_ref() {
                "$select" => query.select = Some(names(&value)),
                "$filter" => query.filter = Some(value.into_owned()),
                "$search" => query.search = Some(value.into_owned()),
                "$expand" => query.expand = names(&value),
                "$orderby" => {
                    let part = |part: String| match part.split_once(' ') {
                        Some((name, order)) => (name.to_owned(), order.trim().eq_ignore_ascii_case("desc")),
                        None => (part, false),
                    };
                    query.order = names(&value).into_iter().map(part).collect();
                }
                "$count" => query.counts = value.eq_ignore_ascii_case("true"),
                "$top" => {
                    let wrong = || {
                        format!(
                            "Invalid value '{value}' for $top query option found. The $top query option requires a non-negative integer value."
                        )
                    };
                    query.top = Some(value.parse().map_err(|_| refusal(400, "BadRequest", wrong()))?);
                }
                "$skiptoken" => query.skip = value.parse().unwrap_or(0),
                other if other.starts_with('$') => {
                    return Err(refusal(400, "BadRequest", format!("The query parameter '{other}' is not supported.")));
                }
                _ => {}
            }
        }
        let path = text::percent_decode(parsed.path().as_bytes());
        Ok((String::from_utf8_lossy(&path).into_owned(), query))
    }

    /// Makes the query one for the number of objects alone (`/users/$count`), which needs the header of advanced queries.
    pub(super) fn count_only(&mut self) -> Result<(), ODataError> {
        if !self.is_eventual {
            return Err(refusal(400, "Request_BadRequest", "$count is not currently supported."));
        }
        (self.counts, self.top) = (true, Some(1));
        Ok(())
    }

    /// Returns the selected properties as `@odata.context` has them, `(id,mail)`. Without `$select` the text is empty.
    fn shape(&self) -> String {
        match &self.select {
            Some(select) => format!("({})", select.join(",")),
            None => String::new(),
        }
    }

    /// Returns true if `$expand` names a relationship.
    pub(super) fn expands(&self, name: &str) -> bool {
        self.expand.iter().any(|expanded| expanded.split('(').next() == Some(name))
    }

    /// Returns the selected properties of an object.
    fn selected(&self, of: &EntityType, mut item: Value) -> Result<Value, ODataError> {
        const CLAUSE: &str = "Parsing OData Select and Expand failed";
        for name in &self.expand {
            let name = name.split('(').next().unwrap_or_default();
            if !of.expanded.contains(&name) {
                return Err(of.unknown(name, CLAUSE));
            }
        }
        let Some(select) = &self.select else {
            if let Some(map) = item.as_object_mut() {
                map.retain(|key, _| !of.selectable.contains(&key.as_str()));
            }
            return Ok(item);
        };
        for name in select {
            of.check(name, CLAUSE)?;
        }
        if let Some(map) = item.as_object_mut() {
            map.retain(|key, _| select.contains(key) || self.expands(key));
        }
        Ok(item)
    }

    /// Returns the selected properties of one object, with `@odata.context`.
    pub(super) fn entity(&self, sandbox: &Sandbox, of: &EntityType, item: Value) -> Result<Value, ODataError> {
        let mut item = self.selected(of, item)?;
        item["@odata.context"] =
            json!(format!("{}/v1.0/$metadata#{}{}/$entity", sandbox.address(), of.set, self.shape()));
        Ok(item)
    }

    /// Returns the objects that match the filter and the search, in the order that the query asks for.
    pub(super) fn filtered(&self, of: &EntityType, mut items: Vec<Value>) -> Result<Vec<Value>, ODataError> {
        let is_advanced = !of.is_directory || self.is_eventual && self.counts;
        if let Some(text) = &self.filter {
            let filter = Filter::parse(of, text, is_advanced)?;
            items.retain(|item| filter.matches(item));
        }
        if let Some(text) = &self.search {
            if !self.is_eventual {
                return Err(refusal(
                    400,
                    "Request_UnsupportedQuery",
                    "Request with $search query parameter only works through MSGraph with a special request header: 'ConsistencyLevel: eventual'",
                ));
            }
            let search = Search::parse(of, text)?;
            items.retain(|item| search.matches(item));
        }
        for (property, _) in &self.order {
            of.check(property, "Invalid order clause")?;
            if !is_advanced && (self.filter.is_some() || !of.sorted.contains(&property.as_str())) {
                return Err(refusal(400, "Request_UnsupportedQuery", "Sorting not supported for current query."));
            }
        }
        if !self.order.is_empty() {
            items.sort_by_cached_key(|item| {
                SortKey(self.order.iter().map(|(name, desc)| (key(&item[name]), *desc)).collect())
            });
        }
        Ok(items)
    }

    /// Returns the numbers of the items that a page of a list has, if the query needs no others: it does not filter, search or
    /// sort.
    pub(super) fn window(&self, all: usize) -> Option<Range<usize>> {
        let is_plain = self.filter.is_none() && self.search.is_none() && self.order.is_empty();
        is_plain.then(|| self.range(all))
    }

    fn range(&self, all: usize) -> Range<usize> {
        let top = self.top.unwrap_or(PAGE).clamp(1, 999);
        self.skip.min(all)..self.skip.saturating_add(top).min(all)
    }

    /// Returns one page of a filtered list, with the address of the next one.
    pub(super) fn page(
        &self,
        sandbox: &Sandbox,
        path: &str,
        of: &EntityType,
        mut items: Vec<Value>,
    ) -> Result<Value, ODataError> {
        let all = items.len();
        let range = self.range(all);
        items.truncate(range.end);
        self.windowed_page(sandbox, path, of, items.drain(range.start..).collect(), all)
    }

    /// Returns a page of items that were chosen by [`Self::window`], out of `all`.
    pub(super) fn windowed_page(
        &self,
        sandbox: &Sandbox,
        path: &str,
        of: &EntityType,
        items: Vec<Value>,
        all: usize,
    ) -> Result<Value, ODataError> {
        let end = self.range(all).end;
        // The selected names are checked even if the list is empty.
        self.selected(of, json!({}))?;
        let page: Vec<Value> = items.into_iter().map(|item| self.selected(of, item)).collect::<Result<_, _>>()?;
        let context = format!("{}/v1.0/$metadata#{}{}", sandbox.address(), context(path), self.shape());
        let mut answer = json!({ "@odata.context": context, "value": page });
        if self.counts && (self.is_eventual || !of.is_directory) {
            answer["@odata.count"] = json!(all);
        }
        if end < all {
            let order = |(name, desc): &(String, bool)| if *desc { format!("{name} desc") } else { name.clone() };
            let order = self.order.iter().map(order).collect::<Vec<_>>().join(",");
            let mut next = format!("{}/v1.0{path}?$skiptoken={end}", sandbox.address());
            for (key, value) in [
                ("$top", self.top.map(|top| top.to_string())),
                ("$select", self.select.as_ref().map(|select| select.join(","))),
                ("$filter", self.filter.clone()),
                ("$search", self.search.clone()),
                ("$orderby", Some(order).filter(|order| !order.is_empty())),
                ("$expand", Some(self.expand.join(",")).filter(|expand| !expand.is_empty())),
                ("$count", self.counts.then(|| "true".to_owned())),
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

/// Returns a path as `@odata.context` writes it: keys in parentheses, `users('a')/mailFolders('sentitems')/messages`.
fn context(path: &str) -> String {
    let mut written = String::new();
    for (index, segment) in path.trim_matches('/').split('/').enumerate() {
        match index {
            0 => written.push_str(segment),
            _ if index % 2 == 1 && !written.ends_with(')') => {
                written = format!("{written}('{}')", segment.replace('\'', "''"));
            }
            _ => written = format!("{written}/{segment}"),
        }
    }
    written
}

/// The values that an object is sorted by.
#[derive(PartialEq, Eq)]
struct SortKey(Vec<(String, bool)>);

impl Ord for SortKey {
    fn cmp(&self, other: &Self) -> Ordering {
        let parts = self.0.iter().zip(&other.0).map(|((own, desc), (other, _))| {
            let order = own.cmp(other);
            if *desc { order.reverse() } else { order }
        });
        parts.fold(Ordering::Equal, Ordering::then)
    }
}

impl PartialOrd for SortKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn key(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_lowercase)
}
