//! Replies of Entra's token endpoint, most of them captured, and what each of them means: for `verify`, a finding; for
//! delivery, a class. The replies are data (`fixtures/sign-ins.json`): a new one is a line there.

use std::sync::Arc;

use crate::support::sandbox::{VerifyCase, direct};
use mailwright::{
    entra::{
        aadsts::{self, Cause},
        sign_in::{Refusal, SignInError},
    },
    model::{
        finding::{Verdict, Verified},
        message::Class,
    },
    replies,
    verify::graph::findings_of_cause,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{sync::Semaphore, task::JoinSet};

#[derive(Clone, Deserialize)]
struct Reply {
    from: String,
    credential: String,
    status: u16,
    body: Value,
    finding: String,
    verdict: Verdict,
    class: Class,
}

fn replies() -> Vec<Reply> {
    serde_json::from_str(include_str!("../fixtures/sign-ins.json")).unwrap()
}

/// The part of a reply that delivery sees.
fn error_of(reply: &Reply) -> SignInError {
    match serde_json::from_value::<Refusal>(reply.body.clone()) {
        Ok(refusal) if refusal.is_from_entra() => SignInError::Refused(Refusal { status: reply.status, ..refusal }),
        _ => SignInError::Unknown(reply.status),
    }
}

#[test]
fn delivery_classifies_each_reply() {
    let wrong: Vec<String> = replies()
        .iter()
        .filter_map(|reply| {
            let class = replies::classify_sign_in(&error_of(reply));
            (class != reply.class).then(|| format!("{} ({}): {class:?}", reply.body, reply.from))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn verify_reports_the_cause_of_each_reply() {
    let turns = Arc::new(Semaphore::new(6));
    let mut running = JoinSet::new();
    for reply in replies() {
        let turn = Arc::clone(&turns).acquire_owned().await.unwrap();
        running.spawn(async move {
            let case = VerifyCase::new("a reply", direct());
            let case = match reply.credential.as_str() {
                "certificate" => case.certificate(true),
                "federated" => case.federated("system:serviceaccount:mail:mailwright"),
                _ => case,
            };
            let fault = json!({ "at": "/oauth2/v2.0/token", "status": reply.status, "json": reply.body });
            let done = case.fault(fault).run().await;
            drop(turn);
            (reply, done)
        });
    }
    let mut wrong = Vec::new();
    for (reply, (verified, shown)) in running.join_all().await {
        let is_expected = |verified: &Verified| {
            verified.findings.iter().any(|found| found.id.id() == reply.finding && found.verdict == reply.verdict)
        };
        let found = verified.findings.iter().find(|found| found.id.id() == reply.finding);
        // A profile without a certificate gets no advice to upload one, and one without a secret none to seal one.
        let remedies = found.map(|found| found.remedy.join("\n")).unwrap_or_default();
        let astray = match reply.credential.as_str() {
            "federated" => remedies.contains("certificate.pem") || remedies.contains("secrets set"),
            "secret" => remedies.contains("certificate.pem"),
            _ => remedies.contains("New client secret"),
        };
        let empty = found.is_some_and(|found| found.remedy.iter().any(|step| step.trim().is_empty()));
        if !is_expected(&verified) || astray || empty {
            wrong.push(format!("{} ({}), not {} {:?}:\n{shown}", reply.body, reply.from, reply.finding, reply.verdict));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The codes that an application meets when it signs in by itself.
const OF_AN_APPLICATION: [u32; 62] = [
    28_002, 50_000, 50_001, 50_002, 50_003, 50_012, 50_013, 50_017, 50_027, 50_033, 50_049, 50_059, 50_128, 50_166,
    50_196, 53_003, 65_001, 65_005, 70_001, 70_002, 70_003, 70_011, 70_021, 70_025, 90_002, 90_006, 90_012, 90_013,
    90_014, 90_023, 90_024, 90_033, 90_036, 90_038, 90_055, 90_090, 500_011, 500_014, 500_133, 501_051, 530_032,
    650_052, 650_056, 650_057, 700_016, 700_021, 700_022, 700_023, 700_024, 700_027, 700_030, 700_038, 700_211,
    700_213, 700_222, 900_023, 900_144, 900_382, 1_000_502, 7_000_112, 7_000_215, 7_000_222,
];

/// Those that a user, or an administrator who lets users sign in, meets.
const OF_A_USER: [u32; 40] = [
    16_000, 50_005, 50_011, 50_020, 50_034, 50_053, 50_055, 50_057, 50_058, 50_072, 50_074, 50_076, 50_078, 50_079,
    50_097, 50_105, 50_126, 50_131, 50_132, 50_133, 50_158, 50_173, 50_194, 51_004, 53_000, 53_001, 53_002, 53_004,
    65_004, 70_008, 70_016, 70_018, 70_019, 90_008, 90_094, 90_095, 500_112, 700_025, 700_082, 7_000_218,
];

#[test]
fn every_code_of_the_corpus_has_a_remedy() {
    let more =
        [7_000_229, 7_002_137, 7_002_138, 700_084, 700_212, 700_223, 700_229, 900_971, 9_001_023, 9_002_326, 9_002_327];
    // Codes that are met in front of a browser, and are explained all the same.
    let explained =
        [50_061, 50_085, 50_086, 500_121, 530_003, 530_031, 650_053, 700_056, 7_000_113, 9_002_325, 9_002_346];
    for code in OF_AN_APPLICATION.iter().chain(&OF_A_USER).chain(&more).chain(&explained) {
        assert!(aadsts::find(*code).is_some(), "AADSTS{code}");
    }
    for entry in aadsts::all() {
        assert!(!findings_of_cause(entry.cause).is_empty(), "AADSTS{}", entry.code);
        let refusal = Refusal { error: entry.error.clone(), error_codes: vec![entry.code], ..Refusal::default() };
        assert_eq!(refusal.cause(), entry.cause, "AADSTS{} is classified by its number as by its name", entry.code);
        let class = replies::classify_sign_in(&SignInError::Refused(refusal));
        assert_eq!(class == Class::Transient, entry.cause == Cause::Service, "AADSTS{}", entry.code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_with_a_lifetime_as_text_or_without_one_is_accepted() {
    for lifetime in [json!("3599"), json!(" 3599 "), json!(3599.5), json!("soon"), json!(null), json!({})] {
        let body = json!({ "token_type": "Bearer", "expires_in": lifetime, "access_token": "EwBgA8l6BAAU-opaque" });
        let fault = json!({ "at": "/oauth2/v2.0/token", "json": body });
        let (verified, shown) = VerifyCase::new("a lifetime", direct()).fault(fault).run().await;
        let accepted =
            verified.findings.iter().any(|found| found.id.id() == "GRAPH-SIGN-IN" && found.verdict == Verdict::Pass);
        assert!(accepted, "{lifetime}: {shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_cannot_be_sent_is_named() {
    for (token, reason) in
        [("op\r\naque", "line breaks"), ("a b", "blanks"), ("", "is empty"), ("t\u{e4}", "characters")]
    {
        let body = json!({ "token_type": "Bearer", "expires_in": 3599, "access_token": token });
        let fault = json!({ "at": "/oauth2/v2.0/token", "json": body });
        let (verified, shown) = VerifyCase::new("a token", direct()).fault(fault).run().await;
        let found = verified.findings.iter().find(|found| found.id.id() == "GRAPH-ANSWER");
        let found = found.unwrap_or_else(|| panic!("{token:?}: {shown}"));
        assert!(found.verdict == Verdict::Unknown && found.seen.contains(reason), "{token:?}: {shown}");
        assert!(!verified.findings.iter().any(|found| found.id.id() == "GRAPH-SIGN-IN"), "{shown}");
    }
}
