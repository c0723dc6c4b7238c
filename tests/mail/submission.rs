//! What can be known at once is refused at once, and changes nothing.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::{
    harness::{Post, QUICK, count},
    sink::Sink,
};

#[test]
fn what_cannot_be_sent_is_refused_at_once() {
    let sink = Sink::start();
    let delivery = format!("{QUICK}  attachments: {{ forbidden: [exe, application/x-msdownload] }}\n");
    let post = Post::new(sink.port, &delivery, "limits: { messageSize: 100000 }\n");
    let file = |name: &str, media_type: &str| json!({ "attachments": [{ "name": name, "mediaType": media_type, "content": "aGVsbG8=" }] });
    let cases: Vec<(Value, u16, &str)> = vec![
        (json!({ "company": "NONE" }), 422, "MW0105"),
        (json!({ "function": "user-interface", "company": "EDU1", "to": [] }), 422, "MW0261"),
        (json!({ "to": ["not an address"] }), 422, "MW0261"),
        (json!({ "to": ["a@example.org\r\nBcc: b@example.org"] }), 422, "MW0261"),
        (json!({ "subject": "x\r\nBcc: b@example.org" }), 422, "MW0261"),
        (json!({ "headers": { "X-Ok": "a\r\nBcc: b@example.org" } }), 422, "MW0261"),
        (json!({ "headers": { "Bcc": "b@example.org" } }), 422, "MW0261"),
        (json!({ "headers": { "From": "b@example.org" } }), 422, "MW0261"),
        (json!({ "headers": { "Received": "from somewhere" } }), 422, "MW0261"),
        (file("virus.exe", "application/octet-stream"), 422, "MW0261"),
        (file("virus.bin", "application/x-msdownload"), 422, "MW0261"),
        (file("../up.txt", "text/plain"), 422, "MW0261"),
        (json!({ "attachments": [{ "name": "a", "content": "not base64!" }] }), 422, "MW0261"),
        (json!({ "text": "x".repeat(200_000) }), 413, "MW0262"),
        (json!({ "unknown": 1 }), 400, "MW0212"),
        (json!({ "function": "no-such-function" }), 400, "MW0212"),
    ];
    for (case, status, code) in cases {
        let answer = post.submit(case.clone());
        assert_eq!((answer.status, answer.json()["code"].as_str().unwrap()), (status, code), "{case}: {}", answer.body);
        assert!(!answer.body.contains("virus") && !answer.body.contains("b@example.org"), "an echo: {}", answer.body);
    }
    let raw = |bytes: &str, query: &str| {
        post.trial.http(
            "POST",
            &format!("/v1/messages?{query}"),
            &[("Content-Type", "message/rfc822")],
            bytes.as_bytes(),
        )
    };
    let purpose = "company=EDU1&function=default";
    for (bytes, query, status) in [
        ("From: erp@example.com\nTo: a@example.org\n\nhi\n", "company=EDU1", 400),
        ("From: other@example.com\nTo: a@example.org\n\nhi\n", purpose, 422),
        ("From: erp@example.com, other@example.com\nTo: a@example.org\n\nhi\n", purpose, 422),
        ("From: erp@example.com\nFrom: other@example.com\nTo: a@example.org\n\nhi\n", purpose, 422),
        ("From: erp@example.com\n\nnobody\n", purpose, 422),
        ("no header at all", purpose, 422),
        ("", purpose, 422),
    ] {
        assert_eq!(raw(bytes, query).status, status, "{bytes:?}");
    }
    assert_eq!(count(&post.outbox(), "queued") + count(&post.outbox(), "delivered"), 0);

    // What is good is taken, and leaves under the profile's address.
    let answer = raw(
        "From: Somebody <ERP@example.com>\nTo: a@example.org\nBcc: b@example.org\nSubject: raw\n\nhello\n.dot\n",
        purpose,
    );
    assert_eq!(answer.status, 202, "{}", answer.body);
    post.wait(answer.json()["id"].as_str().unwrap(), "delivered");
    let taken = sink.taken();
    assert_eq!(taken[0].header("from").unwrap(), "Somebody <erp@example.com>");
    assert_eq!(taken[0].to, ["a@example.org", "b@example.org"]);
    assert!(
        taken[0].header("bcc").is_none() && taken[0].content.ends_with("\r\nhello\r\n.dot\r\n"),
        "{:?}",
        taken[0].content
    );
    assert!(taken[0].header("date").is_some() && taken[0].header("message-id").is_some());
}

#[test]
fn a_sender_sends_for_its_companies_and_functions_and_sees_its_own() {
    let sink = Sink::start();
    let post = Post::new(sink.port, QUICK, "");
    let token = |name: &str, more: &[&str]| {
        let arguments = [&["token", "create", "dev", "--name", name, "--role", "sender"], more].concat();
        post.trial.run(&arguments).code(0).stdout.trim().to_owned()
    };
    let (shop, other) = (token("shop", &["--companies", "EDU1", "--functions", "default"]), token("other", &[]));
    let viewer = post.trial.run(&["token", "create", "dev", "--name", "desk", "--role", "viewer"]).code(0).stdout;
    let viewer = viewer.trim();
    let ask = |token: &str, method: &str, path: &str, body: &Value| {
        let authorization = format!("Bearer {token}");
        let body = if body.is_null() { String::new() } else { body.to_string() };
        post.trial.http_as_anybody(method, path, &[("Authorization", &authorization)], body.as_bytes())
    };
    let message = crate::harness::message(json!({}));
    let accepted = ask(&shop, "POST", "/v1/messages", &message);
    assert_eq!(accepted.status, 202, "{}", accepted.body);
    let id = accepted.json()["id"].as_str().unwrap().to_owned();
    let beyond = ask(&shop, "POST", "/v1/messages", &crate::harness::message(json!({ "company": "EDU2" })));
    assert_eq!((beyond.status, beyond.json()["code"].as_str().unwrap()), (403, "MW0260"));
    assert_eq!(ask(viewer, "POST", "/v1/messages", &message).status, 403, "whoever reads may not send");
    // Each sees its own; a viewer sees all; a sender sees nothing else of the service.
    let path = format!("/v1/messages/{id}");
    assert_eq!(ask(&shop, "GET", &path, &Value::Null).status, 200);
    assert_eq!(ask(&other, "GET", &path, &Value::Null).status, 404);
    assert_eq!(ask(viewer, "GET", &path, &Value::Null).status, 200);
    let listed =
        |token: &str| ask(token, "GET", "/v1/messages", &Value::Null).json()["messages"].as_array().unwrap().len();
    assert_eq!((listed(&shop), listed(&other), listed(viewer)), (1, 0, 1));
    for path in ["/v1/state", "/v1/outbox", "/v1/events", "/v1/verify", "/metrics", "/v1/tokens"] {
        assert_eq!(ask(&shop, "GET", path, &Value::Null).status, 403, "{path}");
    }
    assert_eq!(ask(&shop, "POST", &format!("{path}/replay"), &json!({})).status, 403);
    assert_eq!(
        ask(viewer, "GET", &format!("{path}/content"), &Value::Null).status,
        403,
        "contents are for administrators"
    );
}

#[test]
fn the_command_line_sends_parts_and_whole_messages() {
    let sink = Sink::start();
    let post = Post::new(sink.port, QUICK, "");
    post.trial.write("invoice.pdf", b"%PDF-1.4 not really");
    let base = ["send", "dev", "--company", "EDU1", "--function", "default"];
    let sent = post
        .trial
        .run(
            &[
                &base[..],
                &[
                    "--to",
                    "A Customer <a@example.org>",
                    "--subject",
                    "Rechnung für Sie",
                    "--text",
                    "Hallo",
                    "--attach",
                    "invoice.pdf",
                    "--wait",
                ],
            ]
            .concat(),
        )
        .code(0);
    assert!(sent.stdout.contains(" delivered (relay)"), "{}", sent.stdout);
    let taken = sink.taken();
    assert!(
        taken[0].content.contains("Content-Type: application/pdf")
            && taken[0].content.contains(&BASE64_STANDARD.encode("%PDF-1.4 not really"))
    );
    let whole = b"To: b@example.org\nSubject: whole\n\nhello\n";
    post.trial.pipe(&[&base[..], &["--wait"]].concat(), whole).code(0);
    assert_eq!(sink.taken()[1].to, ["b@example.org"]);
    let nobody = post.trial.run(&[&base[..], &["--subject", "x"]].concat()).code(1);
    assert!(nobody.stderr.contains("nobody to send it to"), "{}", nobody.stderr);
    let failed = post.trial.run(&[&base[..], &["--to", "550=x@example.org", "--wait"]].concat()).code(1);
    assert!(failed.stderr.contains("it is failed: 550=x@example.org: 550 "), "{}", failed.stderr);
    let list = post.trial.run(&["outbox", "dev", "list"]).code(0).stdout;
    assert!(list.contains("Rechnung für Sie") && list.contains("failed"), "{list}");
    let id =
        post.trial.run(&["outbox", "dev", "list", "--status", "failed", "--format", "json"]).code(0).json()["messages"]
            [0]["id"]
            .as_str()
            .unwrap()
            .to_owned();
    let shown = post.trial.run(&["outbox", "dev", "show", &id]).code(0).stdout;
    for part in ["because    default for EDU1: nobody; default system-wide: relay", "permanent", "127.0.0.1"] {
        assert!(shown.contains(part), "{part}:\n{shown}");
    }
    let exported = post.trial.run(&["outbox", "dev", "export", &id]).code(0).stdout;
    assert!(exported.contains("To: 550=x@example.org") && !exported.contains("From:"), "{exported}");
}
