//! Setup: can the service accept mail, which version is it, and which hosts does it send to. Without a session the page shows
//! what `/readyz` shows, and nothing else.

use std::{collections::BTreeMap, sync::Arc};

use askama::Template;
use axum::{Extension, extract::State};
use jiff::Timestamp;

use crate::{
    api::ServiceInfo,
    console::{
        answer::{Answer, render},
        page::{Page, SignedIn, shown},
        problem_page::ProblemNotice,
    },
    model::{
        Cloud, ProfileName, Provider,
        access::{Activity, Area},
    },
    service::{HttpProblem, Service},
};

/// Maximum number of mail servers in the list.
const SHOWN: usize = 50;

/// The page.
#[derive(Template)]
#[template(path = "setup.html")]
struct SetupPage {
    page: Page,
    readiness: Readiness,
    details: Option<Details>,
}

/// The answer of `/readyz`.
enum Readiness {
    Ready { suspended: usize, unreachable: usize, differences: usize },
    NotReady(ProblemNotice),
}

/// Details that only persons with a session see, of the profiles that they may see.
struct Details {
    info: ServiceInfo,
    started_at: Timestamp,
    profiles: usize,
    companies: usize,
    clouds: Vec<Target>,
    servers: Vec<Target>,
    more_servers: usize,
}

/// A cloud or a mail server, and the number of live profiles that use it.
struct Target {
    name: String,
    /// True for a cloud that has no name here: hosts of its own, or a sandbox.
    is_custom: bool,
    /// The host of Graph, if it is another than the name.
    graph: Option<String>,
    profiles: usize,
}

/// Shows the page.
pub(in crate::console) async fn show(
    State(service): State<Arc<Service>>,
    page: Page,
    signed_in: Option<Extension<SignedIn>>,
) -> Answer {
    let readiness = match service.readiness().await {
        Ok(ready) => Readiness::Ready {
            suspended: ready.suspended,
            unreachable: ready.unreachable,
            differences: ready.differences,
        },
        Err(problem) => Readiness::NotReady(ProblemNotice::new(&problem)),
    };
    let viewer = signed_in.filter(|Extension(signed_in)| signed_in.caller.may_at_all(Area::Profiles, Activity::See));
    let details = viewer.map(|Extension(signed_in)| details(&service, &signed_in)).transpose()?;
    render(&SetupPage { page, readiness, details })
}

fn details(service: &Service, signed_in: &SignedIn) -> Result<Details, HttpProblem> {
    let state = service.state();
    let (mut clouds, mut servers) = (BTreeMap::<&Cloud, usize>::new(), BTreeMap::<String, usize>::new());
    let caller = &signed_in.caller;
    let sees_all = caller.sees_all(Area::Profiles);
    let mut profiles = 0;
    let is_seen = |name: &ProfileName| sees_all || caller.sees_profile_named(name, &state);
    for (_, stored) in state.live_stored().filter(|(name, _)| is_seen(name)) {
        profiles += 1;
        let cloud = match &stored.profile.provider {
            Provider::Smtp(smtp) => {
                *servers.entry(format!("{}:{}", smtp.host, smtp.port)).or_default() += 1;
                smtp.oauth.as_ref().map(|oauth| &oauth.cloud)
            }
            Provider::MicrosoftGraphDelegate(delegate) => Some(&delegate.cloud),
            Provider::MicrosoftGraphDirect(direct) => Some(&direct.cloud),
        };
        if let Some(cloud) = cloud {
            *clouds.entry(cloud).or_default() += 1;
        }
    }
    let info = service.info(caller)?;
    let of_cloud = |(cloud, profiles): (&Cloud, usize)| Target {
        name: shown(cloud.name()),
        is_custom: matches!(cloud, Cloud::Custom(_)),
        graph: match cloud {
            Cloud::Custom(custom) => {
                Some(&custom.graph).filter(|graph| **graph != custom.sign_in).map(|graph| shown(graph))
            }
            Cloud::Global | Cloud::UsGovernmentL4 | Cloud::UsGovernmentL5 | Cloud::China => None,
        },
        profiles,
    };
    Ok(Details {
        started_at: info.started_at,
        info,
        profiles,
        companies: state.settings.companies.iter().filter(|one| sees_all || caller.sees_company(one)).count(),
        clouds: clouds.into_iter().map(of_cloud).collect(),
        more_servers: servers.len().saturating_sub(SHOWN),
        servers: servers
            .into_iter()
            .take(SHOWN)
            .map(|(name, profiles)| Target { name: shown(&name), is_custom: false, graph: None, profiles })
            .collect(),
    })
}
