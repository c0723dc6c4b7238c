//! [`find_origins`]: the generation that gave each field of a live profile its value.
//!
//! The versions of the profile come from the store, newest first. A field whose value is older than all of them has no origin. A
//! profile that was renamed has its values from the generation of the renaming, because versions are those of one name.

use std::collections::BTreeMap;

use super::fields;
use crate::model::{Generation, StoredProfile};

/// Returns the origin of each field by its path: the oldest of the versions from which on the field has its present value. `versions`
/// are the newest versions of the profile, newest first, and `are_all` is true if they are all that exist.
pub(crate) fn find_origins<'a>(
    live: &StoredProfile,
    versions: &'a [(Generation, Option<StoredProfile>)],
    are_all: bool,
) -> BTreeMap<String, Option<&'a Generation>> {
    let contents: Vec<fields::Fields> =
        versions.iter().map(|(_, stored)| stored.as_ref().map(fields::profile_fields).unwrap_or_default()).collect();
    let origin = |path: &str, field: &fields::Field| {
        let since = contents.iter().take_while(|fields| fields.get(path) == Some(field)).count();
        let is_older = since == versions.len() && !are_all;
        let oldest = since.checked_sub(1).filter(|_| !is_older)?;
        versions.get(oldest).map(|(generation, _)| generation)
    };
    let live = fields::profile_fields(live);
    live.iter().map(|(path, field)| (path.clone(), origin(path, field))).collect()
}
