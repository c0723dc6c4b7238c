//! Verification for callers without keys, such as a CI job: the service opens the secrets in memory and runs the verifier.
//!
//! A caller who may only plan must not be able to send a secret to a new destination, or to make this machine connect to hosts of
//! its choice. Therefore a secret is used only for the destination that it was accepted for. Secrets that the service has not
//! accepted yet, and hosts that no live profile names, need the right to apply changesets, which the role `deployer` has. A check
//! that is skipped for this reason is reported as a finding; a probe, and a reader of the directory with a token file, are refused
//! without that right (403). So is a run for profiles of companies and functions that the caller may not verify, or with the
//! credential of such a profile, from the API and from the console.
//!
//! A run ends early when its client disconnects or its credential ends, and its answer then lacks the last line, as it does if the
//! results cannot be stored. Results are kept for live profiles, and for others if the caller may apply; those of checks that were
//! skipped for want of a right are not kept, and those of settings that are not live never replace the last result of the profile.
//! Too many runs of a caller are refused with 429, of all callers with 503.

mod live_digests;
pub(super) mod runs;
mod secrets;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::http::Method;
pub(super) use live_digests::LiveDigests;
use tokio::sync::mpsc;

use super::{Service, access, caller::Caller, http::HttpProblem};
use crate::{
    api::{LastVerifiedList, VerifyLine, VerifyRequest},
    changes::access::{NeededRight, verify_rights},
    model::{
        AuditOutcome, Code, Digest, LastVerified, ProfileName, ProfileState, StoredProfile,
        access::{Activity, Area, Question},
        finding::Verified,
    },
    service::http::upload::BodyPermit,
    store::{AuditEvent, StoreError},
    telemetry,
    verify::{NeededPermissions, Verifier, VerifyOptions},
};

/// Number of results that are written to the store together.
const RESULTS_PER_WRITE: usize = 100;
/// Maximum number of lines that wait for the client.
const LINES_WAITING: usize = 64;
/// Maximum time that a check waits for its turn. The client gives up later.
const PATIENCE: Duration = Duration::from_secs(40);
/// Maximum number of profiles that the audit entry of a run names.
const PROFILES_RECORDED: usize = 100;

/// Returns true if the caller may verify a profile of these companies and functions.
fn may_verify(caller: &Caller, name: &ProfileName, stored: &StoredProfile) -> bool {
    let right = NeededRight::of_profile(name, &stored.profile, Activity::Verify);
    right.decide(&caller.policy, &caller.principal, caller.at).0.is_allowed()
}

impl Service {
    /// Starts a verifier run and returns its lines as they become known. The results of live settings are stored as the profiles'
    /// last ones, those of others under the digest of their settings.
    pub(super) async fn verify(
        self: &Arc<Self>,
        caller: &Caller,
        request: VerifyRequest,
        body: BodyPermit,
    ) -> Result<mpsc::Receiver<VerifyLine>, HttpProblem> {
        let may_apply = caller.may_at_all(Area::Changes, Activity::Apply);
        self.check_request(&request, may_apply)?;
        self.check_verify_right(caller, &request).await?;
        let caller_permit = self.verifier_runs.acquire(caller)?;
        let Ok(run_permit) = Arc::clone(&self.limits.verifying).try_acquire_owned() else {
            return Err(
                HttpProblem::new(Code::Busy, "too many verifier runs are in progress").remedy("Try again in a moment.")
            );
        };
        self.record_run(caller, &request).await?;
        let mut options = self.verify_options(&request);
        if let Some(reader) = request.reader {
            options.reader_application = Some(self.reader_application(reader, &request.secrets, may_apply).await?);
        }
        let verifier = Arc::new(Verifier::new(options).map_err(HttpProblem::malformed)?);
        let digests: BTreeMap<ProfileName, Digest> =
            request.profiles.iter().map(|(name, stored)| (name.clone(), stored.verified_digest())).collect();
        let (subjects, limited) = self.subjects(request.profiles, &request.secrets, may_apply).await?;
        // Earlier proofs are part of the result, so that the gate of an apply takes them into account.
        let proofs = self.store.proofs(digests.clone()).await?;
        let (lines, receiver) = mpsc::channel(LINES_WAITING);
        let (service, caller) = (Arc::clone(self), caller.clone());
        telemetry::spawn(async move {
            let _permits = (caller_permit, run_permit, body);
            let mut results = Arc::clone(&verifier).run(subjects);
            let mut unwritten = Vec::new();
            let is_complete = loop {
                // A run ends when its client disconnects, or when the client's credential is not valid any more.
                let verified = tokio::select! {
                    verified = results.recv() => verified,
                    () = lines.closed() => break false,
                };
                let Some(verified) = verified else { break true };
                if !service.is_still_authorized(&caller).await {
                    break false;
                }
                let verified = match proofs.get(&verified.profile) {
                    Some(earlier) => verified.with_earlier(earlier),
                    None => verified,
                };
                // Results are stored for live profiles, and for profiles that the caller may create. One that the rights of the
                // caller limited says nothing to those who may see more, and would replace what they have seen.
                if let Some(digest) = digests.get(&verified.profile)
                    && (may_apply || service.is_live(&verified.profile))
                    && !limited.contains(&verified.profile)
                {
                    unwritten.push((LastVerified::new(digest.clone(), &verified), verified.clone()));
                }
                if lines.send(VerifyLine::Verified(verified)).await.is_err() {
                    break false;
                }
                if unwritten.len() >= RESULTS_PER_WRITE {
                    service.store_results(std::mem::take(&mut unwritten)).await;
                }
            };
            // The verifier stops when its receiver is dropped.
            drop(results);
            if let Some(finding) = verifier.reader_finding() {
                drop(lines.send(VerifyLine::Environment(finding)).await);
            }
            if service.store_results(unwritten).await && is_complete {
                drop(lines.send(VerifyLine::Requests(verifier.requests())).await);
            }
        });
        Ok(receiver)
    }

    fn check_request(&self, request: &VerifyRequest, may_apply: bool) -> Result<(), HttpProblem> {
        let environment = self.store.environment();
        if request.environment != *environment {
            let message =
                format!("the request is for `{}`, and this service belongs to `{environment}`", request.environment);
            return Err(HttpProblem::new(Code::WrongEnvironment, message).remedy("Correct the address of the service."));
        }
        if request.probe && !may_apply {
            return Err(HttpProblem::new(
                Code::RoleTooLow,
                "a probe sends mail, which needs the right `apply` in `changes` (built-in role `deployer`)",
            )
            .remedy("Verify without `--probe`, or use a token that has this right."));
        }
        Ok(())
    }

    /// Refuses a run for companies and functions for which the caller may not verify: those of the profiles, as they are and as
    /// they would be, and those of other profiles whose credentials they name. Another reader than that of the environment
    /// concerns all.
    async fn check_verify_right(&self, caller: &Caller, request: &VerifyRequest) -> Result<(), HttpProblem> {
        let question = Question::everywhere(Area::Profiles, Activity::Verify);
        if caller.decide(&question).is_allowed() {
            return Ok(());
        }
        let state = self.state();
        let sent = self.value_ids(request).await?;
        let needed = verify_rights(&state, &request.profiles, &sent);
        let is_allowed =
            |right: &NeededRight| right.decide(&caller.policy, &caller.principal, caller.at).0.is_allowed();
        let is_own_reader = request.reader.is_none() || request.reader == state.settings.reader;
        if is_own_reader && needed.iter().all(is_allowed) {
            return Ok(());
        }
        Err(access::refuse(self, caller, &question, &Method::POST, "/v1/verify").await)
    }

    async fn record_run(&self, caller: &Caller, request: &VerifyRequest) -> Result<(), HttpProblem> {
        let event = AuditEvent {
            at: self.clock.now(),
            actor: caller.name.clone(),
            action: "verify",
            outcome: AuditOutcome::Accepted,
            detail: serde_json::json!({
                "profiles": request.profiles.keys().take(PROFILES_RECORDED).collect::<Vec<_>>(),
                "probe": request.probe,
            }),
        };
        Ok(self.record_bounded(event).await?)
    }

    /// Returns the options of a run, without the application that reads the directory.
    fn verify_options(&self, request: &VerifyRequest) -> VerifyOptions {
        let mut options = VerifyOptions::new(request.environment.clone(), self.clock.now());
        options.http.authorities.clone_from(&self.outgoing.authorities);
        options.http.patience = PATIENCE;
        options.credential_days = request.credential_days.clamp(1, 730);
        options.reader = request.reader_token.as_ref().map(|token| token.0.clone());
        options.probe = request.probe;
        options.smtp_timeout = self.outgoing.smtp_timeout;
        options.hello.clone_from(&self.outgoing.hello);
        options.dns_server = self.outgoing.dns_server;
        options.federated.clone_from(&self.outgoing.federated);
        let state = self.state();
        let live = state.live_stored().map(|(_, stored)| &stored.profile);
        let requested = request.profiles.values().map(|stored| &stored.profile);
        options.needs = NeededPermissions::from_profiles(live.chain(requested).chain(&request.siblings));
        options
    }

    fn is_live(&self, name: &ProfileName) -> bool {
        self.state().profiles.get(name).is_some_and(|profile| profile.live.is_some())
    }

    /// Stores results under the digests of their settings; returns true if that succeeded.
    async fn store_results(&self, results: Vec<(LastVerified, Verified)>) -> bool {
        let stored = self.store.record_verified(results).await;
        if let Err(error) = &stored {
            tracing::error!(%error, "cannot store the results of a verification");
        }
        stored.is_ok()
    }

    /// Returns the last result of each profile, in short form, without those of plans.
    pub(crate) async fn last_verified(&self) -> Result<Arc<LastVerifiedList>, HttpProblem> {
        let read = async {
            Ok::<_, StoreError>(LastVerifiedList {
                profiles: self.store.last_verified().await?,
                planned: BTreeMap::new(),
            })
        };
        Ok(self.verified_reads.get(read).await?)
    }

    /// Returns the results of plans by profile, in short form, the newest first.
    pub(super) async fn planned_verified(&self) -> Result<BTreeMap<ProfileName, Vec<LastVerified>>, HttpProblem> {
        Ok(self.store.planned_verified().await?)
    }

    /// Returns true if a result is of the live settings of a profile.
    pub(crate) fn is_of_live(&self, name: &ProfileName, profile: &ProfileState, result: &LastVerified) -> bool {
        self.live_digests.find(name, profile).is_some_and(|digest| digest == result.of)
    }

    /// Returns the last result of a profile in short form. It can be that of settings before the last change.
    pub(crate) async fn last_verified_of(&self, name: &ProfileName) -> Result<Option<LastVerified>, HttpProblem> {
        Ok(self.store.last_verified_of(name).await?)
    }

    /// Returns the last result of a profile.
    pub(crate) async fn verified(&self, name: &ProfileName) -> Result<Verified, HttpProblem> {
        self.store.verified(name, None).await?.ok_or_else(|| {
            HttpProblem::not_found(format!("`{name}` has not been verified"))
                .remedy(format!("Verify it: mailwright verify {} {name}", self.store.environment()))
        })
    }
}
