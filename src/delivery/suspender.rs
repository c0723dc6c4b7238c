//! Suspender: suspends profiles that cannot send, probes them, and resumes them.
//!
//! [`Suspender`] acts on [`Suspensions`](super::suspension::Suspensions): it records a suspension with one event, adds the finding
//! of a verification if one explains the failure, tries the login when a probe is due, and records the end. Messages of a suspended
//! profile wait, and their lifetime is paused.
//!
//! A failure of a profile that was changed in the meantime suspends nothing. If the store cannot record a suspension, it holds
//! until the process ends. Without a finding the record has the reply alone.

use std::{collections::HashSet, sync::Arc};

use jiff::Timestamp;

use super::{
    OutboundOptions, failure::Failure, recorder::Recorder, rotation::Rotations, sending_profile::SendingProfile,
    transport::Transports,
};
use crate::{
    model::{
        Digest, LastVerified, ProfileName, Provider, Severity,
        delivery::EventKind,
        finding::{Finding, Verdict},
        finding_id::FindingId,
        message::describe_phase,
        suspension::SuspendedProfile,
    },
    replies::ProfileFault,
    store::outbox::NewEvent,
    telemetry,
    text::shell::quote_powershell,
    time::Clock,
    verify::{NeededPermissions, Subject, SubjectSecret, Verifier, VerifyOptions},
};

/// Suspends and resumes the profiles of an environment.
pub(super) struct Suspender {
    recorder: Arc<Recorder>,
    transports: Arc<Transports>,
    rotations: Arc<Rotations>,
    outbound: OutboundOptions,
    clock: Clock,
}

impl Suspender {
    /// Creates a suspender.
    pub(super) fn new(
        recorder: Arc<Recorder>,
        transports: Arc<Transports>,
        rotations: Arc<Rotations>,
        outbound: OutboundOptions,
        clock: Clock,
    ) -> Self {
        Self { recorder, transports, rotations, outbound, clock }
    }

    /// Suspends a profile, or notes that its probe failed. Returns when it is probed next; none if the profile was changed since
    /// the failure.
    pub(super) fn suspend(self: &Arc<Self>, profile: &Arc<SendingProfile>, failure: &Failure) -> Option<Timestamp> {
        let now = self.recorder.now();
        let (record, is_new, released) = {
            let mut scheduler = self.recorder.scheduler();
            if scheduler.routes().live_profile(&profile.name).is_none_or(|stored| *stored != profile.stored) {
                return None;
            }
            let released = scheduler.drain_ready(&profile.name);
            scheduler.slow_down(&profile.mailbox);
            let record = || SuspendedProfile {
                profile: profile.name.clone(),
                of: profile.digest.clone(),
                since: now,
                reason: describe_failure(profile, failure),
                finding: None,
                next_probe_at: now,
            };
            let first = self.outbound.probe_after;
            let (record, is_new) = scheduler.suspensions().suspend(&profile.name, record, now, first);
            (record, is_new, released)
        };
        self.recorder.release(released);
        profile.pool.close_idle(true);
        let next = record.next_probe_at;
        let (suspender, profile, work) = (Arc::clone(self), Arc::clone(profile), self.recorder.start_work());
        let (phase, fault, code) = (failure.phase, failure.fault, failure.code());
        telemetry::spawn(async move {
            let _work = work;
            let event = is_new.then(|| NewEvent {
                kind: EventKind::Suspended,
                at: now,
                message: None,
                profile: Some(record.profile.clone()),
                reason: record.reason.clone(),
            });
            suspender.recorder.update_pauses().await;
            suspender.write(record, event).await;
            if is_new {
                tracing::warn!(profile = %profile.name, code = %code, "profile suspended: it cannot send until it is fixed");
                metrics::counter!("mailwright_suspensions_total").increment(1);
                suspender.add_finding(&profile, phase, fault).await;
            }
        });
        Some(next)
    }

    async fn write(&self, record: SuspendedProfile, event: Option<NewEvent>) {
        match self.recorder.store().set_suspended(record.profile.clone(), Some(record), event).await {
            Ok(events) => self.recorder.publish(events),
            Err(error) => self.recorder.store_failed(&error),
        }
    }

    /// Verifies a suspended profile, and adds the finding that explains the failure, if there is one.
    async fn add_finding(&self, profile: &SendingProfile, phase: &'static str, fault: Option<ProfileFault>) {
        let Some(verifier) = self.verifier() else { return };
        let secret = if profile.stored.secrets.is_empty() {
            SubjectSecret::None
        } else {
            let version = self.rotations.version_in_use(profile);
            match self.transports.credentials().secret(profile, version).await {
                Ok(secret) => SubjectSecret::Value(secret),
                Err(failure) => SubjectSecret::Unavailable(failure.reply),
            }
        };
        let (name, verified_profile) = (profile.name.clone(), profile.stored.profile.clone());
        let subject = Subject { name, profile: verified_profile, secret, next: SubjectSecret::None, refused: None };
        let verified = verifier.verify(&subject).await;
        let finding = verified.findings.iter().find(|finding| explains(phase, fault, finding)).cloned();
        let last = LastVerified::new(profile.stored.verified_digest(), &verified);
        if let Err(error) = self.recorder.store().record_verified(vec![(last, verified)]).await {
            tracing::warn!(%error, "cannot store the findings of a suspended profile");
        }
        let record = self.recorder.scheduler().suspensions().set_finding(&profile.name, finding);
        if let Some(record) = record {
            self.write(record, None).await;
        }
    }

    fn verifier(&self) -> Option<Verifier> {
        let mut options = VerifyOptions::new(self.recorder.store().environment().clone(), self.clock.now());
        options.http.authorities.clone_from(&self.outbound.authorities);
        options.federated.clone_from(&self.outbound.federated);
        options.smtp_timeout = self.outbound.smtp_timeout;
        options.hello.clone_from(&self.outbound.hello);
        options.dns_server = self.outbound.dns_server;
        let routes = Arc::clone(self.recorder.scheduler().routes());
        options.needs =
            NeededPermissions::from_profiles(routes.state().live_stored().map(|(_, stored)| &stored.profile));
        Verifier::new(options).ok()
    }

    /// Starts the probes that are due.
    pub(super) fn start_probes(self: &Arc<Self>) {
        let due = self.recorder.scheduler().suspensions().start_probes(self.recorder.now());
        for profile in due {
            telemetry::spawn(Arc::clone(self).probe(profile));
        }
    }

    async fn probe(self: Arc<Self>, name: ProfileName) {
        let profile = self.recorder.scheduler().ready_queue(&name).map(|queue| Arc::clone(queue.profile()));
        let Some(profile) = profile else {
            // The profile is not live any more.
            self.end(&name, None).await;
            return;
        };
        match self.transports.try_login(&profile).await {
            Ok(()) => {
                let has_mail = {
                    let mut scheduler = self.recorder.scheduler();
                    let has_mail = scheduler.has_due(&name, self.recorder.now());
                    if has_mail {
                        scheduler.suspensions().send_one(&name);
                    }
                    has_mail
                };
                if has_mail {
                    self.recorder.wake();
                } else {
                    self.resume(&profile);
                }
            }
            Err(failure) => drop(self.suspend(&profile, &failure)),
        }
    }

    /// Resumes a profile, if it is suspended.
    pub(super) fn resume(self: &Arc<Self>, profile: &SendingProfile) {
        {
            let mut scheduler = self.recorder.scheduler();
            if !scheduler.suspensions().end(&profile.name) {
                return;
            }
            scheduler.slow_down(&profile.mailbox);
        }
        let (suspender, name, work) = (Arc::clone(self), profile.name.clone(), self.recorder.start_work());
        telemetry::spawn(async move {
            let _work = work;
            suspender.end(&name, Some("the login is accepted again")).await;
        });
    }

    /// Ends the suspensions of profiles that were changed. `live` are the digests of the current profiles.
    pub(super) async fn resume_changed(&self, live: &HashSet<Digest>) {
        let changed = self.recorder.scheduler().suspensions().changed(live);
        for profile in changed {
            self.end(&profile, Some("its configuration has changed")).await;
        }
    }

    /// Records the end of a suspension; without a reason, that the profile is not live any more.
    async fn end(&self, profile: &ProfileName, reason: Option<&str>) {
        self.recorder.scheduler().suspensions().end(profile);
        let at = self.recorder.now();
        let event = reason.map(|reason| NewEvent {
            kind: EventKind::Resumed,
            at,
            message: None,
            profile: Some(profile.clone()),
            reason: reason.to_owned(),
        });
        tracing::info!(%profile, reason = reason.unwrap_or("it is not live any more"), "profile resumed");
        match self.recorder.store().set_suspended(profile.clone(), None, event).await {
            Ok(events) => self.recorder.publish(events),
            Err(error) => self.recorder.store_failed(&error),
        }
        self.recorder.update_pauses().await;
    }
}

/// Describes the failure that suspends a profile, with the remedy that the table of replies has for it.
fn describe_failure(profile: &SendingProfile, failure: &Failure) -> String {
    let reason = format!("{}: {}", describe_phase(failure.phase), failure.reply);
    let Some(remedy) = failure.remedy else { return reason };
    let client = match &profile.stored.profile.provider {
        Provider::MicrosoftGraphDirect(direct) => &direct.client,
        Provider::MicrosoftGraphDelegate(delegate) => &delegate.client,
        Provider::Smtp(smtp) => smtp.oauth.as_ref().map_or("", |oauth| &oauth.client),
    };
    // The commands of the table are for PowerShell. The sender is last: it may contain `{client}`.
    let remedy = remedy
        .replace("{client}", &quote_powershell(client))
        .replace("{sender}", &quote_powershell(profile.sender_address()));
    format!("{}. {remedy}", reason.trim_end_matches('.'))
}

/// Returns true if a finding can be the cause of a failure in a phase, with the cause that the reply states. Other findings of
/// the profile and their remedies would be misleading.
fn explains(phase: &str, fault: Option<ProfileFault>, finding: &Finding) -> bool {
    // If a secret cannot be opened, no later check runs, so this finding explains a failed login or token.
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
        // A server refuses at RCPT what another one refuses at MAIL.
        "mail" | "rcpt" | "data" | "dot" => match fault {
            Some(ProfileFault::Encryption) => matches!(finding.id, FindingId::SmtpTls | FindingId::SmtpRecipient),
            Some(ProfileFault::Login) => {
                matches!(finding.id, FindingId::SmtpAuth | FindingId::SmtpLogin | FindingId::SmtpRecipient)
            }
            Some(ProfileFault::Hello | ProfileFault::Machine) => finding.id == FindingId::SmtpRecipient,
            _ => matches!(
                finding.id,
                FindingId::SmtpSender | FindingId::SmtpRecipient | FindingId::SmtpAuth | FindingId::SmtpLogin
            ),
        },
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
        "send" | "draft" | "upload" | "sent-items" => {
            let is_access = matches!(
                finding.id.check(),
                Some(FindingId::Permission | FindingId::MailSend | FindingId::SignIn | FindingId::ServicePrincipal)
            );
            let is_mailbox =
                matches!(finding.id.check(), Some(FindingId::Mailbox | FindingId::MailboxLicence | FindingId::Domain));
            match fault {
                Some(ProfileFault::Mailbox) => is_mailbox,
                Some(ProfileFault::Permission | ProfileFault::Login) => is_access,
                _ => is_access || is_mailbox,
            }
        }
        _ => false,
    };
    // A server that does not relay is only an error once mail was refused for it.
    let is_severe = finding.severity == Severity::Error || finding.id == FindingId::SmtpRecipient;
    // Mail was refused, so Exchange does not grant the permission without consent either.
    let is_certain =
        finding.verdict == Verdict::Fail || finding.id == FindingId::Consent && finding.verdict == Verdict::Unknown;
    is_of_phase && is_severe && is_certain && !finding.next
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_explains_the_failures_of_its_subject_alone() {
        let failed = |id| Finding::fail(id, "", "no");
        let (consent, licence) = (failed(FindingId::Consent), failed(FindingId::MailboxLicence));
        for (fault, by_consent, by_licence) in [
            (Some(ProfileFault::Mailbox), false, true),
            (Some(ProfileFault::Permission), true, false),
            (None, true, true),
        ] {
            let explained = ["send", "draft", "upload"]
                .map(|phase| (explains(phase, fault, &consent), explains(phase, fault, &licence)));
            assert_eq!(explained, [(by_consent, by_licence); 3], "{fault:?}");
        }
        let (sender, machine) = (failed(FindingId::SmtpSender), failed(FindingId::SmtpRecipient));
        for (fault, by_sender) in [
            (Some(ProfileFault::Machine), false),
            (Some(ProfileFault::Hello), false),
            (Some(ProfileFault::Login), false),
            (Some(ProfileFault::Sender), true),
        ] {
            assert_eq!(explains("mail", fault, &sender), by_sender, "{fault:?}");
            assert!(explains("mail", fault, &machine), "{fault:?}");
        }
        assert!(explains("mail", Some(ProfileFault::Encryption), &failed(FindingId::SmtpTls)));
        assert!(!explains("connect", None, &sender));
    }
}
