//! Faults of the sandbox's mail server, and its certificate authority between starts.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpStream},
};

use mailwright::sandbox::{Ports, SandboxServer, Scenario};
use serde_json::json;

use crate::support::sandbox::Sandbox;

/// A client that sends a line and reads the reply.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(address: SocketAddr) -> Self {
        Self(BufReader::new(TcpStream::connect(address).unwrap()))
    }

    /// Returns the last line of a reply; an empty text if the connection has ended.
    fn reply(&mut self) -> String {
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).unwrap_or_default() == 0 {
                return String::new();
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                return line.trim_end().to_owned();
            }
        }
    }

    fn say(&mut self, line: &str) -> String {
        self.0.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap();
        self.reply()
    }

    /// Sends the envelope and the contents, and returns the reply to the last dot.
    fn send(&mut self) -> String {
        assert!(self.say("MAIL FROM:<a@example.com>").starts_with("250"));
        assert!(self.say("RCPT TO:<b@example.com>").starts_with("250"));
        assert!(self.say("DATA").starts_with("354"));
        self.say("Subject: x\r\n\r\nhello\r\n.")
    }
}

#[test]
fn the_mail_server_has_faults_in_every_phase_and_they_can_be_removed() {
    let sandbox = Sandbox::start(json!({ "faults": [
        { "at": "smtp/greeting", "status": 421, "times": 1 },
        { "at": "smtp/rcpt", "status": 451, "times": 1 },
        { "at": "smtp/mail", "status": 432, "code": "4.3.2", "text": "thread limit exceeded", "times": 1 },
        { "at": "smtp/dot", "status": 452, "times": 1 },
    ] }));
    let address = sandbox.running.smtp;
    let mut refused = Client::connect(address);
    assert_eq!(refused.reply(), "421 4.3.0 Fault of the scenario");
    assert_eq!(refused.reply(), "", "421 ends the connection");
    let mut client = Client::connect(address);
    assert!(client.reply().starts_with("220"));
    assert!(client.say("EHLO test").starts_with("250"));
    assert_eq!(client.say("MAIL FROM:<a@example.com>"), "432 4.3.2 thread limit exceeded");
    assert!(client.say("MAIL FROM:<a@example.com>").starts_with("250"));
    assert_eq!(client.say("RCPT TO:<b@example.com>"), "451 4.3.0 Fault of the scenario");
    assert!(client.send().starts_with("452"));
    assert_eq!(sandbox.get("mail").as_array().unwrap().len(), 0);

    // The connection ends after the dot, and the mail was accepted all the same.
    sandbox.fault(&json!({ "at": "smtp/dot", "reset": true, "after": true }));
    assert_eq!(client.send(), "");
    assert_eq!(sandbox.get("mail").as_array().unwrap().len(), 1);
    let mut client = Client::connect(address);
    client.reply();
    sandbox.fault(&json!({ "at": "smtp/data", "status": 451 }));
    let remove = |query: &str| {
        let url = format!("{}/sandbox/faults{query}", sandbox.running.address);
        assert_eq!(sandbox.runtime.block_on(sandbox.http.delete(url).send()).unwrap().status(), 204);
    };
    remove("?at=smtp/dot");
    let left = sandbox.get("faults")["faults"].clone();
    assert!(left.as_array().unwrap().iter().all(|fault| fault["at"] != "smtp/dot"), "{left}");
    assert!(left.as_array().unwrap().iter().any(|fault| fault["at"] == "smtp/data"), "{left}");
    remove("");
    assert_eq!(sandbox.get("faults")["faults"], json!([]));
    assert!(client.send().starts_with("250"));
    // Entra and Graph are not concerned by a fault of the mail server, nor the other way round.
    sandbox.fault(&json!({ "at": "", "status": 503 }));
    assert!(client.send().starts_with("250"));
}

#[test]
fn an_authority_that_is_kept_is_the_same_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ports = Ports { https: 0, smtp: 0, smtps: 0, dns: 0 };
    let start = |folder: Option<&std::path::Path>| {
        runtime.block_on(SandboxServer::start_with_authority(Scenario::default(), ports, folder)).unwrap()
    };
    let kept = folder.path().join("authority");
    let first = start(Some(&kept)).authority;
    let second = start(Some(&kept));
    assert_eq!(first, second.authority);
    assert_ne!(first, start(None).authority);
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(kept.join("ca-key.pem")).unwrap());
    assert_eq!(mode & 0o077, 0, "only its owner can read the key");
    // A client that trusts the authority of the first start reaches the second one.
    let authority = reqwest::Certificate::from_pem(first.as_bytes()).unwrap();
    let http = reqwest::Client::builder().add_root_certificate(authority).build().unwrap();
    let url = format!("{}/sandbox/faults", second.address);
    assert_eq!(runtime.block_on(http.get(url).send()).unwrap().status(), 200);
}
