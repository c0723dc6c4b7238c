//! Resolution: the profile that sends for a company and a function, and why. [`Resolver`] is used by `validate`, plans, the
//! service and `resolve`.
//!
//! The function is tried first, then its fallbacks; at each step a profile that names the company takes precedence over a
//! system-wide one. Disabled profiles are ignored, and so are profiles of other companies: no fallback leads to them. A delegate
//! serves only requests that name its client, so that the order is total where a native and a spa delegate share `user-interface`.
//! Pure; whether the profile can send at the moment is not considered. If none is left, the [`Resolution`] has no profile and lists
//! the steps.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{AppliesTo, Client, CompanyId, Function, Profile, ProfileName};

/// One cell of the routing table: a company, a function and a client.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cell {
    /// The company.
    pub company: CompanyId,
    /// The function.
    pub function: Function,
    /// The client that the user works in; only `user-interface` distinguishes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<Client>,
}

impl Cell {
    /// Returns every cell of the companies: one per function, and one per client for `user-interface`.
    pub fn all<'a>(companies: impl IntoIterator<Item = &'a CompanyId>) -> Vec<Cell> {
        let user_interface = Function::user_interface();
        let mut cells = Vec::new();
        for company in companies {
            for function in Function::all() {
                let clients: &[Option<Client>] =
                    if function == user_interface { &[Some(Client::Native), Some(Client::Spa)] } else { &[None] };
                cells.extend(clients.iter().map(|client| Cell { company: company.clone(), function, client: *client }));
            }
        }
        cells
    }
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.company, self.function)?;
        self.client.map_or(Ok(()), |client| write!(f, " ({})", client.id()))
    }
}

/// The result of a resolution, with every step that led to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resolution {
    /// The request.
    pub cell: Cell,
    /// The profile that sends; none if no profile does.
    pub profile: Option<ProfileName>,
    /// The steps, in order; the last one found the profile, or nothing was left to try.
    pub steps: Vec<Step>,
}

impl Resolution {
    /// Returns the first delegate that would have sent if the request had named a client; none if it names one. A delegate that
    /// comes after the profile that was found does not count.
    pub fn delegate_without_client(&self) -> Option<&ProfileName> {
        let passed = self.steps.iter().flat_map(|step| &step.passed_over);
        let of_client = passed.filter(|passed| passed.because == PassedOverBecause::OtherClient);
        of_client.map(|passed| &passed.profile).next().filter(|_| self.cell.client.is_none())
    }
}

/// One step of a resolution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// The function of this step.
    pub function: Function,
    /// The company of this step; none for system-wide profiles.
    pub company: Option<CompanyId>,
    /// The profile that was found.
    pub found: Option<ProfileName>,
    /// Profiles that claim the function but were passed over, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed_over: Vec<PassedOver>,
}

/// A profile that claims a function but does not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PassedOver {
    /// The name of the profile.
    pub profile: ProfileName,
    /// The reason why the profile does not count.
    pub because: PassedOverBecause,
}

/// The reason why a profile that claims a function does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PassedOverBecause {
    /// The profile is disabled.
    Disabled,
    /// The profile serves another client, or the request names none.
    OtherClient,
    /// Another profile makes the same claim and comes first by name. Never happens in a state that passed the rules.
    NameComesLater,
}

/// Profiles that make the same claim, by name.
type Claimants<'a> = Vec<(&'a ProfileName, &'a Profile)>;

/// The profiles, indexed by what they claim. Building the index takes one pass; a query takes a few look-ups.
pub struct Resolver<'a> {
    claims: HashMap<(Function, Option<&'a CompanyId>), Claimants<'a>>,
}

impl<'a> Resolver<'a> {
    /// Indexes the profiles.
    pub fn new(profiles: impl IntoIterator<Item = (&'a ProfileName, &'a Profile)>) -> Self {
        let mut claims: HashMap<_, Vec<_>> = HashMap::new();
        for (name, profile) in profiles {
            for (function, company) in claimed(profile) {
                claims.entry((function, company)).or_default().push((name, profile));
            }
        }
        for claimants in claims.values_mut() {
            claimants.sort_unstable_by_key(|(name, _)| *name);
        }
        Self { claims }
    }

    /// Returns the profile that sends for the cell; without the steps, for tables of many cells.
    pub fn sender(&self, cell: &Cell) -> Option<(&'a ProfileName, &'a Profile)> {
        cell.function.chain().find_map(|function| {
            [Some(&cell.company), None].into_iter().find_map(|company| {
                self.claimants(function, company)
                    .iter()
                    .find(|(_, profile)| passed_over(profile, cell.client).is_none())
                    .copied()
            })
        })
    }

    /// Returns the profile that sends for the cell, and the steps of the resolution.
    pub fn explain(&self, cell: &Cell) -> Resolution {
        let mut steps = Vec::new();
        for function in cell.function.chain() {
            for company in [Some(&cell.company), None] {
                let mut step = Step { function, company: company.cloned(), found: None, passed_over: Vec::new() };
                for (name, profile) in self.claimants(function, company) {
                    let because = passed_over(profile, cell.client)
                        .or(step.found.is_some().then_some(PassedOverBecause::NameComesLater));
                    match because {
                        None => step.found = Some((*name).clone()),
                        Some(because) => step.passed_over.push(PassedOver { profile: (*name).clone(), because }),
                    }
                }
                let found = step.found.clone();
                steps.push(step);
                if found.is_some() {
                    return Resolution { cell: cell.clone(), profile: found, steps };
                }
            }
        }
        Resolution { cell: cell.clone(), profile: None, steps }
    }

    /// Returns the claims that two or more enabled profiles of the same client make, which the rules forbid.
    pub fn conflicts(&self) -> Vec<Conflict<'a>> {
        let mut conflicts = Vec::new();
        for ((function, company), claimants) in &self.claims {
            let enabled: Vec<_> = claimants.iter().filter(|(_, profile)| profile.enabled).copied().collect();
            for (index, (name, profile)) in enabled.iter().enumerate() {
                // It is enough to name the first claimant that the profile collides with.
                let earlier = enabled[..index].iter().find(|(_, other)| collide(profile, other));
                if let Some((first, _)) = earlier {
                    conflicts.push(Conflict { function: *function, company: *company, first, second: name });
                }
            }
        }
        conflicts
            .sort_unstable_by_key(|conflict| (conflict.second, conflict.first, conflict.function, conflict.company));
        conflicts
    }

    fn claimants<'s>(
        &'s self,
        function: Function,
        company: Option<&'s CompanyId>,
    ) -> &'s [(&'a ProfileName, &'a Profile)] {
        let claims: &HashMap<(Function, Option<&'s CompanyId>), Vec<_>> = &self.claims;
        claims.get(&(function, company)).map_or(&[], Vec::as_slice)
    }
}

/// Two enabled profiles that claim the same function for the same company.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conflict<'a> {
    /// The first of the two by name.
    pub first: &'a ProfileName,
    /// The second of the two by name; the problem is reported at its place.
    pub second: &'a ProfileName,
    /// The function that both claim.
    pub function: Function,
    /// The company that both claim it for; none for system-wide.
    pub company: Option<&'a CompanyId>,
}

fn claimed(profile: &Profile) -> Vec<(Function, Option<&CompanyId>)> {
    static NO_COMPANIES: BTreeSet<CompanyId> = BTreeSet::new();
    let (system_wide, companies) = match &profile.applies_to {
        AppliesTo::SystemWide => (true, &NO_COMPANIES),
        AppliesTo::Companies(companies) => (false, companies),
    };
    let mut claims = Vec::with_capacity(profile.functions.len() * companies.len().max(1));
    for function in &profile.functions {
        if system_wide {
            claims.push((*function, None));
        }
        claims.extend(companies.iter().map(|company| (*function, Some(company))));
    }
    claims
}

fn passed_over(profile: &Profile, client: Option<Client>) -> Option<PassedOverBecause> {
    if !profile.enabled {
        Some(PassedOverBecause::Disabled)
    } else if profile.provider.client().is_some_and(|own| Some(own) != client) {
        Some(PassedOverBecause::OtherClient)
    } else {
        None
    }
}

fn collide(one: &Profile, other: &Profile) -> bool {
    match (one.provider.client(), other.provider.client()) {
        (Some(a), Some(b)) => a == b,
        _ => true,
    }
}
