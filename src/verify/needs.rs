//! What the profiles of an environment need of each application, all together. Several may share one, and what another
//! profile needs is not too much.

use std::collections::{BTreeSet, HashMap};

use crate::{
    entra::permissions::Kind,
    model::{GraphDirect, Profile, Provider},
};

/// Permissions of Graph, by application and kind.
#[derive(Clone, Debug, Default)]
pub struct Needs(HashMap<(Kind, String), BTreeSet<&'static str>>);

impl Needs {
    /// Of profiles.
    pub fn of<'p>(profiles: impl IntoIterator<Item = &'p Profile>) -> Self {
        let mut needs = Self::default();
        for profile in profiles {
            match &profile.provider {
                Provider::MicrosoftGraphDirect(direct) => {
                    needs.add(Kind::Application, &direct.client, of_direct(direct.address_book));
                }
                Provider::MicrosoftGraphDelegate(delegate) => {
                    let scopes = of_delegate(delegate.address_book, profile.from_address().is_some());
                    needs.add(Kind::Delegated, &delegate.client, scopes);
                }
                Provider::Smtp(_) => {}
            }
        }
        needs
    }

    fn add(&mut self, kind: Kind, client: &str, names: Vec<&'static str>) {
        self.0.entry((kind, client.to_ascii_lowercase())).or_default().extend(names);
    }

    /// The environment's own application for reading the directory needs what it reads with.
    pub(super) fn add_reader(&mut self, reader: &GraphDirect) {
        self.add(Kind::Application, &reader.client, vec!["Application.Read.All", "Directory.Read.All"]);
    }

    /// What all profiles of an application need of one kind.
    pub(super) fn of_client(&self, kind: Kind, client: &str) -> Option<&BTreeSet<&'static str>> {
        self.0.get(&(kind, client.to_ascii_lowercase()))
    }
}

/// The application of a profile at Microsoft.
pub fn client(provider: &Provider) -> Option<&str> {
    match provider {
        Provider::MicrosoftGraphDelegate(delegate) => Some(&delegate.client),
        Provider::MicrosoftGraphDirect(direct) => Some(&direct.client),
        Provider::Smtp(_) => None,
    }
}

/// What a direct sender needs.
pub(super) fn of_direct(address_book: bool) -> Vec<&'static str> {
    let mut needed = vec!["Mail.Send"];
    if address_book {
        needed.extend(["User.Read.All", "Group.Read.All", "OrgContact.Read.All"]);
    }
    needed
}

/// What a delegate needs; `shared_sender` is whether the profile states a From, so that users send as somebody else.
pub(super) fn of_delegate(address_book: bool, shared_sender: bool) -> Vec<&'static str> {
    let mut needed = vec!["Mail.ReadWrite", "Mail.Send", "User.Read", "User.ReadBasic.All"];
    if address_book {
        needed.push("Contacts.Read");
    }
    if shared_sender {
        needed.push("Mail.Send.Shared");
    }
    needed
}
