//! The outbox in the console: search, pages, actions on one message and on all that match, holds, and who may do what.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    time::Duration,
};

use super::client::Client;
use crate::support::repository::TestRepository;
use mailwright::{
    model::Message,
    store::{
        SqliteStore, Store as _,
        outbox::{Messages as _, NewMessage},
    },
};
use serde_json::json;

const HOSTILE: &str = "<script>alert(1)</script>\"'&<img src=x onerror=alert(1)>\u{202e}gpj";

/// Returns the id of the message with a number.
fn id(number: u32) -> String {
    uuid::Uuid::from_u128(0x0198_0000_0000_7000_8000_0000_0000_0000 + u128::from(number)).to_string()
}

/// A stored message. Messages with a higher number were accepted later.
fn message(number: u32, status: &str, subject: &str) -> NewMessage {
    let at = format!("2026-11-27T{:02}:{:02}:{:02}Z", number / 3600 % 24, number / 60 % 60, number % 60);
    let recipient = match status {
        "queued" | "cancelled" => "waiting",
        other => other,
    };
    let mut record = json!({
        "id": id(number), "status": status, "company": "EDU1", "function": "default",
        "messageId": format!("<{number}@mail.example.com>"), "subject": subject, "size": 400,
        "recipients": [{ "address": format!("customer-{number}@example.org"), "status": recipient }],
        "document": { "type": "invoice", "number": format!("R-{number}") },
        "by": "erp", "owner": "token:erp", "acceptedAt": at, "generation": 1, "profile": "relay",
        "resolution": { "cell": { "company": "EDU1", "function": "default" }, "profile": "relay", "steps": [] },
        "attempts": 0, "reason": "",
    });
    if status == "queued" {
        record["nextAttemptAt"] = "2026-11-27T00:00:00Z".into();
    } else {
        record["finishedAt"] = at.into();
        record["reason"] = format!("451 4.3.0 {subject}").into();
    }
    let message: Message = serde_json::from_value(record).unwrap();
    NewMessage { message, content: b"Subject: s\r\n\r\nSECRET-CONTENTS\r\n".to_vec(), key: None, allow_duplicate: true }
}

/// A service whose outbox has messages. Everything is held, so that nothing is sent.
fn service_with(messages: Vec<NewMessage>) -> TestRepository {
    let mut repo = TestRepository::small();
    repo.quiet = true;
    repo.serve();
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    let hold = json!({ "profile": "relay", "reason": "a test" });
    assert!(repo.http("POST", "/v1/holds", &[], hold.to_string().as_bytes()).status < 300);
    repo.kill();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = SqliteStore::open(&repo.path(".data/store.sqlite"), &"dev".parse().unwrap()).unwrap();
        let mut messages = messages.into_iter().peekable();
        while messages.peek().is_some() {
            store.accept(messages.by_ref().take(1000).collect()).await.unwrap();
        }
        store.close().await.unwrap();
    });
    repo.serve();
    repo
}

/// The ids of the messages in a list.
fn listed(page: &str) -> Vec<String> {
    let rows = page.split("<th scope=\"row\"><a href=\"/console/outbox/").skip(1);
    rows.map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
}

/// The value of a hidden field.
fn hidden(page: &str, name: &str) -> String {
    let field = page.split(&format!("name=\"{name}\" value=\"")).nth(1);
    field.unwrap_or_else(|| panic!("no field {name}: {page}")).split('"').next().unwrap().to_owned()
}

/// A browser that has signed in with a new token of a role.
fn signed_in_as(repo: &TestRepository, role: &str) -> Client {
    let token = repo.run(&["token", "create", "dev", "--name", &format!("the {role}"), "--role", role]).code(0).stdout;
    let mut client = Client::new(repo);
    client.sign_in(token.trim());
    client
}

#[test]
fn ten_thousand_messages_are_searched_in_small_pages() {
    let mut messages: Vec<NewMessage> =
        (0..10_000).map(|number| message(number, "queued", &format!("Invoice {number} of this month"))).collect();
    messages.extend((10_000..10_120).map(|number| message(number, "failed", "Statement of account")));
    messages.extend((10_120..10_130).map(|number| message(number, "unknown", HOSTILE)));
    let repo = service_with(messages);
    let mut client = Client::signed_in(&repo);
    let first = client.page("/console/outbox");
    assert!(first.len() < 200_000, "{} bytes", first.len());
    assert!(!first.contains("<script>") && !first.contains("<img src=x") && !first.contains('\u{202e}'));
    let newest: Vec<String> = (10_030..10_130).rev().map(id).collect();
    assert_eq!(listed(&first), newest);
    for (status, count) in [("queued", 10_000), ("failed", 120), ("unknown", 10)] {
        assert!(first.contains(&format!("{status} <strong>{count}</strong>")), "{first}");
    }
    // The reason for which mail waits, with its number.
    assert!(first.contains("href=\"/console/outbox?reason=held") && first.contains("a test"), "{first}");
    // By the order of acceptance, and to the end.
    let mut address = "/console/outbox?status=failed".to_owned();
    let mut seen = Vec::new();
    while seen.len() < 200 {
        let page = client.page(&address);
        seen.extend(listed(&page));
        let Some(next) = page.split("rel=\"next\" href=\"").nth(1) else { break };
        address = next.split('"').next().unwrap().replace("&#38;", "&");
    }
    assert_eq!(seen, (10_000..10_120).rev().map(id).collect::<Vec<_>>());
    for (query, expected) in [
        ("q=customer-77%40example.org", vec![id(77)]),
        ("q=Invoice+4242+of", vec![id(4242)]),
        ("q=R-9999", vec![id(9999)]),
        ("q=%3C123%40mail.example.com%3E", vec![id(123)]),
        (&format!("q={}", id(5)), vec![id(5)]),
        ("q=customer-12&status=unknown", vec![]),
        ("company=EDU1&function=default&status=unknown&since=2026-11-27T02:48:49", vec![id(10_129)]),
        ("reason=held&until=2026-11-27T00:00:01", vec![id(0)]),
        ("reason=no-sender", vec![]),
        ("profile=other", vec![]),
    ] {
        let page = client.page(&format!("/console/outbox?{query}"));
        assert_eq!(listed(&page), expected, "{query}");
    }
    let page = client.page("/console/outbox?company=%3Cscript%3E&since=yesterday&status=x");
    assert!(!page.contains("<script>") && page.contains("Nothing can match"), "{page}");
    assert!(listed(&page).is_empty());
    let page = client.page(&format!("/console/outbox/{}", id(10_125)));
    assert!(page.contains("&#60;script&#62;") && !page.contains("<script>") && !page.contains('\u{202e}'), "{page}");
    assert!(!page.contains("SECRET-CONTENTS"));
    let waiting = client.page(&format!("/console/outbox/{}", id(7)));
    assert!(waiting.contains("Waits:") && waiting.contains("a test"), "{waiting}");
    for path in ["/console/outbox/nothing".to_owned(), format!("/console/outbox/{}", id(999_999))] {
        assert_eq!(client.get(&path).status, 404);
    }
}

#[test]
fn an_operator_retries_cancels_replays_and_resolves_a_message() {
    let repo = service_with(vec![
        message(1, "queued", "one"),
        message(2, "failed", "two"),
        message(3, "unknown", "three"),
        message(4, "delivered", "four"),
    ]);
    let mut client = signed_in_as(&repo, "deployer");
    let status = |number: u32| repo.http("GET", &format!("/v1/messages/{}", id(number)), &[], b"").json();
    let mut act = |number: u32, action: &str, fields: &[(&str, &str)]| {
        let path = format!("/console/outbox/{}", id(number));
        let answer = client.post(&format!("{path}/{action}"), fields);
        if answer.status == 303 {
            assert_eq!(answer.header("location"), Some(format!("{path}?done={action}").as_str()));
            client.page(&format!("{path}?done={action}"));
        }
        answer
    };
    assert_eq!(act(1, "retry", &[]).status, 303);
    assert_eq!(status(1)["reason"], "retried by the deployer");
    assert_eq!(act(1, "cancel", &[]).status, 303);
    assert_eq!(status(1)["status"], "cancelled");
    // What is refused is a page with the code of the API, and changes nothing.
    let refused = act(1, "retry", &[]);
    assert!(refused.status == 409 && refused.body.contains("cannot retry the message"), "{}", refused.body);
    assert_eq!(act(2, "replay", &[]).status, 303);
    assert_eq!(status(2)["status"], "queued");
    assert!(act(4, "replay", &[]).body.contains("MW0242"));
    assert_eq!(status(4)["status"], "delivered");
    assert_eq!(act(4, "replay", &[("again", "yes")]).status, 303);
    assert_eq!(status(4)["status"], "queued");
    assert_eq!(act(3, "resolve", &[("outcome", "delivered"), ("reason", " ")]).status, 400);
    assert_eq!(act(3, "resolve", &[("outcome", "lost"), ("reason", "r")]).status, 400);
    assert_eq!(status(3)["status"], "unknown");
    assert_eq!(act(3, "resolve", &[("outcome", "delivered"), ("reason", "the log of the relay")]).status, 303);
    assert_eq!(status(3)["status"], "delivered");
    assert!(status(3)["reason"].as_str().unwrap().contains("the log of the relay"));
    let entries = repo.run(&["audit", "list", "dev", "--format", "json"]).code(0).json();
    let actions: Vec<&str> = entries["entries"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["actor"] == "the deployer")
        .filter_map(|entry| entry["action"].as_str())
        .filter(|action| action.starts_with("message."))
        .collect();
    assert_eq!(actions, ["message.retry", "message.cancel", "message.replay", "message.replay", "message.resolve"]);
}

#[test]
fn all_messages_that_match_are_changed_after_a_confirmation() {
    let mut messages: Vec<NewMessage> = (0..530).map(|number| message(number, "queued", "Reminder")).collect();
    messages.extend((530..534).map(|number| message(number, "unknown", "Invoice")));
    messages.push(message(534, "delivered", "Invoice"));
    let repo = service_with(messages);
    let mut client = signed_in_as(&repo, "deployer");
    // Without a status, there is nothing to choose.
    assert!(!client.page("/console/outbox").contains("/console/outbox/bulk"));
    assert!(client.page("/console/outbox?status=unknown").contains("action=\"/console/outbox/bulk\""));
    let page = client.page("/console/outbox/bulk?status=unknown&q=Invoice&action=resolve-failed");
    assert!(page.contains("All 4 messages that match."), "{page}");
    let fields = |page: &str, more: &[(&str, &str)]| -> Vec<(String, String)> {
        let own = ["status", "action", "seen_at", "count"].map(|name| (name.to_owned(), hidden(page, name)));
        own.into_iter().chain(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))).collect()
    };
    let send = |client: &mut Client, fields: &[(String, String)]| {
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        client.post("/console/outbox/bulk", &fields)
    };
    let result = |client: &mut Client, fields: &[(String, String)]| {
        let answer = send(client, fields);
        let address = answer.header("location").unwrap_or_else(|| panic!("{}", answer.body)).to_owned();
        client.page(&address)
    };
    assert_eq!(send(&mut client, &fields(&page, &[("why", "")])).status, 400);
    let done = result(&mut client, &fields(&page, &[("why", "the relay lost its queue")]));
    assert!(done.contains("4 messages were changed."), "{done}");
    // The same form again finds nothing: the messages have another status now.
    let again = result(&mut client, &fields(&page, &[("why", "the relay lost its queue")]));
    assert!(again.contains("No message was changed."), "{again}");

    // More than are changed at once: the result leads to the rest.
    let page = client.page("/console/outbox/bulk?status=queued&action=cancel");
    assert!(page.contains("All 530 messages that match.") && page.contains("the first 500 messages"), "{page}");
    let done = result(&mut client, &fields(&page, &[]));
    assert!(done.contains("500 messages were changed."), "{done}");
    let rest = done.split("<p><a href=\"/console/outbox/bulk?").nth(1).unwrap().split('"').next().unwrap();
    let page = client.page(&format!("/console/outbox/bulk?{}", rest.replace("&#38;", "&")));
    assert!(page.contains("All 30 messages that match."), "{page}");
    let done = result(&mut client, &fields(&page, &[("before", &hidden(&page, "before"))]));
    assert!(done.contains("30 messages were changed.") && !done.contains("bulk?"), "{done}");

    // Sent again only if that was ticked, and only what was there when the number was shown.
    let page = client.page("/console/outbox/bulk?status=delivered&action=replay-all");
    assert_eq!(send(&mut client, &fields(&page, &[])).status, 400);
    let mut late = fields(&page, &[("again", "yes")]);
    late.retain(|(name, _)| name != "seen_at");
    late.push(("seen_at".to_owned(), "2020-01-01T00:00:00Z".to_owned()));
    assert_eq!(send(&mut client, &late).status, 400);
    let done = result(&mut client, &fields(&page, &[("again", "yes")]));
    assert!(done.contains("1 message was changed."), "{done}");
    // Messages that were put back since the number was shown are left out.
    let queued = [("status", "queued"), ("action", "cancel"), ("seen_at", &hidden(&page, "seen_at")), ("count", "9")];
    let queued = queued.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert!(result(&mut client, &queued).contains("No message was changed."));
    for query in
        ["status=queued&action=replay", "action=cancel", "status=sending&action=retry", "status=failed&action=x"]
    {
        assert_eq!(client.get(&format!("/console/outbox/bulk?{query}")).status, 400, "{query}");
    }
    // Only results of such changes are shown.
    assert_eq!(client.get("/console/outbox/bulk/1").status, 404);
}

#[test]
fn what_came_to_match_after_the_number_was_shown_is_left_out() {
    let failed = (1..3).map(|number| message(number, "failed", "Invoice"));
    let repo =
        service_with(failed.chain([message(3, "unknown", "Invoice"), message(4, "queued", "Reminder")]).collect());
    let mut client = signed_in_as(&repo, "deployer");
    let page = client.page("/console/outbox/bulk?status=failed&action=replay");
    assert!(page.contains("All 2 messages that match."), "{page}");
    // A third one fails while the question is on the screen.
    let outcome = [("outcome", "failed"), ("reason", "the relay lost it")];
    assert_eq!(client.post(&format!("/console/outbox/{}/resolve", id(3)), &outcome).status, 303);
    let confirm = |client: &mut Client, page: &str, names: &[&str], count: &str| {
        let values: Vec<String> = names.iter().map(|name| hidden(page, name)).collect();
        let mut fields: Vec<(&str, &str)> = names.iter().copied().zip(values.iter().map(String::as_str)).collect();
        fields.push(("count", count));
        let answer = client.post("/console/outbox/bulk", &fields);
        let address = answer.header("location").unwrap_or_else(|| panic!("{}", answer.body)).to_owned();
        client.page(&address)
    };
    let done = confirm(&mut client, &page, &["status", "action", "seen_at"], &hidden(&page, "count"));
    assert!(done.contains("2 messages were changed."), "{done}");
    assert!(client.page(&format!("/console/outbox/{}", id(3))).contains("status-failed"));
    // More wait for a reason than did then: not more are changed than were counted, and the result leads to the others.
    let page = client.page("/console/outbox/bulk?reason=held&action=cancel");
    assert!(page.contains("All 3 messages that match."), "{page}");
    let done = confirm(&mut client, &page, &["reason", "action", "seen_at"], "1");
    assert!(done.contains("1 message was changed.") && done.contains("/console/outbox/bulk?"), "{done}");
    let fields = [("reason", "held"), ("action", "cancel"), ("seen_at", &hidden(&page, "seen_at"))];
    assert_eq!(client.post("/console/outbox/bulk", &fields).status, 400);
}

#[test]
fn a_viewer_sees_no_action_and_is_refused_each() {
    let repo = service_with(vec![message(1, "queued", "one"), message(2, "unknown", "two")]);
    let mut client = signed_in_as(&repo, "viewer");
    let (one, two) = (format!("/console/outbox/{}", id(1)), format!("/console/outbox/{}", id(2)));
    let pages = ["/console/outbox?status=queued", "/console/outbox?status=unknown", &one, &two, "/console/holds"];
    for path in pages {
        let page = client.page(path);
        let forms: Vec<&str> = page
            .split("<form ")
            .skip(1)
            .map(|rest| rest.split('>').next().unwrap())
            .filter(|form| !form.contains("/console/sign-out") && !form.contains("/console/language"))
            .filter(|form| !form.contains("role=\"search\"") && !form.contains("method=\"dialog\""))
            .collect();
        assert!(forms.is_empty(), "{path}: {forms:?}");
    }
    let hold = repo.http("GET", "/v1/holds", &[], b"").json()["holds"][0]["id"].as_str().unwrap().to_owned();
    let posts = [
        format!("{one}/retry"),
        format!("{one}/cancel"),
        format!("{two}/replay"),
        format!("{two}/resolve"),
        "/console/outbox/bulk".to_owned(),
        "/console/holds".to_owned(),
        format!("/console/holds/{hold}/release"),
    ];
    let fields =
        [("again", "yes"), ("outcome", "failed"), ("reason", "held"), ("status", "queued"), ("action", "cancel")];
    for path in &posts {
        let answer = client.post(path, &fields);
        assert!(answer.status == 403 && answer.body.contains("MW0202"), "{path}: {}", answer.body);
    }
    assert_eq!(client.get("/console/outbox/bulk?status=queued&action=cancel").status, 403);
    // Not even an administrator's browser does it for another site.
    let mut admin = Client::signed_in(&repo);
    for path in &posts {
        let answer = admin.post_with(path, &fields, &[("Sec-Fetch-Site", "cross-site")]);
        assert!(answer.status == 403 && answer.body.contains("MW0390"), "{path}: {}", answer.body);
    }
    let counts = repo.http("GET", "/v1/outbox", &[], b"").json();
    assert_eq!((&counts["messages"]["queued"], &counts["messages"]["unknown"]), (&json!(1), &json!(1)));
    assert_eq!(counts["holds"].as_array().unwrap().len(), 1);
}

#[test]
fn mail_is_held_and_released() {
    let repo = service_with(Vec::new());
    let mut client = signed_in_as(&repo, "deployer");
    let held = || repo.http("GET", "/v1/holds", &[], b"").json()["holds"].as_array().unwrap().clone();
    let fields = [("company", "EDU1"), ("function", "default"), ("reason", HOSTILE), ("until", "2099-01-01T10:30")];
    assert_eq!(client.post("/console/holds", &fields).status, 303);
    let hold = held().into_iter().find(|hold| hold["company"] == "EDU1").unwrap();
    assert_eq!((&hold["until"], &hold["owner"]), (&json!("2099-01-01T10:30:00Z"), &json!("the deployer")));
    let page = client.page("/console/holds");
    assert!(page.contains("&#60;script&#62;") && !page.contains("<script>") && !page.contains('\u{202e}'), "{page}");
    for (field, value) in [("company", "NONE"), ("profile", "other"), ("until", "2001-01-01T00:00"), ("until", "x")] {
        let answer = client.post("/console/holds", &[(field, value), ("reason", "r")]);
        assert!((400..500).contains(&answer.status), "{field}: {}", answer.body);
    }
    assert_eq!(held().len(), 2);
    for hold in held() {
        let path = format!("/console/holds/{}/release", hold["id"].as_str().unwrap());
        assert_eq!(client.post(&path, &[]).status, 303);
        assert_eq!(client.post(&path, &[]).status, 404);
    }
    assert!(held().is_empty());
}

/// The lines of a stream that a browser with a session has opened, up to one that contains a text. None if it ended before.
fn read_until(stream: &mut BufReader<TcpStream>, text: &str) -> Option<String> {
    let mut line = String::new();
    while stream.read_line(&mut line).expect("the stream has something to say within a minute") > 0 {
        if line.contains(text) {
            return Some(line);
        }
        line.clear();
    }
    None
}

#[test]
fn an_open_list_is_updated_until_its_session_ends() {
    let repo = service_with(vec![message(1, "queued", "first")]);
    let mut client = Client::signed_in(&repo);
    let page = client.page("/console/outbox?status=queued");
    assert!(page.contains("hx-sse:connect=\"/console/outbox/live?status=queued\""), "{page}");
    let open = |client: &Client| {
        let mut stream = TcpStream::connect(repo.address().trim_start_matches("http://")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let cookies: Vec<String> = client.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookies = cookies.join("; ");
        write!(stream, "GET /console/outbox/live?status=queued HTTP/1.1\r\nHost: test\r\nConnection: close\r\nCookie: {cookies}\r\n\r\n")
            .unwrap();
        BufReader::new(stream)
    };
    let mut stream = open(&client);
    assert!(read_until(&mut stream, "200 OK").is_some());
    let policy = read_until(&mut stream, "content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'"), "{policy}");
    assert!(read_until(&mut stream, "data: <div id=\"fresh\">").is_some());
    assert!(read_until(&mut stream, &format!("/console/outbox/{}", id(1))).is_some());
    // What an operator does in another window.
    assert_eq!(client.post(&format!("/console/outbox/{}/cancel", id(1)), &[]).status, 303);
    assert!(read_until(&mut stream, "cancelled <strong>1</strong>").is_some());
    // A caller has a number of streams, whatever they are.
    let more: Vec<BufReader<TcpStream>> = (0..15).map(|_| open(&client)).collect();
    let more: Vec<_> = more.into_iter().map(|mut other| read_until(&mut other, "HTTP/1.1").map(|_| other)).collect();
    let refused = client.get("/console/outbox/live");
    assert!(refused.status == 429 && refused.body.contains("MW0"), "{}", refused.body);
    drop(more);
    assert_eq!(client.post("/console/sign-out-everywhere", &[]).status, 303);
    assert!(read_until(&mut stream, "never there").is_none(), "the stream ends");
}
