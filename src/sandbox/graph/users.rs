//! Users, their mailboxes, and the mail sent from them.
//!
//! Answers for `/users`. Mail that is sent is recorded and not delivered.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    GraphRequest, Reply,
    documents::{hide_details, user_document},
    drafts,
    error::{absent, denied, mailbox_denied, no_mailbox, refusal, unknown_mailbox, unknown_segment, wrong_method},
    odata::{MESSAGE, USER},
};
use crate::sandbox::{SentMail, scenario::Mailbox};

/// Permissions that show the basic properties of users.
const READ_USERS: [&str; 5] =
    ["User.Read.All", "User.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All", "User.ReadBasic.All"];
/// Permissions that show all properties of users.
const READ_ALL_OF_USERS: [&str; 4] =
    ["User.Read.All", "User.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"];

/// Lists users.
pub(super) fn users(request: &GraphRequest<'_>) -> Reply {
    if !request.caller.has(&READ_USERS) {
        return Err(denied());
    }
    let tenant = request.caller.tenant;
    let all = tenant.users.iter().map(|user| user_document(tenant, user, true)).collect();
    let mut items = request.query.filtered(&USER, all)?;
    if !request.caller.has(&READ_ALL_OF_USERS) {
        items.iter_mut().for_each(hide_details);
    }
    Ok((200, request.query.page(request.sandbox, request.path, &USER, items)?))
}

/// Answers a request about one user; `rest` is the path after the user's name.
pub(super) async fn user(request: &GraphRequest<'_>, name: &str, rest: &str) -> Reply {
    match (request.method.as_str(), rest) {
        ("GET", "") => show(request, name),
        ("GET", "mailboxSettings/userPurpose" | "mailboxSettings") => purpose(request, name, rest),
        ("GET", "mailFolders/sentitems/messages") => sent_items(request, name).await,
        ("GET", _) => Err(unknown_segment()),
        ("POST", "sendMail") => send_mail(request, name).await,
        ("POST", "messages") => drafts::create(request, name).await,
        ("POST", rest) => drafts::change(request, name, rest).await,
        ("DELETE", rest) => drafts::delete(request, name, rest).await,
        _ => Err(wrong_method()),
    }
}

fn show(request: &GraphRequest<'_>, name: &str) -> Reply {
    let caller = request.caller;
    if !(caller.has(&READ_USERS) || caller.is_user(name) && caller.has(&["User.Read"])) {
        return Err(denied());
    }
    let user = caller.tenant.user(name).ok_or_else(|| absent(name))?;
    let document = user_document(caller.tenant, user, caller.has(&READ_ALL_OF_USERS));
    Ok((200, request.query.selected(&USER, document)?))
}

fn purpose(request: &GraphRequest<'_>, name: &str, rest: &str) -> Reply {
    if !request.caller.has(&["MailboxSettings.Read", "MailboxSettings.ReadWrite"]) {
        return Err(mailbox_denied());
    }
    let user = request.caller.tenant.user(name).ok_or_else(|| unknown_mailbox(name))?;
    let purpose = match user.mailbox {
        Mailbox::User => "user",
        Mailbox::Shared => "shared",
        Mailbox::Room => "room",
        Mailbox::None => return Err(no_mailbox()),
    };
    let document = if rest == "mailboxSettings" {
        json!({ "userPurpose": purpose })
    } else {
        json!({ "@odata.context": "", "value": purpose })
    };
    Ok((200, document))
}

async fn sent_items(request: &GraphRequest<'_>, name: &str) -> Reply {
    if !request.caller.has(&["Mail.ReadBasic.All", "Mail.ReadBasic", "Mail.Read", "Mail.ReadWrite"]) {
        return Err(mailbox_denied());
    }
    let mail = request.sandbox.mail.lock().await;
    let own = mail.iter().filter(|sent| sent.by == "graph" && sent.from.eq_ignore_ascii_case(name));
    let found = own.filter_map(|sent| Some((message_id(&sent.mail)?, sent.at)));
    let item =
        |(id, at): (String, Timestamp)| json!({ "id": id, "internetMessageId": id, "sentDateTime": at.to_string() });
    let items = found.map(item).collect();
    let items = request.query.filtered(&MESSAGE, items)?;
    let path = format!("/users/{name}/mailFolders/sentitems/messages");
    Ok((200, request.query.page(request.sandbox, &path, &MESSAGE, items)?))
}

async fn send_mail(request: &GraphRequest<'_>, name: &str) -> Reply {
    let from = request.caller.check_may_send(name)?;
    let mail = if request.content_type.starts_with("text/plain") {
        let text: Vec<u8> = request.body.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let invalid =
            |_| refusal(400, "ErrorMimeContentInvalidBase64String", "Invalid base64 string for MIME content.");
        let mime = BASE64_STANDARD.decode(text).map_err(invalid)?;
        json!({ "mime": String::from_utf8_lossy(&mime) })
    } else {
        let document = request.json()?;
        if document["message"].is_null() {
            return Err(refusal(400, "ErrorInvalidParameter", "The 'message' parameter is required."));
        }
        document["message"].clone()
    };
    if mail["mime"].is_null() && mail["toRecipients"].as_array().is_none_or(Vec::is_empty) {
        return Err(refusal(400, "ErrorInvalidRecipients", "At least one recipient is not valid."));
    }
    request.sandbox.record_mail(SentMail { by: "graph".to_owned(), from, at: request.sandbox.now(), mail }).await;
    Ok((202, Value::Null))
}

/// Returns the `Message-ID` of a mail, which is MIME or Graph's own document.
fn message_id(mail: &Value) -> Option<String> {
    if let Some(id) = mail["internetMessageId"].as_str() {
        return Some(id.to_owned());
    }
    let head = mail["mime"].as_str()?.split("\r\n\r\n").next()?;
    let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with("message-id:"))?;
    line.split_once(':').map(|(_, id)| id.trim().to_owned())
}
