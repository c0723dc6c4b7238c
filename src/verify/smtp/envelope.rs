//! The envelope: sender and recipient, and the mail of a probe.
//!
//! A part of [`Session`]. Without a probe the conversation ends with RSET before DATA, so no mail is sent. A deferral is `unknown`,
//! and so is a probe whose reply is lost after its last byte: the mail may have been sent, and it is not sent again.

use super::{BASE, ENCRYPTION, HOST, LOGIN, Session, Step, accepted, advice};
use crate::{
    model::{
        Severity,
        finding::{Finding, Level},
        finding_id::FindingId,
        message::Class,
    },
    replies::{self, ProfileFault, RefusalScope},
    smtp::client::{DataDeadlines, DataError, SmtpClient, SmtpError},
};

impl Session<'_> {
    /// Sends MAIL with the sender, and RCPT with the sender as the recipient.
    pub(super) async fn sender(&mut self, client: &mut SmtpClient) -> Step<()> {
        let from = self.subject.profile.from_address().unwrap_or_default().to_owned();
        match accepted(client.command(&format!("MAIL FROM:<{from}>"), self.deadline()).await) {
            Ok(_) => self.pass(FindingId::SmtpSender, "/from/address", format!("{from} is accepted as sender")),
            Err(SmtpError::Timeout(_)) => return Err(Box::new(self.timed_out(FindingId::SmtpSender, "MAIL FROM"))),
            Err(error) => return Err(Box::new(self.sender_refused(&error, &from))),
        }
        self.recipient(client, &from).await;
        // The next command starts a new transaction, or the connection ends.
        drop(client.command("RSET", self.deadline()).await);
        Ok(())
    }

    /// Returns the finding for a refusal of MAIL: about the sender, or about what the server refuses before any sender.
    fn sender_refused(&self, error: &SmtpError, from: &str) -> Finding {
        let meaning = match error {
            SmtpError::Refused(reply) => Some(replies::classify_smtp("mail", &reply.to_string())),
            _ => None,
        };
        let is_deferred = meaning.is_some_and(|meaning| matches!(meaning.class, Class::Transient | Class::Throttled));
        if is_deferred {
            let message = format!("it is not known whether {from} is accepted as sender: the server refuses for now");
            return Finding::unknown(FindingId::SmtpSender, "/from/address", message)
                .seen(error.to_string())
                .expected("250")
                .remedy(["Verify again in some minutes."]);
        }
        let has_login = self.smtp.username.is_some();
        let (id, pointer, message) = match meaning.and_then(|meaning| meaning.fault) {
            Some(ProfileFault::Encryption) => {
                (FindingId::SmtpTls, ENCRYPTION, "the server accepts mail over an encrypted connection only".to_owned())
            }
            Some(ProfileFault::Login) if has_login => {
                (FindingId::SmtpLogin, LOGIN, "the server accepts the login, and no mail from it".to_owned())
            }
            Some(ProfileFault::Login) => {
                (FindingId::SmtpLogin, BASE, "the server accepts no mail without a login".to_owned())
            }
            Some(ProfileFault::Hello) => {
                let message = "the server accepts no mail under the name that this machine greets with";
                (FindingId::SmtpRecipient, HOST, message.to_owned())
            }
            Some(ProfileFault::Machine) => {
                (FindingId::SmtpRecipient, HOST, "the server does not accept mail from this machine".to_owned())
            }
            Some(ProfileFault::Tenant) => {
                (FindingId::SmtpSender, "/from/address", format!("no mail is accepted from the tenant of {from}"))
            }
            // The others are those of Graph.
            _ => (FindingId::SmtpSender, "/from/address", format!("{from} is not accepted as sender")),
        };
        let mut remedies: Vec<String> = advice("mail", error).into_iter().collect();
        if remedies.is_empty() {
            remedies.push(match id {
                FindingId::SmtpSender => {
                    "Some servers let a login send only as its own address: give it the right to send as this one, or correct `from.address`."
                }
                FindingId::SmtpTls => "Set `encryption: starttls` or `encryption: tls`.",
                _ => "Ask the server's administrator what the login may do, or move to a provider that sends with a token.",
            }.to_owned());
        }
        if id == FindingId::SmtpSender && !has_login {
            remedies.push("A server that requires a login may refuse here: add `username` and `password`.".to_owned());
        }
        Finding::fail(id, pointer, message).seen(error.to_string()).expected("250").remedy(remedies)
    }

    /// Sends RCPT with the sender as the recipient: many servers refuse this machine, its name or its login only then. It does
    /// not matter if the mailbox exists.
    async fn recipient(&mut self, client: &mut SmtpClient, from: &str) {
        let message = format!("the server does not accept mail from this machine as {from}");
        let error = match accepted(client.command(&format!("RCPT TO:<{from}>"), self.deadline()).await) {
            Ok(_) => {
                return self.pass(FindingId::SmtpRecipient, HOST, format!("a mail to {from} would be accepted"));
            }
            Err(SmtpError::Timeout(_)) => {
                return self.findings.push(self.timed_out(FindingId::SmtpRecipient, "RCPT TO"));
            }
            Err(error) => error,
        };
        let meaning = match &error {
            SmtpError::Refused(reply) => Some(replies::classify_smtp("rcpt", &reply.to_string())),
            _ => None,
        };
        let finding = if let Some(meaning) = meaning.filter(|meaning| meaning.class == Class::Auth) {
            let advice = advice("rcpt", &error).unwrap_or_else(|| "Ask the server's administrator.".to_owned());
            let mut finding = Finding::fail(FindingId::SmtpRecipient, HOST, message).remedy([advice]);
            // A server for one domain does not relay to others, and may be intended for mail to that domain.
            if meaning.scope == RefusalScope::Relay {
                finding.message = format!(
                    "the server does not relay to {from} for this machine, and possibly not to other recipients"
                );
                finding.severity = Severity::Warning;
            }
            finding
        } else {
            let message = format!("it is not known whether mail is accepted: {from} is not accepted as recipient");
            let mut finding = Finding::unknown(FindingId::SmtpRecipient, HOST, message);
            // It is usual that a sender has no mailbox.
            finding.severity = Severity::Info;
            finding.remedy([
                "A mail to an existing address decides. A sender needs no mailbox, but without one bounces are lost.",
            ])
        };
        self.findings.push(finding.seen(error.to_string()).expected("250"));
    }

    /// Sends a mail from the sender to itself.
    pub(super) async fn probe(&mut self, client: &mut SmtpClient) -> Step<()> {
        let from = self.subject.profile.from_address().unwrap_or_default().to_owned();
        let failed = |session: &Self, error: SmtpError| {
            Box::new(match error {
                SmtpError::Timeout(_) => session.timed_out(FindingId::SmtpProbe, "a mail to the sender itself"),
                error => Finding::fail(FindingId::SmtpProbe, HOST, "a mail to the sender itself is not accepted")
                    .seen(error.to_string())
                    .expected("a positive reply"),
            })
        };
        for command in [format!("MAIL FROM:<{from}>"), format!("RCPT TO:<{from}>")] {
            accepted(client.command(&command, self.deadline()).await).map_err(|error| failed(self, error))?;
        }
        match client.command("DATA", self.deadline()).await {
            Ok(reply) if reply.is_intermediate() => {}
            Ok(reply) => return Err(failed(self, SmtpError::Refused(reply))),
            Err(error) => return Err(failed(self, error)),
        }
        let mail = format!(
            "From: <{from}>\r\nTo: <{from}>\r\nSubject: Mailwright: a test of this mailbox\r\nDate: {}\r\nMessage-ID: <{}@mailwright.invalid>\r\n\r\nAn operator ran `mailwright verify --probe`. No action is required.\r\n",
            self.verifier.now().strftime("%a, %d %b %Y %H:%M:%S +0000"),
            uuid::Uuid::now_v7(),
        );
        let wait = self.deadline();
        let sent = client.send_data(mail.as_bytes(), DataDeadlines { whole: wait, part: wait, dot: wait }).await;
        let sent = match sent {
            Err(DataError::InDoubt(error)) => {
                return Err(Box::new(
                    Finding::unknown(FindingId::SmtpProbe, HOST, "it is not known whether the mail was accepted")
                        .seen(error.to_string())
                        .expected("a positive reply")
                        .remedy([format!("Check if the mail arrived at {from}.")]),
                ));
            }
            Err(DataError::Incomplete(error)) => Err(error),
            Ok(reply) => Ok(reply),
        };
        accepted(sent).map_err(|error| failed(self, error))?;
        self.reached = Level::Probe;
        let mut finding =
            Finding::pass(FindingId::SmtpProbe, "/from/address", format!("a mail from {from} to itself was accepted"));
        finding.level = Level::Probe;
        self.findings.push(finding);
        Ok(())
    }
}
