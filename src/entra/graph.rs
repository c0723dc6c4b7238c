//! Requests to Microsoft Graph: reads of the directory, and the documents that it returns.
//!
//! [`Graph::get`] may be called any number of times: requests made at the same time are sent in one `$batch` of up to twenty. A
//! request that is throttled inside a batch is repeated after the time that the reply names, four times at most and after 60
//! seconds at most. [`Graph::list`] follows pages on the same host, and fails after 1,000. If a batch fails, all of its requests
//! do. A [`GraphError`] distinguishes a refusal, an object that does not exist, and an answer that decides nothing.
//!
//! Names of fields are those of Graph's published metadata (v1.0); a test compares them. Nothing here evaluates what was read;
//! the checks are in [`crate::verify`].

use std::{sync::Arc, time::Duration};

use reqwest::Url;
use secrecy::SecretString;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::{
    entra::{
        Endpoints, Http, HttpError,
        http::{HttpReply, Request, retry_after},
    },
    sync::Mutex,
    text,
};

/// The number of requests in a `$batch` (Microsoft's limit).
const BATCH: usize = 20;
/// The number of pages of a list that are read.
const PAGES: usize = 1000;
/// The time that a batch waits for further requests.
const GATHER: Duration = Duration::from_millis(2);
/// The number of times that a throttled part of a batch is repeated.
const ROUNDS: usize = 5;
/// The longest wait of a throttled part of a batch, regardless of the time that it names.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A registration: what an application asks for and how it signs in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "Graph's own names, described in its reference")]
pub struct Application {
    pub app_id: String,
    pub display_name: Option<String>,
    pub sign_in_audience: Option<String>,
    pub is_fallback_public_client: Option<bool>,
    pub disabled_by_microsoft_status: Option<String>,
    /// True if the registration was deactivated: existing tokens stay valid, and no new one is issued.
    pub is_disabled: Option<bool>,
    #[serde(deserialize_with = "or_default")]
    pub required_resource_access: Vec<RequiredResourceAccess>,
    #[serde(deserialize_with = "or_default")]
    pub web: RedirectUris,
    #[serde(deserialize_with = "or_default")]
    pub spa: RedirectUris,
    #[serde(deserialize_with = "or_default")]
    pub public_client: RedirectUris,
    #[serde(deserialize_with = "or_default")]
    pub password_credentials: Vec<PasswordCredential>,
    #[serde(deserialize_with = "or_default")]
    pub key_credentials: Vec<KeyCredential>,
}

impl Application {
    /// The properties of an application that are read.
    pub const SELECT: &str = "appId,displayName,signInAudience,isFallbackPublicClient,disabledByMicrosoftStatus,isDisabled,requiredResourceAccess,web,spa,publicClient,passwordCredentials,keyCredentials";
}

/// Permissions that a registration requests of one resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "Graph's own names, described in its reference")]
pub struct RequiredResourceAccess {
    pub resource_app_id: String,
    #[serde(deserialize_with = "or_default")]
    pub resource_access: Vec<ResourceAccess>,
}

/// One permission that a registration requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "Graph's own names, described in its reference")]
pub struct ResourceAccess {
    pub id: String,
    /// The kind of permission: `Role` (application) or `Scope` (delegated).
    #[serde(rename = "type")]
    pub kind: String,
}

/// The redirect URIs of one platform.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "Graph's own names, described in its reference")]
pub struct RedirectUris {
    #[serde(deserialize_with = "or_default")]
    pub redirect_uris: Vec<String>,
}

/// A client secret, without its value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "Graph's own names, described in its reference")]
pub struct PasswordCredential {
    pub key_id: Option<String>,
    pub display_name: Option<String>,
    /// The first three characters of the value.
    pub hint: Option<String>,
    #[serde(deserialize_with = "time_or_none")]
    pub start_date_time: Option<jiff::Timestamp>,
    #[serde(deserialize_with = "time_or_none")]
    pub end_date_time: Option<jiff::Timestamp>,
}

/// A certificate, without its key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "Graph's own names, described in its reference")]
pub struct KeyCredential {
    pub key_id: Option<String>,
    pub display_name: Option<String>,
    /// SHA-1 of the certificate, in base64 or hexadecimal.
    pub custom_key_identifier: Option<String>,
    #[serde(deserialize_with = "time_or_none")]
    pub start_date_time: Option<jiff::Timestamp>,
    #[serde(deserialize_with = "time_or_none")]
    pub end_date_time: Option<jiff::Timestamp>,
}

/// A service principal: an application as it exists in one tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "Graph's own names, described in its reference")]
pub struct ServicePrincipal {
    pub id: String,
    pub app_id: String,
    pub account_enabled: Option<bool>,
    pub app_role_assignment_required: Option<bool>,
    pub disabled_by_microsoft_status: Option<String>,
    /// True if the application was deactivated, by its owner or by an administrator.
    pub is_disabled: Option<bool>,
    /// The tenant in which the application is registered.
    pub app_owner_organization_id: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub app_roles: Vec<AppRole>,
    #[serde(deserialize_with = "or_default")]
    pub oauth2_permission_scopes: Vec<PermissionScope>,
}

impl ServicePrincipal {
    /// The properties of a client's service principal that are read.
    pub const SELECT: &str =
        "id,appId,accountEnabled,appRoleAssignmentRequired,disabledByMicrosoftStatus,isDisabled,appOwnerOrganizationId";
    /// The properties of Graph's own service principal that are read.
    pub const SELECT_PERMISSIONS: &str = "id,appId,appRoles,oauth2PermissionScopes";
}

/// A permission that a resource offers to applications.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "Graph's own names, described in its reference")]
pub struct AppRole {
    pub id: String,
    pub value: Option<String>,
}

/// A permission that a resource offers to signed-in users.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "Graph's own names, described in its reference")]
pub struct PermissionScope {
    pub id: String,
    pub value: Option<String>,
}

/// A granted application permission, or a user's assignment to an application.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "Graph's own names, described in its reference")]
pub struct AppRoleAssignment {
    pub app_role_id: String,
    pub principal_id: Option<String>,
    pub principal_type: Option<String>,
    pub resource_id: Option<String>,
    pub resource_display_name: Option<String>,
}

/// Delegated permissions that are granted, for all users or for one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "Graph's own names, described in its reference")]
pub struct OAuth2PermissionGrant {
    pub client_id: String,
    /// The kind of consent: `AllPrincipals` or `Principal`.
    pub consent_type: String,
    pub principal_id: Option<String>,
    pub resource_id: String,
    /// The granted scopes, separated by spaces.
    pub scope: Option<String>,
}

/// The properties of a user that matter for a sender.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "Graph's own names, described in its reference")]
pub struct User {
    pub id: String,
    pub user_principal_name: Option<String>,
    pub mail: Option<String>,
    pub account_enabled: Option<bool>,
    #[serde(deserialize_with = "or_default")]
    pub proxy_addresses: Vec<String>,
    /// Absent if the caller may not read it.
    pub assigned_plans: Option<Vec<AssignedPlan>>,
}

impl User {
    /// The properties of a sender that are read.
    pub const SELECT: &str = "id,userPrincipalName,mail,accountEnabled,proxyAddresses,assignedPlans";
}

/// A licensed service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "Graph's own names, described in its reference")]
pub struct AssignedPlan {
    pub capability_status: Option<String>,
    pub service: Option<String>,
    pub service_plan_id: Option<String>,
}

/// A tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "Graph's own names, described in its reference")]
pub struct Organization {
    pub id: String,
    #[serde(deserialize_with = "or_default")]
    pub verified_domains: Vec<VerifiedDomain>,
}

/// A domain that a tenant has proved to own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "Graph's own names, described in its reference")]
pub struct VerifiedDomain {
    pub name: Option<String>,
}

/// The purpose of a mailbox: `user`, `shared`, `room`, ...
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "Graph's own names, described in its reference")]
pub struct UserPurpose {
    pub value: Option<String>,
}

/// Deserializes null like an absent field.
fn or_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Reads a time; none if it cannot be read.
fn time_or_none<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<jiff::Timestamp>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.and_then(|text| text.parse().ok()))
}

/// The reason why a request to Graph failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// Graph refused the request, or the object does not exist.
    #[error("Graph answered HTTP {status} {code}")]
    Refused {
        /// The HTTP status; 0 if no request was sent, because there was no token.
        status: u16,
        /// Graph's outer code, which is more stable than the inner ones.
        code: String,
        /// Graph's text, truncated.
        message: String,
    },
    /// There was no usable reply.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The reply is JSON of another form than expected.
    #[error("the response of Graph has an unknown form")]
    Unknown,
}

impl GraphError {
    pub(super) fn from_response(status: u16, body: &Value) -> Self {
        let text = |key: &str| {
            let text = body["error"][key].as_str().unwrap_or_default();
            text.chars().filter(|c| !c.is_control()).take(300).collect::<String>()
        };
        Self::Refused { status, code: text("code"), message: text("message") }
    }

    /// Returns true if the caller may not read the object.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Refused { status: 0 | 401 | 403, .. })
    }

    /// Returns true if the object does not exist. Graph sends a code with it; a 404 without one is from a gateway.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Refused { status: 404, code, .. } if !code.is_empty() && code != "UnknownError")
    }

    /// Returns true if Graph did not decide: it throttles or fails.
    pub fn is_undecided(&self) -> bool {
        matches!(self, Self::Refused { status: 408 | 429 | 500.., .. } | Self::Http(_) | Self::Unknown)
    }

    /// Returns Graph's code.
    pub fn code(&self) -> &str {
        if let Self::Refused { code, .. } = self { code } else { "" }
    }
}

/// A path, and the receiver of its result.
type PendingRead = (String, oneshot::Sender<Result<Value, GraphError>>);

/// A client of Graph with one token. Cheap to clone; clones share their batches.
#[derive(Clone, Debug)]
pub struct Graph {
    http: Http,
    base: Url,
    token: SecretString,
    waiting: Arc<Mutex<Vec<PendingRead>>>,
}

impl Graph {
    /// Creates a client with a token, in one cloud.
    pub fn new(http: Http, endpoints: &Endpoints, token: SecretString) -> Self {
        let mut base = endpoints.graph.clone();
        base.set_path("/v1.0/");
        Self { http, base, token, waiting: Arc::default() }
    }

    /// Reads one object. `path` is relative to `/v1.0` and begins with a slash.
    pub async fn get<T: DeserializeOwned>(&self, path: impl Into<String>) -> Result<T, GraphError> {
        let value = self.read_in_batch(path.into()).await?;
        T::deserialize(value).map_err(|_| GraphError::Unknown)
    }

    /// Reads a list to its end.
    pub async fn list<T: DeserializeOwned>(&self, path: impl Into<String>) -> Result<Vec<T>, GraphError> {
        let mut page = self.read_in_batch(path.into()).await?;
        let mut items = Vec::new();
        for _ in 0..PAGES {
            let Value::Array(values) = page["value"].take() else { return Err(GraphError::Unknown) };
            for value in values {
                items.push(T::deserialize(value).map_err(|_| GraphError::Unknown)?);
            }
            let Some(next) = page["@odata.nextLink"].as_str() else { return Ok(items) };
            let next = Url::parse(next).map_err(|_| GraphError::Unknown)?;
            if next.origin() != self.base.origin() {
                let host = self.base.host_str().unwrap_or_default().to_owned();
                let to = next.host_str().unwrap_or_default().to_owned();
                return Err(HttpError::Redirect { host, to }.into());
            }
            let answer = self.http.send(Request::get(next).bearer(&self.token)).await?;
            page = success_body(answer)?;
        }
        Err(GraphError::Unknown)
    }

    /// Posts a document without repeating the request, for effects that must not occur twice.
    pub async fn post_once(&self, path: &str, document: &Value) -> Result<u16, GraphError> {
        let url = self.base.join(path.trim_start_matches('/')).map_err(|_| GraphError::Unknown)?;
        let answer = self.http.send(Request::post_json(url, document).bearer(&self.token).only_once()).await?;
        let status = answer.status;
        success_body(answer).map(|_| status)
    }

    /// Adds a request to the next batch. The first caller waits a moment, and sends the requests that have been added.
    async fn read_in_batch(&self, path: String) -> Result<Value, GraphError> {
        let (answer, wait) = oneshot::channel();
        let is_first = {
            let mut waiting = self.waiting.lock();
            waiting.push((path, answer));
            waiting.len() == 1
        };
        if is_first {
            let this = self.clone();
            tokio::spawn(async move { this.gather().await });
        }
        wait.await.unwrap_or(Err(GraphError::Unknown))
    }

    async fn gather(self) {
        tokio::time::sleep(GATHER).await;
        let asked = std::mem::take(&mut *self.waiting.lock());
        let mut asked = asked.into_iter();
        let mut batches = tokio::task::JoinSet::new();
        loop {
            let part: Vec<PendingRead> = asked.by_ref().take(BATCH).collect();
            if part.is_empty() {
                break;
            }
            let this = self.clone();
            batches.spawn(async move { this.answer_all(part).await });
        }
        while batches.join_next().await.is_some() {}
    }

    async fn answer_all(&self, asked: Vec<PendingRead>) {
        if let [_] = asked.as_slice() {
            for (path, answer) in asked {
                drop(answer.send(self.read_single(&path).await));
            }
            return;
        }
        let (paths, answers): (Vec<String>, Vec<_>) = asked.into_iter().unzip();
        for (result, answer) in self.read_batch(&paths).await.into_iter().zip(answers) {
            drop(answer.send(result));
        }
    }

    async fn read_single(&self, path: &str) -> Result<Value, GraphError> {
        let url = self.base.join(path.trim_start_matches('/')).map_err(|_| GraphError::Unknown)?;
        success_body(self.http.send(Request::get(url).bearer(&self.token)).await?)
    }

    async fn read_batch(&self, paths: &[String]) -> Vec<Result<Value, GraphError>> {
        let mut results: Vec<Option<Result<Value, GraphError>>> = paths.iter().map(|_| None).collect();
        for round in 0..ROUNDS {
            let open: Vec<usize> = (0..paths.len()).filter(|index| results[*index].is_none()).collect();
            if open.is_empty() {
                break;
            }
            let requests: Vec<Value> = open
                .iter()
                .map(|index| json!({ "id": index.to_string(), "method": "GET", "url": paths[*index] }))
                .collect();
            let answer = match self.base.join("$batch") {
                Ok(url) => {
                    let request = Request::post_json(url, &json!({ "requests": requests })).bearer(&self.token);
                    let answer = self.http.send(request).await.map_err(GraphError::from);
                    answer.and_then(|answer| Ok((answer.date, success_body(answer)?)))
                }
                Err(_) => Err(GraphError::Unknown),
            };
            let (date, answer) = match answer {
                Ok(answer) => answer,
                Err(error) => {
                    for index in open {
                        results[index] = Some(Err(error.clone()));
                    }
                    break;
                }
            };
            let mut wait = Duration::ZERO;
            for response in answer["responses"].as_array().into_iter().flatten() {
                let index = response["id"].as_str().and_then(|id| id.parse::<usize>().ok());
                let Some(slot) = index.and_then(|index| results.get_mut(index)) else { continue };
                let status = response["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or(0);
                if matches!(status, 429 | 503 | 504) && round + 1 < ROUNDS {
                    let asked = response["headers"]["Retry-After"].as_str().and_then(|text| retry_after(text, date));
                    wait = wait.max(asked.unwrap_or(Duration::from_secs(1)).min(LONGEST_WAIT));
                    continue;
                }
                *slot = Some(if (200..300).contains(&status) {
                    Ok(response["body"].clone())
                } else {
                    Err(GraphError::from_response(status, &response["body"]))
                });
            }
            if wait.is_zero() {
                break;
            }
            tokio::time::sleep(wait).await;
        }
        results.into_iter().map(|result| result.unwrap_or(Err(GraphError::Unknown))).collect()
    }
}

fn success_body(answer: HttpReply) -> Result<Value, GraphError> {
    if answer.is_success() { Ok(answer.body) } else { Err(GraphError::from_response(answer.status, &answer.body)) }
}

/// Encodes a text for the inside of quotes in an `OData` address: doubles quotes, and percent-encodes reserved characters.
pub fn quote_odata(text: &str) -> String {
    percent_encode(&text.replace('\'', "''"))
}

/// Percent-encodes a text for a path segment or a query value. An apostrophe stays as it is: Graph takes a segment such as the
/// user of `/users/{user}` literally, without the quotes that [`quote_odata`] is for.
pub fn percent_encode(text: &str) -> String {
    text::percent_encode(text.as_bytes(), b"-._~@'")
}
