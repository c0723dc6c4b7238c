//! Graph transport: sends as an application (app-only), and as a signed-in user.
//!
//! [`send`] sends as an application, for the service. [`UserMailbox`] sends as the signed-in user, for a program that the user
//! runs; the service never uses it. Both make the same requests: a message that fits into one request is sent as MIME in base64,
//! so that Exchange keeps what it does not understand. A larger one becomes a draft whose large attachments are uploaded in
//! pieces, which also needs the permission `Mail.ReadWrite`. Graph has no idempotency keys: if the response to the request that
//! sends is lost, the outcome is unknown and the request is not repeated here. A draft is deleted if it was certainly not sent,
//! and kept if that is unknown. An application's token that is refused (401) is replaced once; a user has to sign in again.
//! Without `Mail.ReadWrite` a larger message fails, and the profile is not suspended.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use jiff::Timestamp;
use reqwest::Url;
use secrecy::SecretString;
use serde_json::json;

use super::{
    RecipientResults, RecordBegin, TransportResult, Transports,
    graph_draft::{Attachment, Draft},
};
use crate::{
    delivery::{
        credentials::TokenRequest,
        failure::{Failure, Refusal},
        next_secret::SecretVersion,
        outgoing::OutgoingMessage,
        rotation::LogIn,
        sending_profile::SendingProfile,
    },
    entra::{Endpoints, Http, HttpError, HttpReply, claims::Claims, graph::percent_encode, http::Request},
    model::{Message, message::Class, provider::GraphDirect},
    replies,
    sync::{BlockingPool, Mutex},
    text::is_hidden,
};

/// The largest message that is sent in one request. Graph accepts 4 MB, and base64 adds a third.
const ONE_REQUEST: usize = 2_900_000;
/// The size from which an attachment needs an upload session: its request would have 4 MB in base64.
const SESSION_FROM: usize = 2_900_000;
/// Graph's code for an attachment that is too small for an upload session. Microsoft documents 3 MB as the limit, and not
/// how many bytes these are.
const TOO_SMALL_FOR_SESSION: &str = "ErrorAttachmentSizeShouldNotBeLessThanMinimumSize";
/// The size of an uploaded piece: a multiple of 320 KiB, and less than 4 MB.
const PIECE: usize = 10 * 320 * 1024;

/// The login of a Graph profile.
pub(super) struct GraphLogin<'a> {
    transports: &'a Transports,
    direct: &'a GraphDirect,
    endpoints: Endpoints,
}

impl<'a> GraphLogin<'a> {
    /// Creates the login of a profile; fails if its cloud is unknown.
    pub(super) fn new(transports: &'a Transports, direct: &'a GraphDirect) -> Result<Self, Failure> {
        let endpoints = Endpoints::for_cloud(&direct.cloud)
            .map_err(|error| Failure::new("token", error.to_string(), Class::Auth))?;
        Ok(Self { transports, direct, endpoints })
    }

    /// Returns the hosts of the profile's cloud.
    pub(super) fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    fn mailbox<'b>(
        &'b self,
        profile: &'b SendingProfile,
        message: &Message,
        token: &'b SecretString,
    ) -> GraphMailbox<'b> {
        GraphMailbox {
            http: &self.transports.http,
            pool: &self.transports.outbound.pool,
            endpoints: &self.endpoints,
            token,
            root: format!("users/{}", percent_encode(profile.sender_address())),
            request_id: message.id.to_string(),
            challenge: Mutex::default(),
        }
    }
}

impl LogIn for GraphLogin<'_> {
    type Session = SecretString;

    async fn log_in(&self, profile: &SendingProfile, secret: SecretVersion) -> Result<SecretString, Failure> {
        let scope = self.endpoints.graph_scope();
        let request = TokenRequest {
            tenant: &self.direct.tenant,
            client: &self.direct.client,
            credential: &self.direct.credential,
            endpoints: &self.endpoints,
            scope: &scope,
        };
        self.transports.credentials.token(profile, secret, &request).await
    }
}

/// Sends a message.
pub(super) async fn send(
    transports: &Transports,
    profile: &SendingProfile,
    direct: &GraphDirect,
    message: &Message,
    outgoing: &OutgoingMessage,
    record: &impl RecordBegin,
) -> TransportResult {
    let failed = |server: String, failure| TransportResult { server, outcome: Err(failure) };
    let login = match GraphLogin::new(transports, direct) {
        Ok(login) => login,
        Err(failure) => return failed(String::new(), failure),
    };
    let server = login.endpoints.graph.host_str().unwrap_or_default().to_owned();
    for is_fresh in [false, true] {
        let token = match transports.rotations.log_in(profile, &login).await {
            Ok(token) => token,
            Err(failure) => return failed(server, failure),
        };
        match login.mailbox(profile, message, &token).send(&outgoing.bytes, record).await {
            // The token may have been revoked, or be older than a consent: a new one decides.
            Err(failure) if !is_fresh && failure.reply.starts_with("HTTP 401") => {
                transports.credentials.forget_tokens(profile).await;
            }
            Err(failure) => {
                if failure.class == Class::Auth {
                    transports.credentials.forget_tokens(profile).await;
                }
                return failed(server, failure);
            }
            Ok(mut reply) => {
                if outgoing.is_narrowed {
                    reply.push_str("; `To` and `Cc` named only the recipients of this attempt");
                }
                let results = RecipientResults { refused: Vec::new(), reply: Some(reply) };
                return TransportResult { server, outcome: Ok(results) };
            }
        }
    }
    failed(server, Failure::new("token", "no token is accepted", Class::Auth))
}

/// Returns when each message with the same Message-ID in Sent Items was sent.
pub(super) async fn sent_items(
    transports: &Transports,
    profile: &SendingProfile,
    direct: &GraphDirect,
    message: &Message,
) -> Result<Vec<Option<Timestamp>>, Failure> {
    let login = GraphLogin::new(transports, direct)?;
    let token = transports.rotations.log_in(profile, &login).await?;
    let found = login.mailbox(profile, message, &token).sent_items(&message.message_id).await;
    if found.as_ref().is_err_and(|failure| failure.reply.starts_with("HTTP 401")) {
        transports.credentials.forget_tokens(profile).await;
    }
    found
}

/// The mailbox of a signed-in user, for a program of that user. The service never uses it.
pub struct UserMailbox<'a> {
    /// The HTTP client.
    pub http: &'a Http,
    /// Threads that parse large messages.
    pub pool: &'a BlockingPool,
    /// The hosts of the user's cloud.
    pub endpoints: &'a Endpoints,
    /// The user's token for Graph.
    pub token: &'a SecretString,
    /// The id of the requests; Microsoft support finds the requests by it.
    pub request_id: String,
}

/// A request of a user that Graph did not carry out, or whose outcome is not known.
#[derive(Clone, Debug)]
pub struct UserFailure {
    /// The meaning for the message.
    pub class: Class,
    /// Graph's answer, or what happened to it.
    pub reply: String,
    /// The claims that a new token must have, as JSON.
    pub claims_challenge: Option<String>,
    /// True if Graph refused the token.
    pub is_token_refused: bool,
}

/// Records nothing, because the lease of the service was given before. The function returns true while the lease lasts.
struct LeaseCheck<F>(F);

impl<F: Fn() -> bool + Sync> RecordBegin for LeaseCheck<F> {
    async fn record_begin(&self, _: Vec<Refusal>) -> Result<(), Failure> {
        if (self.0)() {
            return Ok(());
        }
        Err(Failure::new("begin", "the lease of the message ends before Graph could answer", Class::Transient))
    }

    fn has_begun(&self) -> bool {
        false
    }
}

impl UserMailbox<'_> {
    fn mailbox(&self) -> GraphMailbox<'_> {
        GraphMailbox {
            http: self.http,
            pool: self.pool,
            endpoints: self.endpoints,
            token: self.token,
            root: "me".to_owned(),
            request_id: self.request_id.clone(),
            challenge: Mutex::default(),
        }
    }

    fn failed(mailbox: &GraphMailbox<'_>, failure: Failure) -> UserFailure {
        UserFailure {
            class: failure.class,
            is_token_refused: failure.reply.starts_with("HTTP 401"),
            reply: failure.reply,
            claims_challenge: mailbox.challenge.lock().take(),
        }
    }

    /// Returns the object id and the address of the signed-in user.
    pub async fn me(&self) -> Result<(String, String), UserFailure> {
        let mailbox = self.mailbox();
        let url = mailbox.endpoints.graph.join("v1.0/me?$select=id,mail,userPrincipalName");
        let url = url.map_err(|_| Failure::new("me", "the address of Graph is malformed", Class::Transient));
        let found = async { mailbox.request("me", Request::get(url?)).await }.await;
        let answer = found.map_err(|failure| Self::failed(&mailbox, failure))?;
        let text = |key: &str| answer.body[key].as_str().unwrap_or_default().to_owned();
        let address = Some(text("mail")).filter(|mail| !mail.is_empty()).unwrap_or_else(|| text("userPrincipalName"));
        Ok((text("id"), address))
    }

    /// Sends a message once. Returns Graph's answer for people, with the id of the request. `may_begin` is called before the
    /// request after which the message may have been sent, which is not made unless it returns true: after the end of the lease
    /// another client can send the message.
    pub async fn send(&self, bytes: &Bytes, may_begin: impl Fn() -> bool + Sync) -> Result<String, UserFailure> {
        let mailbox = self.mailbox();
        let sent = mailbox.send(bytes, &LeaseCheck(may_begin)).await;
        sent.map_err(|failure| Self::failed(&mailbox, failure))
    }

    /// Returns when each message with this Message-ID in Sent Items was sent.
    pub async fn sent_items(&self, message_id: &str) -> Result<Vec<Option<Timestamp>>, UserFailure> {
        let mailbox = self.mailbox();
        mailbox.sent_items(message_id).await.map_err(|failure| Self::failed(&mailbox, failure))
    }
}

/// A mailbox of Graph.
struct GraphMailbox<'a> {
    http: &'a Http,
    /// Threads that parse large messages.
    pool: &'a BlockingPool,
    endpoints: &'a Endpoints,
    token: &'a SecretString,
    /// The path of the mailbox: `users/ADDRESS` or `me`.
    root: String,
    /// The claims that Graph asked for, if it refused the token for that.
    challenge: Mutex<Option<String>>,
    /// The id of the requests, the same in every attempt; Microsoft support finds the requests by it.
    request_id: String,
}

impl GraphMailbox<'_> {
    fn url(&self, rest: &str) -> Result<Url, Failure> {
        self.endpoints
            .graph
            .join(&format!("v1.0/{}/{rest}", self.root))
            .map_err(|_| Failure::new("send", "the address of the sender cannot be written in a URL", Class::Auth))
    }

    /// Sends a message. `record` is called before the request after which it may have been sent.
    async fn send(&self, bytes: &Bytes, record: &impl RecordBegin) -> Result<String, Failure> {
        if bytes.len() <= ONE_REQUEST {
            record.record_begin(Vec::new()).await?;
            let request = Request::post_text(self.url("sendMail")?, BASE64_STANDARD.encode(bytes))
                .header("client-request-id", &self.request_id);
            return self.send_once(request, false).await.map(|answer| describe_acceptance(&answer));
        }
        let draft = self.create_draft(bytes).await?;
        let sent = async {
            record.record_begin(Vec::new()).await?;
            let request = Request::post_empty(self.url(&format!("messages/{}/send", percent_encode(&draft)))?)
                .header("client-request-id", &self.request_id);
            self.send_once(request, true).await.map(|answer| describe_acceptance(&answer))
        };
        let sent = sent.await;
        // A draft that may have been sent is kept: if it is still in Drafts, it was not.
        if sent.as_ref().is_err_and(|failure| failure.class != Class::Unknown) {
            self.delete_draft(&draft).await;
        }
        sent
    }

    /// Deletes a draft, so that the owner of the mailbox does not find it.
    async fn delete_draft(&self, draft: &str) {
        if let Ok(url) = self.url(&format!("messages/{}", percent_encode(draft))) {
            drop(self.http.send(Request::delete(url).bearer(self.token)).await);
        }
    }

    /// Creates a draft with all attachments, and returns its id. This can be repeated, because a draft is not sent.
    async fn create_draft(&self, bytes: &Bytes) -> Result<String, Failure> {
        // A message that a draft cannot carry is refused before Graph is asked.
        let message = bytes.clone();
        let draft = self.pool.run(bytes.len(), move || Draft::read(&message)).await;
        let Draft { document, attachments } =
            draft.map_err(|error| Failure::new("draft", error.to_string(), Class::Size))?;
        let answer = self.request("draft", Request::post_json(self.url("messages")?, &document)).await;
        // Without the permission in the token only large messages fail. With it the refusal concerns the mailbox: an access
        // policy, or a scope in Exchange.
        let answer = answer.map_err(|failure| {
            let may_write = Claims::read(self.token)
                .is_some_and(|claims| claims.permissions().any(|name| name == "Mail.ReadWrite"));
            if failure.reply.starts_with("HTTP 403") && !may_write {
                let reply = format!("{}; a message of this size needs the permission Mail.ReadWrite", failure.reply);
                Failure::new("draft", reply, Class::Size)
            } else {
                failure
            }
        })?;
        let id = answer.body["id"].as_str().unwrap_or_default().to_owned();
        if id.is_empty() {
            return Err(Failure::new("draft", "Graph created a draft without an id", Class::Transient));
        }
        let filled = self.add_attachments(&id, attachments).await;
        if let Err(failure) = filled {
            self.delete_draft(&id).await;
            return Err(failure);
        }
        Ok(id)
    }

    async fn add_attachments(&self, draft: &str, attachments: Vec<Attachment>) -> Result<(), Failure> {
        for attachment in attachments {
            if attachment.bytes.len() < SESSION_FROM {
                self.attach(draft, &attachment).await?;
            } else {
                self.upload(draft, &attachment).await?;
            }
        }
        Ok(())
    }

    /// Adds an attachment in one request.
    async fn attach(&self, draft: &str, attachment: &Attachment) -> Result<(), Failure> {
        let url = self.url(&format!("messages/{}/attachments", percent_encode(draft)))?;
        self.request_for_draft(Request::post_json(url, &attachment.describe_with_bytes())).await.map(drop)
    }

    async fn upload(&self, draft: &str, attachment: &Attachment) -> Result<(), Failure> {
        let url = self.url(&format!("messages/{}/attachments/createUploadSession", percent_encode(draft)))?;
        let mut item = attachment.describe();
        item["attachmentType"] = json!("file");
        item["size"] = json!(attachment.bytes.len());
        let session = match self.request_for_draft(Request::post_json(url, &json!({ "AttachmentItem": item }))).await {
            Ok(session) => session,
            Err(failure) if failure.reply.contains(TOO_SMALL_FOR_SESSION) => {
                return self.attach(draft, attachment).await;
            }
            Err(failure) => return Err(failure),
        };
        let address = session.body["uploadUrl"].as_str().and_then(|text| Url::parse(text).ok());
        // The address carries its own authorisation, so it must not be used without TLS.
        let Some(address) = address.filter(|url| url.scheme() == "https") else {
            return Err(Failure::new("upload", "Graph returned no address for the upload", Class::Transient));
        };
        let total = attachment.bytes.len();
        for first in (0..total).step_by(PIECE) {
            let end = total.min(first + PIECE);
            let range = format!("bytes {first}-{}/{total}", end - 1);
            let request =
                Request::put_bytes(address.clone(), attachment.bytes.slice(first..end)).header("content-range", &range);
            let answer = self.http.send(request).await.map_err(|error| request_failure("upload", &error, false))?;
            if !answer.is_success() {
                return Err(refusal("upload", &answer, true));
            }
        }
        Ok(())
    }

    /// Returns when each message with this Message-ID in Sent Items was sent. A failure says nothing about the message.
    async fn sent_items(&self, message_id: &str) -> Result<Vec<Option<Timestamp>>, Failure> {
        let filter = format!("internetMessageId eq '{}'", message_id.replace('\'', "''"));
        let mut url = self.url("mailFolders/sentitems/messages")?;
        url.query_pairs_mut()
            .append_pair("$filter", &filter)
            .append_pair("$select", "sentDateTime")
            .append_pair("$top", "50");
        let answer = self.request("sent-items", Request::get(url)).await?;
        let items = answer.body["value"].as_array().ok_or_else(|| {
            Failure::new("sent-items", "the response of Graph has no list of messages", Class::Transient)
        })?;
        Ok(items.iter().map(|item| item["sentDateTime"].as_str().and_then(|text| text.parse().ok())).collect())
    }

    /// Returns the failure for an error response, and keeps the claims that it asks for.
    fn refusal(&self, phase: &'static str, answer: &HttpReply, of_draft: bool) -> Failure {
        if answer.status == 401 {
            self.challenge.lock().clone_from(&answer.claims_challenge);
        }
        refusal(phase, answer, of_draft)
    }

    async fn request(&self, phase: &'static str, request: Request) -> Result<HttpReply, Failure> {
        let answer =
            self.http.send(request.bearer(self.token)).await.map_err(|error| request_failure(phase, &error, false))?;
        if answer.is_success() { Ok(answer) } else { Err(self.refusal(phase, &answer, false)) }
    }

    /// Sends a request about a draft of this attempt.
    async fn request_for_draft(&self, request: Request) -> Result<HttpReply, Failure> {
        let answer = self
            .http
            .send(request.bearer(self.token))
            .await
            .map_err(|error| request_failure("upload", &error, false))?;
        if answer.is_success() { Ok(answer) } else { Err(self.refusal("upload", &answer, true)) }
    }

    /// Sends the request that sends the message, without repetition. `of_draft`: the message is a draft of this attempt.
    async fn send_once(&self, request: Request, of_draft: bool) -> Result<HttpReply, Failure> {
        let request = request.bearer(self.token).only_once();
        let answer = self.http.send(request).await.map_err(|error| request_failure("send", &error, true))?;
        // Graph documents only 202; 200 was seen when nothing was sent.
        if answer.status == 202 { Ok(answer) } else { Err(self.refusal("send", &answer, of_draft)) }
    }
}

fn describe_acceptance(answer: &HttpReply) -> String {
    let id = answer.request_id.as_deref().map_or(String::new(), |id| format!(", request {id}"));
    format!("HTTP {}: accepted by Exchange{id}", answer.status)
}

/// Returns the failure for an error response. `of_draft`: the request was about a draft of this attempt.
fn refusal(phase: &'static str, answer: &HttpReply, of_draft: bool) -> Failure {
    let error = &answer.body["error"];
    let mut codes: Vec<&str> = error["code"].as_str().into_iter().collect();
    let mut inner = &error["innerError"];
    while let Some(code) = inner["code"].as_str() {
        codes.push(code);
        inner = &inner["innerError"];
    }
    let printable = |text: &str, limit: usize| text.chars().filter(|c| !is_hidden(*c)).take(limit).collect::<String>();
    let text = printable(error["message"].as_str().unwrap_or_default(), 200);
    let meaning = replies::classify_graph(answer.status, &codes, &text);
    // The mailbox existed a moment ago. Unless a code says otherwise, what is not found is the draft or the upload address.
    let draft_is_gone =
        of_draft && matches!(answer.status, 404 | 410) && meaning == replies::classify_graph(answer.status, &[], "");
    // Graph names a code or a time. Some gateways reply like this when they passed the request on and lost the connection.
    let is_gateways = phase == "send" && answer.status == 503 && codes.is_empty() && answer.retry_after.is_none();
    // A draft or a piece of it can be created again; only the request that sends leaves a doubt.
    let class = match meaning.class {
        _ if draft_is_gone => Class::Transient,
        _ if is_gateways => Class::Unknown,
        Class::Unknown if phase != "send" => Class::Transient,
        class => class,
    };
    let code = codes.first().map_or_else(|| "without a code".to_owned(), |code| printable(code, 100));
    let why = if is_gateways { "a gateway may have passed the request on" } else { meaning.why };
    let reply = format!("HTTP {} {code}: {}", answer.status, if text.is_empty() { why } else { &text });
    Failure {
        concerns_server: matches!(class, Class::Auth | Class::Throttled),
        retry_after: answer.retry_after.or(meaning.wait),
        scope: meaning.scope,
        fault: meaning.fault,
        remedy: meaning.remedy,
        ..Failure::new(phase, reply, class)
    }
}

/// Returns the failure for a request without a response. `sends`: the message may have been sent by it.
fn request_failure(phase: &'static str, error: &HttpError, sends: bool) -> Failure {
    let class = match error {
        // The request never left.
        HttpError::Name { .. } | HttpError::Unreachable { .. } | HttpError::Busy { .. } => Class::Transient,
        HttpError::Tls { .. } => Class::Auth,
        // A gateway that refuses the size with its own page.
        HttpError::NotJson { status: 413, .. } => Class::Size,
        // The response is not from Graph: a proxy on the way refused the request. After 408 it may have passed it on.
        HttpError::NotJson { status, .. } if (400..500).contains(status) && *status != 408 => Class::Transient,
        _ if sends => Class::Unknown,
        _ => Class::Transient,
    };
    let wait = matches!(error, HttpError::Busy { .. }).then_some(Duration::from_secs(60));
    // The size concerns the message, whichever server refuses it.
    let concerns_server = class != Class::Size;
    Failure { concerns_server, retry_after: wait, ..Failure::new(phase, error.to_string(), class) }
}
