//! Catalogue of the findings of `verify`: an id such as `GRAPH-REDIRECT-SPA`, a title and a severity each.
//!
//! `mailwright explain` prints the page of an id in `findings.md`; a test keeps the two consistent. An id is never reused and
//! never changes its meaning.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize, Serializer, de};

use super::Severity;

macro_rules! findings {
    ($($id:literal $severity:ident $variant:ident $title:literal;)*) => {
        /// The id of a check, or of one way to fail it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum FindingId {
            $(#[doc = $title] $variant,)*
        }

        impl FindingId {
            /// Every id, in order.
            pub const ALL: &[FindingId] = &[$(FindingId::$variant),*];

            /// Returns the id as people write it.
            pub fn id(self) -> &'static str {
                match self { $(FindingId::$variant => $id),* }
            }

            /// Returns the finding in a few words.
            pub fn title(self) -> &'static str {
                match self { $(FindingId::$variant => $title),* }
            }

            /// Returns the severity of a failed or unknown check.
            pub fn severity(self) -> Severity {
                match self { $(FindingId::$variant => Severity::$severity),* }
            }
        }
    };
}

findings! {
    "VERIFY-SECRET" Warning VerifySecret "the secret is not available, so checks that need it were skipped";
    "VERIFY-HOST" Warning VerifyHost "the profile's hosts were not contacted";
    "VERIFY-INTERNAL" Error VerifyInternal "the checks of the profile ended with an internal error";
    "VERIFY-WAIVER-EXPIRED" Warning WaiverExpired "a waiver has expired";
    "VERIFY-WAIVER-UNUSED" Warning WaiverUnused "a waiver matches no finding";
    "GRAPH-CLOUD-HOSTS" Error CloudHosts "the hosts of the cloud are not valid addresses";
    "GRAPH-REACHABLE" Warning Reachable "Microsoft's hosts can be reached";
    "GRAPH-ANSWER" Warning Answer "Microsoft's hosts answer as documented";
    "GRAPH-TENANT" Error Tenant "the tenant exists in the stated cloud";
    "GRAPH-CLOUD" Error Cloud "the tenant is in the stated cloud";
    "GRAPH-CLOCK" Warning Clock "this machine's clock is right";
    "GRAPH-CLIENT" Error Client "the client exists in the tenant";
    "GRAPH-CLIENT-DISABLED" Error ClientDisabled "the application is disabled";
    "GRAPH-SIGN-IN" Error SignIn "the application can sign in";
    "GRAPH-SECRET-WRONG" Error SecretWrong "the client secret is not accepted";
    "GRAPH-SECRET-ID" Error SecretId "the client secret is its id, not its value";
    "GRAPH-CREDENTIAL-EXPIRED" Error CredentialExpired "the credential has expired";
    "GRAPH-CREDENTIAL-EXPIRES" Warning CredentialExpires "the credential expires soon";
    "GRAPH-CREDENTIAL-EXPIRY" Info CredentialExpiry "the end of the credential in use";
    "GRAPH-CERTIFICATE" Error Certificate "the certificate can sign and is accepted";
    "GRAPH-FEDERATION" Error Federation "the federated token is accepted";
    "GRAPH-CONDITIONAL-ACCESS" Error ConditionalAccess "Conditional Access lets the application sign in";
    "GRAPH-TOKEN" Warning Token "the token can be read";
    "GRAPH-REGISTRATION" Warning Registration "the registration can be read";
    "GRAPH-SERVICE-PRINCIPAL" Error ServicePrincipal "the application is installed in the tenant";
    "GRAPH-AUDIENCE" Error Audience "accounts of the tenant may sign in";
    "GRAPH-MAIL-SEND" Warning MailSend "the application may send mail";
    "GRAPH-PERMISSION" Error Permission "a needed permission is granted";
    "GRAPH-PERMISSION-KIND" Error PermissionKind "the permission is of the wrong kind";
    "GRAPH-CONSENT" Error Consent "an administrator has consented";
    "GRAPH-CONSENT-SOME" Warning ConsentSome "only some users have consented";
    "GRAPH-CONSENT-FIRST" Warning ConsentFirst "the first sign-in must be approved by an administrator";
    "GRAPH-PERMISSION-EXCESS" Warning PermissionExcess "the application has more permissions than needed";
    "GRAPH-MAIL-SEND-UNSCOPED" Info MailSendUnscoped "the application may send as any user of the tenant";
    "GRAPH-MAILBOX" Error Mailbox "the sender's mailbox exists";
    "GRAPH-MAILBOX-LICENCE" Error MailboxLicence "the sender has a mailbox in Exchange Online";
    "GRAPH-MAILBOX-SEEN" Info MailboxSeen "the sender's mailbox could be seen";
    "GRAPH-DOMAIN" Error Domain "the sender's domain is verified in the tenant";
    "GRAPH-REDIRECT" Error Redirect "the redirect URI is registered";
    "GRAPH-REDIRECT-SPA" Error RedirectSpa "the redirect URI is on the single-page-application platform";
    "GRAPH-REDIRECT-NATIVE" Error RedirectNative "the redirect URI is on the platform of public clients";
    "GRAPH-REDIRECT-DIFFERS" Error RedirectDiffers "a similar redirect URI is registered";
    "GRAPH-REDIRECT-SLASH" Warning RedirectSlash "the redirect URI differs by the slash after the host";
    "GRAPH-REDIRECT-WILDCARD" Warning RedirectWildcard "a redirect URI has a wildcard";
    "GRAPH-REDIRECT-HTTP" Warning RedirectHttp "a redirect URI is plain http";
    "GRAPH-REDIRECT-TWICE" Warning RedirectTwice "two redirect URIs differ by their port only";
    "GRAPH-REDIRECT-DESKTOP" Info RedirectDesktop "`mailwright delegate` can sign in with the browser";
    "GRAPH-PUBLIC-FLOWS" Info PublicFlows "public client flows";
    "GRAPH-PUBLIC-CREDENTIAL" Warning PublicCredential "a public client has a credential";
    "GRAPH-ASSIGNMENT" Error Assignment "users are assigned, if that is required";
    "GRAPH-SHARED-SENDER" Error SharedSender "a signed-in user may send as another mailbox";
    "GRAPH-PROBE" Error GraphProbe "a mail to the sender itself is accepted";
    "SMTP-NAME" Error SmtpName "the server's name resolves";
    "SMTP-CONNECT" Error SmtpConnect "the server accepts connections";
    "SMTP-GREETING" Error SmtpGreeting "the server greets as a mail server";
    "SMTP-STARTTLS" Error SmtpStarttls "the server offers STARTTLS";
    "SMTP-TLS" Error SmtpTls "the connection is encrypted as declared";
    "SMTP-CERTIFICATE" Error SmtpCertificate "the server's certificate is trusted";
    "SMTP-CERTIFICATE-EXPIRED" Error SmtpCertificateExpired "the server's certificate has expired";
    "SMTP-CERTIFICATE-NAME" Error SmtpCertificateName "the server's certificate is for another name";
    "SMTP-CERTIFICATE-EXPIRES" Warning SmtpCertificateExpires "the server's certificate expires soon";
    "SMTP-AUTH" Error SmtpAuth "the server offers a login that can be used";
    "SMTP-LOGIN" Error SmtpLogin "the login is accepted";
    "SMTP-SENDER" Error SmtpSender "the sender is accepted";
    "SMTP-RECIPIENT" Error SmtpRecipient "the server accepts mail from this machine";
    "SMTP-SIZE" Info SmtpSize "the server states the largest size of a mail";
    "SMTP-IN-CLEAR" Warning SmtpInClear "mail travels in clear";
    "SMTP-BASIC-AUTH" Warning SmtpBasicAuth "Exchange Online stops accepting passwords";
    "SMTP-PROBE" Error SmtpProbe "a mail to the sender itself is accepted";
    "DNS-RESOLVER" Info DnsResolver "DNS could be asked";
    "DNS-SPF" Warning DnsSpf "the sender's domain has an SPF record";
    "DNS-DKIM" Warning DnsDkim "the DKIM key is published";
    "DNS-DMARC" Warning DnsDmarc "the sender's domain has a DMARC record";
}

impl FindingId {
    /// Returns the check that passes if this finding does not apply. Most ids are checks of their own; some are only one way in
    /// which a check fails, or the reason why it could not be completed. None for results that are reported only if they apply.
    pub fn check(self) -> Option<FindingId> {
        Some(match self {
            FindingId::VerifyInternal
            | FindingId::WaiverExpired
            | FindingId::WaiverUnused
            | FindingId::PermissionExcess
            | FindingId::MailSendUnscoped
            | FindingId::RedirectWildcard
            | FindingId::RedirectHttp
            | FindingId::RedirectTwice
            | FindingId::SmtpBasicAuth => return None,
            FindingId::VerifyHost
            | FindingId::CloudHosts
            | FindingId::Reachable
            | FindingId::Answer
            | FindingId::Clock => FindingId::Tenant,
            FindingId::VerifySecret
            | FindingId::Client
            | FindingId::SecretWrong
            | FindingId::SecretId
            | FindingId::Certificate
            | FindingId::Federation
            | FindingId::ConditionalAccess => FindingId::SignIn,
            FindingId::CredentialExpired | FindingId::CredentialExpires => FindingId::CredentialExpiry,
            FindingId::ClientDisabled => FindingId::ServicePrincipal,
            FindingId::Registration => FindingId::Audience,
            FindingId::Token => FindingId::MailSend,
            FindingId::PermissionKind | FindingId::Consent | FindingId::ConsentSome | FindingId::ConsentFirst => {
                FindingId::Permission
            }
            FindingId::MailboxSeen => FindingId::Mailbox,
            FindingId::RedirectSpa
            | FindingId::RedirectNative
            | FindingId::RedirectDiffers
            | FindingId::RedirectSlash => FindingId::Redirect,
            FindingId::SmtpCertificateExpired | FindingId::SmtpCertificateName | FindingId::SmtpCertificateExpires => {
                FindingId::SmtpCertificate
            }
            FindingId::DnsResolver => FindingId::DnsSpf,
            other => other,
        })
    }

    /// Returns the page with details: the check, its reason, the remedy.
    pub fn explanation(self) -> &'static str {
        let pages = include_str!("findings.md");
        let heading = format!("## {}\n", self.id());
        let Some(at) = pages.find(&heading) else { return self.title() };
        let page = &pages[at + heading.len()..];
        page.split("\n## ").next().unwrap_or(page).trim()
    }
}

impl fmt::Display for FindingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}

impl FromStr for FindingId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|id| id.id().eq_ignore_ascii_case(text));
        found.copied().ok_or_else(|| format!("unknown finding `{}`", text.escape_debug()))
    }
}

impl Serialize for FindingId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id())
    }
}

impl<'de> Deserialize<'de> for FindingId {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
