//! The verifier for callers who have no key: a CI runner, say. The service opens the secrets in memory.
//!
//! Whoever may plan must not be able to have a secret sent somewhere new, nor this machine connect to hosts of their
//! choosing. So a secret is used for the destination that it was accepted for; what the service has not accepted yet,
//! and hosts that no live profile names, are for callers who may apply. What is left out is a finding that says so.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use secrecy::ExposeSecret as _;
use tokio::sync::mpsc;

use super::{Service, access::Caller, http::HttpProblem};
use crate::{
    api::{LastVerifiedList, VerifyLine, VerifyRequest},
    model::{
        AuditOutcome, Cloud, Code, Destination, Digest, LastVerified, ProfileName, Provider, Reader, SecretRecord,
        StoredProfile, finding::Verified, provider::Credential, rotation::Standing, rules, token::Role,
    },
    secrets::{FILE_LIMIT, Header, OpenError, Purpose},
    service::http::upload::Room,
    store::{AuditEvent, outbox::Standing},
    telemetry,
    verify::{Needs, Opened, Options, ReaderApplication, Subject, Verifier},
};

/// How many results are in memory before they go to the store.
const KEPT_AT_ONCE: usize = 100;

impl Service {
    /// Checks profiles, and hands over each line as it comes. What came of each is kept as its last result.
    pub(super) async fn verify(
        self: &Arc<Self>,
        caller: &Caller,
        request: VerifyRequest,
        room: Room,
    ) -> Result<mpsc::Receiver<VerifyLine>, HttpProblem> {
        if request.environment != *self.store.environment() {
            return Err(HttpProblem::new(
                Code::WrongEnvironment,
                format!(
                    "the request is for `{}`, and this service belongs to `{}`",
                    request.environment,
                    self.store.environment()
                ),
            )
            .remedy("Correct the service's address."));
        }
        let may_apply = caller.role.includes(Role::Deployer);
        if request.probe && !may_apply {
            return Err(HttpProblem::new(Code::RoleTooLow, "a probe sends mail, and that needs the role `deployer`")
                .remedy("Verify without `--probe`, or use a token of that role."));
        }
        let turn = self.runs.enter(caller)?;
        let Ok(place) = Arc::clone(&self.limits.verifying).try_acquire_owned() else {
            return Err(HttpProblem::new(Code::Busy, "the service has too many runs of the verifier under way")
                .remedy("Try again in a moment."));
        };
        let event = AuditEvent {
            at: self.clock.now(),
            actor: caller.name.clone(),
            action: "verify",
            outcome: AuditOutcome::Accepted,
            detail: serde_json::json!({
                "profiles": request.profiles.keys().take(100).collect::<Vec<_>>(),
                "probe": request.probe,
            }),
        };
        self.record_bounded(event).await?;
        let mut options = Options::new(request.environment.clone(), self.clock.now());
        options.http.authorities.clone_from(&self.outgoing.authorities);
        // The line of a profile that waits must come before the client gives up waiting for it.
        options.http.patience = Duration::from_secs(40);
        options.credential_days = request.credential_days.clamp(1, 730);
        options.reader = request.reader_token.map(|token| token.0);
        options.probe = request.probe;
        options.smtp_timeout = self.outgoing.smtp_timeout;
        options.hello.clone_from(&self.outgoing.hello);
        options.dns_server = self.outgoing.dns_server;
        let state = self.state();
        options.federated.clone_from(&self.outgoing.federated);
        let live = state.live_stored().map(|(_, stored)| &stored.profile);
        let asked = request.profiles.values().map(|stored| &stored.profile);
        options.needs = Needs::of(live.chain(asked).chain(&request.beside));
        if let Some(reading) = request.reader {
            options.reader_application = Some(self.reader(reading, &request.secrets, may_apply).await?);
        }
        let verifier = Arc::new(Verifier::new(options).map_err(HttpProblem::malformed)?);
        let digests: BTreeMap<ProfileName, Digest> =
            request.profiles.iter().map(|(name, stored)| (name.clone(), stored.verified_digest())).collect();
        let subjects = self.subjects(request.profiles, &request.secrets, may_apply).await?;
        // Whoever asks hears of what was proved before, too: the gate must not forget it.
        let proofs = self.store.proofs(digests.clone()).await?;
        let (lines, receiver) = mpsc::channel(64);
        let (this, caller) = (Arc::clone(self), caller.clone());
        telemetry::spawn(async move {
            let _run = (turn, place, room);
            let mut results = Arc::clone(&verifier).run(subjects);
            let mut last = Vec::new();
            let is_whole = loop {
                // A run ends with its client, and with the client's token.
                let verified = tokio::select! {
                    verified = results.recv() => verified,
                    () = lines.closed() => break false,
                };
                let Some(verified) = verified else { break true };
                if !this.still_admits(&caller).await {
                    break false;
                }
                let verified = match proofs.get(&verified.profile) {
                    Some(earlier) => verified.with_earlier(earlier),
                    None => verified,
                };
                // What is kept is about profiles that exist, or that the caller may bring into existence.
                if let Some(of) = digests.get(&verified.profile)
                    && (may_apply || this.is_live(&verified.profile))
                {
                    last.push((LastVerified::new(of.clone(), &verified), verified.clone()));
                }
                if lines.send(VerifyLine::Verified(verified)).await.is_err() {
                    break false;
                }
                if last.len() >= KEPT_AT_ONCE {
                    this.keep(std::mem::take(&mut last)).await;
                }
            };
            // Results that are not taken are not made.
            drop(results);
            if let Some(finding) = verifier.reader_finding() {
                drop(lines.send(VerifyLine::Environment(finding)).await);
            }
            if this.keep(last).await && is_whole {
                drop(lines.send(VerifyLine::Requests(verifier.requests())).await);
            }
        });
        Ok(receiver)
    }

    fn is_live(&self, name: &ProfileName) -> bool {
        self.state().profiles.get(name).is_some_and(|profile| profile.live.is_some())
    }

    /// Keeps results as the last ones; says whether that worked.
    async fn keep(&self, results: Vec<(LastVerified, Verified)>) -> bool {
        let kept = self.store.record_verified(results).await;
        if let Err(error) = &kept {
            tracing::error!(%error, "the results of a verification could not be kept");
        }
        kept.is_ok()
    }

    /// What the verifier last said of each profile, in short.
    pub(super) async fn last_verified(&self) -> Result<LastVerifiedList, HttpProblem> {
        Ok(LastVerifiedList { profiles: self.store.last_verified().await? })
    }

    /// What the verifier last said of a profile.
    pub(super) async fn verified(&self, name: &ProfileName) -> Result<Verified, HttpProblem> {
        self.store.verified(name).await?.ok_or_else(|| {
            HttpProblem::not_found(format!("`{name}` was never verified")).remedy("mailwright verify ENV PROFILE")
        })
    }

    /// The application that reads the directory. Its secret is bound to its destination as any other.
    async fn reader(
        &self,
        reading: Reader,
        sent: &BTreeMap<Digest, String>,
        may_apply: bool,
    ) -> Result<ReaderApplication, HttpProblem> {
        let settings = reading.application;
        let violations = rules::check_reader(&settings);
        if let Some(violation) = violations.first() {
            return Err(HttpProblem::malformed(format!(
                "`reader`{}: {}",
                violation.pointer, violation.problem.message
            )));
        }
        let secret = match &reading.secret {
            None => Opened::None,
            Some(_) if !may_apply => Opened::Unavailable(
                "it reads the directory, and only a token that may apply (role `deployer`) may have it used".to_owned(),
            ),
            Some(digest) => {
                let records = self.store.secrets(vec![digest.clone()]).await?;
                self.open(digest, records.first(), &settings.destination(), sent, may_apply).await?
            }
        };
        let secret = match (&settings.credential, may_apply) {
            // A token in a file is a secret as well.
            (Credential::FederatedTokenFile(_), false) => {
                return Err(HttpProblem::new(
                    Code::RoleTooLow,
                    "the environment's reader signs in with a file of the service, and that needs the role `deployer`",
                )
                .remedy("Verify with a token of that role, or give a reader's token in MAILWRIGHT_READER_TOKEN."));
            }
            _ => secret,
        };
        Ok(ReaderApplication { settings, secret })
    }

    async fn subjects(
        &self,
        profiles: BTreeMap<ProfileName, StoredProfile>,
        sent: &BTreeMap<Digest, String>,
        may_apply: bool,
    ) -> Result<Vec<Subject>, HttpProblem> {
        let state = self.state();
        let named: BTreeSet<Digest> =
            profiles.values().flat_map(|stored| stored.age_files().map(|(_, digest)| digest.clone())).collect();
        let records: BTreeMap<Digest, SecretRecord> = self
            .store
            .secrets(named.into_iter().collect())
            .await?
            .into_iter()
            .map(|record| (record.digest.clone(), record))
            .collect();
        let visited: BTreeSet<Destination> =
            state.live_stored().map(|(_, stored)| stored.profile.provider.destination().place()).collect();
        let mut promoted = self.delivery.trouble().rotations;
        promoted.retain(|rotation| rotation.standing == Standing::Promoted);
        let mut subjects = Vec::new();
        for (name, stored) in profiles {
            let named = stored.profile.provider.secret().map(|(reference, _)| reference);
            if !stored.secrets.keys().eq(named) {
                return Err(HttpProblem::malformed(format!(
                    "the secrets of `{name}` are not exactly those that its provider names"
                )));
            }
            let destination = stored.profile.provider.destination();
            let is_visited = visited.contains(&destination.place());
            let contact = may_apply || is_visited || is_microsofts(&stored.profile.provider);
            let open = async |digest: Option<&Digest>| match digest {
                None => Ok(Opened::None),
                Some(digest) => self.open(digest, records.get(digest), &destination, sent, may_apply).await,
            };
            let next = stored.next.values().next();
            // A next value that mail leaves by already is the one that counts.
            let (secret, next) = if promoted.iter().any(|own| own.profile == name && Some(&own.next) == next) {
                (open(next).await?, Opened::None)
            } else {
                (open(stored.secrets.values().next()).await?, open(next).await?)
            };
            let refused = (!contact).then(|| {
                "the service contacts only hosts that live profiles name, unless the token may apply (role `deployer`)".to_owned()
            });
            subjects.push(Subject { name, profile: stored.profile, secret, next, refused });
        }
        Ok(subjects)
    }

    /// Opens a secret for the one place that it may be used for. A value that was never accepted before is bound to it.
    async fn open(
        &self,
        digest: &Digest,
        record: Option<&SecretRecord>,
        destination: &Destination,
        sent: &BTreeMap<Digest, String>,
        may_apply: bool,
    ) -> Result<Opened, HttpProblem> {
        let unavailable = |why: &str| Ok(Opened::Unavailable(why.to_owned()));
        let file = match record {
            Some(_) => self.store.age_file(digest).await?,
            None if !may_apply => {
                return unavailable(
                    "the service has not accepted it yet, and only a token that may apply (role `deployer`) may have it used",
                );
            }
            None => match sent.get(digest) {
                None => None,
                Some(text) if text.len() > FILE_LIMIT * 4 / 3 + 4 => return unavailable("its age file is too large"),
                Some(text) => BASE64_STANDARD.decode(text).ok(),
            },
        };
        let Some(file) = file else {
            return unavailable("the service does not have its age file, and it was not sent");
        };
        let header = match Header::read(&file) {
            Ok(header) if header.digest == *digest => header,
            Ok(_) => return unavailable("its age file is not the one that was named"),
            Err(error) => return Ok(Opened::Unavailable(error.to_string())),
        };
        let value_id = header.bound_id().as_str().to_owned();
        let accepted = match record {
            Some(record) => Some(record.destination.clone()),
            None => self.store.destinations(vec![value_id.clone()]).await?.remove(&value_id),
        };
        let (identity, environment) = (Arc::clone(&self.identity), self.store.environment().clone());
        let (to, is_bound) = (destination.clone(), accepted.is_some());
        let open = move || {
            let purpose = Purpose { environment: &environment, destination: &to, accepted_for: accepted.as_ref() };
            identity.open_for(&file, &purpose)
        };
        let value = match tokio::task::spawn_blocking(open).await.map_err(HttpProblem::internal)? {
            Ok(value) => value,
            Err(OpenError::Redirected(redirected)) => return Ok(Opened::Redirected(redirected.to_string())),
            Err(error) => return Ok(Opened::Unavailable(error.to_string())),
        };
        if !is_bound {
            // Not while a change is being checked: what it binds and what this binds must agree.
            let _one_at_a_time = self.changing.lock().await;
            let first = self.store.bind(value_id, destination.clone()).await?;
            if !first.admits(destination) {
                return Ok(Opened::Redirected(format!(
                    "it was accepted for {first} and would travel to {destination}"
                )));
            }
        }
        Ok(Opened::from_bytes(value.expose_secret()))
    }
}

/// Whether its hosts are Microsoft's own, which no profile chooses.
fn is_microsofts(provider: &Provider) -> bool {
    match provider {
        Provider::Smtp(_) => false,
        Provider::MicrosoftGraphDelegate(delegate) => !matches!(delegate.cloud, Cloud::Custom(_)),
        Provider::MicrosoftGraphDirect(direct) => !matches!(direct.cloud, Cloud::Custom(_)),
    }
}
