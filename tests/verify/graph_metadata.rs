//! Every name that we use in a request to Graph, or read from a response, is in Microsoft's published metadata.
//!
//! The metadata itself (CSDL) is in no package of a registry. What is read here is Microsoft's own rendering of it: the
//! types of `@microsoft/microsoft-graph-types`, generated from the CSDL of v1.0, a property for a property. Names and ids
//! of permissions are those of `fixtures/graph-permissions.json`, taken from the repository and commit that it names.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::tools::folder;
use mailwright::entra::{
    graph::{
        AppRole, AppRoleAssignment, Application, AssignedPlan, KeyCredential, OAuth2PermissionGrant, Organization,
        PasswordCredential, PermissionScope, RedirectUris, RequiredResourceAccess, ResourceAccess, ServicePrincipal,
        User, UserPurpose, VerifiedDomain,
    },
    permissions::{self, PermissionKind, PermissionNames},
};
use serde::Serialize;

/// The properties of each published type, those of its bases included.
struct Published(BTreeMap<String, (Option<String>, BTreeSet<String>)>);

impl Published {
    fn read() -> Self {
        let path = folder().join("clients/node_modules/@microsoft/microsoft-graph-types/microsoft-graph.d.ts");
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}; run the tests with ./test", path.display()));
        let mut types = BTreeMap::new();
        let mut current: Option<(String, Option<String>, BTreeSet<String>)> = None;
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("export interface ") {
                let mut words = rest.split_whitespace();
                let name = words.next().unwrap().to_owned();
                let base = words.next().filter(|word| *word == "extends").and_then(|_| words.next().map(str::to_owned));
                // An interface without properties ends on its own line.
                if rest.ends_with('}') {
                    types.insert(name, (base, BTreeSet::new()));
                } else {
                    current = Some((name, base, BTreeSet::new()));
                }
            } else if line == "}" {
                if let Some((name, base, properties)) = current.take() {
                    types.insert(name, (base, properties));
                }
            } else if let (Some((_, _, properties)), Some((property, _))) = (&mut current, line.trim().split_once("?:"))
            {
                properties.insert(property.trim_matches('"').to_owned());
            }
        }
        Self(types)
    }

    fn has(&self, name: &str, property: &str) -> bool {
        let mut next = Some(name.to_owned());
        while let Some(name) = &next {
            let (base, properties) = self.0.get(name).unwrap_or_else(|| panic!("the type {name} is missing"));
            if properties.contains(property) {
                return true;
            }
            next = base.clone();
        }
        false
    }

    fn check<T: Default + Serialize>(&self, name: &str) {
        let document = serde_json::to_value(T::default()).unwrap();
        for property in document.as_object().unwrap().keys() {
            assert!(self.has(name, property) || is_newer(name, property), "{name} has no property {property}");
        }
    }
}

/// Names of the CSDL of v1.0 (`microsoftgraph/msgraph-metadata` f54f11b, 2026-08-20) that the package does not have yet.
fn is_newer(name: &str, property: &str) -> bool {
    matches!((name, property), ("Application" | "ServicePrincipal", "isDisabled"))
}

#[test]
fn every_property_is_published_under_its_type() {
    let published = Published::read();
    assert!(published.0.len() > 1000, "only {} types were read", published.0.len());
    assert!(!published.has("Application", "appIdentifier"), "a property that does not exist was found");
    published.check::<Application>("Application");
    published.check::<RequiredResourceAccess>("RequiredResourceAccess");
    published.check::<ResourceAccess>("ResourceAccess");
    for platform in ["WebApplication", "SpaApplication", "PublicClientApplication"] {
        published.check::<RedirectUris>(platform);
    }
    published.check::<PasswordCredential>("PasswordCredential");
    published.check::<KeyCredential>("KeyCredential");
    published.check::<ServicePrincipal>("ServicePrincipal");
    published.check::<AppRole>("AppRole");
    published.check::<PermissionScope>("PermissionScope");
    published.check::<AppRoleAssignment>("AppRoleAssignment");
    published.check::<OAuth2PermissionGrant>("OAuth2PermissionGrant");
    published.check::<User>("User");
    published.check::<AssignedPlan>("AssignedPlan");
    published.check::<Organization>("Organization");
    published.check::<VerifiedDomain>("VerifiedDomain");
    // An address that ends in a property answers with `value` (OData), so the type has no such property itself.
    assert_eq!(serde_json::to_value(UserPurpose::default()).unwrap().as_object().unwrap().len(), 1);
    assert!(published.has("MailboxSettings", "userPurpose"));
    for (name, select) in [
        ("Application", Application::SELECT),
        ("ServicePrincipal", ServicePrincipal::SELECT),
        ("ServicePrincipal", ServicePrincipal::SELECT_PERMISSIONS),
        ("User", User::SELECT),
        ("Organization", "id,verifiedDomains"),
    ] {
        select.split(',').for_each(|property| {
            assert!(published.has(name, property) || is_newer(name, property), "{name} has no property {property}");
        });
    }
    // What a probe and a large message are made of, and what is read of an upload session.
    for (name, properties) in [
        (
            "Message",
            &[
                "id",
                "subject",
                "body",
                "toRecipients",
                "ccRecipients",
                "bccRecipients",
                "replyTo",
                "internetMessageId",
                "internetMessageHeaders",
            ][..],
        ),
        ("ItemBody", &["contentType", "content"]),
        ("Recipient", &["emailAddress"]),
        ("EmailAddress", &["address", "name"]),
        ("InternetMessageHeader", &["name", "value"]),
        ("FileAttachment", &["name", "contentType", "isInline", "contentId", "contentBytes"]),
        ("AttachmentItem", &["attachmentType", "name", "size", "contentType", "isInline", "contentId"]),
        ("UploadSession", &["uploadUrl"]),
    ] {
        for property in properties {
            assert!(published.has(name, property), "{name} has no {property}");
        }
    }
}

#[test]
fn the_permissions_are_distinct_and_well_formed() {
    let mut ids = BTreeSet::new();
    for (kind, name, id) in permissions::all() {
        assert!(id.parse::<uuid::Uuid>().is_ok(), "{name}: {id}");
        assert!(ids.insert((kind.adjective(), id)), "{name} ({}) has the id of another", kind.adjective());
        assert_eq!(permissions::id(kind, name), Some(id));
        assert_eq!(PermissionNames::built_in().name(kind, &id.to_uppercase()), name);
    }
    assert_eq!(ids.len(), 1132, "598 delegated and 534 of applications");
}

#[test]
fn the_permissions_are_those_that_are_published() {
    let published: serde_json::Value =
        serde_json::from_str(include_str!("../fixtures/graph-permissions.json")).unwrap();
    let mut theirs = BTreeSet::new();
    for permission in published["permissions"].as_array().unwrap() {
        let name = permission["value"].as_str().unwrap();
        for kind in [PermissionKind::Application, PermissionKind::Delegated] {
            if let Some(id) = permission[kind.adjective()].as_str() {
                theirs.insert((kind.adjective(), name, id));
            }
        }
    }
    let ours: BTreeSet<_> = permissions::all().map(|(kind, name, id)| (kind.adjective(), name, id)).collect();
    assert_eq!(theirs.difference(&ours).collect::<Vec<_>>(), Vec::<&(&str, &str, &str)>::new());
}
