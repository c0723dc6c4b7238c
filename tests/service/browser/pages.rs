//! Every page of the console, in every way that pages must withstand.

use std::collections::BTreeSet;

use mailwright::console::route_list;

use crate::support::{browser::check_pages, repository::TestRepository};

/// The pages for people who have signed in: the name of the screenshots, the address, and the address as routes have it if it
/// has a parameter. A new page is a line.
const PAGES: &[(&str, &str, &str)] = &[
    ("overview", "/console", ""),
    ("profiles", "/console/profiles", ""),
    ("profiles-filtered", "/console/profiles?q=no-such-profile", "/console/profiles"),
    ("profile", "/console/profiles/relay", "/console/profiles/{name}"),
    ("profile-new", "/console/profiles/new?provider=smtp", "/console/profiles/new"),
    ("profile-edit", "/console/profiles/relay/edit", "/console/profiles/{name}/edit"),
    ("proposals", "/console/proposals", ""),
    ("outbox", "/console/outbox", ""),
    ("holds", "/console/holds", ""),
    ("coverage", "/console/coverage", ""),
    ("cell", "/console/coverage/EDU1/default", "/console/coverage/{company}/{function}"),
    ("history", "/console/history", ""),
    ("difference", "/console/history/diff?from=0&to=1", "/console/history/diff"),
    ("rollback", "/console/history/1/rollback", "/console/history/{number}/rollback"),
    ("audit", "/console/audit", ""),
    ("tokens", "/console/tokens", ""),
    ("setup", "/console/setup", ""),
    ("sessions", "/console/sessions", ""),
];

/// The pages for everyone.
const OPEN_PAGES: &[(&str, &str, &str)] =
    &[("sign-in", "/console/sign-in", ""), ("setup-signed-out", "/console/setup", "")];

/// Addresses that are not pages (files and streams), and pages of messages and proposals, which `dev` does not have at first.
const OTHERS: &[&str] = &[
    "/console/assets/{hash}/{name}",
    "/console/audit/export",
    "/console/confirm/identity",
    "/console/live",
    "/console/outbox/live",
    "/console/outbox/bulk",
    "/console/outbox/bulk/{sequence}",
    "/console/outbox/{id}",
    "/console/profiles/{name}/patch",
    "/console/proposals/{id}",
    "/console/sign-in/callback",
    "/console/sign-in/callback/{provider}",
    "/console/sign-in/with/{provider}",
];

fn addresses(pages: &[(&'static str, &'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    pages.iter().map(|(name, path, _)| (*name, *path)).collect()
}

#[test]
fn every_page_withstands_every_way_to_read_it() {
    let mut repo = TestRepository::examples();
    repo.serve();
    repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    let mut problems = check_pages(repo.address(), Some(repo.token()), &addresses(PAGES));
    problems.extend(check_pages(repo.address(), None, &addresses(OPEN_PAGES)));
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn every_page_is_in_the_table() {
    let routes: BTreeSet<String> =
        route_list().into_iter().filter(|route| route.method == "GET").map(|route| route.path).collect();
    let tables = PAGES.iter().chain(OPEN_PAGES);
    let mut known: BTreeSet<String> =
        tables.map(|(_, path, route)| if route.is_empty() { *path } else { *route }.to_owned()).collect();
    known.extend(OTHERS.iter().map(|path| (*path).to_owned()));
    assert_eq!(known, routes);
}
