//! Users, their mailboxes, and the mail sent from them.
//!
//! Answers for `/users`. Mail that is sent is recorded and not delivered.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    GraphRequest, Reply, address_book,
    documents::{hide_details, user_document},
    drafts,
    error::{absent, denied, mailbox_denied, no_mailbox, unknown_mailbox, unknown_segment, wrong_method},
    odata::{MESSAGE, USER},
    send_mail,
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
    let may_read_all = request.caller.has(&READ_ALL_OF_USERS);
    // A large tenant is listed without making a document of each user for each page.
    if let Some(window) = request.query.window(tenant.users.len()) {
        let items = tenant.users[window].iter().map(|user| user_document(tenant, user, may_read_all)).collect();
        let all = tenant.users.len();
        return Ok((200, request.query.windowed_page(request.sandbox, request.path, &USER, items, all)?));
    }
    let all = tenant.users.iter().map(|user| user_document(tenant, user, true)).collect();
    let mut items = request.query.filtered(&USER, all)?;
    if !may_read_all {
        items.iter_mut().for_each(hide_details);
    }
    Ok((200, request.query.page(request.sandbox, request.path, &USER, items)?))
}

/// Answers a request about one user; `rest` is the path after the user's name.
pub(super) async fn user(request: &GraphRequest<'_>, name: &str, rest: &str) -> Reply {
    match (request.method.as_str(), rest) {
        ("GET", "") => show(request, name),
        ("GET", "mailboxSettings/userPurpose" | "mailboxSettings") => purpose(request, name, rest),
        ("GET", "contacts") => address_book::contacts_of_user(request, name),
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
    Ok((200, request.query.entity(request.sandbox, &USER, document)?))
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
    let context = format!("{}/v1.0/$metadata#users('{name}')/{rest}", request.sandbox.address());
    let key = if rest == "mailboxSettings" { "userPurpose" } else { "value" };
    let document = json!({ "@odata.context": context, key: purpose });
    Ok((200, document))
}

async fn sent_items(request: &GraphRequest<'_>, name: &str) -> Reply {
    if !request.caller.has(&["Mail.ReadBasic.All", "Mail.ReadBasic", "Mail.Read", "Mail.ReadWrite"]) {
        return Err(mailbox_denied());
    }
    let mail = request.sandbox.mail.lock().await;
    let own = mail.iter().filter(|sent| sent.by == "graph" && sent.from.eq_ignore_ascii_case(name));
    let own = own.filter(|sent| sent.mail["saveToSentItems"] != json!(false));
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
    let mail = send_mail::parse(request, &from)?;
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
