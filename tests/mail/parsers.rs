//! Delivered messages are read by third-party parsers and compared with the submissions.

use std::process::Command;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::{
    mail_service::{MailService, QUICK},
    sink::Sink,
    support::tools::{folder, tool},
};

const PYTHON: &str = r#"
import email, email.policy, json, sys, hashlib
m = email.message_from_binary_file(open(sys.argv[1], "rb"), policy=email.policy.default)
body = lambda kind: (m.get_body((kind,)) or None)
print(json.dumps({
    "from": [(a.display_name, a.addr_spec) for a in m["from"].addresses],
    "to": [(a.display_name, a.addr_spec) for a in m["to"].addresses],
    "subject": m["subject"], "messageId": m["message-id"], "custom": m["x-erp-run"],
    "text": body("plain").get_content() if body("plain") else None,
    "html": body("html").get_content() if body("html") else None,
    "files": [(p.get_filename(), p.get_content_type(), hashlib.sha256(p.get_payload(decode=True)).hexdigest()) for p in m.walk() if p.get_filename()],
    "defects": [str(d) for p in m.walk() for d in p.defects],
}))
"#;

const NODE: &str = r#"
const { simpleParser } = require("mailparser");
const { createHash } = require("crypto");
simpleParser(require("fs").readFileSync(process.argv[2])).then((m) => console.log(JSON.stringify({
  from: m.from.value.map((a) => [a.name, a.address]), to: m.to.value.map((a) => [a.name, a.address]),
  subject: m.subject, messageId: m.messageId, custom: m.headers.get("x-erp-run"), text: m.text, html: m.html || null,
  files: m.attachments.map((a) => [a.filename, a.contentType, createHash("sha256").update(a.content).digest("hex")]), defects: [],
})));
"#;

fn parsed(program: &std::path::Path, script: &str, extension: &str, mail: &str) -> Value {
    let place = tempfile::tempdir().unwrap();
    let (code, file) = (place.path().join(format!("parse.{extension}")), place.path().join("mail.eml"));
    std::fs::write(&code, script).unwrap();
    std::fs::write(&file, mail).unwrap();
    let output = Command::new(program)
        .arg(&code)
        .arg(&file)
        .env("NODE_PATH", folder().join("clients/node_modules"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn python_and_node_parse_composed_messages() {
    let sink = Sink::start();
    let service =
        MailService::new(sink.port, QUICK, "from: { address: erp@example.com, name: \"Müller, Öl & Söhne\" }\n");
    let digest = |bytes: &[u8]| {
        use sha2::{Digest as _, Sha256};
        Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let data: Vec<u8> = (0..=255_u8).cycle().take(10_000).collect();
    let text = "Zeile eins\n.\n..zwei\nFrom the bottom\nÄÖÜß € — ✓\n\nlang: ".to_owned() + &"x".repeat(2000) + "\n";
    let html = "<p>Grüße <img src=\"cid:logo\"></p>\n";
    let cases = [
        json!({}),
        json!({ "text": text, "subject": "Rechnung für Müller — №4711 und noch etwas mehr, damit die Zeile gefaltet werden muss, ja wirklich ✓" }),
        json!({ "text": text, "html": html, "headers": { "X-Erp-Run": "4711" },
            "to": ["\"Kundin, Ä\" <a@example.org>", "b@example.org"],
            "attachments": [
                { "name": "Rechnung März.pdf", "mediaType": "application/pdf", "content": BASE64_STANDARD.encode(&data) },
                { "name": "zeilen.csv", "mediaType": "text/csv", "content": BASE64_STANDARD.encode("a;b\nc;d\n") },
                { "name": "logo.png", "mediaType": "image/png", "content": BASE64_STANDARD.encode(&data[..100]), "contentId": "logo" },
            ] }),
    ];
    let ids: Vec<String> = cases.iter().map(|case| service.send(case.clone())).collect();
    for (case, id) in cases.iter().zip(&ids) {
        let message = service.wait(id, "delivered");
        let wanted = crate::mail_service::message(case.clone());
        let received = sink
            .received()
            .into_iter()
            .find(|received| received.header("message-id") == message["messageId"].as_str().map(str::to_owned))
            .unwrap();
        assert!(received.content.lines().all(|line| line.len() <= 998), "no line is longer than SMTP allows");
        let node = parsed(std::path::Path::new(&tool("node")), NODE, "js", &received.content);
        let python = parsed(&tool("python3"), PYTHON, "py", &received.content);
        for (parser, got) in [("python", python), ("node", node)] {
            assert_eq!(got["from"], json!([["Müller, Öl & Söhne", "erp@example.com"]]), "{parser}");
            assert_eq!(got["subject"], wanted["subject"], "{parser}");
            assert_eq!(got["messageId"], message["messageId"], "{parser}");
            assert_eq!(got["defects"], json!([]), "{parser}");
            let same = |got: &Value, wanted: &Value| {
                got.as_str().unwrap_or_default().replace("\r\n", "\n").trim_end()
                    == wanted.as_str().unwrap_or_default().trim_end()
            };
            assert!(same(&got["text"], &wanted["text"]), "{parser}: {} {}", got["text"], wanted["text"]);
            if wanted["html"].is_string() {
                assert!(parser == "node" || same(&got["html"], &wanted["html"]), "{parser}: {}", got["html"]);
                assert_eq!(got["custom"], "4711", "{parser}");
                assert_eq!(got["to"], json!([["Kundin, Ä", "a@example.org"], ["", "b@example.org"]]), "{parser}");
                let files: Vec<Value> = got["files"].as_array().unwrap().clone();
                let file =
                    |name: &str, bytes: &[u8]| files.iter().any(|file| file[0] == name && file[2] == digest(bytes));
                assert!(
                    file("Rechnung März.pdf", &data)
                        && file("zeilen.csv", b"a;b\nc;d\n")
                        && file("logo.png", &data[..100]),
                    "{parser}: {files:?}"
                );
            }
        }
    }
}
