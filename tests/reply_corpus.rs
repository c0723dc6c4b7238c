//! The table of replies against replies of real servers: what each of them means for the message.
#![allow(clippy::unwrap_used, reason = "a test ends there")]

use mailwright::{delivery::classify, model::message::Class};
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
fn each_reply_means_what_it_says() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("fixtures/replies.json")).unwrap();
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            let meaning = match (&case.phase, &case.reply, case.http) {
                (Some(phase), Some(reply), None) => classify::smtp(phase, reply),
                (None, None, Some(status)) => {
                    let codes: Vec<&str> = case.codes.iter().map(String::as_str).collect();
                    classify::graph(status, &codes, &case.text)
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
fn a_refusal_is_never_taken_for_a_delivery() {
    for phase in ["greeting", "tls", "login", "mail", "rcpt", "data", "dot"] {
        for code in 400..600 {
            let class = classify::smtp(phase, &format!("{code} whatever it says")).class;
            assert!(class != Class::Delivered && class != Class::Unknown, "{phase} {code}: {class:?}");
        }
    }
    for status in (300..600).filter(|status| *status != 304) {
        let class = classify::graph(status, &[], "").class;
        assert!(class != Class::Delivered, "{status}: {class:?}");
    }
}
