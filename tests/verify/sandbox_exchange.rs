//! The manners of Exchange: `sendMail` as the generated SDKs write it, and SMTP with Python's own client.

use crate::support::{
    sandbox::{DIRECT, SECRET, Sandbox, TENANT, good},
    tools::tool,
};
use serde_json::{Value, json};

const SENDER: &str = "documents@contoso.example";

fn recipients(list: &str, address: &str) -> Value {
    json!({ "subject": "x", list: [{ "emailAddress": { "address": address } }] })
}

#[test]
fn send_mail_takes_what_graph_takes_and_refuses_what_graph_refuses() {
    let mut scenario = good();
    scenario["tenants"][0]["users"][0]["sendAs"] = json!(["shared@contoso.example"]);
    let sandbox = Sandbox::start(scenario);
    let (_, token) = sandbox.sign_in(DIRECT, SECRET);
    let send = |body: &Value| {
        let url = format!("{}/v1.0/users/{SENDER}/sendMail", sandbox.running.address);
        let request = sandbox.http.post(url).bearer_auth(token["access_token"].as_str().unwrap()).json(body);
        sandbox.runtime.block_on(async {
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
        })
    };
    let to = recipients("toRecipients", "a@elsewhere.example");
    let from = |address: &str| {
        let mut message = to.clone();
        message["from"] = json!({ "emailAddress": { "address": address } });
        json!({ "message": message })
    };
    // The names of CSDL, which generated SDKs use, and those of the reference.
    for body in [
        json!({ "Message": to, "SaveToSentItems": false }),
        json!({ "message": to, "saveToSentItems": "true" }),
        json!({ "message": recipients("ccRecipients", "a@elsewhere.example") }),
        json!({ "message": recipients("bccRecipients", "a@elsewhere.example") }),
        from("invoices@contoso.example"),
        from("shared@contoso.example"),
    ] {
        assert_eq!(send(&body), (202, Value::Null), "{body}");
    }
    let not_resolved = "At least one recipient is not valid., Recipient 'unknown' is not resolved. All recipients must be resolved before a message can be submitted.";
    for (body, status, code, message) in [
        (json!({}), 400, "ErrorInvalidParameter", None),
        (json!({ "message": { "subject": "x" } }), 400, "ErrorInvalidRecipients", None),
        (
            json!({ "message": recipients("ccRecipients", "unknown") }),
            400,
            "ErrorInvalidRecipients",
            Some(not_resolved),
        ),
        (json!({ "message": recipients("toRecipients", "a.@elsewhere.example") }), 400, "ErrorInvalidRecipients", None),
        (
            json!({ "message": recipients("toRecipients", "a@b.example; c@d.example") }),
            400,
            "ErrorInvalidRecipients",
            None,
        ),
        (from("alice@contoso.example"), 403, "ErrorSendAsDenied", None),
    ] {
        let (found, reply) = send(&body);
        assert_eq!((found, &reply["error"]["code"]), (status, &json!(code)), "{body}: {reply}");
        if let Some(message) = message {
            assert_eq!(reply["error"]["message"], message);
        }
    }
    let sent = sandbox.get("mail");
    assert_eq!(sent.as_array().unwrap().len(), 6, "{sent}");
    assert_eq!(sent[0]["mail"]["saveToSentItems"], false);
}

#[test]
fn smtp_is_exchanges_to_pythons_client() {
    let mut scenario = good();
    let tenant = &mut scenario["tenants"][0];
    tenant["applications"][0]["granted"] = json!(["SMTP.SendAsApp"]);
    tenant["users"][0]["sendAs"] = json!(["shared@contoso.example"]);
    scenario["smtp"] = json!({ "users": { SENDER: "mailbox-password", "relay": "relay-password" }, "size": 100_000 });
    let sandbox = Sandbox::start(scenario);
    let place = tempfile::tempdir().unwrap();
    let file = |name: &str| place.path().join(name).display().to_string();
    std::fs::write(file("ca.pem"), &sandbox.running.authority).unwrap();
    let given = json!({
        "address": sandbox.running.address, "tenant": TENANT, "ca": file("ca.pem"), "port": sandbox.running.smtp.port(),
        "direct": DIRECT, "secret": SECRET, "user": SENDER, "password": "mailbox-password",
    });
    std::fs::write(file("given.json"), given.to_string()).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/smtp_python.py");
    let output = std::process::Command::new(tool("python3")).args([script, &file("given.json")]).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(printed.lines().filter(|line| line.starts_with("ok ")).count(), 7, "{printed}");
    let senders: Vec<Value> = sandbox.get("mail").as_array().unwrap().iter().map(|sent| sent["from"].clone()).collect();
    assert_eq!(senders, [SENDER, "shared@contoso.example", SENDER, "anybody@contoso.example", SENDER]);
}
