//! Sending by Microsoft Graph as the application itself.
//!
//! A message that fits into one request goes as it is (MIME, base64): Exchange then keeps what it does not understand.
//! A larger one becomes a draft whose large attachments are uploaded piece by piece, which takes the permission
//! `Mail.ReadWrite` besides. Graph has no idempotency: a request whose answer was lost is never sent again by itself.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use jiff::Timestamp;
use reqwest::Url;
use secrecy::SecretString;
use serde_json::json;

use super::smtp::Failure;
use crate::{
    delivery::graph_draft::{Attachment, Draft},
    entra::{Endpoints, Http, HttpError, HttpReply, claims::Claims, graph::encoded, http::Request},
    model::message::Class,
    replies,
    sync::BlockingPool,
};

/// How large a message may be that goes in one request. Graph takes 4 MB, and base64 adds a third.
pub(super) const ONE_REQUEST: usize = 2_900_000;
/// From this size on an attachment needs an upload session: its request would have 4 MB in base64.
const SESSION_FROM: usize = 2_900_000;
/// Graph's code for an attachment that is too small for an upload session. Microsoft documents 3 MB as the limit, and not
/// how many bytes these are.
const TOO_SMALL_FOR_SESSION: &str = "ErrorAttachmentSizeShouldNotBeLessThanMinimumSize";
/// How much goes up at once: a multiple of 320 KiB, and less than 4 MB.
const PIECE: usize = 10 * 320 * 1024;

/// A mailbox that is sent from.
pub(super) struct Sender<'a> {
    pub(super) http: &'a Http,
    /// Threads that take large messages apart.
    pub(super) pool: &'a BlockingPool,
    pub(super) endpoints: &'a Endpoints,
    pub(super) token: &'a SecretString,
    pub(super) from: &'a str,
    /// The same in every attempt; Microsoft's support finds the request by it.
    pub(super) request_id: String,
}

impl Sender<'_> {
    fn url(&self, rest: &str) -> Result<Url, Failure> {
        self.endpoints
            .graph
            .join(&format!("v1.0/users/{}/{rest}", encoded(self.from)))
            .map_err(|_| Failure::new("send", "the sender's address makes no path", Class::Auth))
    }

    /// Sends a message. `begin` is awaited before the request after which it may have been sent.
    pub(super) async fn send(
        &self,
        bytes: &Bytes,
        begin: impl Future<Output = Result<(), Failure>>,
    ) -> Result<String, Failure> {
        if bytes.len() <= ONE_REQUEST {
            begin.await?;
            let request = Request::post_text(self.url("sendMail")?, BASE64_STANDARD.encode(bytes))
                .header("client-request-id", &self.request_id);
            return self.ask_once(request, false).await.map(|answer| words(&answer));
        }
        let draft = self.draft(bytes).await?;
        let sent = async {
            begin.await?;
            let request = Request::post_empty(self.url(&format!("messages/{}/send", encoded(&draft)))?)
                .header("client-request-id", &self.request_id);
            self.ask_once(request, true).await.map(|answer| words(&answer))
        };
        let sent = sent.await;
        // One that may have been sent is left: what is in the drafts then was not.
        if sent.as_ref().is_err_and(|failure| failure.class != Class::Unknown) {
            self.discard(&draft).await;
        }
        sent
    }

    /// Removes a draft: what is left behind would only confuse whoever looks into them.
    async fn discard(&self, draft: &str) {
        if let Ok(url) = self.url(&format!("messages/{}", encoded(draft))) {
            drop(self.http.send(Request::delete(url).bearer(self.token)).await);
        }
    }

    /// What happens up to here can be done again: a draft is not sent.
    async fn draft(&self, bytes: &Bytes) -> Result<String, Failure> {
        // What a draft has no place for fails here, before anything is asked of Graph.
        let message = bytes.clone();
        let draft = self.pool.run(bytes.len(), move || Draft::read(&message)).await;
        let Draft { document, attachments } =
            draft.map_err(|error| Failure::new("draft", error.to_string(), Class::Size))?;
        let answer = self.ask("draft", Request::post_json(self.url("messages")?, &document)).await;
        // Small messages leave all the same: this is about the route and not about the mailbox. With the permission in the
        // token it is about the mailbox: an access policy, or a scope in Exchange.
        let answer = answer.map_err(|failure| {
            let may_write =
                Claims::read(self.token).is_some_and(|claims| claims.roles.iter().any(|role| role == "Mail.ReadWrite"));
            if failure.reply.starts_with("HTTP 403") && !may_write {
                let reply = format!(
                    "{}; a message of this size needs the application permission Mail.ReadWrite",
                    failure.reply
                );
                Failure::new("draft", reply, Class::Size)
            } else {
                failure
            }
        })?;
        let id = answer.body["id"].as_str().unwrap_or_default().to_owned();
        if id.is_empty() {
            return Err(Failure::new("draft", "Graph made a draft and named no id", Class::Transient));
        }
        let filled = self.fill(&id, attachments).await;
        if let Err(failure) = filled {
            self.discard(&id).await;
            return Err(failure);
        }
        Ok(id)
    }

    async fn fill(&self, draft: &str, attachments: Vec<Attachment>) -> Result<(), Failure> {
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
        let url = self.url(&format!("messages/{}/attachments", encoded(draft)))?;
        let mut document = attachment.describe();
        document["@odata.type"] = json!("#microsoft.graph.fileAttachment");
        document["contentBytes"] = json!(BASE64_STANDARD.encode(&attachment.bytes));
        self.ask_of_draft(Request::post_json(url, &document)).await.map(drop)
    }

    async fn upload(&self, draft: &str, attachment: &Attachment) -> Result<(), Failure> {
        let url = self.url(&format!("messages/{}/attachments/createUploadSession", encoded(draft)))?;
        let mut item = attachment.describe();
        item["attachmentType"] = json!("file");
        item["size"] = json!(attachment.bytes.len());
        let session = match self.ask_of_draft(Request::post_json(url, &json!({ "AttachmentItem": item }))).await {
            Ok(session) => session,
            Err(failure) if failure.reply.contains(TOO_SMALL_FOR_SESSION) => {
                return self.attach(draft, attachment).await;
            }
            Err(failure) => return Err(failure),
        };
        let address = session.body["uploadUrl"].as_str().and_then(|text| Url::parse(text).ok());
        // The address carries its own authorisation, and is Microsoft's; it must not lead to anybody else in clear.
        let Some(address) = address.filter(|url| url.scheme() == "https") else {
            return Err(Failure::new("upload", "Graph named no address to upload to", Class::Transient));
        };
        let total = attachment.bytes.len();
        for first in (0..total).step_by(PIECE) {
            let end = total.min(first + PIECE);
            let range = format!("bytes {first}-{}/{total}", end - 1);
            let request =
                Request::put_bytes(address.clone(), attachment.bytes.slice(first..end)).header("content-range", &range);
            let answer = self.http.send(request).await.map_err(|error| lost("upload", &error, false))?;
            if !answer.is_success() {
                return Err(said_no("upload", &answer, true));
            }
        }
        Ok(())
    }

    /// Returns when each message with this Message-ID in Sent Items was sent. A failure is about looking and says nothing
    /// about the message.
    pub(super) async fn sent_items(&self, message_id: &str) -> Result<Vec<Option<Timestamp>>, Failure> {
        let filter = format!("internetMessageId eq '{}'", message_id.replace('\'', "''"));
        let mut url = self.url("mailFolders/sentitems/messages")?;
        url.query_pairs_mut()
            .append_pair("$filter", &filter)
            .append_pair("$select", "sentDateTime")
            .append_pair("$top", "50");
        let answer = self.ask("look", Request::get(url)).await?;
        let items = answer.body["value"]
            .as_array()
            .ok_or_else(|| Failure::new("look", "Graph's answer names no messages", Class::Transient))?;
        Ok(items.iter().map(|item| item["sentDateTime"].as_str().and_then(|text| text.parse().ok())).collect())
    }

    async fn ask(&self, phase: &'static str, request: Request) -> Result<HttpReply, Failure> {
        let answer = self.http.send(request.bearer(self.token)).await.map_err(|error| lost(phase, &error, false))?;
        if answer.is_success() { Ok(answer) } else { Err(said_no(phase, &answer, false)) }
    }

    /// Asks for something that belongs to a draft of this attempt.
    async fn ask_of_draft(&self, request: Request) -> Result<HttpReply, Failure> {
        let answer = self.http.send(request.bearer(self.token)).await.map_err(|error| lost("upload", &error, false))?;
        if answer.is_success() { Ok(answer) } else { Err(said_no("upload", &answer, true)) }
    }

    /// Sends: once, whatever comes of it. `of_draft`: what is sent is a draft of this attempt.
    async fn ask_once(&self, request: Request, of_draft: bool) -> Result<HttpReply, Failure> {
        let request = request.bearer(self.token).only_once();
        let answer = self.http.send(request).await.map_err(|error| lost("send", &error, true))?;
        // Graph documents 202 alone; 200 was seen where nothing was sent.
        if answer.status == 202 { Ok(answer) } else { Err(said_no("send", &answer, of_draft)) }
    }
}

fn words(answer: &HttpReply) -> String {
    let id = answer.request_id.as_deref().map_or(String::new(), |id| format!(", request {id}"));
    format!("HTTP {}: Exchange has taken it{id}", answer.status)
}

/// What Graph answered instead of doing it. `of_draft`: it was about a draft that this attempt has made.
fn said_no(phase: &'static str, answer: &HttpReply, of_draft: bool) -> Failure {
    let error = &answer.body["error"];
    let mut codes: Vec<&str> = error["code"].as_str().into_iter().collect();
    let mut inner = &error["innerError"];
    while let Some(code) = inner["code"].as_str() {
        codes.push(code);
        inner = &inner["innerError"];
    }
    let text: String =
        error["message"].as_str().unwrap_or_default().chars().filter(|c| !c.is_control()).take(200).collect();
    let meaning = replies::graph(answer.status, &codes, &text);
    // The mailbox was there a moment ago. Where no code says otherwise, what is not found is the draft, or the address that
    // its pieces go to.
    let draft_is_gone =
        of_draft && matches!(answer.status, 404 | 410) && meaning == replies::graph(answer.status, &[], "");
    // A draft or a piece of one can be made again; only the request that sends leaves a doubt.
    let class = match meaning.class {
        _ if draft_is_gone => Class::Transient,
        Class::Unknown if phase != "send" => Class::Transient,
        class => class,
    };
    let code = codes.first().copied().unwrap_or("without a code");
    let reply = format!("HTTP {} {code}: {}", answer.status, if text.is_empty() { meaning.why } else { &text });
    Failure {
        is_servers: matches!(class, Class::Auth | Class::Throttled),
        retry_after: answer.retry_after.or(meaning.wait),
        about: meaning.about,
        remedy: meaning.remedy,
        ..Failure::new(phase, reply, class)
    }
}

/// No answer. `sends`: after the request the mail may have been sent.
fn lost(phase: &'static str, error: &HttpError, sends: bool) -> Failure {
    let class = match error {
        // The request never left.
        HttpError::Name { .. } | HttpError::Unreachable { .. } | HttpError::Busy { .. } => Class::Transient,
        HttpError::Tls { .. } => Class::Auth,
        // A gateway's own page about the size of what it let through.
        HttpError::NotJson { status: 413, .. } => Class::Size,
        // An answer that is no Graph's: a proxy, before or after Graph.
        HttpError::NotJson { status, .. } if (400..500).contains(status) => Class::Transient,
        _ if sends => Class::Unknown,
        _ => Class::Transient,
    };
    let wait = matches!(error, HttpError::Busy { .. }).then_some(Duration::from_secs(60));
    // A size is this message's, whoever says it.
    let is_servers = class != Class::Size;
    Failure { is_servers, retry_after: wait, ..Failure::new(phase, error.to_string(), class) }
}
