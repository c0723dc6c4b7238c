//! Address book: searches the directory of a direct profile's tenant for recipients.
//!
//! [`Delivery::search_address_book`] finds the live profile, refuses a suspended one, and searches with its login. The caller
//! decides who may search, how often, and what is kept. A failure here does not concern mail: no profile is suspended for it.

use super::{Delivery, failure::Failure, sending_profile::SendingProfile};
use crate::{
    entra::directory_search::{FoundEntries, SearchError},
    model::{Digest, ProfileName, Provider, StoredProfile, address_book::AddressKind, suspension::SuspendedProfile},
};

/// The result of each kind that was searched.
pub type SearchedKinds = Vec<(AddressKind, Result<FoundEntries, SearchError>)>;

/// The reason why nothing was searched.
#[derive(Clone, Debug)]
pub enum LookUpFailure {
    /// The profile is not live, or has no address book.
    Changed,
    /// The sign-in of the application failed.
    SignIn(String),
}

impl Delivery {
    /// Returns the record of a suspended profile; none if it is not suspended.
    pub fn suspension(&self, name: &ProfileName) -> Option<SuspendedProfile> {
        let scheduler = self.dispatcher.recorder().scheduler();
        scheduler.suspension_records().find(|record| record.profile == *name).cloned()
    }

    /// Searches the address book of a live profile with this digest. A token without a permission is
    /// replaced once, because it may be older than the consent: the caller searches for a kind that was denied seldom.
    pub async fn search_address_book(
        &self,
        name: &ProfileName,
        of: &Digest,
        kinds: &[AddressKind],
        text: &str,
    ) -> Result<SearchedKinds, LookUpFailure> {
        let routes = self.dispatcher.newest_routes();
        let is_same = |stored: &&StoredProfile| Digest::of_document(stored) == *of;
        let stored = routes.live_profile(name).filter(is_same).ok_or(LookUpFailure::Changed)?.clone();
        let Provider::MicrosoftGraphDirect(direct) = stored.profile.provider.clone() else {
            return Err(LookUpFailure::Changed);
        };
        let profile = SendingProfile::new(name.clone(), stored, routes.state().generation);
        let searched = self.dispatcher.transports().search_address_book(&profile, &direct, kinds, text).await;
        searched.map_err(|Failure { reply, .. }| LookUpFailure::SignIn(reply))
    }
}
