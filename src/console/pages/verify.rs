//! Verify: starts the verifier for one profile or for all that are enabled, and shows the progress.
//!
//! With JavaScript the progress is replaced while the run goes on; without it, a link loads it again. The results are those of
//! `mailwright verify`, and are on the pages of the profiles.

use std::sync::Arc;

use askama::Template;
use axum::{extract::State, http::Method, response::Response};
use jiff::Timestamp;
use serde::Deserialize;

use crate::{
    console::{
        answer::{Answer, redirect, render},
        extract::{Form, Segment},
        page::{Page, SignedIn, shown},
    },
    model::{
        ProfileName,
        access::{Activity, Area},
    },
    service::{HttpProblem, RunStanding, Service, VerificationRun},
};

/// The list of runs.
#[derive(Template)]
#[template(path = "verify.html")]
struct VerifyPage {
    page: Page,
    may_verify: bool,
    /// Number of enabled profiles.
    enabled: usize,
    runs: Vec<RunView>,
}

/// A run.
#[derive(Template)]
#[template(path = "verify_run.html")]
struct RunPage {
    page: Page,
    run: RunView,
}

struct RunView {
    id: String,
    by: String,
    started_at: Timestamp,
    /// None if the run is for all profiles.
    profile: Option<String>,
    total: usize,
    done: usize,
    failures: usize,
    failing: Vec<(String, usize)>,
    /// `running`, `complete` or `incomplete`.
    standing: &'static str,
}

impl RunView {
    fn new(run: &VerificationRun) -> Self {
        Self {
            id: run.id.clone(),
            by: shown(&run.by),
            started_at: run.started_at,
            profile: run.profile.as_ref().map(ToString::to_string),
            total: run.total,
            done: run.done,
            failures: run.failures,
            failing: run.failing.iter().map(|(name, errors)| (name.to_string(), *errors)).collect(),
            standing: match run.standing {
                RunStanding::Running => "running",
                RunStanding::Complete => "complete",
                RunStanding::Incomplete => "incomplete",
            },
        }
    }

    fn is_running(&self) -> bool {
        self.standing == "running"
    }

    /// Returns the number of failing profiles that are not named.
    fn more(&self) -> usize {
        self.failures - self.failing.len().min(self.failures)
    }
}

/// Lists the runs that the service remembers.
pub(in crate::console) async fn list(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
) -> Answer {
    let state = service.state();
    let sees_all = caller.sees_all(Area::Profiles);
    let is_seen = |name: &ProfileName| sees_all || caller.sees_profile_named(name, &state);
    render(&VerifyPage {
        may_verify: page.may(Area::Profiles, Activity::Verify),
        enabled: state.live().filter(|(name, profile)| profile.enabled && is_seen(name)).count(),
        runs: service.visible_runs(&caller).iter().map(RunView::new).collect(),
        page,
    })
}

/// The field of the button.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::console) struct Wanted {
    /// The name of a profile; empty for all.
    profile: String,
}

/// Starts a run.
pub(in crate::console) async fn start(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Form(Wanted { profile }): Form<Wanted>,
) -> Result<Response, HttpProblem> {
    let profile: Option<ProfileName> = match profile.trim() {
        "" => None,
        name => Some(name.parse().map_err(|_| super::profile_form::profile_not_found())?),
    };
    if let Some(name) = &profile {
        service.check_visible(&caller, name, (&Method::POST, "/console/verify")).await?;
    }
    let id = service.start_verification(&caller, profile).await?;
    Ok(redirect(&format!("{}/console/verify/{id}", page.base)))
}

/// Shows a run.
pub(in crate::console) async fn show(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Segment(id): Segment<String>,
) -> Answer {
    let run = RunView::new(&service.visible_run(&caller, &id)?);
    render(&RunPage { page, run })
}
