//! `GET /v1/address-book`: recipients that the address book of a profile has.
//!
//! Needs the right `look-up` in `mail`, which the built-in role `sender` has. Which profile may be searched, how often, and what is
//! recorded is decided in `service::address_book`.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    api::address_book::AddressBookPage,
    model::{ProfileName, address_book::AddressKind},
    service::{
        Service,
        access::{Authorized, LookUpRecipients},
        address_book::AddressBookQuery,
        http::{AnyProblem, HttpProblem, extract::Parameters},
    },
};

/// Parameters of a search.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AddressBookParameters {
    /// The profile.
    #[param(value_type = ProfileName)]
    profile: ProfileName,
    /// The text: the beginning of words of a name, or of an address.
    #[param(min_length = 2, max_length = 100)]
    q: String,
    /// The kind of entries; without it all.
    #[param(value_type = Option<AddressKind>)]
    kind: Option<AddressKind>,
    /// Maximum number of entries.
    #[serde(default = "AddressBookParameters::default_limit")]
    #[param(minimum = 1, maximum = 50, default = 20)]
    limit: u32,
    /// Return further entries: `nextAfter` of the previous page of the same search.
    #[param(max_length = 34)]
    after: Option<String>,
}

impl AddressBookParameters {
    fn default_limit() -> u32 {
        20
    }
}

/// Search an address book
///
/// Users, groups and contacts of the organization that a direct profile with `addressBook: true` can find, ordered by name, each
/// address once. Names are searched by the beginnings of their words, addresses by their beginning. If a permission is missing, the
/// other kinds are returned, with a warning. Names are text of the directory: escape them before you show them in a page.
#[utoipa::path(get, path = "/v1/address-book", tag = "mail", params(AddressBookParameters),
    responses((status = 200, description = "One page of entries.", body = AddressBookPage), AnyProblem))]
pub(super) async fn search_address_book(
    Authorized(caller, _): Authorized<LookUpRecipients>,
    State(service): State<Arc<Service>>,
    Parameters(parameters): Parameters<AddressBookParameters>,
) -> Result<Json<AddressBookPage>, HttpProblem> {
    let AddressBookParameters { profile, q, kind, limit, after } = parameters;
    service.search_address_book(&caller, AddressBookQuery { profile, text: q, kind, limit, after }).await.map(Json)
}
