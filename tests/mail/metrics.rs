//! Metrics and log lines of mail: what dashboards and alert rules name exists in a real scrape, series are bounded, and every
//! JSON line of the log has each key once and no address of a recipient.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::{Value, json};

use crate::{
    mail_service::{MailService, QUICK},
    sink::{Action, Sink},
    support::tools,
};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A service that has delivered, failed, retried, suspended and held something.
fn busy_service(sink: &Sink) -> MailService {
    sink.users(&[("mailer", "right-password")]);
    let service = MailService::guarded(sink.port, QUICK, "none", true);
    let delivered = service.send(json!({ "document": { "type": "invoice", "number": "4711" } }));
    service.wait(&delivered, "delivered");
    sink.on("rcpt", Action::ReplyTimes(1, "451 4.7.1 greylisted"));
    let retried = service.send(json!({}));
    service.wait(&retried, "delivered");
    sink.on("rcpt", Action::Reply("550 5.1.1 <customer@example.org> no such mailbox"));
    let failed = service.send(json!({}));
    service.wait(&failed, "failed");
    sink.on("rcpt", Action::Usual);
    sink.on("auth", Action::Reply("535 5.7.8 authentication failed"));
    sink.on("mail", Action::HangUpTimes(1));
    service.send(json!({}));
    service
}

/// Returns the samples of a scrape: name with labels, and value.
fn scrape(service: &MailService) -> (String, BTreeMap<String, f64>) {
    let answer = service.repo.http("GET", "/metrics", &[], b"");
    assert_eq!(answer.status, 200, "{}", answer.body);
    let samples = answer.body.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let (name, value) = line.rsplit_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    });
    (answer.body.clone(), samples.collect())
}

/// Returns the value of a series, whatever the order of its labels; -1 if it does not exist.
fn find(samples: &BTreeMap<String, f64>, series: &str) -> f64 {
    let parts = |text: &str| text.split(['{', '}', ',']).map(str::to_owned).collect::<BTreeSet<_>>();
    let wanted = parts(series);
    samples.iter().find(|(name, _)| parts(name) == wanted).map_or(-1.0, |(_, value)| *value)
}

/// Returns the names of metrics in a text.
fn metric_names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("mailwright_")).map(str::to_owned).collect()
}

#[test]
fn every_metric_of_the_dashboard_and_the_rules_exists_in_a_scrape() {
    let sink = Sink::start();
    let service = busy_service(&sink);
    service.wait_outbox("the suspension", |outbox| outbox["waiting"][0]["reason"] == "suspended");
    let (text, samples) = scrape(&service);
    let exists: BTreeSet<String> = samples.keys().map(|name| name.split('{').next().unwrap().to_owned()).collect();
    for file in ["templates/grafana-dashboard.json", "templates/prometheus-rules.yml"] {
        let named = metric_names(&std::fs::read_to_string(root().join(file)).unwrap());
        assert!(named.len() > 5, "{file}: {named:?}");
        let missing: Vec<_> = named.difference(&exists).collect();
        assert!(missing.is_empty(), "{file} names {missing:?}, which do not exist:\n{text}");
    }
    // The reference describes exactly those that exist here, and some that need more to happen.
    let documented = metric_names(&std::fs::read_to_string(root().join("docs/metrics.md")).unwrap());
    let base = |name: &String| {
        ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name).to_owned()
    };
    let missing: Vec<String> = exists.iter().map(base).filter(|name| !documented.contains(name)).collect();
    assert!(missing.is_empty(), "docs/metrics.md lacks {missing:?}");

    let value = |series: &str| find(&samples, series).to_string();
    assert_eq!(value("mailwright_messages{status=\"delivered\"}"), "2", "{text}");
    assert_eq!(value("mailwright_queue_messages{profile=\"relay\",reason=\"suspended\"}"), "1", "{text}");
    assert_eq!(value("mailwright_profile_suspended{profile=\"relay\"}"), "1", "{text}");
    assert_eq!(value("mailwright_messages_finished_total{profile=\"relay\",status=\"failed\"}"), "1", "{text}");
    assert_eq!(value("mailwright_attempts_total{profile=\"relay\",outcome=\"transient\"}"), "1", "{text}");
    assert_eq!(value("mailwright_delivery_seconds_count"), "2", "{text}");
    assert_eq!(value("mailwright_delivery_leader"), "1", "{text}");

    // What has ended is not reported any more.
    sink.on("auth", Action::Usual);
    service.wait_empty();
    let (text, samples) = scrape(&service);
    let value = |series: &str| find(&samples, series).to_string();
    assert_eq!(value("mailwright_queue_messages{profile=\"relay\",reason=\"suspended\"}"), "0", "{text}");
    assert_eq!(value("mailwright_queue_oldest_seconds{profile=\"relay\"}"), "0", "{text}");
    assert_eq!(value("mailwright_profile_suspended{profile=\"relay\"}"), "0", "{text}");
    check_metrics(&text);
}

/// Lets promtool parse and lint a scrape.
fn check_metrics(text: &str) {
    use std::io::Write as _;
    let mut promtool = Command::new(tools::tool("promtool"));
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = promtool.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(!said.contains("error while linting") && output.status.code() != Some(1), "{said}");
}

#[test]
fn the_alert_rules_are_valid_and_fire() {
    let run = |arguments: &[&str], file: &Path| {
        let output = Command::new(tools::tool("promtool")).args(arguments).arg(file).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
    };
    run(&["check", "rules", "--lint=all", "--lint-fatal"], &root().join("templates/prometheus-rules.yml"));
    run(&["test", "rules"], &root().join("tests/fixtures/prometheus-rules.test.yml"));
}

/// Reads a JSON object and fails at a key that occurs twice.
struct UniqueKeys;

impl<'de> Visitor<'de> for UniqueKeys {
    type Value = BTreeMap<String, Value>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("an object with unique keys")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = BTreeMap::new();
        while let Some((key, value)) = map.next_entry::<String, Value>()? {
            if found.insert(key.clone(), value).is_some() {
                return Err(serde::de::Error::custom(format!("the key `{key}` occurs twice")));
            }
        }
        Ok(found)
    }
}

#[test]
fn log_lines_follow_a_message_and_have_each_key_once() {
    let sink = Sink::start();
    let service = busy_service(&sink);
    let outbox = service.wait_outbox("the suspension", |outbox| outbox["waiting"][0]["reason"] == "suspended");
    assert_eq!(outbox["messages"]["failed"], 1);
    let log = service.repo.service.as_ref().unwrap().log.lock().unwrap().clone();
    let lines: Vec<BTreeMap<String, Value>> = log
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| {
            let mut reader = serde_json::Deserializer::from_str(line);
            reader.deserialize_map(UniqueKeys).unwrap_or_else(|error| panic!("{error}: {line}"))
        })
        .collect();
    let with = |message: &str| lines.iter().filter(|line| line["message"] == message).collect::<Vec<_>>();
    let accepted = with("message accepted");
    assert_eq!(accepted.len(), 4, "{log}");
    let finished: Vec<&Value> = with("message finished").iter().map(|line| &line["status"]).collect();
    assert_eq!(finished, ["delivered", "delivered", "failed"], "{log}");
    let ids: BTreeSet<&str> = accepted.iter().filter_map(|line| line["message_id"].as_str()).collect();
    assert_eq!(ids.len(), 4);
    let attempts = with("an attempt failed");
    assert!(!attempts.is_empty() && attempts.iter().all(|line| ids.contains(line["message_id"].as_str().unwrap())));
    let codes: Vec<&str> = attempts.iter().filter_map(|line| line["code"].as_str()).collect();
    assert!(codes.contains(&"535 5.7.8"), "{codes:?}");
    assert!(!log.contains("customer@"), "no address of a recipient: {log}");
}
