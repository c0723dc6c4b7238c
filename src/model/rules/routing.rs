//! Rules between profiles: no two enabled profiles claim a function for the same company, and every combination of company and
//! function has a sender unless it is listed as unserved.
//!
//! They use [`crate::model::resolution`], which also chooses the sender of a message.

use std::collections::BTreeMap;

use super::{Violation, Violations};
use crate::{
    model::{
        Client, Code, CompanyId, Function, ProfileName, Settings,
        resolution::{Cell, Resolver},
    },
    text::enumerate,
};

/// The number of functions and of companies that a message names.
const SHOWN: usize = 5;

/// Reports each function that two enabled profiles claim for one company, at the profile with the higher rank.
pub(super) fn check_claims<K: Ord>(
    resolver: &Resolver<'_>,
    rank: impl Fn(&ProfileName) -> K,
    found: &mut Vec<Violation>,
) {
    for conflict in resolver.conflicts() {
        let scope = conflict.company.map_or("system-wide".to_owned(), |company| format!("for company `{company}`"));
        let (first, second) = match (conflict.first, conflict.second) {
            (first, second) if rank(first) > rank(second) => (second, first),
            in_order => in_order,
        };
        Violations::of_profile(second, found).add(
            &format!("/functions/{}", conflict.function),
            Code::ClaimedTwice,
            format!("`{}` is claimed {scope} by profile `{first}` too", conflict.function),
            "Remove the function from one of them, disable one, or give them different companies.",
        );
    }
}

/// Checks that `unserved` names companies of the environment.
pub(super) fn check_unserved(settings: &Settings, found: &mut Vec<Violation>) {
    let mut found = Violations::of_settings("/unserved", found);
    for (index, entry) in settings.unserved.iter().enumerate() {
        for company in entry.companies.iter().filter(|company| !settings.companies.contains(*company)) {
            found.add(
                &format!("/{index}/companies/{company}"),
                Code::UnknownCompany,
                format!("company `{company}` does not exist in the environment"),
                "Add it to `companies`, or remove it here.",
            );
        }
    }
}

/// Reports cells without a sender: one violation for all functions that lack one for the same companies, because most often
/// one profile is missing.
pub(super) fn check_cells(settings: &Settings, resolver: &Resolver<'_>, found: &mut Vec<Violation>) {
    let mut lost: BTreeMap<Function, BTreeMap<CompanyId, Vec<Client>>> = BTreeMap::new();
    for cell in Cell::all(&settings.companies) {
        if resolver.sender(&cell).is_none() && !settings.is_meant_unserved(&cell.company, cell.function) {
            lost.entry(cell.function).or_default().entry(cell.company).or_default().extend(cell.client);
        }
    }
    let mut by_companies: BTreeMap<Vec<String>, Vec<Function>> = BTreeMap::new();
    for (function, companies) in lost {
        // A client is named only if the other client is served.
        let label = |(company, clients): (CompanyId, Vec<Client>)| match clients.as_slice() {
            [client] => format!("{company} ({})", client.id()),
            _ => company.to_string(),
        };
        by_companies.entry(companies.into_iter().map(label).collect()).or_default().push(function);
    }
    for (companies, functions) in by_companies {
        let claim = match functions.as_slice() {
            [one] => format!("`{one}` or what it falls back to"),
            _ => format!("`{}`, what the others fall back to, or each of them", Function::default_function()),
        };
        let functions: Vec<String> = functions.iter().map(|function| format!("`{function}`")).collect();
        Violations::of_settings("", found).add(
            "/companies",
            Code::NoRoute,
            format!("no profile sends {} for {}", enumerate(&functions, SHOWN), enumerate(&companies, SHOWN)),
            format!("Let an enabled profile claim {claim}; or list it under `unserved`."),
        );
    }
}
