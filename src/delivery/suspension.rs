//! Profiles that cannot send until somebody mends them: a login that is refused, a secret that has expired, a consent
//! that was never given. The profile is parked and not the mail: its messages wait, their clocks stand still, one alert
//! goes out with the finding that `verify` gives. Now and then it is tried whether the login works again; then one
//! message goes first, and the others follow gently.

use std::{collections::HashSet, sync::Arc, time::Duration};

use super::smtp::Failure;
use crate::{
    delivery::{
        dispatcher::Engine,
        scheduler::{Board, ParkedLine, Sending},
    },
    entra::Endpoints,
    model::{
        Digest, LastVerified, ProfileName, Provider,
        delivery::EventKind,
        finding::{Finding, Severity, Verdict},
        finding_id::FindingId,
        message::Class,
        suspension::Parked,
    },
    store::outbox::NewEvent,
    telemetry,
    verify::{NeededPermissions, Subject, SubjectSecret, Verifier, VerifyOptions},
};

/// The longest between two tries.
const LONGEST: Duration = Duration::from_secs(15 * 60);

impl Board {
    pub(super) fn park(&mut self, parked: Parked) {
        let line = ParkedLine { parked, tries: 0, probing: false, trial: false };
        self.parked.insert(line.parked.profile.clone(), line);
    }
}

impl Engine {
    /// Parks a profile, or notes that the trial of a parked one failed. Says when it is tried again; none if what failed
    /// is not there any more.
    pub(super) fn park(self: &Arc<Self>, sender: &Arc<Sending>, failure: &Failure) -> Option<jiff::Timestamp> {
        let now = self.time.now();
        let (parked, is_new, back) = {
            let mut board = self.board();
            // Somebody changed it meanwhile: what failed is not what there is now.
            if board.routes.stored(&sender.name).is_none_or(|stored| *stored != sender.stored) {
                return None;
            }
            let back = board.lines.get_mut(&sender.name).map(|line| line.ready.drain(..).collect()).unwrap_or_default();
            if let Some(counter) = board.counters.get_mut(&sender.mailbox) {
                counter.slow_down();
            }
            let is_new = !board.parked.contains_key(&sender.name);
            if is_new {
                board.park(Parked {
                    profile: sender.name.clone(),
                    of: sender.of.clone(),
                    since: now,
                    reason: reason(sender, failure),
                    finding: None,
                    next_probe_at: now,
                });
            }
            let line = board.parked.get_mut(&sender.name)?;
            // Those that were under way when it was parked say nothing new.
            if is_new || line.trial || line.probing {
                (line.trial, line.probing) = (false, false);
                line.parked.next_probe_at = later(now, self.until_next(line.tries));
                line.tries += 1;
            }
            (line.parked.clone(), is_new, back)
        };
        self.give_back(back);
        sender.pool.tidy(true);
        let next = parked.next_probe_at;
        let (engine, sender, busy, code) = (Arc::clone(self), Arc::clone(sender), self.busy(), failure.code());
        let phase = failure.phase;
        telemetry::spawn(async move {
            let _busy = busy;
            let event = is_new.then(|| event(EventKind::Parked, &parked, now));
            engine.repause().await;
            engine.keep(parked.clone(), event).await;
            if is_new {
                tracing::warn!(profile = %parked.profile, code = %code, "parked: it cannot send until somebody mends it");
                metrics::counter!("mailwright_parked_total").increment(1);
                engine.explain(&sender, phase).await;
            }
        });
        Some(next)
    }

    fn until_next(&self, tries: u32) -> Duration {
        let wait =
            self.outgoing.probe_after.saturating_mul(1 << tries.min(10)).min(LONGEST.max(self.outgoing.probe_after));
        wait
    }

    async fn keep(&self, parked: Parked, event: Option<NewEvent>) {
        match self.store.set_parked(parked.profile.clone(), Some(parked), event).await {
            Ok(events) => self.tell(events),
            Err(error) => self.cannot_record(&error),
        }
    }

    /// Verifies a profile that was parked, and keeps the finding that explains why: one of the phase that failed, or none.
    async fn explain(self: &Arc<Self>, sender: &Arc<Sending>, phase: &'static str) {
        let mut options = VerifyOptions::new(self.store.environment().clone(), self.clock.now());
        options.http.authorities.clone_from(&self.outgoing.authorities);
        options.federated.clone_from(&self.outgoing.federated);
        options.smtp_timeout = self.outgoing.smtp_timeout;
        options.hello.clone_from(&self.outgoing.hello);
        options.dns_server = self.outgoing.dns_server;
        let routes = Arc::clone(&self.board().routes);
        options.needs =
            NeededPermissions::from_profiles(routes.state().live_stored().map(|(_, stored)| &stored.profile));
        let Ok(verifier) = Verifier::new(options) else { return };
        let secret = match sender.stored.secrets.values().next() {
            None => SubjectSecret::None,
            Some(_) => match self.opened(sender).await {
                Ok(secret) => SubjectSecret::Value(secret),
                Err(failure) => SubjectSecret::Unavailable(failure.reply),
            },
        };
        let (name, profile) = (sender.name.clone(), sender.stored.profile.clone());
        let verified =
            verifier.verify(&Subject { name, profile, secret, next: SubjectSecret::None, refused: None }).await;
        let finding = verified.findings.iter().find(|finding| explains(phase, finding)).cloned();
        let last = LastVerified::new(sender.stored.verified_digest(), &verified);
        if let Err(error) = self.store.record_verified(vec![(last, verified)]).await {
            tracing::warn!(%error, "what verify said of a parked profile could not be kept");
        }
        let parked = {
            let mut board = self.board();
            let Some(line) = board.parked.get_mut(&sender.name) else { return };
            line.parked.finding = finding;
            line.parked.clone()
        };
        self.keep(parked, None).await;
    }

    /// Tries profiles that were parked for long enough.
    pub(super) fn probes(self: &Arc<Self>) {
        let now = self.time.now();
        let due: Vec<ProfileName> = {
            let mut board = self.board();
            let due = board
                .parked
                .values_mut()
                .filter(|line| !line.probing && !line.trial && line.parked.next_probe_at <= now);
            due.map(|line| {
                line.probing = true;
                line.parked.profile.clone()
            })
            .collect()
        };
        for profile in due {
            telemetry::spawn(Arc::clone(self).probe(profile));
        }
    }

    async fn probe(self: Arc<Self>, profile: ProfileName) {
        let sender = self.board().line(&profile).map(|line| Arc::clone(&line.sender));
        let Some(sender) = sender else {
            // It is not live any more.
            self.let_go(&profile, None).await;
            return;
        };
        match self.try_login(&sender).await {
            Ok(()) => {
                let at = self.time.now().as_millisecond();
                let waits = {
                    let mut board = self.board();
                    let own = |name: &Option<ProfileName>| name.as_ref() == Some(&profile);
                    let waits = board
                        .lanes
                        .values()
                        .any(|line| own(&line.sender) && line.next_due.is_some_and(|due| due <= at));
                    if let Some(line) = board.parked.get_mut(&profile) {
                        (line.probing, line.trial) = (false, waits);
                    }
                    waits
                };
                if waits {
                    self.wake.notify_one();
                } else {
                    self.resume(&sender);
                }
            }
            Err(failure) => drop(self.park(&sender, &failure)),
        }
    }

    /// Whether the login works, with no message behind it.
    async fn try_login(&self, sender: &Sending) -> Result<(), Failure> {
        self.tokens.forget(&sender.of).await;
        match &sender.stored.profile.provider {
            Provider::Smtp(smtp) => {
                let connection = self.connect(sender, smtp).await?;
                connection.quit().await;
                Ok(())
            }
            Provider::MicrosoftGraphDirect(direct) => {
                let endpoints = Endpoints::for_cloud(&direct.cloud)
                    .map_err(|error| Failure::new("token", error.to_string(), Class::Auth))?;
                self.graph_token(sender, direct, &endpoints).await.map(drop)
            }
            Provider::MicrosoftGraphDelegate(_) => Ok(()),
        }
    }

    /// A profile sends again.
    pub(super) fn resume(self: &Arc<Self>, sender: &Arc<Sending>) {
        {
            let mut board = self.board();
            if !board.parked.contains_key(&sender.name) {
                return;
            }
            board.parked.remove(&sender.name);
            if let Some(counter) = board.counters.get_mut(&sender.mailbox) {
                counter.slow_down();
            }
        }
        let (engine, profile, busy) = (Arc::clone(self), sender.name.clone(), self.busy());
        telemetry::spawn(async move {
            let _busy = busy;
            engine.let_go(&profile, Some("the login is accepted again")).await;
        });
    }

    /// Forgets that a profile was parked.
    async fn let_go(&self, profile: &ProfileName, why: Option<&str>) {
        self.board().parked.remove(profile);
        let now = self.time.now();
        let event = why.map(|why| NewEvent {
            kind: EventKind::Resumed,
            at: now,
            message: None,
            profile: Some(profile.clone()),
            reason: why.to_owned(),
        });
        tracing::info!(%profile, reason = why.unwrap_or("it is not live any more"), "no longer parked");
        match self.store.set_parked(profile.clone(), None, event).await {
            Ok(events) => self.tell(events),
            Err(error) => self.cannot_record(&error),
        }
        self.repause().await;
    }

    /// Profiles that are another by now are tried at once.
    pub(super) async fn unpark_changed(&self, live: &HashSet<Digest>) {
        let changed: Vec<ProfileName> = {
            let board = self.board();
            board
                .parked
                .values()
                .filter(|line| !live.contains(&line.parked.of))
                .map(|line| line.parked.profile.clone())
                .collect()
        };
        for profile in changed {
            self.let_go(&profile, Some("its configuration has changed")).await;
        }
    }
}

/// Why a profile is parked, with what the table of replies knows to do about it.
fn reason(sender: &Sending, failure: &Failure) -> String {
    let reason = format!("{}: {}", failure.phase, failure.reply);
    let Some(remedy) = failure.remedy else { return reason };
    let profile = &sender.stored.profile;
    let client = match &profile.provider {
        Provider::MicrosoftGraphDirect(direct) => &direct.client,
        Provider::MicrosoftGraphDelegate(delegate) => &delegate.client,
        Provider::Smtp(smtp) => smtp.oauth.as_ref().map_or("", |oauth| &oauth.client),
    };
    let remedy = remedy.replace("{sender}", profile.from_address().unwrap_or_default()).replace("{client}", client);
    format!("{}. {remedy}", reason.trim_end_matches('.'))
}

/// Returns true if a finding can be why a phase failed: an error of that phase. What else is open has nothing to do with
/// it, and its remedy would lead astray.
fn explains(phase: &str, finding: &Finding) -> bool {
    // Where a secret cannot be opened nothing behind it is checked, and the finding says why.
    if finding.id == FindingId::VerifySecret {
        return matches!(phase, "login" | "token") && finding.is_open();
    }
    let is_of_phase = match phase {
        "connect" => matches!(finding.id, FindingId::SmtpName | FindingId::SmtpConnect),
        "greeting" => matches!(finding.id, FindingId::SmtpGreeting),
        "tls" => matches!(
            finding.id,
            FindingId::SmtpTls
                | FindingId::SmtpStarttls
                | FindingId::SmtpCertificate
                | FindingId::SmtpCertificateExpired
                | FindingId::SmtpCertificateName
        ),
        "login" => matches!(finding.id, FindingId::SmtpAuth | FindingId::SmtpLogin),
        "mail" | "rcpt" | "data" | "dot" => {
            matches!(
                finding.id,
                FindingId::SmtpSender | FindingId::SmtpRecipient | FindingId::SmtpAuth | FindingId::SmtpLogin
            )
        }
        "token" => matches!(
            finding.id.check(),
            Some(
                FindingId::SignIn
                    | FindingId::CredentialExpiry
                    | FindingId::Tenant
                    | FindingId::Cloud
                    | FindingId::ServicePrincipal
                    | FindingId::Audience
                    | FindingId::Assignment
            )
        ),
        "send" | "draft" | "upload" | "look" => matches!(
            finding.id.check(),
            Some(
                FindingId::Permission
                    | FindingId::MailSend
                    | FindingId::Mailbox
                    | FindingId::MailboxLicence
                    | FindingId::Domain
                    | FindingId::SignIn
                    | FindingId::ServicePrincipal
            )
        ),
        _ => false,
    };
    // That a server does not relay is no error before mail is refused for it.
    let weighs = finding.severity == Severity::Error || finding.id == FindingId::SmtpRecipient;
    is_of_phase && weighs && finding.verdict == Verdict::Fail && !finding.next
}

fn event(kind: EventKind, parked: &Parked, at: jiff::Timestamp) -> NewEvent {
    NewEvent { kind, at, message: None, profile: Some(parked.profile.clone()), reason: parked.reason.clone() }
}
