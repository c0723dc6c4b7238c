//! Permissions on Graph that each application needs: for the profiles of an environment, and for reading the directory.
//!
//! [`NeededPermissions`] collects them: several profiles may share one application, and a permission that another profile needs
//! is not excessive. They follow from the files alone; nothing is requested from Graph.

use std::collections::{BTreeSet, HashMap};

use crate::{
    entra::permissions::PermissionKind,
    model::{GraphDirect, Profile, Provider},
};

/// Permissions of Graph, by application and kind.
#[derive(Clone, Debug, Default)]
pub struct NeededPermissions(HashMap<(PermissionKind, String), BTreeSet<&'static str>>);

impl NeededPermissions {
    /// Collects the permissions of profiles.
    pub fn from_profiles<'p>(profiles: impl IntoIterator<Item = &'p Profile>) -> Self {
        let mut needs = Self::default();
        for profile in profiles {
            match &profile.provider {
                Provider::MicrosoftGraphDirect(direct) => {
                    needs.add(PermissionKind::Application, &direct.client, direct_permissions(direct.address_book));
                }
                Provider::MicrosoftGraphDelegate(delegate) => {
                    let scopes = delegate_permissions(delegate.address_book, profile.from_address().is_some());
                    needs.add(PermissionKind::Delegated, &delegate.client, scopes);
                }
                Provider::Smtp(_) => {}
            }
        }
        needs
    }

    fn add(&mut self, kind: PermissionKind, client: &str, names: Vec<&'static str>) {
        self.0.entry((kind, client.to_ascii_lowercase())).or_default().extend(names);
    }

    /// Adds the permissions of the environment's own application for reading the directory.
    pub(super) fn add_directory_reader(&mut self, reader: &GraphDirect) {
        self.add(PermissionKind::Application, &reader.client, vec!["Application.Read.All", "Directory.Read.All"]);
    }

    /// Returns every permission of one kind that at least one profile of an application needs.
    pub(super) fn for_client(&self, kind: PermissionKind, client: &str) -> Option<&BTreeSet<&'static str>> {
        self.0.get(&(kind, client.to_ascii_lowercase()))
    }
}

/// Returns the client id of the application of a profile of Microsoft Graph; none for SMTP, also with OAuth.
pub fn client_id(provider: &Provider) -> Option<&str> {
    match provider {
        Provider::MicrosoftGraphDelegate(delegate) => Some(&delegate.client),
        Provider::MicrosoftGraphDirect(direct) => Some(&direct.client),
        Provider::Smtp(_) => None,
    }
}

/// Returns the application permissions of a direct profile.
pub(super) fn direct_permissions(address_book: bool) -> Vec<&'static str> {
    let mut needed = vec!["Mail.Send"];
    if address_book {
        needed.extend(["User.Read.All", "Group.Read.All", "OrgContact.Read.All"]);
    }
    needed
}

/// Returns the delegated permissions of a delegate profile. `shared_sender` is true if the profile states a From, so
/// that users send as another mailbox.
pub(super) fn delegate_permissions(address_book: bool, shared_sender: bool) -> Vec<&'static str> {
    let mut needed = vec!["Mail.ReadWrite", "Mail.Send", "User.Read", "User.ReadBasic.All"];
    if address_book {
        needed.push("Contacts.Read");
    }
    if shared_sender {
        needed.push("Mail.Send.Shared");
    }
    needed
}
