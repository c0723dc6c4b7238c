//! The address book apart from users: groups, contacts of the organization, and the contacts of a user.
//!
//! Sources: Microsoft Graph v1.0, "List groups", "Get group", "List orgContacts", "Get orgContact" and "List contacts", with
//! their permissions.

use serde_json::{Value, json};

use super::{
    GraphRequest, Reply,
    error::{absent, denied, mailbox_denied, no_mailbox, unknown_mailbox, unknown_segment},
    odata::{CONTACT, EntityType, GROUP, ORG_CONTACT},
};
use crate::sandbox::scenario::{Contact, Group, GroupKind, Mailbox, Tenant};

/// Permissions that show groups.
const READ_GROUPS: [&str; 5] =
    ["Group.Read.All", "Group.ReadWrite.All", "GroupMember.Read.All", "Directory.Read.All", "Directory.ReadWrite.All"];
/// Permissions that show contacts of the organization.
const READ_CONTACTS: [&str; 3] = ["OrgContact.Read.All", "Directory.Read.All", "Directory.ReadWrite.All"];

/// Answers a GET request for `/groups` or `/contacts`.
pub(super) fn route(request: &GraphRequest<'_>) -> Reply {
    let tenant = request.caller.tenant;
    let mut segments = request.path.trim_matches('/').split('/');
    let (of, permissions, all): (&EntityType, &[&str], Vec<Value>) = match segments.next() {
        Some("groups") => {
            (&GROUP, &READ_GROUPS, tenant.groups.iter().map(|group| group_document(tenant, group)).collect())
        }
        Some("contacts") => (
            &ORG_CONTACT,
            &READ_CONTACTS,
            tenant.contacts.iter().map(|contact| contact_document(tenant, contact)).collect(),
        ),
        _ => return Err(unknown_segment()),
    };
    if !request.caller.has(permissions) {
        return Err(denied());
    }
    match (segments.next(), segments.next()) {
        (None, _) => {
            let items = request.query.filtered(of, all)?;
            Ok((200, request.query.page(request.sandbox, request.path, of, items)?))
        }
        (Some(id), None) => {
            let found = all.into_iter().find(|item| item["id"] == id).ok_or_else(|| absent(id))?;
            Ok((200, request.query.entity(request.sandbox, of, found)?))
        }
        _ => Err(unknown_segment()),
    }
}

/// Lists the contacts that a user keeps in the mailbox.
pub(super) fn contacts_of_user(request: &GraphRequest<'_>, name: &str) -> Reply {
    let caller = request.caller;
    let may_read =
        caller.has(&["Contacts.Read", "Contacts.ReadWrite"]) && (caller.user.is_none() || caller.is_user(name));
    if !may_read {
        return Err(mailbox_denied());
    }
    let user = caller.tenant.user(name).ok_or_else(|| unknown_mailbox(name))?;
    if user.mailbox == Mailbox::None {
        return Err(no_mailbox());
    }
    let document = |contact: &Contact| {
        let id = caller.tenant.object_id(&format!("contact/{}/{}", user.name, contact.mail)).simple().to_string();
        json!({
            "id": id, "displayName": contact.name, "givenName": null, "surname": null, "companyName": contact.company,
            "emailAddresses": [{ "name": contact.name, "address": contact.mail }],
        })
    };
    let items = request.query.filtered(&CONTACT, user.contacts.iter().map(document).collect())?;
    let path = format!("/users/{}/contacts", user.name);
    Ok((200, request.query.page(request.sandbox, &path, &CONTACT, items)?))
}

fn nickname(mail: Option<&str>) -> Option<&str> {
    mail.and_then(|mail| mail.split('@').next())
}

fn group_document(tenant: &Tenant, group: &Group) -> Value {
    let mail = group.mail.as_deref();
    let id = group.id.unwrap_or_else(|| tenant.object_id(&format!("group/{}", group.name)));
    let proxies: Vec<String> = mail.iter().map(|mail| format!("SMTP:{mail}")).collect();
    json!({
        "id": id, "displayName": group.name, "description": group.description, "mail": mail,
        "mailEnabled": group.kind != GroupKind::Security,
        "mailNickname": nickname(mail).unwrap_or(&group.name),
        "securityEnabled": group.kind == GroupKind::Security,
        "groupTypes": if group.kind == GroupKind::Microsoft365 { json!(["Unified"]) } else { json!([]) },
        "proxyAddresses": proxies,
        "visibility": if group.kind == GroupKind::Microsoft365 { json!("Private") } else { Value::Null },
    })
}

fn contact_document(tenant: &Tenant, contact: &Contact) -> Value {
    json!({
        "id": tenant.object_id(&format!("orgContact/{}", contact.mail)), "displayName": contact.name,
        "givenName": null, "surname": null, "mail": contact.mail, "mailNickname": nickname(Some(&contact.mail)),
        "companyName": contact.company, "department": null, "jobTitle": null,
        "proxyAddresses": [format!("SMTP:{}", contact.mail)],
    })
}
