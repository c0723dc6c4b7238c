//! The table of replies against replies of real servers: what each of them means for the message.

use mailwright::{
    model::message::Class,
    replies::{self, ProfileFault, RefusalScope},
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    phase: Option<String>,
    reply: Option<String>,
    http: Option<u16>,
    #[serde(default)]
    codes: Vec<String>,
    #[serde(default)]
    text: String,
    class: Class,
    from: String,
}

#[test]
fn each_reply_is_classified_as_documented() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../fixtures/replies.json")).unwrap();
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            let meaning = match (&case.phase, &case.reply, case.http) {
                (Some(phase), Some(reply), None) => replies::classify_smtp(phase, reply),
                (None, None, Some(status)) => {
                    let codes: Vec<&str> = case.codes.iter().map(String::as_str).collect();
                    replies::classify_graph(status, &codes, &case.text)
                }
                _ => return Some(format!("{}: neither one nor the other", case.from)),
            };
            let said = case.reply.clone().unwrap_or_else(|| format!("{:?} {:?}", case.http, case.codes));
            (meaning.class != case.class).then(|| {
                format!("{said} ({}): {:?} because {}, not {:?}", case.from, meaning.class, meaning.why, case.class)
            })
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases.len() > 50);
}

#[test]
fn a_refusal_is_never_classified_as_delivered() {
    for phase in ["greeting", "tls", "login", "mail", "rcpt", "data", "dot"] {
        for code in 400..600 {
            let class = replies::classify_smtp(phase, &format!("{code} whatever it says")).class;
            assert!(class != Class::Delivered && class != Class::Unknown, "{phase} {code}: {class:?}");
        }
    }
    for status in (300..600).filter(|status| *status != 304) {
        let class = replies::classify_graph(status, &[], "").class;
        assert!(class != Class::Delivered, "{status}: {class:?}");
    }
}

#[test]
fn the_name_of_a_recipient_does_not_matter() {
    // Replies quote addresses, and an address may contain any word.
    for name in
        ["relay denied", "helo", "spf", "greylisted", "too many messages", "authentication required", "SendAsDenied"]
    {
        let address = format!("<{}@example.org>", name.replace(' ', "."));
        for (code, class) in [("550 5.1.1", Class::Permanent), ("450 4.2.1", Class::Transient)] {
            let meaning = replies::classify_smtp("rcpt", &format!("{code} {address}: User unknown"));
            assert_eq!(meaning.class, class, "{address}: {}", meaning.why);
        }
    }
}

#[test]
fn a_refusal_has_the_scope_of_its_subject() {
    for (reply, about) in [
        ("550 5.1.1 User unknown", RefusalScope::Recipient),
        ("550 no such user here", RefusalScope::Recipient),
        ("554 5.7.1 <a@example.org>: Relay access denied", RefusalScope::Relay),
        ("550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain", RefusalScope::Relay),
        ("554 5.7.1 not from you", RefusalScope::Unstated),
        // What Postfix says to those who should have logged in.
        ("554 5.7.1 <a@example.org>: Recipient address rejected: Access denied", RefusalScope::Unstated),
        ("550 5.1.1 <a@example.org>: Recipient address rejected: User unknown", RefusalScope::Recipient),
        ("550 5.1.0 <a@example.org>: Recipient address rejected: undeliverable address", RefusalScope::Recipient),
    ] {
        assert_eq!(replies::classify_smtp("rcpt", reply).scope, about, "{reply}");
    }
}

#[test]
fn a_refusal_about_a_recipient_or_a_message_does_not_count_against_others() {
    for (reply, about) in [
        (
            "550 5.7.703 Your message can't be delivered because messages to a@example.org are blocked by your organization using Tenant Allow Block List.",
            RefusalScope::Contents,
        ),
        ("550 5.7.512 Access denied, message must be RFC 5322 section 3.6.2 compliant", RefusalScope::Contents),
        ("550 5.7.505 Access denied, banned recipient", RefusalScope::Recipient),
        (
            "550 5.7.367 Remote server returned not permitted to relay -> 554 5.7.1 Relay access denied",
            RefusalScope::Recipient,
        ),
        ("550 5.7.510 Access denied, contoso.com does not accept email over IPv6", RefusalScope::Relay),
    ] {
        assert_eq!(replies::classify_smtp("dot", reply).scope, about, "{reply}");
    }
}

#[test]
fn a_refusal_of_the_profile_has_a_cause() {
    for (phase, reply, fault) in [
        ("mail", "530 5.7.0 Must issue a STARTTLS command first", ProfileFault::Encryption),
        ("mail", "538 5.7.11 Encryption required for requested authentication mechanism", ProfileFault::Encryption),
        ("mail", "530 5.7.57 Client not authenticated to send mail", ProfileFault::Login),
        ("mail", "550 5.7.30 Basic authentication is not supported for Client Submission.", ProfileFault::Login),
        ("mail", "550 5.7.506 Access Denied, Bad HELO", ProfileFault::Hello),
        (
            "mail",
            "554 5.7.1 Service unavailable; Client host [203.0.113.7] blocked using zen.spamhaus.org",
            ProfileFault::Machine,
        ),
        ("mail", "550 5.7.64 TenantAttribution; Relay Access Denied", ProfileFault::Machine),
        ("greeting", "554 no SMTP service here", ProfileFault::Machine),
        ("mail", "550 5.7.60 SMTP; Client does not have permissions to send as this sender", ProfileFault::Sender),
        (
            "mail",
            "553 5.7.1 <erp@example.com>: Sender address rejected: not owned by user mailer",
            ProfileFault::Sender,
        ),
        ("mail", "550 5.7.705 Access denied, tenant has exceeded threshold", ProfileFault::Tenant),
    ] {
        assert_eq!(replies::classify_smtp(phase, reply).fault, Some(fault), "{reply}");
    }
    // Every reply of the corpus that suspends the profile has one.
    let cases: Vec<Case> = serde_json::from_str(include_str!("../fixtures/replies.json")).unwrap();
    for (phase, reply) in cases.iter().filter_map(|case| Some((case.phase.as_deref()?, case.reply.as_deref()?))) {
        let meaning = replies::classify_smtp(phase, reply);
        assert_eq!(meaning.fault.is_some(), meaning.class == Class::Auth, "{phase}: {reply}");
    }
}

#[test]
fn required_encryption_differs_from_a_required_login() {
    for reply in ["530 5.7.0 Must issue a STARTTLS command first", "550 5.7.1 STARTTLS required"] {
        let remedy = replies::classify_smtp("mail", reply).remedy.unwrap();
        assert!(remedy.contains("encryption: starttls"), "{reply}: {remedy}");
    }
}

#[test]
fn a_refusal_of_the_contents_is_recognized_in_several_languages() {
    for reply in [
        "554 5.7.1 Message contains a virus",
        "552 5.7.0 This message was blocked because its content presents a potential security issue",
        "554 Der Anhang rechnung.exe ist nicht erlaubt",
        "550 Pièce jointe refusée",
        "554 Contenido no permitido",
    ] {
        let meaning = replies::classify_smtp("dot", reply);
        assert_eq!((meaning.class, meaning.scope), (Class::Permanent, RefusalScope::Contents), "{reply}");
    }
}
