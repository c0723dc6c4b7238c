//! Holds of operators: creation and removal, for the API and the console.
//!
//! Holding the mail of a company or a function needs the right to it; a hold for a profile alone needs it for all. A hold without a
//! profile, a company and a function, an unknown company or profile, or an end in the past, is refused; an equal hold that exists is
//! returned instead of a new one. The change is recorded in the audit log, and delivery reloads the holds; if it cannot, the answer is
//! an error that says that the change is stored, and repeating the request completes it. Delivery decides which mail a hold covers.

use axum::http::Method;
use serde_json::json;
use uuid::Uuid;

use super::{
    Service, access,
    caller::Caller,
    http::{HttpProblem, extract::check_reason},
};
use crate::{
    api::messages::NewHold,
    model::{
        AuditOutcome, Code, CompanyId, Function, Hold,
        access::{Activity, Area, Extent, Question},
    },
    store::AuditEvent,
};

impl Service {
    /// Returns the active holds.
    pub(crate) fn holds(&self) -> Vec<Hold> {
        self.delivery.holds()
    }

    /// Returns the active holds that a caller may see.
    pub(crate) fn visible_holds(&self, caller: &Caller) -> Vec<Hold> {
        let state = self.state();
        let mut holds = self.delivery.holds();
        holds.retain(|hold| caller.sees_hold(hold, &state));
        holds
    }

    /// Creates a hold. Returns true with it if it is new, and false if an equal one existed.
    pub(crate) async fn create_hold(&self, caller: &Caller, wanted: NewHold) -> Result<(Hold, bool), HttpProblem> {
        self.check_hold_right(caller, wanted.company.as_ref(), wanted.function, &Method::POST).await?;
        let reason = check_reason(&wanted.reason)?;
        if wanted.profile.is_none() && wanted.company.is_none() && wanted.function.is_none() {
            return Err(HttpProblem::new(Code::HoldUnlimited, "cannot hold all mail at once")
                .remedy("Set `profile`, `company` or `function`."));
        }
        let now = self.delivery.now();
        if wanted.until.is_some_and(|until| until <= now) {
            return Err(HttpProblem::malformed("`until` is in the past"));
        }
        let state = self.state();
        let missing = |message: String| {
            HttpProblem::new(Code::HoldTargetMissing, message)
                .remedy(format!("Correct the name. `mailwright status {}` lists the profiles.", state.environment))
        };
        if let Some(company) = wanted.company.as_ref().filter(|company| !state.settings.companies.contains(*company)) {
            return Err(HttpProblem::unknown_company(company, &state.settings, &state.environment));
        }
        if let Some(name) = wanted.profile.as_ref().filter(|name| state.live().all(|(own, _)| own != *name)) {
            return Err(missing(format!("the environment has no profile `{name}`")));
        }
        let is_equal = |hold: &Hold| {
            (&hold.profile, &hold.company, hold.function, hold.until, hold.reason.as_str())
                == (&wanted.profile, &wanted.company, wanted.function, wanted.until, reason)
        };
        // The store may have a hold that delivery could not reload.
        if let Some(equal) = self.store.holds().await?.into_iter().find(is_equal) {
            self.reload_holds().await?;
            return Ok((equal, false));
        }
        let id = Uuid::now_v7().simple().to_string();
        let hold = Hold {
            id: id.chars().skip(20).collect(),
            reason: reason.to_owned(),
            profile: wanted.profile,
            company: wanted.company,
            function: wanted.function,
            owner: caller.name.clone(),
            since: now,
            until: wanted.until,
        };
        let event = AuditEvent {
            at: self.clock.now(),
            actor: caller.name.clone(),
            action: "hold.create",
            outcome: AuditOutcome::Accepted,
            detail: json!(hold),
        };
        self.store.set_hold(hold.id.clone(), Some(hold.clone()), event).await?;
        self.reload_holds().await?;
        Ok((hold, true))
    }

    /// Removes a hold.
    pub(crate) async fn delete_hold(&self, caller: &Caller, id: String) -> Result<(), HttpProblem> {
        // The store and delivery differ after a change that delivery could not reload.
        let in_effect = self.delivery.holds().into_iter().find(|hold| hold.id == id);
        let is_in_effect = in_effect.is_some();
        let stored = self.store.holds().await?.into_iter().find(|hold| hold.id == id);
        if let Some(hold) = stored.or(in_effect) {
            self.check_hold_right(caller, hold.company.as_ref(), hold.function, &Method::DELETE).await?;
        }
        let event = AuditEvent {
            at: self.clock.now(),
            actor: caller.name.clone(),
            action: "hold.remove",
            outcome: AuditOutcome::Accepted,
            detail: json!({ "id": id }),
        };
        if !self.store.set_hold(id, None, event).await? && !is_in_effect {
            return Err(HttpProblem::not_found("the hold does not exist")
                .remedy(format!("List the holds: mailwright outbox holds {}", self.store.environment())));
        }
        self.reload_holds().await
    }

    /// Has delivery read the holds from the store, which has the change already.
    async fn reload_holds(&self) -> Result<(), HttpProblem> {
        self.delivery.reload_holds().await.map_err(|error| {
            tracing::error!(%error, "cannot reload the holds");
            HttpProblem::new(Code::Busy, "the change is stored, and delivery cannot read it: it is not in effect yet")
                .remedy("Repeat the request. The change also takes effect when the service starts again.")
        })
    }

    /// Checks that the caller may hold the mail of a company and a function; without one, of all.
    async fn check_hold_right(
        &self,
        caller: &Caller,
        company: Option<&CompanyId>,
        function: Option<Function>,
        method: &Method,
    ) -> Result<(), HttpProblem> {
        let company = company.map_or(Extent::All, Extent::One);
        let function = function.map_or(Extent::All, Extent::One);
        let question = Question::any(Area::Outbox, Activity::Hold).at(company, function);
        access::check(self, caller, &question, method, "/v1/holds").await
    }
}
