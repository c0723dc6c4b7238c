//! Submissions: errors that are known at once are refused at once, and change nothing.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use mail_parser::MimeHeaders as _;
use serde_json::{Value, json};

use crate::{
    mail_service::{MailService, QUICK, count},
    sink::Sink,
    support::repository::TestRepository,
};

#[test]
fn a_company_can_send_as_soon_as_it_is_applied() {
    let mut repo = TestRepository::small();
    repo.serve();
    let mut companies = "EDU1".to_owned();
    for number in 0..8 {
        companies += &format!(", C{number}");
        repo.write("environments/dev/environment.yaml", format!("companies: [{companies}]\n"));
        repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
        let message = json!({
            "company": format!("C{number}"), "function": "default", "to": ["a@example.org"], "subject": "s", "text": "t",
        });
        let answer = repo.http("POST", "/v1/messages", &[], message.to_string().as_bytes());
        assert_eq!(answer.status, 202, "{}", answer.body);
    }
}

#[test]
fn unsendable_messages_are_refused_at_once() {
    let sink = Sink::start();
    let delivery = format!("{QUICK}  attachments: {{ forbidden: [exe, application/x-msdownload] }}\n");
    let service = MailService::new(sink.port, &delivery, "limits: { messageSize: 100000 }\n");
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
        let answer = service.submit(case.clone());
        assert_eq!((answer.status, answer.json()["code"].as_str().unwrap()), (status, code), "{case}: {}", answer.body);
        assert!(!answer.body.contains("virus") && !answer.body.contains("b@example.org"), "an echo: {}", answer.body);
    }
    let raw = |bytes: &str, query: &str| {
        service.repo.http(
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
    assert_eq!(count(&service.outbox(), "queued") + count(&service.outbox(), "delivered"), 0);

    // What is good is taken, and leaves under the profile's address.
    let answer = raw(
        "From: Sender <ERP@example.com>\nTo: a@example.org\nBcc: b@example.org\nSubject: raw\n\nhello\n.dot\n",
        purpose,
    );
    assert_eq!(answer.status, 202, "{}", answer.body);
    service.wait(answer.json()["id"].as_str().unwrap(), "delivered");
    let received = sink.received();
    // It is the profile's address in capitals: what the message says of its sender stays.
    assert_eq!(received[0].header("from").unwrap(), "Sender <ERP@example.com>");
    assert_eq!(received[0].from, "erp@example.com");
    assert_eq!(received[0].to, ["a@example.org", "b@example.org"]);
    assert!(
        received[0].header("bcc").is_none() && received[0].content.ends_with("\r\nhello\r\n.dot\r\n"),
        "{:?}",
        received[0].content
    );
    assert!(received[0].header("date").is_some() && received[0].header("message-id").is_some());
}

#[test]
fn a_sender_sends_for_its_companies_and_functions_and_sees_its_own() {
    let sink = Sink::start();
    let service = MailService::new(sink.port, QUICK, "");
    let token = |name: &str, more: &[&str]| {
        let arguments = [&["token", "create", "dev", "--name", name, "--role", "sender"], more].concat();
        service.repo.run(&arguments).code(0).stdout.trim().to_owned()
    };
    let (shop, other) = (token("shop", &["--companies", "EDU1", "--functions", "default"]), token("other", &[]));
    let viewer = service.repo.run(&["token", "create", "dev", "--name", "desk", "--role", "viewer"]).code(0).stdout;
    let viewer = viewer.trim();
    let ask = |token: &str, method: &str, path: &str, body: &Value| {
        let authorization = format!("Bearer {token}");
        let body = if body.is_null() { String::new() } else { body.to_string() };
        service.repo.http_without_token(method, path, &[("Authorization", &authorization)], body.as_bytes())
    };
    let message = crate::mail_service::message(json!({}));
    let accepted = ask(&shop, "POST", "/v1/messages", &message);
    assert_eq!(accepted.status, 202, "{}", accepted.body);
    let id = accepted.json()["id"].as_str().unwrap().to_owned();
    let beyond = ask(&shop, "POST", "/v1/messages", &crate::mail_service::message(json!({ "company": "EDU2" })));
    assert_eq!((beyond.status, beyond.json()["code"].as_str().unwrap()), (403, "MW0260"));
    assert_eq!(ask(viewer, "POST", "/v1/messages", &message).status, 403, "a viewer may not send");
    // Each sees its own; a viewer sees all; a sender sees nothing else of the service.
    let path = format!("/v1/messages/{id}");
    assert_eq!(ask(&shop, "GET", &path, &Value::Null).status, 200);
    assert_eq!(ask(&other, "GET", &path, &Value::Null).status, 404);
    assert_eq!(ask(viewer, "GET", &path, &Value::Null).status, 200);
    let listed =
        |token: &str| ask(token, "GET", "/v1/messages", &Value::Null).json()["messages"].as_array().unwrap().len();
    assert_eq!((listed(&shop), listed(&other), listed(viewer)), (1, 0, 1));
    for path in ["/v1/state", "/v1/outbox", "/v1/verify", "/metrics", "/v1/tokens"] {
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
    let service = MailService::new(sink.port, QUICK, "");
    service.repo.write("invoice.pdf", b"%PDF-1.4 not really");
    let base = ["send", "dev", "--company", "EDU1", "--function", "default"];
    let sent = service
        .repo
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
    let received = sink.received();
    assert!(
        received[0].content.contains("Content-Type: application/pdf")
            && received[0].content.contains(&BASE64_STANDARD.encode("%PDF-1.4 not really"))
    );
    let whole = b"To: b@example.org\nSubject: whole\n\nhello\n";
    service.repo.pipe(&[&base[..], &["--wait"]].concat(), whole).code(0);
    assert_eq!(sink.received()[1].to, ["b@example.org"]);
    let no_recipient = service.repo.run(&[&base[..], &["--subject", "x"]].concat()).code(1);
    assert!(no_recipient.stderr.contains("no recipient is given"), "{}", no_recipient.stderr);
    let failed = service.repo.run(&[&base[..], &["--to", "550=x@example.org", "--wait"]].concat()).code(5);
    assert!(failed.stderr.contains("its status is `failed`: 550=x@example.org: 550 "), "{}", failed.stderr);
    let list = service.repo.run(&["outbox", "list", "dev"]).code(0).stdout;
    assert!(list.contains("Rechnung für Sie") && list.contains("failed"), "{list}");
    let id =
        service.repo.run(&["outbox", "list", "dev", "--status", "failed", "--format", "json"]).code(0).json()["messages"]
            [0]["id"]
            .as_str()
            .unwrap()
            .to_owned();
    let shown = service.repo.run(&["outbox", "show", "dev", &id]).code(0).stdout;
    for part in ["because    default for EDU1: none; default system-wide: relay", "permanent", "127.0.0.1"] {
        assert!(shown.contains(part), "{part}:\n{shown}");
    }
    let exported = service.repo.run(&["outbox", "export", "dev", &id]).code(0).stdout;
    assert!(exported.contains("To: 550=x@example.org") && !exported.contains("From:"), "{exported}");
}

#[test]
fn a_forbidden_file_is_found_under_any_name_and_in_any_part() {
    let sink = Sink::start();
    let delivery = format!("{QUICK}  attachments: {{ forbidden: [exe, application/x-msdownload] }}\n");
    let service = MailService::new(sink.port, &delivery, "");
    let file = |name: &str, media_type: &str, bytes: &[u8]| json!({ "attachments": [{ "name": name, "mediaType": media_type, "content": BASE64_STANDARD.encode(bytes) }] });
    let part = |headers: &str, body: &str| {
        format!("To: a@example.org\nContent-Type: multipart/mixed; boundary=b\n\n--b\n{headers}\n\n{body}\n--b--\n")
    };
    let within = part("Content-Type: application/octet-stream; name=a.exe", "x");
    let message = format!("Content-Type: message/rfc822\n\n{within}");
    let encoded = format!(
        "Content-Type: application/octet-stream; name=old.eml\nContent-Transfer-Encoding: base64\n\n{}",
        BASE64_STANDARD.encode(&within)
    );
    for case in [
        file("a.exe.", "text/plain", b"x"),
        file("a.exe. .", "text/plain", b"x"),
        file("a.exe\u{200b}", "text/plain", b"x"),
        file("a.e\u{ad}xe", "text/plain", b"x"),
        file("a.bin", "application/x-msdownload; x=y", b"x"),
        file("a.bin", " Application/X-MSDownload", b"x"),
        file("old.eml", "message/rfc822", within.as_bytes()),
        file("old.eml", "application/octet-stream", within.as_bytes()),
    ] {
        let answer = service.submit(case.clone());
        assert_eq!(
            (answer.status, answer.json()["code"].as_str().unwrap()),
            (422, "MW0261"),
            "{case}: {}",
            answer.body
        );
    }
    let raw = |bytes: &str| service.submit_raw(bytes, "");
    for case in [
        part("Content-Type: application/octet-stream; name=\"a.exe.\"", "x"),
        part("Content-Type: text/plain; name=a.exe\nContent-Disposition: attachment; filename=a.txt", "x"),
        part("Content-Type: text/plain; name=a.exe\nContent-Disposition: inline", "x"),
        part("Content-Type: application/x-msdownload; x=y", "x"),
        part(&message, ""),
        part(&format!("Content-Type: message/rfc822\n\n{}", part(&message, "")), ""),
        part(&encoded, ""),
        // Mail programs differ in which of two fields, which sections and which structure they read.
        part("Content-Disposition: attachment; filename=a.exe\nContent-Disposition: attachment; filename=a.txt", "x"),
        part("Content-Type: text/plain; name=a.exe\nContent-Type: text/plain; name=a.txt", "x"),
        part("X-One: 1\rContent-Disposition: attachment; filename=a.exe", "x"),
        part("Content-Type: application/octet-stream; name*0=a.exe; name*2=.txt", "x"),
        part("Content-Disposition: attachment; filename=\"=?utf-8?B?YS5l?= =?utf-8?B?eGU=?=\"", "x"),
        part("Content-Disposition:\n attachment;\n filename\n =\n \"a.exe\"", "x"),
        part("Content-Disposition: attachment, filename=a.exe", "x"),
        part("Content-Type: text/plain", "x\n--b--\n--b\nContent-Disposition: attachment; filename=a.exe\n\nx"),
        part("Content-Type: text/plain", "x\r--b\rContent-Disposition: attachment; filename=a.exe\r\rx"),
        part(&format!("Content-Type: text/plain\r\r--b\r{}", encoded.replace('\n', "\r")), "x"),
    ] {
        let answer = raw(&case);
        assert_eq!(
            (answer.status, answer.json()["code"].as_str().unwrap()),
            (422, "MW0261"),
            "{case}: {}",
            answer.body
        );
        assert!(answer.body.contains("forbids"), "{}", answer.body);
    }
    // Files of other kinds are accepted.
    assert_eq!(service.submit(file("exe.txt", "text/plain", b"x")).status, 202);
    assert_eq!(raw(&part("Content-Type: message/rfc822\n\nTo: b@example.org\n\nhello", "")).status, 202);
    // Neither a line that mail cannot carry nor a message within a message within a message does any harm.
    let long = raw(&format!("To: a@example.org\n\n{}\n", "x".repeat(999)));
    assert!(long.status == 422 && long.body.contains("998 bytes"), "{}", long.body);
    assert_eq!(raw(&format!("To: a@example.org\n\n{}\n", "x".repeat(998))).status, 202);
    let deep = raw(&format!("To: a@example.org\n{}", "Content-Type: message/rfc822\n\n".repeat(100_000)));
    assert!(deep.status == 422 && deep.body.contains("parts"), "{}", deep.body);
    let many = raw(&format!("To: a@example.org\n{}", "Content-Type: message/rfc822\n\n".repeat(990)));
    assert_eq!(many.status, 202, "{}", many.body);
    service.wait_empty();
}

#[test]
fn a_token_for_all_documents_sends_every_kind_of_document() {
    let sink = Sink::start();
    let service = MailService::new(sink.port, QUICK, "");
    let token = |functions: &str| {
        let create = ["token", "create", "dev", "--name", functions, "--role", "sender", "--functions", functions];
        service.repo.run(&create).code(0).stdout.trim().to_owned()
    };
    let status = |token: &str, function: &str| {
        let authorization = format!("Bearer {token}");
        let body = crate::mail_service::message(json!({ "function": function })).to_string();
        service
            .repo
            .http_without_token("POST", "/v1/messages", &[("Authorization", &authorization)], body.as_bytes())
            .status
    };
    let documents = token("all-documents");
    for (function, expected) in [
        ("all-documents", 202),
        ("documents-remittance", 202),
        ("document-quality", 202),
        ("default", 403),
        ("all-reports", 403),
    ] {
        assert_eq!(status(&documents, function), expected, "{function}");
    }
    let one = token("documents-remittance");
    assert_eq!((status(&one, "documents-remittance"), status(&one, "all-documents")), (202, 403));
    // Everything falls back to `default`; a token for it is not for everything.
    let default = token("default");
    assert_eq!((status(&default, "default"), status(&default, "all-documents")), (202, 403));
}

#[test]
fn piped_messages_are_sent_or_refused_and_never_dropped() {
    let sink = Sink::start();
    let service = MailService::new(sink.port, QUICK, "");
    let base = ["send", "dev", "--company", "EDU1", "--function", "default", "--wait"];
    let send = |more: &[&str], input: &[u8]| service.repo.pipe(&[&base[..], more].concat(), input);
    let whole = b"To: everybody@example.org\nSubject: whole\n\nthe report\n";
    // A complete message goes to the recipients of the envelope.
    send(&["--to", "A Person <a@example.org>", "--bcc", "b@example.org"], whole).code(0);
    let received = sink.received();
    assert_eq!(received[0].to, ["a@example.org", "b@example.org"]);
    assert!(received[0].content.contains("the report") && received[0].header("to").unwrap() == "everybody@example.org");
    // Text is sent as text, if the option says so.
    send(&["--to", "a@example.org", "--subject", "disks", "--text", "-"], b"all full\n").code(0);
    let received = sink.received();
    assert_eq!(received[1].header("subject").unwrap(), "disks");
    assert!(received[1].content.contains("all full"), "{}", received[1].content);
    for (more, input) in [
        (&["--to", "a@example.org"][..], &b"just a text\n"[..]),
        (&["--to", "a@example.org"], b"Note: not a header of mail\n"),
        (&["--to", "a@example.org", "--subject", "x"], whole),
        (&["--reply-to", "c@example.org"], whole),
    ] {
        let refused = send(more, input).code(1);
        assert!(
            refused.stderr.contains("MW0251") && refused.stderr.contains("--text -"),
            "{more:?}: {}",
            refused.stderr
        );
    }
    assert_eq!(sink.received().len(), 2);
    // A client that has waited long enough gets the current status.
    sink.on("mail", crate::sink::Action::Reply("451 4.3.0 not now"));
    let waits = send(&["--to", "a@example.org", "--text", "x", "--timeout", "2"], b"").code(4);
    assert!(waits.stderr.contains("still queued after 2 s; the service continues to retry"), "{}", waits.stderr);
    let id = waits.stdout.split(' ').next().unwrap().to_owned();
    let shown = service.repo.run(&["outbox", "show", "dev", &id]).code(0).stdout;
    assert!(shown.contains("NEXT TRY"), "{shown}");
}

#[test]
fn fields_and_parts_that_would_take_long_to_parse_are_limited() {
    let sink = Sink::start();
    let service = MailService::new(sink.port, &format!("{QUICK}  attachments: {{ forbidden: [exe] }}\n"), "");
    let send = |message: &str| service.submit_raw(message, "");
    let head = "From: erp@example.com\r\nTo: a@example.org\r\nSubject: x\r\nMIME-Version: 1.0\r\n";
    // Names that a signature covers, times fields.
    let names = vec!["x:".repeat(400); 200].join("\r\n ");
    let signed = |fields: usize| {
        format!("{head}DKIM-Signature: v=1; d=x; h={names}x; b=y\r\n{}\r\nx\r\n", "X:a\r\n".repeat(fields))
    };
    let accepted = send(&signed(1900));
    assert_eq!(accepted.status, 202, "{}", accepted.body);
    service.wait(accepted.json()["id"].as_str().unwrap(), "delivered");
    assert_eq!(send(&signed(2100)).status, 422, "too many fields");
    // Parts that are within messages, and files times parts.
    let parts = |kind: &str, part: &str| {
        format!("{head}Content-Type: multipart/{kind}; boundary=b\r\n\r\n{}--b--\r\n", part.repeat(40_000))
    };
    let digest = send(&parts("digest", "--b\r\n\r\nSubject: x\r\n\r\n"));
    let files = send(&parts("mixed", "--b\r\nContent-Disposition: attachment\r\n\r\nx\r\n"));
    for answer in [digest, files] {
        assert_eq!(answer.status, 422, "{}", answer.body);
        assert!(answer.body.contains("more than 1000 parts"), "{}", answer.body);
    }
}

#[test]
fn line_ends_become_crlf_and_millions_of_them_are_fast() {
    let sink = Sink::start();
    let service = MailService::new(sink.port, QUICK, "");
    let kept = |text: &str| {
        let id = service.send(json!({ "text": text }));
        let content = service.repo.http("GET", &format!("/v1/messages/{id}/content"), &[], b"").body;
        content.split_once("\r\n\r\n").unwrap().1.to_owned()
    };
    for text in ["one\ntwo\n\nthree", "one\r\ntwo\r\n\r\nthree", "one\rtwo\r\rthree", "one\ntwo\r\n\rthree"] {
        assert_eq!(kept(text), "one\r\ntwo\r\n\r\nthree\r\n", "{text:?}");
    }
    // Not ASCII, so it is encoded; nothing but its line ends has changed all the same.
    let coloured = kept("one line is grün\nand the next one is blau");
    assert!(coloured.starts_with("one line is gr=C3=BCn\r\nand the next one is blau\r\n"), "{coloured}");
    // Converted one by one, with the rest moved each time, these would take hours.
    let lines = 3_000_000;
    assert_eq!(kept(&"a\n".repeat(lines)).len(), lines * 3 + 2);
}

#[test]
fn addresses_of_an_erp_are_accepted_or_refused_with_the_correct_form() {
    let sink = Sink::start();
    let service = MailService::new(sink.port, QUICK, "");
    for (to, reason, remedy) in [
        ("a@example.org;", "`;` follows the address (character 14)", "entry of its own"),
        ("a@example.org; b@example.org", "`;` separates it from a second address", "entry of its own"),
        ("a@example.org, b@example.org", "`,` separates it from a second address", "entry of its own"),
        ("Doe, John <j@example.org>", "`,` separates addresses", "\"Doe, John\" <"),
        ("John (Sales) <j@example.org>", "parentheses", "quotes"),
        ("mailto:a@example.org", "`mailto:`", "name@example.com"),
        ("a b", "no `@`", "name@example.com"),
    ] {
        let answer = service.submit(json!({ "to": [to] }));
        let body = answer.json();
        assert_eq!((answer.status, &body["code"]), (422, &json!("MW0261")), "{to}");
        assert!(body["detail"].as_str().unwrap().contains(reason), "{to}: {body}");
        assert!(body["remedy"].as_str().unwrap().contains(remedy), "{to}: {body}");
        assert!(!answer.body.contains("b@example.org"), "an echo: {}", answer.body);
    }
    let to = ["a@example.org\u{a0}", "\u{feff}B <b@example.org>", "info@müller.example", "A@EXAMPLE.ORG"];
    let id = service.send(json!({ "to": to, "bcc": ["c@example.org"] }));
    service.wait(&id, "delivered");
    assert_eq!(
        sink.received()[0].to,
        ["a@example.org", "b@example.org", "info@xn--mller-kva.example", "c@example.org"]
    );
    assert!(sink.commands().iter().all(|command| !command.contains("SMTPUTF8")), "{:?}", sink.commands());
    let found = service.repo.http("GET", "/v1/messages?recipient=info@m%C3%BCller.example", &[], b"").json();
    assert_eq!(found["messages"].as_array().unwrap().len(), 1, "{found}");
    // A blind copy is allowed, and invisible to the others.
    let id = service.send(json!({ "to": [], "bcc": ["c@example.org"] }));
    service.wait(&id, "delivered");
    let received = &sink.received()[1];
    assert!(received.to == ["c@example.org"] && !received.content.contains("c@example.org"), "{}", received.content);
    let raw = |text: &str| service.submit_raw(text, "");
    let nameless = raw("To: good@example.org, Purchasing\n\nhi\n");
    assert!(nameless.status == 422 && nameless.body.contains("a name without an address"), "{}", nameless.body);
    // The command line names the option.
    let base = ["send", "dev", "--company", "EDU1", "--function", "default", "--text", "x"];
    for (option, text) in [("--to", "a b"), ("--cc", "a@example.org; b@example.org"), ("--reply-to", "a@")] {
        let refused = service.repo.run(&[&base[..], &["--to", "a@example.org", option, text]].concat()).code(1);
        assert!(refused.stderr.contains(&format!("`{text}` ({option})")), "{}", refused.stderr);
        assert!(refused.stderr.contains("MW0110") && !refused.stderr.contains("openapi"), "{}", refused.stderr);
    }
}

#[test]
fn an_invitation_arrives_as_an_invitation() {
    let sink = Sink::start();
    let service = MailService::new(sink.port, QUICK, "");
    let calendar = |method: &str| {
        format!("BEGIN:VCALENDAR\nVERSION:2.0\n{method}BEGIN:VEVENT\nSUMMARY:Prüfung\nEND:VEVENT\nEND:VCALENDAR\n")
    };
    let file = |media_type: &str, text: &str| json!([{ "name": "invite.ics", "mediaType": media_type, "content": BASE64_STANDARD.encode(text) }]);
    let request = calendar("METHOD:REQUEST\n");
    let cases = [
        (json!({ "calendar": request, "html": "<p>come</p>" }), Some("REQUEST"), 0),
        (json!({ "attachments": file("text/calendar; method=REQUEST", &request) }), Some("REQUEST"), 1),
        (
            json!({ "attachments": file("text/calendar; charset=utf-8; method=cancel", &calendar("METHOD:CANCEL\n")) }),
            Some("CANCEL"),
            1,
        ),
        (json!({ "attachments": file("text/calendar", &request) }), Some("REQUEST"), 1),
        (json!({ "attachments": file("text/calendar", &calendar("METHOD:PUBLISH\n")) }), None, 1),
        (json!({ "attachments": file("text/calendar; method=PUBLISH", &calendar("METHOD:PUBLISH\n")) }), None, 1),
        (json!({ "calendar": calendar("METHOD;X-A=\"b:c\":CANCEL\n") }), Some("CANCEL"), 0),
        (json!({ "attachments": file("text/calendar", &calendar("METH\n OD:REQ\n\tUEST\n")) }), Some("REQUEST"), 1),
        (json!({ "attachments": file("text/calendar", &calendar("METHOD:\n")) }), None, 1),
        (
            json!({ "attachments": file("text/calendar", &calendar("BEGIN:VTIMEZONE\nMETHOD:REQUEST\nEND:VTIMEZONE\n")) }),
            None,
            1,
        ),
        (json!({ "attachments": file("text/calendar", &calendar("")) }), None, 1),
    ];
    for (case, method, files) in cases {
        let id = service.send(case.clone());
        let message_id = service.wait(&id, "delivered")["messageId"].as_str().unwrap().to_owned();
        let received =
            sink.received().into_iter().find(|received| received.header("message-id").unwrap() == message_id).unwrap();
        let message = mail_parser::MessageParser::default().parse(received.content.as_bytes()).unwrap();
        let invitations: Vec<_> = message
            .parts
            .iter()
            .filter(|part| part.attachment_name().is_none())
            .filter(|part| part.content_type().is_some_and(|kind| kind.attribute("method").is_some()))
            .collect();
        let methods: Vec<_> =
            invitations.iter().map(|part| part.content_type().unwrap().attribute("method").unwrap()).collect();
        assert_eq!(methods, Vec::from_iter(method), "{case}: {}", received.content);
        let attached = message.parts.iter().filter(|part| part.attachment_name() == Some("invite.ics")).count();
        assert_eq!(attached, files, "{case}: {}", received.content);
        if let Some(part) = invitations.first() {
            assert!(
                std::str::from_utf8(part.contents()).unwrap().contains("SUMMARY:Prüfung\r\n"),
                "{}",
                received.content
            );
            // The last one of the alternatives is the one that a mail program takes.
            let alternatives = received.content.split("multipart/alternative").nth(1).unwrap();
            let boundary = alternatives.split("boundary=\"").nth(1).unwrap().split('"').next().unwrap();
            let last = received.content.split(&format!("--{boundary}\r\n")).last().unwrap();
            assert!(last.starts_with("Content-Type: text/calendar"), "{}", received.content);
        }
    }
    for (case, reason) in [
        (json!({ "calendar": "come" }), "BEGIN:VCALENDAR"),
        (json!({ "calendar": calendar("") }), "`METHOD`"),
        (json!({ "calendar": calendar("METHOD:\n") }), "`METHOD`"),
        (json!({ "attachments": file("text/calendar; method=CANCEL", &request) }), "differ"),
        (
            json!({ "calendar": request, "attachments": file("text/calendar; method=REQUEST", &request) }),
            "one invitation",
        ),
    ] {
        let answer = service.submit(case);
        assert!(answer.status == 422 && answer.body.contains(reason), "{reason}: {}", answer.body);
    }
}

#[test]
fn composed_and_raw_messages_pass_the_same_check() {
    let sink = Sink::start();
    let delivery = format!("{QUICK}  attachments: {{ forbidden: [exe] }}\n");
    let service = MailService::new(sink.port, &delivery, "");
    let word = "w".repeat(1500);
    // Text may be encoded, so it is.
    for case in [
        json!({ "subject": word }),
        json!({ "headers": { "X-Data": word, "Comments": word } }),
        json!({ "to": [format!("{} <a@example.org>", "n".repeat(900))] }),
        json!({ "attachments": [{ "name": format!("{}.pdf", "ä".repeat(120)), "content": "eA" }] }),
    ] {
        let id = service.send(case.clone());
        service.wait(&id, "delivered");
        let received = sink.received().pop().unwrap();
        assert!(
            received.content.is_ascii() && received.content.lines().all(|line| line.len() <= 200),
            "{case}: {}",
            received.content
        );
    }
    let read = mail_parser::MessageParser::default()
        .parse(sink.received()[0].content.as_bytes())
        .unwrap()
        .subject()
        .unwrap()
        .to_owned();
    assert_eq!(read, word);
    for (name, value) in [
        ("List-Unsubscribe", format!("<https://example.com/?{word}>")),
        ("References", format!("<{word}@x>")),
        ("In-Reply-To", "<grün@x>".to_owned()),
    ] {
        let answer = service.submit(json!({ "headers": { name: value } }));
        assert!(answer.status == 422 && answer.body.contains(name), "{}", answer.body);
    }
    let file = |name: &str, media_type: &str, content: &str| json!({ "attachments": [{ "name": name, "mediaType": media_type, "content": content }] });
    for case in [
        file("a.pdf", "application/pdf; name=\"invoice.exe\"", "eA=="),
        file("x.exe::$DATA", "application/pdf", "eA=="),
        file("=?utf-8?q?invoice.exe?=", "application/pdf", "eA=="),
        file("invoice.exe。", "application/pdf", "eA=="),
        file("a.pdf", "application/pdf", "eA==.."),
        file("a.pdf", "pdf", "eA=="),
    ] {
        let answer = service.submit(case.clone());
        assert_eq!(
            (answer.status, answer.json()["code"].as_str().unwrap()),
            (422, "MW0261"),
            "{case}: {}",
            answer.body
        );
    }
    let answer = service.submit(file("a.pdf", "application/pdf", "JVBERi0..."));
    assert!(answer.body.contains("`attachments/0/content` is not base64: `.` at character 8"), "{}", answer.body);
    let lines = service.submit(file("a.pdf", "application/pdf", "eHh4\r\neHh4\r\neA"));
    assert_eq!(lines.status, 202, "{}", lines.body);
}

#[test]
fn a_raw_message_is_sent_unchanged_except_for_fields_of_receivers() {
    let sink = Sink::start();
    let service = MailService::new(sink.port, QUICK, "");
    let submit = |raw: &str, query: &str| service.submit_raw(raw, query);
    let signed = "DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=k;\r\n\th=from:to:subject:date:message-id; bh=x; b=y\r\nFrom: \"The ERP\" <erp@example.com>\r\nTo: a@example.org,\r\n b@example.org\r\nSubject: as  it is\r\nDate: Thu, 26 Nov 2026 10:00:00 +0100\r\nMessage-ID: <raw-1@example.com>\r\nContent-Type: multipart/signed; protocol=\"application/pkcs7-signature\"; micalg=sha-256; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n.signed \r\n--b\r\nContent-Type: application/pkcs7-signature\r\n\r\nx\r\n--b--\r\n";
    let forged = "Received: from nowhere\r\nAuthentication-Results: mx.example.org; dkim=pass\r\nARC-Seal: i=1\r\nReturn-Path: <x@example.org>\r\nResent-From: boss@example.org\r\nResent-Sender: boss@example.org\r\nSender: boss@example.org\r\n";
    let id = submit(&format!("{forged}{signed}"), "").json()["id"].as_str().unwrap().to_owned();
    service.wait(&id, "delivered");
    assert_eq!(sink.received()[0].content, signed);
    let resent = "From: erp@example.com\nTo: first@example.org\nResent-To: second@example.org\n\nhi\n";
    let refused = submit(resent, "");
    assert!(refused.status == 422 && refused.body.contains("Resent-To"), "{}", refused.body);
    let id = submit(resent, "&recipients=second@example.org").json()["id"].as_str().unwrap().to_owned();
    service.wait(&id, "delivered");
    assert_eq!(sink.received()[1].to, ["second@example.org"]);
    assert!(!sink.received()[1].content.contains("Resent"), "{}", sink.received()[1].content);
}

#[test]
fn mail_of_the_user_interface_is_never_sent_by_another_profile() {
    let sink = Sink::start();
    let mut service = MailService::unapplied(sink.port, QUICK, "");
    let delegate = "provider:\n  microsoft-graph-delegate:\n    tenant: contoso.onmicrosoft.com\n    client: 11111111-2222-3333-4444-555555555555\n    platform: native\n    redirect: https://localhost\nfunctions: [user-interface]\nappliesTo: system-wide\n";
    service.repo.write("environments/dev/profiles/desktop.yaml", delegate);
    service.repo.serve_with(&["--demo"]);
    service.apply();
    let of = |more: Value| {
        let mut message = json!({ "function": "user-interface" });
        for (key, value) in more.as_object().unwrap() {
            message[key] = value.clone();
        }
        service.submit(message)
    };
    let refused = of(json!({}));
    assert_eq!((refused.status, refused.json()["code"].as_str().unwrap()), (422, "MW0268"), "{}", refused.body);
    assert!(refused.body.contains("`desktop`") && refused.json()["remedy"].as_str().unwrap().contains("--client"));
    let by_user = of(json!({ "client": "native" }));
    assert_eq!((by_user.status, by_user.json()["code"].as_str().unwrap()), (422, "MW0430"), "{}", by_user.body);
    // The web client has no delegate, so its mail falls back as `resolve` says.
    assert_eq!(of(json!({ "client": "spa" })).status, 202);
    assert_eq!(of(json!({ "client": "web" })).status, 400);
    let send = |more: &[&str], input: &str| {
        let base = ["send", "dev", "--company", "EDU1", "--function", "user-interface", "--to", "a@example.org"];
        service.repo.pipe(&[&base[..], more].concat(), input.as_bytes())
    };
    for input in ["", "To: a@example.org\nSubject: x\n\nhi\n"] {
        let text: &[&str] = if input.is_empty() { &["--text", "x"] } else { &[] };
        let refused = send(text, input).code(1);
        assert!(refused.stderr.contains("MW0268") && refused.stderr.contains("--client"), "{}", refused.stderr);
        let refused = send(&[text, &["--client", "native"]].concat(), input).code(1);
        assert!(refused.stderr.contains("MW0430"), "{}", refused.stderr);
        send(&[text, &["--client", "spa"]].concat(), input).code(0);
    }
    assert_eq!(service.submit(json!({})).status, 202, "other functions are not concerned");
}

#[test]
fn an_envelope_without_recipients_is_not_the_header() {
    let sink = Sink::start();
    let service = MailService::new(sink.port, QUICK, "");
    let raw = |more: &str| service.submit_raw("From: erp@example.com\nTo: all@example.org\n\nhi\n", more);
    for more in
        ["&recipients=", "&recipients=,", "&recipients=%20", "&recipients=,%20,", "&recipients=group:;", "&recipients"]
    {
        let answer = raw(more);
        assert_eq!(answer.status, 422, "{more}: {}", answer.body);
        assert!(answer.body.contains("`recipients`"), "{more}: {}", answer.body);
    }
    for submission in
        [json!({ "to": [] }), json!({ "to": [""] }), json!({ "to": [","] }), json!({ "to": [], "cc": [] })]
    {
        assert_eq!(service.submit(submission.clone()).status, 422, "{submission}");
    }
    for more in ["&notify=sucess", "&notify=success,never", "&notify=SUCCESS"] {
        assert_eq!(raw(more).status, 400, "{more}");
    }
    assert_eq!(count(&service.outbox(), "queued") + count(&service.outbox(), "delivered"), 0);
    let answer = raw("&recipients=one@example.org&notify=success,%20delay");
    assert_eq!(answer.status, 202, "{}", answer.body);
    service.wait(answer.json()["id"].as_str().unwrap(), "delivered");
    assert_eq!(sink.received()[0].to, ["one@example.org"]);
}

#[test]
fn a_message_is_accepted_in_the_encodings_in_which_programs_save_it() {
    let sink = Sink::start();
    let service = MailService::new(sink.port, QUICK, "");
    let message = "From: erp@example.com\r\nTo: a@example.org\r\nSubject: x\r\n\r\nhello\r\n";
    let wide = |text: &str, unit: fn(u16) -> [u8; 2]| {
        let mut bytes = unit(0xfeff).to_vec();
        text.encode_utf16().for_each(|one| bytes.extend(unit(one)));
        bytes
    };
    let marked = [&b"\xef\xbb\xbf"[..], message.as_bytes()].concat();
    let beyond = message.replace("hello", "grüße");
    let arguments = ["send", "dev", "--company", "EDU1", "--function", "default"];
    let raw = |bytes: &[u8]| service.submit_raw(bytes, "");
    let good = [marked, wide(message, u16::to_le_bytes), wide(message, u16::to_be_bytes)];
    for bytes in &good {
        let answer = raw(bytes);
        assert_eq!(answer.status, 202, "{}", answer.body);
        service.wait(answer.json()["id"].as_str().unwrap(), "delivered");
        service.repo.pipe(&[&arguments[..], &["--wait"]].concat(), bytes).code(0);
    }
    for received in sink.wait_received(2 * good.len()) {
        assert!(received.content.starts_with("From: erp@example.com\r\n"), "{}", received.content);
        assert!(received.content.ends_with("\r\n\r\nhello\r\n"), "{}", received.content);
    }
    for (bytes, encoding) in [
        (wide(&beyond, u16::to_le_bytes), "UTF-16"),
        (wide(message, u16::to_be_bytes).split_off(2), "UTF-16 without a byte order mark"),
        ([&b"\xff\xfe\0\0"[..], &b"F\0\0\0"[..]].concat(), "UTF-32"),
    ] {
        let answer = raw(&bytes);
        assert!(answer.status == 422 && answer.body.contains(encoding), "{}", answer.body);
        let refused = service.repo.pipe(&arguments, &bytes);
        assert!(refused.code != 0 && refused.stderr.contains(encoding), "{}", refused.stderr);
    }
    let answer = raw(message.replace("hello", "hel\0lo").as_bytes());
    assert!(answer.status == 422 && answer.body.contains("NUL"), "{}", answer.body);

    // The recipients of the command replace those of the header, and the command says so.
    let named = service.repo.pipe(&[&arguments[..], &["--to", "b@example.org", "--wait"]].concat(), message.as_bytes());
    assert!(named.code == 0 && named.stderr.contains("only to the addresses of `--to`"), "{}", named.stderr);
    assert_eq!(sink.received().last().unwrap().to, ["b@example.org"]);
    let invoice = [&arguments[..], &["--to", "a@example.org", "--text", "x", "--document", "invoice/1"]].concat();
    assert_eq!(service.repo.pipe(&invoice, b"").code, 0);
    let second = service.repo.pipe(&invoice, b"");
    assert!(
        second.code != 0 && second.stderr.contains("MW0265") && second.stderr.contains("--allow-duplicate"),
        "{}",
        second.stderr
    );
}
