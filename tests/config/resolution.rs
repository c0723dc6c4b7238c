//! Resolution of a profile: the total order, checked against a naive implementation of the rule, and frequent cases.

use std::collections::BTreeMap;

use crate::support::generated::{self, smtp};
use mailwright::model::{
    AppliesTo, Client, CompanyId, Function, Profile, ProfileName,
    resolution::{Cell, PassedOverBecause, Resolver},
};
use proptest::prelude::*;

fn cell(company: &str, function: &str, client: Option<Client>) -> Cell {
    Cell { company: company.parse().unwrap(), function: function.parse().unwrap(), client }
}

fn named(profiles: Vec<(&str, Profile)>) -> BTreeMap<ProfileName, Profile> {
    profiles.into_iter().map(|(name, profile)| (name.parse().unwrap(), profile)).collect()
}

fn sender(profiles: &BTreeMap<ProfileName, Profile>, cell: &Cell) -> Option<String> {
    Resolver::new(profiles).sender(cell).map(|(name, _)| name.to_string())
}

fn for_company(mut profile: Profile, company: &str) -> Profile {
    profile.applies_to = AppliesTo::Companies([company.parse().unwrap()].into());
    profile
}

fn delegate(platform: &str) -> Profile {
    serde_json::from_value(serde_json::json!({
        "provider": { "microsoft-graph-delegate": {
            "tenant": "contoso.example", "client": "11111111-2222-3333-4444-555555555555",
            "platform": platform, "redirect": "https://localhost",
        } },
        "functions": ["user-interface"],
        "appliesTo": "system-wide",
    }))
    .unwrap()
}

#[test]
fn a_function_falls_back_step_by_step() {
    let profiles = named(vec![
        ("everything", smtp("a.example", &["default"], None)),
        ("documents", smtp("a.example", &["all-documents"], None)),
        ("quotes", smtp("a.example", &["document-quotations"], None)),
    ]);
    let by = |function| sender(&profiles, &cell("EDU1", function, None)).unwrap();
    assert_eq!(by("document-quotations"), "quotes");
    assert_eq!(by("document-purchasing"), "documents");
    assert_eq!(by("all-reports"), "everything");
    assert_eq!(by("default"), "everything");
}

#[test]
fn a_company_of_its_own_beats_system_wide_at_each_step_but_not_a_nearer_function() {
    let profiles = named(vec![
        ("all-quotes", smtp("a.example", &["document-quotations"], None)),
        ("edu1-documents", for_company(smtp("a.example", &["all-documents"], None), "EDU1")),
        ("all-documents", smtp("a.example", &["all-documents"], None)),
    ]);
    // The function is tried to the end first: a system-wide claim of it beats a company's claim of what it falls back to.
    assert_eq!(sender(&profiles, &cell("EDU1", "document-quotations", None)).unwrap(), "all-quotes");
    assert_eq!(sender(&profiles, &cell("EDU1", "document-purchasing", None)).unwrap(), "edu1-documents");
    assert_eq!(sender(&profiles, &cell("EDU2", "document-purchasing", None)).unwrap(), "all-documents");
}

#[test]
fn another_companys_profile_is_never_used() {
    let profiles = named(vec![("edu1", for_company(smtp("a.example", &["default"], None), "EDU1"))]);
    assert_eq!(sender(&profiles, &cell("EDU2", "default", None)), None);
    let steps = Resolver::new(&profiles).explain(&cell("EDU2", "document-quality", None)).steps;
    assert_eq!(steps.len(), 6);
    assert!(steps.iter().all(|step| step.found.is_none() && step.passed_over.is_empty()));
}

#[test]
fn a_disabled_profile_does_not_exist_but_is_mentioned() {
    let mut off = smtp("a.example", &["default"], None);
    off.enabled = false;
    let profiles = named(vec![("off", off)]);
    let resolution = Resolver::new(&profiles).explain(&cell("EDU1", "default", None));
    assert_eq!(resolution.profile, None);
    assert_eq!(resolution.steps[1].passed_over[0].because, PassedOverBecause::Disabled);
}

#[test]
fn a_delegate_serves_the_client_that_its_platform_names_and_no_other() {
    let profiles = named(vec![
        ("desktop", delegate("native")),
        ("web", delegate("spa")),
        ("rest", smtp("a.example", &["default"], None)),
    ]);
    let by = |client| sender(&profiles, &cell("EDU1", "user-interface", client)).unwrap();
    assert_eq!(by(Some(Client::Native)), "desktop");
    assert_eq!(by(Some(Client::Spa)), "web");
    assert_eq!(by(None), "rest");
    assert!(Resolver::new(&profiles).conflicts().is_empty());
}

/// The rule, read as plainly as it is written.
fn plainly(profiles: &BTreeMap<ProfileName, Profile>, cell: &Cell) -> Option<ProfileName> {
    let mut function = Some(cell.function);
    while let Some(tried) = function {
        let claims = |profile: &Profile| {
            profile.enabled
                && profile.functions.contains(&tried)
                && profile.provider.client().is_none_or(|own| Some(own) == cell.client)
        };
        let names_company = |profile: &Profile| matches!(&profile.applies_to, AppliesTo::Companies(companies) if companies.contains(&cell.company));
        let found = profiles
            .iter()
            .find(|(_, profile)| claims(profile) && names_company(profile))
            .or_else(|| profiles.iter().find(|(_, p)| claims(p) && p.applies_to == AppliesTo::SystemWide));
        if let Some((name, _)) = found {
            return Some(name.clone());
        }
        function = tried.falls_back_to();
    }
    None
}

proptest! {
    #[test]
    fn the_index_agrees_with_the_plain_reading(profiles in generated::any_profiles()) {
        let profiles: BTreeMap<ProfileName, Profile> =
            profiles.into_iter().map(|(name, stored)| (name, stored.profile)).collect();
        let resolver = Resolver::new(&profiles);
        let companies: Vec<CompanyId> = ["A", "B", "Z"].map(|id| id.parse().unwrap()).into();
        for company in companies {
            for function in Function::all() {
                for client in [None, Some(Client::Native), Some(Client::Spa)] {
                    let cell = Cell { company: company.clone(), function, client };
                    let found = resolver.sender(&cell).map(|(name, _)| name.clone());
                    prop_assert_eq!(&found, &plainly(&profiles, &cell));
                    let explained = resolver.explain(&cell);
                    prop_assert_eq!(&explained.profile, &found);
                    prop_assert_eq!(&explained.steps.last().unwrap().found, &found);
                }
            }
        }
    }
}
