//! Search of the address book of a Graph profile, with the login by which the profile sends.
//!
//! [`Transports::search_address_book`] searches several kinds with one token, at the same time. A token that is refused is replaced
//! once; so is a token without a permission, because it may be older than the consent. Nothing is sent or
//! kept here, and a refusal suspends no profile.

use secrecy::SecretString;

use super::{Transports, graph::GraphLogin};
use crate::{
    delivery::{address_book::SearchedKinds, failure::Failure, sending_profile::SendingProfile},
    entra::{
        Endpoints,
        directory_search::{SearchError, search_directory},
    },
    model::{GraphDirect, address_book::AddressKind},
};

impl Transports {
    /// Searches kinds of entries.
    pub(in crate::delivery) async fn search_address_book(
        &self,
        profile: &SendingProfile,
        direct: &GraphDirect,
        kinds: &[AddressKind],
        text: &str,
    ) -> Result<SearchedKinds, Failure> {
        let login = GraphLogin::new(self, direct)?;
        let endpoints = login.endpoints();
        let token = self.rotations.log_in(profile, &login).await?;
        let mut searched = self.search_kinds(endpoints, &token, kinds, text).await;
        let is_stale = |result: &Result<_, SearchError>| {
            matches!(result, Err(SearchError::TokenRefused | SearchError::Denied { .. }))
        };
        let stale: Vec<AddressKind> =
            searched.iter().filter(|(_, result)| is_stale(result)).map(|(kind, _)| *kind).collect();
        if !stale.is_empty() {
            self.credentials.forget_tokens(profile).await;
            let token = self.rotations.log_in(profile, &login).await?;
            searched.retain(|(kind, _)| !stale.contains(kind));
            searched.extend(self.search_kinds(endpoints, &token, &stale, text).await);
        }
        Ok(searched)
    }

    async fn search_kinds(
        &self,
        endpoints: &Endpoints,
        token: &SecretString,
        kinds: &[AddressKind],
        text: &str,
    ) -> SearchedKinds {
        let search = async |kind: AddressKind| {
            if !kinds.contains(&kind) {
                return None;
            }
            Some((kind, search_directory(&self.http, endpoints, token, kind, text).await))
        };
        let [person, contact, group] = AddressKind::ALL;
        let (persons, contacts, groups) = tokio::join!(search(person), search(contact), search(group));
        [persons, contacts, groups].into_iter().flatten().collect()
    }
}
