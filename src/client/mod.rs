//! Typed HTTP client of the service's API, with a method for each endpoint that commands, rollouts and watch use.
//!
//! A failure is a [`Problem`] with a code, so that callers can distinguish a service that is not running, a wrong token, a wrong
//! certificate and another version. Redirects are not followed, so that a token is sent only to the configured address. If an
//! answer is cut off, it is unknown whether the request was carried out. Nothing is retried here; callers can send a changeset
//! again, since the service recognises its id.

pub mod origin;
mod progress;
mod transport;

use secrecy::SecretString;
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::{
    api::{
        AuditPage, BODY_LIMIT, Changed, ChangesetResult, GenerationPage, LastVerifiedList, NewToken, Rollback,
        ServiceInfo, TokenCreated, TokenList, VerifyLine, VerifyRequest,
        address_book::AddressBookPage,
        delegates::{DelegateLease, DelegatePage, DelegateReport},
        leases::{LeaseList, NewLease},
        messages::{Action, ActionOptions, MessageDetail, MessagePage, NewHold, OutboxStatus, Resolved, Submission},
        operators::{NewEnrolmentLink, NewOperator, OperatorInvited, OperatorList},
        proposals::{NewProposal, ProposalEntry},
    },
    model::{
        Changeset, Code, EnvironmentName, GenerationDetail, Hold, Lease, Message, Problem, State,
        finding::{Finding, Verified},
        integrity::StoreCheck,
        operator::Operator,
        resolution::{Cell, Resolution},
        token::Token,
    },
};
pub use origin::TokenOrigins;
pub use progress::Progress;
pub use transport::Connections;
use transport::Transport;

/// A client of one service.
pub struct Client {
    transport: Transport,
}

/// The options of a client.
#[derive(Default)]
pub struct ClientOptions<'a> {
    /// The environment that every request is for. The service of another environment refuses them.
    pub environment: Option<&'a EnvironmentName>,
    /// Certificate authorities to trust in addition to the system's, as PEM.
    pub authority: Option<&'a [u8]>,
    /// True if `http://` is allowed for hosts other than this machine.
    pub allow_clear_text: bool,
    /// Connections that clients of several services share. Without them, the client prepares its own.
    pub connections: Option<&'a Connections>,
}

impl Client {
    /// Creates a client for the service at `address` (`https://host[:port]`), with a bearer token.
    pub fn new(address: &str, token: SecretString, options: &ClientOptions<'_>) -> Result<Self, Problem> {
        Ok(Self { transport: Transport::new(address, token, options)? })
    }

    /// Returns the address of the service.
    pub fn address(&self) -> &str {
        self.transport.address()
    }

    /// Requests `GET /v1/service`.
    pub async fn service(&self) -> Result<ServiceInfo, Problem> {
        self.get("/v1/service").await
    }

    /// Requests `GET /v1/state`.
    pub async fn state(&self) -> Result<State, Problem> {
        self.get("/v1/state").await
    }

    /// Requests `POST /v1/changesets`.
    pub async fn apply(&self, changeset: &Changeset, dry_run: bool) -> Result<ChangesetResult, Problem> {
        let body = encode_changeset(changeset)?;
        self.transport
            .send(reqwest::Method::POST, &format!("/v1/changesets?dryRun={dry_run}"), Some(body))
            .await
            .map_err(unchanged)
    }

    /// Requests `POST /v1/changesets`, and updates the progress meanwhile.
    pub async fn apply_watched(&self, changeset: &Changeset, progress: &Progress) -> Result<ChangesetResult, Problem> {
        let body = encode_changeset(changeset)?;
        self.transport.post_watched("/v1/changesets?dryRun=false", body, progress).await.map_err(unchanged)
    }

    /// Requests `POST /v1/proposals`.
    pub async fn propose(&self, changeset: &Changeset, reason: &str) -> Result<ProposalEntry, Problem> {
        encode_changeset(changeset)?;
        let proposal = NewProposal { reason: reason.to_owned(), changeset: changeset.clone() };
        self.post("/v1/proposals", &proposal).await.map_err(unchanged)
    }

    /// Requests `GET /v1/generations`: the newest `limit` generations, or those older than `before`.
    pub async fn generations(&self, before: Option<u64>, limit: u32) -> Result<GenerationPage, Problem> {
        let before = before.map(|number| format!("&before={number}")).unwrap_or_default();
        self.get(&format!("/v1/generations?limit={limit}{before}")).await
    }

    /// Requests `GET /v1/generations/{number}`.
    pub async fn generation(&self, number: u64) -> Result<GenerationDetail, Problem> {
        self.get(&format!("/v1/generations/{number}")).await
    }

    /// Requests `POST /v1/rollbacks`.
    pub async fn roll_back(&self, rollback: &Rollback) -> Result<Changed, Problem> {
        self.post("/v1/rollbacks", rollback).await.map_err(unchanged)
    }

    /// Requests `GET /v1/resolve`.
    pub async fn resolve(&self, cell: &Cell) -> Result<Resolution, Problem> {
        let client = cell.client.map(|client| format!("&client={}", client.id())).unwrap_or_default();
        self.get(&format!("/v1/resolve?company={}&function={}{client}", cell.company, cell.function)).await
    }

    /// Requests `GET /v1/address-book`.
    pub async fn address_book(&self, query: &[(&str, String)]) -> Result<AddressBookPage, Problem> {
        self.get(&with_query("/v1/address-book", query)).await
    }

    /// Requests `GET /v1/tokens`.
    pub async fn tokens(&self) -> Result<TokenList, Problem> {
        self.get("/v1/tokens").await
    }

    /// Requests `POST /v1/tokens`.
    pub async fn create_token(&self, token: &NewToken) -> Result<TokenCreated, Problem> {
        self.post("/v1/tokens", token).await
    }

    /// Requests `DELETE /v1/tokens/{id}`.
    pub async fn revoke_token(&self, id: &str) -> Result<Token, Problem> {
        self.delete(&format!("/v1/tokens/{}", plain_id(id))).await
    }

    /// Requests `POST /v1/tokens/{id}/confirm`.
    pub async fn confirm_token(&self, id: &str) -> Result<Token, Problem> {
        let path = format!("/v1/tokens/{}/confirm", plain_id(id));
        self.transport.send(reqwest::Method::POST, &path, None).await
    }

    /// Requests `GET /v1/operators`.
    pub async fn operators(&self) -> Result<OperatorList, Problem> {
        self.get("/v1/operators").await
    }

    /// Requests `POST /v1/operators`.
    pub async fn create_operator(&self, operator: &NewOperator) -> Result<OperatorInvited, Problem> {
        self.post("/v1/operators", operator).await
    }

    /// Requests `POST /v1/operators/{id}/link`.
    pub async fn make_enrolment_link(&self, id: &str, link: &NewEnrolmentLink) -> Result<OperatorInvited, Problem> {
        self.post(&format!("/v1/operators/{}/link", plain_id(id)), link).await
    }

    /// Requests `POST /v1/operators/{id}/confirm`.
    pub async fn confirm_operator(&self, id: &str) -> Result<Operator, Problem> {
        let path = format!("/v1/operators/{}/confirm", plain_id(id));
        self.transport.send(reqwest::Method::POST, &path, None).await
    }

    /// Requests `DELETE /v1/operators/{id}`.
    pub async fn remove_operator(&self, id: &str) -> Result<Operator, Problem> {
        self.delete(&format!("/v1/operators/{}", plain_id(id))).await
    }

    /// Requests `POST /v1/outbox/confirm-restore`.
    pub async fn confirm_restore(&self) -> Result<(), Problem> {
        self.transport.send_and_discard(reqwest::Method::POST, "/v1/outbox/confirm-restore").await
    }

    /// Requests `GET /v1/audit/check`.
    pub async fn check_store(&self) -> Result<StoreCheck, Problem> {
        self.get("/v1/audit/check").await
    }

    /// Requests `GET /v1/audit`: the oldest `limit` entries, or those newer than `after`.
    pub async fn audit(&self, after: Option<u64>, limit: u32) -> Result<AuditPage, Problem> {
        let after = after.map(|sequence| format!("&after={sequence}")).unwrap_or_default();
        self.get(&format!("/v1/audit?limit={limit}{after}")).await
    }

    /// Requests `POST /v1/verify`. Calls `each` with each result as it arrives; returns the findings about the environment and
    /// the number of requests that were made.
    pub async fn verify(
        &self,
        request: &VerifyRequest,
        mut each: impl FnMut(Verified),
    ) -> Result<(Vec<Finding>, u64), Problem> {
        let body = serde_json::to_vec(request).map_err(|error| transport::unreadable(&error))?;
        let mut requests = None;
        let mut findings = Vec::new();
        self.transport
            .lines("/v1/verify", body, |line| match serde_json::from_slice(line)? {
                VerifyLine::Verified(verified) => {
                    each(verified);
                    Ok(())
                }
                VerifyLine::Environment(finding) => {
                    findings.push(finding);
                    Ok(())
                }
                VerifyLine::Requests(count) => {
                    requests = Some(count);
                    Ok(())
                }
            })
            .await?;
        requests.map(|requests| (findings, requests)).ok_or_else(|| {
            Problem::new(Code::IncompleteAnswer, "the answer of the service ended before its last line")
                .remedy("Verify again; the log of the service has the reason.")
        })
    }

    /// Requests `GET /v1/verify`.
    pub async fn last_verified(&self) -> Result<LastVerifiedList, Problem> {
        self.get("/v1/verify").await
    }

    /// Requests `POST /v1/messages`, with a JSON document.
    pub async fn submit(&self, submission: &Submission, key: Option<&str>) -> Result<Message, Problem> {
        let body = serde_json::to_vec(submission).map_err(|error| transport::unreadable(&error))?;
        self.transport.post_as("/v1/messages", "application/json", key, None, body).await
    }

    /// Requests `POST /v1/messages` with the ID token of the person who sends the message.
    pub async fn submit_of_person(
        &self,
        submission: &Submission,
        key: Option<&str>,
        id_token: &SecretString,
    ) -> Result<Message, Problem> {
        let body = serde_json::to_vec(submission).map_err(|error| transport::unreadable(&error))?;
        self.transport.post_as("/v1/messages", "application/json", key, Some(id_token), body).await
    }

    /// Requests `GET /v1/delegate/messages`, as the person whose ID token the client has.
    pub async fn delegate_messages(&self, before: Option<u64>) -> Result<DelegatePage, Problem> {
        let before = before.map(|before| format!("&before={before}")).unwrap_or_default();
        self.get(&format!("/v1/delegate/messages?limit=100{before}")).await
    }

    /// Requests `POST /v1/delegate/messages/{id}/begin`.
    pub async fn begin_delegate(&self, id: Uuid) -> Result<DelegateLease, Problem> {
        self.transport.send(reqwest::Method::POST, &format!("/v1/delegate/messages/{id}/begin"), None).await
    }

    /// Requests `GET /v1/delegate/messages/{id}/content`.
    pub async fn delegate_content(&self, id: Uuid, epoch: u64, from: &str) -> Result<Vec<u8>, Problem> {
        let query = [("epoch", epoch.to_string()), ("from", from.to_owned())];
        self.transport.bytes(&with_query(&format!("/v1/delegate/messages/{id}/content"), &query)).await
    }

    /// Requests `POST /v1/delegate/messages/{id}/report`.
    pub async fn report_delegate(&self, id: Uuid, report: &DelegateReport) -> Result<Message, Problem> {
        self.post(&format!("/v1/delegate/messages/{id}/report"), report).await
    }

    /// Requests `POST /v1/messages`, with a MIME message. `query` has the company and the function.
    pub async fn submit_raw(
        &self,
        query: &[(&str, String)],
        bytes: Vec<u8>,
        key: Option<&str>,
    ) -> Result<Message, Problem> {
        let path = with_query("/v1/messages", query);
        self.transport.post_as(&path, "message/rfc822", key, None, bytes).await
    }

    /// Requests `GET /v1/messages/{id}`.
    pub async fn message(&self, id: Uuid) -> Result<MessageDetail, Problem> {
        self.get(&format!("/v1/messages/{id}")).await
    }

    /// Requests `GET /v1/messages/{id}/content`.
    pub async fn content(&self, id: Uuid) -> Result<Vec<u8>, Problem> {
        self.transport.bytes(&format!("/v1/messages/{id}/content")).await
    }

    /// Requests `GET /v1/messages`: newest first.
    pub async fn messages(&self, query: &[(&str, String)]) -> Result<MessagePage, Problem> {
        self.get(&with_query("/v1/messages", query)).await
    }

    /// Requests `POST /v1/messages/{id}/{action}`.
    pub async fn act(&self, id: Uuid, action: Action, options: ActionOptions) -> Result<Message, Problem> {
        self.post(&format!("/v1/messages/{id}/{}", action.id()), &options).await
    }

    /// Requests `POST /v1/messages/{id}/resolve`.
    pub async fn resolve_message(&self, id: Uuid, resolved: &Resolved) -> Result<Message, Problem> {
        self.post(&format!("/v1/messages/{id}/resolve"), resolved).await
    }

    /// Requests `GET /v1/outbox`.
    pub async fn outbox(&self) -> Result<OutboxStatus, Problem> {
        self.get("/v1/outbox").await
    }

    /// Requests `GET /v1/outbox`, with the messages that finished within this number of seconds.
    pub async fn outbox_finished_within(&self, seconds: u32) -> Result<OutboxStatus, Problem> {
        self.get(&format!("/v1/outbox?finishedWithin={seconds}")).await
    }

    /// Requests `POST /v1/leases/{name}`.
    pub async fn acquire_lease(&self, name: &str, lease: &NewLease) -> Result<Lease, Problem> {
        self.post(&format!("/v1/leases/{}", lease_name(name)), lease).await
    }

    /// Requests `DELETE /v1/leases/{name}`.
    pub async fn release_lease(&self, name: &str, token: u64) -> Result<(), Problem> {
        let path = format!("/v1/leases/{}?token={token}", lease_name(name));
        self.transport.send_and_discard(reqwest::Method::DELETE, &path).await
    }

    /// Requests `GET /v1/leases`.
    pub async fn leases(&self) -> Result<LeaseList, Problem> {
        self.get("/v1/leases").await
    }

    /// Requests `POST /v1/holds`.
    pub async fn hold(&self, hold: &NewHold) -> Result<Hold, Problem> {
        self.post("/v1/holds", hold).await
    }

    /// Requests `DELETE /v1/holds/{id}`.
    pub async fn release(&self, id: &str) -> Result<(), Problem> {
        let id: String = id.chars().filter(char::is_ascii_alphanumeric).collect();
        self.transport.send_and_discard(reqwest::Method::DELETE, &format!("/v1/holds/{id}")).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Problem> {
        self.transport.send(reqwest::Method::GET, path, None).await
    }

    async fn post<B: Serialize + Sync, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T, Problem> {
        let body = serde_json::to_vec(body).map_err(|error| transport::unreadable(&error))?;
        self.transport.send(reqwest::Method::POST, path, Some(body)).await
    }

    async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, Problem> {
        self.transport.send(reqwest::Method::DELETE, path, None).await
    }
}

/// Adds to a refusal of a change that the state of the service is unchanged.
fn unchanged(problem: Problem) -> Problem {
    if (400..500).contains(&problem.status()) { problem.detail("No changes were made.") } else { problem }
}

/// Returns a changeset as the body of a request. Fails if it is larger than the service reads.
fn encode_changeset(changeset: &Changeset) -> Result<Vec<u8>, Problem> {
    let body = serde_json::to_vec(changeset).map_err(|error| transport::unreadable(&error))?;
    if body.len() <= BODY_LIMIT {
        return Ok(body);
    }
    let changes = changeset.changes.len();
    // 20 % are left free, since changes differ in size.
    let fit = (BODY_LIMIT / 10 * 8 / (body.len() / changes.max(1)).max(1)).max(1);
    let mebibytes = |bytes: usize| format!("{}.{} MiB", bytes >> 20, ((bytes % (1 << 20)) * 10) >> 20);
    Err(Problem::new(
        Code::TooLarge,
        format!(
            "the {changes} changes and {} secrets are {} in one request; the limit of a service is {}",
            changeset.secrets.len(),
            mebibytes(body.len()),
            mebibytes(BODY_LIMIT),
        ),
    )
    .remedy(format!(
        "Apply in parts of about {fit} profiles: `mailwright apply {} --only NAME`; `--only` can be repeated, and accepts patterns such as `--only 'EDU1-*'`. The first part needs the settings of the environment: `--with-settings`.",
        changeset.environment
    )))
}

/// Removes the characters that cannot be part of the id of a token or an operator.
fn plain_id(id: &str) -> String {
    id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect()
}

/// Removes the characters of a lease's name that are not allowed in a path.
fn lease_name(name: &str) -> String {
    name.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-')).collect()
}

/// Returns a path with its query, encoded.
fn with_query(path: &str, query: &[(&str, String)]) -> String {
    let mut text = url_form(query);
    if !text.is_empty() {
        text.insert(0, '?');
    }
    format!("{path}{text}")
}

fn url_form(query: &[(&str, String)]) -> String {
    // The URL is arbitrary: only its query is used.
    let Ok(mut url) = reqwest::Url::parse("http://localhost/") else { return String::new() };
    url.query_pairs_mut().extend_pairs(query);
    if query.is_empty() { String::new() } else { url.query().unwrap_or_default().to_owned() }
}
