//! Drafts of mail, their attachments, and upload sessions.
//!
//! For mail that is too large for `sendMail`. A draft is in memory until it is sent or deleted.

use axum::{
    body::Bytes,
    http::{HeaderMap, header},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    GraphRequest, Reply,
    error::{error_body, unknown_item, unknown_segment},
};
use crate::sandbox::{Sandbox, SentMail};

/// An upload session of an attachment.
#[derive(Debug)]
pub(in crate::sandbox) struct Upload {
    draft: String,
    name: String,
    size: u64,
    received: Vec<u8>,
}

/// Creates a draft.
pub(super) async fn create(request: &GraphRequest<'_>, name: &str) -> Reply {
    request.caller.check_may_write(name)?;
    let mut draft = request.json()?;
    let id = Uuid::now_v7().simple().to_string();
    draft["id"] = json!(id);
    if draft["internetMessageId"].is_null() {
        draft["internetMessageId"] = json!(format!("<{id}@sandbox.invalid>"));
    }
    request.sandbox.drafts.lock().await.insert(id, (name.to_owned(), draft.clone()));
    Ok((201, draft))
}

/// Deletes a draft; `rest` is the path after the user's name.
pub(super) async fn delete(request: &GraphRequest<'_>, name: &str, rest: &str) -> Reply {
    request.caller.check_may_write(name)?;
    let id = rest.strip_prefix("messages/").unwrap_or_default();
    match request.sandbox.drafts.lock().await.remove(id) {
        Some(_) => Ok((204, Value::Null)),
        None => Err(unknown_item()),
    }
}

/// Sends a draft or adds an attachment; `rest` is the path after the user's name.
pub(super) async fn change(request: &GraphRequest<'_>, name: &str, rest: &str) -> Reply {
    let (id, action) =
        rest.strip_prefix("messages/").and_then(|rest| rest.split_once('/')).ok_or_else(unknown_segment)?;
    request.caller.check_may_write(name)?;
    match action {
        "send" => send(request, name, id).await,
        "attachments" => attach(request, id).await,
        "attachments/createUploadSession" => create_upload(request, id).await,
        _ => Err(unknown_segment()),
    }
}

async fn send(request: &GraphRequest<'_>, name: &str, id: &str) -> Reply {
    let from = request.caller.check_may_send(name)?;
    let (_, mail) = request.sandbox.drafts.lock().await.remove(id).ok_or_else(unknown_item)?;
    request.sandbox.record_mail(SentMail { by: "graph".to_owned(), from, at: request.sandbox.now(), mail }).await;
    Ok((202, Value::Null))
}

async fn attach(request: &GraphRequest<'_>, id: &str) -> Reply {
    let attachment = request.json()?;
    let mut drafts = request.sandbox.drafts.lock().await;
    let (_, draft) = drafts.get_mut(id).ok_or_else(unknown_item)?;
    push_attachment(draft, attachment.clone());
    Ok((201, attachment))
}

async fn create_upload(request: &GraphRequest<'_>, id: &str) -> Reply {
    let document = request.json()?;
    let item = &document["AttachmentItem"];
    if !request.sandbox.drafts.lock().await.contains_key(id) {
        return Err(unknown_item());
    }
    let session = Uuid::now_v7().simple().to_string();
    let upload = Upload {
        draft: id.to_owned(),
        name: item["name"].as_str().unwrap_or_default().to_owned(),
        size: item["size"].as_u64().unwrap_or(0),
        received: Vec::new(),
    };
    request.sandbox.uploads.lock().await.insert(session.clone(), upload);
    Ok((
        201,
        json!({ "uploadUrl": upload_address(request.sandbox, &session), "expirationDateTime": "2099-01-01T00:00:00Z", "nextExpectedRanges": ["0-"] }),
    ))
}

/// Returns the address of an upload session. It is on another host than Graph, as with the real service, so that no
/// client sends its token there.
fn upload_address(sandbox: &Sandbox, session: &str) -> String {
    format!("{}/v1.0/upload/{session}", sandbox.address().replace("localhost", "127.0.0.1"))
}

fn push_attachment(draft: &mut Value, attachment: Value) {
    match draft["attachments"].as_array_mut() {
        Some(list) => list.push(attachment),
        None => draft["attachments"] = json!([attachment]),
    }
}

/// Receives a part of an attachment: in order, with `Content-Range`, and without a token.
pub(super) async fn upload(sandbox: &Sandbox, session: &str, headers: &HeaderMap, body: &Bytes) -> (u16, Value) {
    if headers.contains_key(header::AUTHORIZATION) {
        return (
            401,
            error_body(
                sandbox.now(),
                "InvalidAudience",
                "The audience claim value is invalid: the address carries its own authorization.",
            ),
        );
    }
    let mut uploads = sandbox.uploads.lock().await;
    let Some(upload) = uploads.get_mut(session) else {
        return (404, error_body(sandbox.now(), "ErrorItemNotFound", "The upload session was not found."));
    };
    let range = headers.get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let start = range.strip_prefix("bytes ").and_then(|range| range.split('-').next()?.parse::<usize>().ok());
    if start != Some(upload.received.len()) {
        return (416, error_body(sandbox.now(), "ErrorInvalidRange", "The range does not follow what was received."));
    }
    upload.received.extend_from_slice(body);
    if (upload.received.len() as u64) < upload.size {
        let next = upload.received.len();
        return (
            200,
            json!({ "expirationDateTime": "2099-01-01T00:00:00Z", "nextExpectedRanges": [format!("{next}-")] }),
        );
    }
    let Some(done) = uploads.remove(session) else { return (404, Value::Null) };
    drop(uploads);
    if let Some((_, draft)) = sandbox.drafts.lock().await.get_mut(&done.draft) {
        let attachment = json!({ "@odata.type": "#microsoft.graph.fileAttachment", "name": done.name, "size": done.size,
                "contentBytes": BASE64_STANDARD.encode(&done.received) });
        push_attachment(draft, attachment);
    }
    (201, Value::Null)
}
