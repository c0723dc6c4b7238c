//! Webhooks: signed so that a receiver needs only a public key, repeated until the receiver accepts them, in order,
//! across restarts.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::{
    mail_service::{MailService, QUICK},
    sink::Sink,
    support::postfix::wait_for,
};

/// A receiver of webhooks.
struct WebhookReceiver {
    port: u16,
    calls: Arc<Mutex<Vec<(String, String)>>>,
    refuses: Arc<AtomicBool>,
}

impl WebhookReceiver {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let receiver =
            Self { port: listener.local_addr().unwrap().port(), calls: Arc::default(), refuses: Arc::default() };
        let (calls, refuses) = (Arc::clone(&receiver.calls), Arc::clone(&receiver.refuses));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (calls, refuses) = (Arc::clone(&calls), Arc::clone(&refuses));
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(stream.try_clone().unwrap());
                    loop {
                        let (mut head, mut length) = (String::new(), 0);
                        loop {
                            let mut line = String::new();
                            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                                return;
                            }
                            if let Some(text) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                                length = text.trim().parse().unwrap();
                            }
                            if line == "\r\n" {
                                break;
                            }
                            head.push_str(&line);
                        }
                        let mut body = vec![0; length];
                        reader.read_exact(&mut body).unwrap();
                        let status =
                            if refuses.load(Ordering::Relaxed) { "503 Service Unavailable" } else { "204 No Content" };
                        if status.starts_with('2') {
                            calls.lock().unwrap().push((head, String::from_utf8(body).unwrap()));
                        }
                        stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes()).unwrap();
                    }
                });
            }
        });
        receiver
    }

    fn wait(&self, count: usize) -> Vec<(String, String)> {
        wait_for(|| self.calls.lock().unwrap().len() >= count, "the webhook to be called");
        self.calls.lock().unwrap().clone()
    }
}

fn header(head: &str, name: &str) -> String {
    let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}: "))).unwrap();
    line.split_once(": ").unwrap().1.to_owned()
}

#[test]
fn each_event_arrives_signed_and_in_order() {
    let (sink, receiver) = (Sink::start(), WebhookReceiver::start());
    let delivery = format!(
        "{QUICK}  webhooks: [{{ url: \"http://127.0.0.1:{}/hook\", events: [delivered, failed] }}]\n",
        receiver.port
    );
    let mut service = MailService::new(sink.port, &delivery, "");
    let key = service.repo.http("GET", "/v1/service", &[], b"").json()["webhookKey"].as_str().unwrap().to_owned();
    let key = BASE64_STANDARD.decode(key.strip_prefix("whpk_").unwrap()).unwrap();
    // It listens a little later, so that it is known to the service by now.
    std::thread::sleep(std::time::Duration::from_millis(500));
    let id = service.send(json!({ "document": { "type": "invoice", "number": "1" } }));
    service.wait(&id, "delivered");
    let calls = receiver.wait(1);
    let (head, body) = &calls[0];
    let signed = format!("{}.{}.{body}", header(head, "webhook-id"), header(head, "webhook-timestamp"));
    let signature = header(head, "webhook-signature");
    let signature = BASE64_STANDARD.decode(signature.strip_prefix("v1a,").unwrap()).unwrap();
    let public = UnparsedPublicKey::new(&ED25519, &key);
    public.verify(signed.as_bytes(), &signature).unwrap();
    assert!(public.verify(format!("{signed} ").as_bytes(), &signature).is_err());
    let event: Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        (&event["type"], &event["message"]["id"], &event["message"]["document"]["number"]),
        (&json!("delivered"), &json!(id), &json!("1"))
    );

    // It does not listen for a while, and the service is killed meanwhile: nothing is missed, and the order is kept.
    receiver.refuses.store(true, Ordering::Relaxed);
    let failed = service.send(json!({ "to": ["550=gone@example.org"] }));
    service.wait(&failed, "failed");
    let later = service.send(json!({}));
    service.wait(&later, "delivered");
    service.restart();
    receiver.refuses.store(false, Ordering::Relaxed);
    let calls = receiver.wait(3);
    let ids: Vec<Value> =
        calls.iter().map(|(_, body)| serde_json::from_str::<Value>(body).unwrap()["message"]["id"].clone()).collect();
    assert_eq!(ids, [json!(id), json!(failed), json!(later)]);
}

#[test]
fn a_webhook_that_does_not_respond_delays_no_other() {
    let (sink, quick) = (Sink::start(), WebhookReceiver::start());
    // It takes the call, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let (called, given_up) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let flags = (Arc::clone(&called), Arc::clone(&given_up));
    std::thread::spawn(move || {
        let (mut stream, _) = silent.accept().unwrap();
        flags.0.store(true, Ordering::Relaxed);
        while stream.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {}
        flags.1.store(true, Ordering::Relaxed);
    });
    let delivery = format!(
        "{QUICK}  webhooks: [{{ url: \"http://127.0.0.1:{port}/\" }}, {{ url: \"http://127.0.0.1:{}/\" }}]\n",
        quick.port
    );
    let service = MailService::new(sink.port, &delivery, "");
    std::thread::sleep(std::time::Duration::from_millis(500));
    let first = service.send(json!({}));
    service.wait(&first, "delivered");
    wait_for(|| called.load(Ordering::Relaxed), "the silent one to be called");
    let second = service.send(json!({}));
    service.wait(&second, "delivered");
    quick.wait(2);
    assert!(!given_up.load(Ordering::Relaxed), "the other one heard only after the silent one was given up");
}
