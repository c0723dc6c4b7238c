//! A store that was put back from a backup is noticed: what waited is not sent again, no revoked token opens the service,
//! no answered submission is taken a second time. A crash is no restore.

use std::path::Path;

use serde_json::{Value, json};

use crate::{
    harness::{Load, Post, QUICK, count, nothing_is_lost},
    sink::{Act, Sink},
    support::trial::Answer,
};

/// A backup of the database while the service runs, as docs/service.md says.
fn back_up(post: &Post, name: &str) {
    let store = rusqlite::Connection::open(post.trial.path(".data/store.sqlite")).unwrap();
    store.execute("VACUUM INTO ?1", [post.trial.path(name).to_str().unwrap()]).unwrap();
}

/// Puts the database back, with the service stopped.
fn put_back(post: &Post, name: &str) {
    let data = post.trial.path(".data");
    // A service that was stopped leaves nothing in the log of changes that would find its way into another database.
    let log = std::fs::metadata(data.join("store.sqlite-wal")).map_or(0, |found| found.len());
    assert_eq!(log, 0, "everything is in the one file");
    std::fs::copy(post.trial.path(name), data.join("store.sqlite")).unwrap();
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn serve(post: &mut Post, more: &[&str]) {
    post.trial.serve_with(&[&["--demo"], more].concat());
}

/// Ends the service as an operator does, so that what it knows is written.
fn stop(post: &mut Post) {
    let service = post.trial.service.as_mut().unwrap();
    let id = service.child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    service.child.wait().unwrap();
    post.trial.service = None;
}

fn hold(post: &Post) -> String {
    let hold = post.trial.http("POST", "/v1/holds", &[], br#"{ "company": "EDU1", "reason": "r" }"#).json();
    hold["id"].as_str().unwrap().to_owned()
}

fn release(post: &Post, hold: &str) {
    assert_eq!(post.trial.http("DELETE", &format!("/v1/holds/{hold}"), &[], b"").status, 204);
}

fn ask_as(post: &Post, token: &str, path: &str) -> Answer {
    post.trial.http_as_anybody("GET", path, &[("Authorization", &format!("Bearer {token}"))], b"")
}

fn new_token(post: &Post, name: &str, role: &str) -> (String, String) {
    let made = post.trial.run(&["token", "create", "dev", "--name", name, "--role", role, "--format", "json"]);
    let made = made.code(0).json();
    (made["id"].as_str().unwrap().to_owned(), made["secret"].as_str().unwrap().to_owned())
}

fn audit(post: &Post, action: &str) -> Vec<Value> {
    let entries = post.trial.run(&["audit", "list", "dev", "--format", "json"]).code(0).json()["entries"].clone();
    entries.as_array().unwrap().iter().filter(|entry| entry["action"] == action).cloned().collect()
}

#[test]
fn what_waited_in_the_backup_is_not_sent_again_by_itself() {
    let sink = Sink::start();
    let mut post = Post::new(sink.port, &format!("{QUICK}  functions: {{ default: {{ unknown: retry }} }}\n"), "");
    let (id, revoked) = new_token(&post, "reader", "viewer");
    let held = hold(&post);
    let ids: Vec<String> = (0..3).map(|_| post.send(json!({}))).collect();
    let lease = |post: &Post, holder: &str| {
        let body = json!({ "holder": holder, "seconds": 1 }).to_string();
        post.trial.http("POST", "/v1/leases/test", &[], body.as_bytes()).json()["token"].as_u64().unwrap()
    };
    back_up(&post, "backup.sqlite");
    let number = lease(&post, "somebody");
    release(&post, &held);
    for id in &ids {
        post.wait(id, "delivered");
    }
    let answered = post.submit_under(Some("answered"), json!({ "subject": "answered" }));
    assert_eq!(answered.status, 202);
    post.wait(answered.json()["id"].as_str().unwrap(), "delivered");
    post.trial.run(&["token", "revoke", "dev", &id]).code(0);
    assert_eq!(ask_as(&post, &revoked, "/v1/state").status, 401);
    let newest = post.outbox();
    assert_eq!(count(&newest, "delivered"), 4);
    stop(&mut post);
    put_back(&post, "backup.sqlite");
    serve(&mut post, &[]);

    assert!(post.log().contains("the store was restored from a backup"), "{}", post.log());
    let ready = post.trial.http_as_anybody("GET", "/readyz", &[], b"");
    assert_eq!((ready.status, ready.json()["code"].as_str()), (503, Some("MW0245")));
    let outbox = post.outbox();
    assert_eq!((count(&outbox, "unknown"), &outbox["restored"]["messages"]), (3, &json!(3)), "{outbox:#}");
    assert!(post.trial.run(&["outbox", "dev", "status"]).code(0).stdout.contains("restored from a backup"));
    assert_eq!(audit(&post, "store.restored")[0]["detail"]["messages"], json!(3));
    assert_eq!(ask_as(&post, &revoked, "/v1/state").status, 401, "a revoked token stays revoked");
    assert!(lease(&post, "another") > number, "a number that was given out is not given out again");

    // A submission that was answered is not taken a second time, nor is any other until somebody confirms.
    let again = post.submit_under(Some("answered"), json!({ "subject": "answered" }));
    assert_eq!((again.status, again.json()["code"].as_str()), (503, Some("MW0245")));
    release(&post, &held);
    post.restart();
    assert_eq!(count(&post.outbox(), "unknown"), 3, "a restart confirms nothing");
    assert_eq!(sink.taken().len(), 4, "nothing was sent again");
    assert_eq!(post.trial.http_as_anybody("GET", "/readyz", &[], b"").status, 503);

    // A person decides about each, and confirms.
    post.trial.run(&["outbox", "dev", "resolve", &ids[0], "--delivered", "--reason", "in the log"]).code(0);
    post.trial.run(&["outbox", "dev", "replay", &ids[1], "--yes"]).code(0);
    assert_eq!(post.wait(&ids[1], "delivered")["possibleDuplicate"], true);
    let confirm = |yes: &[&str]| post.trial.run(&[&["outbox", "dev", "confirm-restore"], yes].concat());
    assert!(confirm(&[]).code(1).stderr.contains("MW0233"));
    confirm(&["--yes"]).code(0);
    assert_eq!(post.trial.http_as_anybody("GET", "/readyz", &[], b"").status, 200);
    let new = post.send(json!({}));
    post.wait(&new, "delivered");
    assert_eq!(audit(&post, "store.restore-confirmed").len(), 1);
    post.trial.run(&["audit", "verify", "dev"]).code(0);
    post.restart();
    assert_eq!(post.outbox()["restored"], Value::Null, "what is confirmed stays so");

    // The same backup once more.
    stop(&mut post);
    put_back(&post, "backup.sqlite");
    serve(&mut post, &[]);
    assert!(post.outbox()["restored"]["why"].is_string());
}

#[test]
fn a_folder_that_was_put_back_is_said_to_be_and_tokens_wait_to_be_confirmed() {
    let sink = Sink::start();
    let mut post = Post::new(sink.port, QUICK, "");
    let (id, sender) = new_token(&post, "erp", "viewer");
    let old_admin = post.trial.token().to_owned();
    let held = hold(&post);
    post.send(json!({}));
    stop(&mut post);
    copy_folder(&post.trial.path(".data"), &post.trial.path("backup"));
    serve(&mut post, &[]);
    assert_eq!(post.outbox()["restored"], Value::Null);
    release(&post, &held);
    sink.wait_taken(1);
    stop(&mut post);
    std::fs::remove_dir_all(post.trial.path(".data")).unwrap();
    copy_folder(&post.trial.path("backup"), &post.trial.path(".data"));
    serve(&mut post, &["--restored"]);
    // The new administrator's token is in the file that was asked for; those of the backup are suspended.
    assert_ne!(post.trial.token(), old_admin);
    for token in [&old_admin, &sender] {
        let answer = ask_as(&post, token, "/v1/state");
        assert_eq!((answer.status, answer.json()["code"].as_str()), (401, Some("MW0246")), "{}", answer.body);
    }
    assert_eq!(count(&post.outbox(), "unknown"), 1);
    assert!(post.trial.run(&["token", "list", "dev"]).code(0).stdout.contains("suspended"));
    post.trial.run(&["token", "confirm", "dev", &id]).code(0);
    assert_eq!(ask_as(&post, &sender, "/v1/state").status, 200);
    assert_eq!(ask_as(&post, &old_admin, "/v1/state").status, 401);
    post.trial.run(&["outbox", "dev", "confirm-restore", "--yes"]).code(0);
    post.trial.run(&["audit", "verify", "dev"]).code(0);
    assert_eq!(sink.taken().len(), 1);

    // A store in another folder, with its key alone: nobody knows what was revoked either.
    stop(&mut post);
    std::fs::remove_file(post.trial.path(".data/store.position")).unwrap();
    serve(&mut post, &[]);
    let outbox = post.outbox();
    assert!(outbox["restored"]["why"].as_str().unwrap().contains("store.position"), "{outbox:#}");
    assert_eq!(ask_as(&post, &sender, "/v1/state").status, 401);
}

#[test]
fn a_crash_is_no_restore() {
    let sink = Sink::start();
    sink.at("dot", Act::Slowly(2));
    let mut post = Post::new(sink.port, QUICK, "limits: { concurrency: 8 }\n");
    let load = Load::start(&post, 3, std::time::Duration::from_millis(5));
    for round in 1..=6 {
        std::thread::sleep(std::time::Duration::from_millis(150 * round));
        post.restart();
        load.moved(&post);
        assert_eq!(post.outbox()["restored"], Value::Null, "after kill {round}");
        assert_eq!(post.trial.http_as_anybody("GET", "/readyz", &[], b"").status, 200);
    }
    let accepted = load.end();
    post.wait_empty();
    let mut arrived = std::collections::BTreeMap::new();
    for taken in sink.taken() {
        *arrived.entry(taken.header("message-id").unwrap()).or_insert(0) += 1;
    }
    nothing_is_lost(&post, &accepted, &arrived);
    // Killed before it had written how far it came, too.
    post.send(json!({}));
    post.restart();
    assert_eq!(post.outbox()["restored"], Value::Null);
    post.trial.run(&["audit", "verify", "dev"]).code(0);
}

#[test]
fn a_new_store_in_an_old_folder_is_new() {
    let sink = Sink::start();
    let mut post = Post::new(sink.port, QUICK, "");
    let id = post.send(json!({}));
    post.wait(&id, "delivered");
    stop(&mut post);
    for file in ["store.sqlite", "store.sqlite-wal", "store.sqlite-shm"] {
        drop(std::fs::remove_file(post.trial.path(&format!(".data/{file}"))));
    }
    serve(&mut post, &[]);
    assert_eq!(post.outbox()["restored"], Value::Null);
    post.apply();
    let id = post.send(json!({}));
    post.wait(&id, "delivered");
}
