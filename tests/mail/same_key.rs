//! Submissions under one key: one message, however often it is submitted, also after a crash.

use serde_json::json;

use crate::{
    mail_service::{MailService, QUICK},
    sink::Sink,
};

#[test]
fn a_hundred_simultaneous_submissions_are_one_message() {
    let sink = Sink::start();
    let mut service = MailService::new(sink.port, QUICK, "");
    let answers: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..100).map(|_| scope.spawn(|| service.submit_under(Some("invoice-4711"), json!({})))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let ids: std::collections::BTreeSet<String> = answers
        .iter()
        .map(|answer| {
            assert_eq!(answer.status, 202, "{}", answer.body);
            answer.json()["id"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_eq!(answers.iter().filter(|answer| answer.header("idempotency-replayed").is_none()).count(), 1);
    let id = ids.first().unwrap().clone();
    service.wait(&id, "delivered");
    assert_eq!(sink.received().len(), 1);

    // Another body under the key is an error, and nothing is sent.
    let other = service.submit_under(Some("invoice-4711"), json!({ "subject": "another" }));
    assert_eq!(other.status, 422, "{}", other.body);
    assert_eq!(other.json()["code"], "MW0264");
    // Another sender's key is another key.
    let token = service.repo.run(&["token", "create", "dev", "--name", "other", "--role", "sender"]).code(0).stdout;
    let authorization = format!("Bearer {}", token.trim());
    let body = crate::mail_service::message(json!({})).to_string();
    let headers = [("Authorization", authorization.as_str()), ("Idempotency-Key", "invoice-4711")];
    let others = service.repo.http_without_token("POST", "/v1/messages", &headers, body.as_bytes());
    assert!(others.status == 202 && others.json()["id"] != json!(id), "{}", others.body);
    service.wait(others.json()["id"].as_str().unwrap(), "delivered");
    service.restart();
    let again = service.submit_under(Some("invoice-4711"), json!({}));
    assert_eq!((again.status, again.json()["id"].as_str().unwrap()), (202, id.as_str()));
    assert_eq!(again.json()["status"], "delivered", "the response has the current status");
    assert_eq!(sink.received().len(), 2);
}

#[test]
fn a_document_is_not_sent_twice_without_a_confirmation() {
    let sink = Sink::start();
    let service = MailService::new(sink.port, QUICK, "");
    let invoice = |more: serde_json::Value| {
        let mut message = json!({ "document": { "type": "invoice", "number": "4711" } });
        message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        service.submit(message)
    };
    let first = invoice(json!({}));
    assert_eq!(first.status, 202);
    service.wait(first.json()["id"].as_str().unwrap(), "delivered");
    let second = invoice(json!({}));
    assert_eq!((second.status, second.json()["code"].as_str().unwrap()), (409, "MW0265"), "{}", second.body);
    assert_eq!(invoice(json!({ "company": "EDU2" })).status, 202, "another company has its own numbers");
    assert_eq!(
        invoice(json!({ "to": ["other-recipient@example.org"] })).status,
        202,
        "another recipient did not get it before"
    );
    assert_eq!(invoice(json!({ "allowDuplicate": true })).status, 202);
    let found = service.repo.http("GET", "/v1/messages?documentType=invoice&documentNumber=4711", &[], b"").json();
    assert_eq!(found["messages"].as_array().unwrap().len(), 4);
}

#[test]
fn a_recipient_with_a_copy_gets_no_other_when_another_recipient_failed() {
    let sink = Sink::start();
    let service = MailService::new(sink.port, QUICK, "");
    let invoice =
        |to: serde_json::Value| service.submit(json!({ "document": { "type": "invoice", "number": "1" }, "to": to }));
    let first = invoice(json!(["good@example.org", "550=bad@example.org"]));
    assert_eq!(first.status, 202, "{}", first.body);
    service.wait(first.json()["id"].as_str().unwrap(), "failed");
    let again = invoice(json!(["good@example.org"]));
    assert_eq!((again.status, again.json()["code"].as_str().unwrap()), (409, "MW0265"), "{}", again.body);
    // However many others had it since.
    for number in 0..25 {
        assert_eq!(invoice(json!([format!("other-{number}@example.org")])).status, 202);
    }
    assert_eq!(invoice(json!(["good@example.org"])).status, 409);
    assert_eq!(invoice(json!(["550=bad@example.org"])).status, 202, "who did not get it may");
    service.wait_empty();
    let copies = sink.received().iter().filter(|received| received.to.contains(&"good@example.org".to_owned())).count();
    assert_eq!(copies, 1);
}

#[test]
fn a_crash_during_a_hundred_submissions_leaves_one_message() {
    let sink = Sink::start();
    let mut service = MailService::new(sink.port, QUICK, "");
    let ids = std::sync::Mutex::new(std::collections::BTreeSet::new());
    let submit = |service: &MailService| {
        let address = service.repo.address().to_owned();
        let token = service.repo.token().to_owned();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let body = crate::mail_service::message(json!({}));
            let request = reqwest::Client::new().post(format!("{address}/v1/messages")).bearer_auth(token).json(&body);
            let answer = request.header("Idempotency-Key", "one").send().await.ok()?;
            assert_eq!(answer.status().as_u16(), 202);
            let message: serde_json::Value = answer.json().await.ok()?;
            ids.lock().unwrap().insert(message["id"].as_str().unwrap().to_owned());
            Some(())
        })
    };
    let pid = service.repo.service.as_ref().unwrap().child.id().to_string();
    let answered: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..100).map(|_| scope.spawn(|| usize::from(submit(&service).is_some()))).collect();
        // Somewhere in the middle of them.
        let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while ids.lock().unwrap().is_empty() && std::time::Instant::now() < until {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert!(std::process::Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    service.restart();
    // A client without a response asks again, and gets the same one as the others.
    submit(&service).unwrap();
    let ids = ids.lock().unwrap().clone();
    println!("{answered} of 100 were answered before the crash");
    assert_eq!(ids.len(), 1, "{ids:?}");
    service.wait_until(ids.first().unwrap(), "its end", |message| {
        message["status"] == "delivered" || message["status"] == "unknown"
    });
    assert!(sink.received().len() <= 1, "{}", sink.received().len());
}
