//! A restored store is recognized: queued messages are not sent again, no revoked token opens the service,
//! no answered submission is taken a second time. A crash does not count as a restore.

use std::path::Path;

use serde_json::{Value, json};

use crate::{
    mail_service::{LoadGenerator, MailService, QUICK, assert_nothing_lost, count},
    sink::{Action, Sink},
    support::repository::HttpResponse,
};

/// A backup of the database while the service runs, as docs/service.md says.
fn back_up(service: &MailService, name: &str) {
    let store = rusqlite::Connection::open(service.repo.path(".data/store.sqlite")).unwrap();
    store.execute("VACUUM INTO ?1", [service.repo.path(name).to_str().unwrap()]).unwrap();
}

/// Puts the database back, with the service stopped.
fn restore_folder(service: &MailService, name: &str) {
    let data = service.repo.path(".data");
    // A service that was stopped leaves nothing in the log of changes that would find its way into another database.
    let log = std::fs::metadata(data.join("store.sqlite-wal")).map_or(0, |found| found.len());
    assert_eq!(log, 0, "everything is in the one file");
    std::fs::copy(service.repo.path(name), data.join("store.sqlite")).unwrap();
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn serve(service: &mut MailService, more: &[&str]) {
    service.repo.serve_with(&[&["--demo"], more].concat());
}

/// Ends the service as an operator does, so that what it knows is written.
fn stop(service: &mut MailService) {
    let process = service.repo.service.as_mut().unwrap();
    let id = process.child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    process.child.wait().unwrap();
    service.repo.service = None;
}

fn hold(service: &MailService) -> String {
    let hold = service.repo.http("POST", "/v1/holds", &[], br#"{ "company": "EDU1", "reason": "r" }"#).json();
    hold["id"].as_str().unwrap().to_owned()
}

fn release(service: &MailService, hold: &str) {
    assert_eq!(service.repo.http("DELETE", &format!("/v1/holds/{hold}"), &[], b"").status, 204);
}

fn ask_as(service: &MailService, token: &str, path: &str) -> HttpResponse {
    service.repo.http_without_token("GET", path, &[("Authorization", &format!("Bearer {token}"))], b"")
}

fn new_token(service: &MailService, name: &str, role: &str) -> (String, String) {
    let made = service.repo.run(&["token", "create", "dev", "--name", name, "--role", role, "--format", "json"]);
    let made = made.code(0).json();
    (made["id"].as_str().unwrap().to_owned(), made["secret"].as_str().unwrap().to_owned())
}

fn audit(service: &MailService, action: &str) -> Vec<Value> {
    let entries = service.repo.run(&["audit", "list", "dev", "--format", "json"]).code(0).json()["entries"].clone();
    entries.as_array().unwrap().iter().filter(|entry| entry["action"] == action).cloned().collect()
}

#[test]
fn queued_messages_of_a_backup_are_not_sent_automatically() {
    let sink = Sink::start();
    let mut service =
        MailService::new(sink.port, &format!("{QUICK}  functions: {{ default: {{ unknown: retry }} }}\n"), "");
    let (id, revoked) = new_token(&service, "reader", "viewer");
    let held = hold(&service);
    let ids: Vec<String> = (0..3).map(|_| service.send(json!({}))).collect();
    let lease = |service: &MailService, holder: &str| {
        let body = json!({ "holder": holder, "seconds": 1 }).to_string();
        service.repo.http("POST", "/v1/leases/test", &[], body.as_bytes()).json()["token"].as_u64().unwrap()
    };
    back_up(&service, "backup.sqlite");
    let number = lease(&service, "another-client");
    release(&service, &held);
    for id in &ids {
        service.wait(id, "delivered");
    }
    let answered = service.submit_under(Some("answered"), json!({ "subject": "answered" }));
    assert_eq!(answered.status, 202);
    service.wait(answered.json()["id"].as_str().unwrap(), "delivered");
    service.repo.run(&["token", "revoke", "dev", &id]).code(0);
    assert_eq!(ask_as(&service, &revoked, "/v1/state").status, 401);
    let newest = service.outbox();
    assert_eq!(count(&newest, "delivered"), 4);
    stop(&mut service);
    restore_folder(&service, "backup.sqlite");
    serve(&mut service, &[]);

    assert!(service.log().contains("the store was restored from a backup"), "{}", service.log());
    let ready = service.repo.http_without_token("GET", "/readyz", &[], b"");
    assert_eq!((ready.status, ready.json()["code"].as_str()), (503, Some("MW0245")));
    let outbox = service.outbox();
    assert_eq!((count(&outbox, "unknown"), &outbox["restored"]["messages"]), (3, &json!(3)), "{outbox:#}");
    assert!(service.repo.run(&["outbox", "status", "dev"]).code(2).stdout.contains("restored from a backup"));
    for environment in ["dev", "de[v]"] {
        let filtered = service.repo.run(&["outbox", "status", environment, "--profile", "documents"]).code(2).stdout;
        assert!(filtered.contains("restored from a backup"), "{filtered}");
    }
    assert_eq!(audit(&service, "store.restored")[0]["detail"]["messages"], json!(3));
    assert_eq!(ask_as(&service, &revoked, "/v1/state").status, 401, "a revoked token stays revoked");
    assert!(lease(&service, "another") > number, "a number that was given out is not given out again");

    // A submission that was answered is not taken a second time, nor is any other until an operator confirms.
    let again = service.submit_under(Some("answered"), json!({ "subject": "answered" }));
    assert_eq!((again.status, again.json()["code"].as_str()), (503, Some("MW0245")));
    release(&service, &held);
    service.restart();
    assert_eq!(count(&service.outbox(), "unknown"), 3, "a restart confirms nothing");
    assert_eq!(sink.received().len(), 4, "nothing was sent again");
    assert_eq!(service.repo.http_without_token("GET", "/readyz", &[], b"").status, 503);

    // A person decides about each, and confirms.
    service.repo.run(&["outbox", "resolve", "dev", &ids[0], "--delivered", "--reason", "in the log"]).code(0);
    service.repo.run(&["outbox", "replay", "dev", &ids[1], "--yes"]).code(0);
    assert_eq!(service.wait(&ids[1], "delivered")["possibleDuplicate"], true);
    let confirm = |yes: &[&str]| service.repo.run(&[&["outbox", "confirm-restore", "dev"], yes].concat());
    assert!(confirm(&[]).code(1).stderr.contains("MW0233"));
    confirm(&["--yes"]).code(0);
    assert_eq!(service.repo.http_without_token("GET", "/readyz", &[], b"").status, 200);
    let new = service.send(json!({}));
    service.wait(&new, "delivered");
    assert_eq!(audit(&service, "store.restore-confirmed").len(), 1);
    service.repo.run(&["audit", "verify", "dev"]).code(0);
    service.restart();
    assert_eq!(service.outbox()["restored"], Value::Null, "what is confirmed stays so");
    // Unknown messages are those of all profiles.
    for environment in ["dev", "de[v]"] {
        let trouble = ["outbox", "status", environment, "--trouble"];
        assert_eq!(count(&service.outbox(), "unknown"), 1);
        service.repo.run(&trouble).code(2);
        service.repo.run(&[&trouble[..], &["--profile", "documents"]].concat()).code(0);
    }

    // The same backup once more.
    stop(&mut service);
    restore_folder(&service, "backup.sqlite");
    serve(&mut service, &[]);
    assert!(service.outbox()["restored"]["why"].is_string());
}

#[test]
fn a_restored_folder_is_reported_and_its_tokens_wait_for_confirmation() {
    let sink = Sink::start();
    let mut service = MailService::new(sink.port, QUICK, "");
    let (id, sender) = new_token(&service, "erp", "viewer");
    let old_admin = service.repo.token().to_owned();
    let held = hold(&service);
    service.send(json!({}));
    stop(&mut service);
    copy_folder(&service.repo.path(".data"), &service.repo.path("backup"));
    serve(&mut service, &[]);
    assert_eq!(service.outbox()["restored"], Value::Null);
    release(&service, &held);
    sink.wait_received(1);
    stop(&mut service);
    std::fs::remove_dir_all(service.repo.path(".data")).unwrap();
    copy_folder(&service.repo.path("backup"), &service.repo.path(".data"));
    serve(&mut service, &["--restored"]);
    // The new administrator's token is in the file that was asked for; those of the backup are suspended.
    assert_ne!(service.repo.token(), old_admin);
    for token in [&old_admin, &sender] {
        let answer = ask_as(&service, token, "/v1/state");
        assert_eq!((answer.status, answer.json()["code"].as_str()), (401, Some("MW0246")), "{}", answer.body);
    }
    assert_eq!(count(&service.outbox(), "unknown"), 1);
    assert!(service.repo.run(&["token", "list", "dev"]).code(0).stdout.contains("suspended"));
    service.repo.run(&["token", "confirm", "dev", &id]).code(0);
    assert_eq!(ask_as(&service, &sender, "/v1/state").status, 200);
    assert_eq!(ask_as(&service, &old_admin, "/v1/state").status, 401);
    service.repo.run(&["outbox", "confirm-restore", "dev", "--yes"]).code(0);
    service.repo.run(&["audit", "verify", "dev"]).code(0);
    assert_eq!(sink.received().len(), 1);

    // A store in another folder, with its key alone: revocations are unknown as well.
    stop(&mut service);
    std::fs::remove_file(service.repo.path(".data/store.position")).unwrap();
    serve(&mut service, &[]);
    let outbox = service.outbox();
    assert!(outbox["restored"]["why"].as_str().unwrap().contains("store.position"), "{outbox:#}");
    assert_eq!(ask_as(&service, &sender, "/v1/state").status, 401);
}

#[test]
fn a_crash_does_not_count_as_a_restore() {
    let sink = Sink::start();
    sink.on("dot", Action::Slowly(2));
    let mut service = MailService::new(sink.port, QUICK, "limits: { concurrency: 8 }\n");
    let load = LoadGenerator::start(&service, 3, std::time::Duration::from_millis(5));
    for round in 1..=6 {
        std::thread::sleep(std::time::Duration::from_millis(150 * round));
        service.restart();
        load.moved(&service);
        assert_eq!(service.outbox()["restored"], Value::Null, "after kill {round}");
        assert_eq!(service.repo.http_without_token("GET", "/readyz", &[], b"").status, 200);
    }
    let accepted = load.end();
    service.wait_empty();
    let mut arrived = std::collections::BTreeMap::new();
    for received in sink.received() {
        *arrived.entry(received.header("message-id").unwrap()).or_insert(0) += 1;
    }
    assert_nothing_lost(&service, &accepted, &arrived);
    // Killed before it had written how far it came, too.
    service.send(json!({}));
    service.restart();
    assert_eq!(service.outbox()["restored"], Value::Null);
    service.repo.run(&["audit", "verify", "dev"]).code(0);
}

#[test]
fn a_new_store_in_an_old_folder_is_new() {
    let sink = Sink::start();
    let mut service = MailService::new(sink.port, QUICK, "");
    let id = service.send(json!({}));
    service.wait(&id, "delivered");
    stop(&mut service);
    for file in ["store.sqlite", "store.sqlite-wal", "store.sqlite-shm"] {
        drop(std::fs::remove_file(service.repo.path(&format!(".data/{file}"))));
    }
    serve(&mut service, &[]);
    assert_eq!(service.outbox()["restored"], Value::Null);
    service.apply();
    let id = service.send(json!({}));
    service.wait(&id, "delivered");
}
