//! The address book: what is found in a large directory, and how it is ordered, paged and escaped; missing permissions; profiles
//! without one; rights; the cache, its limits and the audit log; and the commands that search.

use std::{sync::Arc, thread};

use serde_json::{Value, json};

use crate::{
    graph::{post_with, profile},
    mail_service::{MailService, QUICK},
    support::{
        repository::{HttpResponse, run_command},
        sandbox::{DESKTOP, SECRET, Sandbox, TENANT, delegate, encode, good, smtp},
    },
};

const PERMISSIONS: [&str; 4] = ["Mail.Send", "User.Read.All", "Group.Read.All", "OrgContact.Read.All"];

fn scenario(granted: &[&str]) -> Value {
    let mut scenario = good();
    let tenant = &mut scenario["tenants"][0];
    tenant["applications"][0]["granted"] = json!(granted);
    let users = tenant["users"].as_array_mut().unwrap();
    let user = |name: &str, shown: &str| json!({ "name": format!("{name}@contoso.example"), "displayName": shown });
    users.extend((0..20_000).map(|number| user(&format!("user{number}"), &format!("Person {number}"))));
    users.push(json!({
        "name": "jm@contoso.example", "displayName": "Jürgen Müller", "department": "Sales", "company": "Contoso",
    }));
    users.push(user("oneil", "Ann O'Neil"));
    users.push(user("quoted", "Peter \"Pit\" Back\\slash"));
    users.push(user("emoji", "Zoë 👩\u{200d}💻 Emoji"));
    users.push(user("evil", "Evil\u{1b}[31m\r\nBcc: \u{202e}<script>x</script>"));
    users.push(json!({ "name": "broken", "displayName": "Evil without an address", "mail": "not an address" }));
    users.push(json!({ "name": "evilbox@contoso.example", "displayName": "Evil boxless", "mailbox": "none" }));
    users.push(user("shared-address", "Twin person"));
    tenant["groups"] = json!([
        { "name": "Jürgen's team", "mail": "team@contoso.example" },
        { "name": "Jürgen security", "kind": "security", "mail": "security@contoso.example" },
        { "name": "Twin group", "mail": "Shared-Address@contoso.example" },
    ]);
    tenant["contacts"] = json!([
        { "name": "Twin contact", "mail": "SHARED-ADDRESS@contoso.example" },
        { "name": "Jürgens Ltd", "mail": "info@juergens.example", "company": "Jürgens" },
    ]);
    scenario
}

fn book_profile() -> Value {
    let mut profile = profile();
    profile["provider"]["microsoft-graph-direct"]["addressBook"] = json!(true);
    profile
}

struct Book {
    sandbox: Sandbox,
    service: MailService,
}

impl Book {
    fn start(granted: &[&str]) -> Self {
        let sandbox = Sandbox::start(scenario(granted));
        let service = post_with(&sandbox, QUICK, &book_profile(), "documents/secret", SECRET);
        Self { sandbox, service }
    }

    fn ask(&self, text: &str, more: &[(&str, &str)]) -> HttpResponse {
        self.service.repo.http("GET", &path("documents", text, more), &[], b"")
    }

    fn page(&self, text: &str, more: &[(&str, &str)]) -> Value {
        let answer = self.ask(text, more);
        assert_eq!(answer.status, 200, "{text}: {}", answer.body);
        answer.json()
    }

    fn names(&self, text: &str) -> Vec<String> {
        names(&self.page(text, &[]))
    }

    /// The number of requests to a set of Graph.
    fn requests(&self, set: &str) -> usize {
        let requests = self.sandbox.get("requests");
        let end = format!("/v1.0/{set}");
        let path = |request: &Value| request["path"].as_str().unwrap().split('?').next().unwrap().to_owned();
        requests.as_array().unwrap().iter().filter(|request| path(request).ends_with(&end)).count()
    }

    fn audit(&self) -> Vec<Value> {
        let entries = self.service.repo.http("GET", "/v1/audit?limit=1000", &[], b"").json()["entries"].clone();
        let is_search = |entry: &&Value| entry["action"] == "address-book.search";
        entries.as_array().unwrap().iter().filter(is_search).cloned().collect()
    }

    fn write_profile(&self, name: &str, profile: &Value) {
        let text = profile.to_string().replace("HERE", &self.sandbox.running.address);
        let text = text.replace("\"SMTP\"", &self.sandbox.running.smtp.port().to_string());
        self.service.repo.write(&format!("environments/dev/profiles/{name}.json"), text);
    }
}

fn path(profile: &str, text: &str, more: &[(&str, &str)]) -> String {
    let fields = [&[("profile", profile), ("q", text)], more].concat();
    format!("/v1/address-book?{}", encode(&fields))
}

fn names(page: &Value) -> Vec<String> {
    page["entries"].as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn recipients_are_found_among_twenty_thousand_users() {
    let book = Book::start(&PERMISSIONS);
    // The security group has no mail.
    assert_eq!(book.names("jür"), ["Jürgen Müller", "Jürgen's team", "Jürgens Ltd"]);
    assert_eq!(book.names("Ju\u{308}rgen M"), ["Jürgen Müller"], "a letter and a combining character are one letter");
    assert_eq!(book.names("jm@cont"), ["Jürgen Müller"], "an address by its beginning");
    // Microsoft does not document that diacritics are ignored; the sandbox compares letters as they are.
    assert_eq!(book.names("jur"), Vec::<String>::new());
    assert_eq!(book.names("O'Neil"), ["Ann O'Neil"]);
    for text in ["\"Pit\"", "back\\", "\" OR \"displayName:person", "pit\" back\\slash"] {
        assert!(book.ask(text, &[]).status == 200, "{text}");
    }
    assert_eq!(book.names("\"Pit\""), ["Peter \"Pit\" Back\\slash"]);
    assert_eq!(book.names("\" OR \"displayName:user1"), Vec::<String>::new(), "a quote does not end the clause");
    assert_eq!(book.names("zoë 👩\u{200d}💻"), ["Zoë 👩\u{200d}💻 Emoji"]);
    // What cannot receive mail is left out, and the rest is printable. HTML stays text.
    let evil = book.page("evil", &[]);
    assert_eq!(names(&evil), ["Evil [31m Bcc: <script>x</script>"], "{evil:#}");
    assert!(!evil.to_string().chars().any(|c| c.is_control() || c == '\u{202e}'), "{evil}");

    let found = book.page("jürgen mül", &[("kind", "person")]);
    let expected = json!([{
        "name": "Jürgen Müller", "address": "jm@contoso.example", "kind": "person", "department": "Sales", "company": "Contoso",
    }]);
    assert_eq!(found["entries"], expected);
    let twins = book.page("twin", &[]);
    assert_eq!(names(&twins), ["Twin person"], "one address once, first as a person: {twins:#}");
    assert_eq!(names(&book.page("twin", &[("kind", "group")])), ["Twin group"]);
}

#[test]
fn pages_are_complete_ordered_and_bounded() {
    let book = Book::start(&PERMISSIONS);
    let (mut seen, mut after, mut pages) = (Vec::new(), None::<String>, 0);
    loop {
        let mut more = vec![("limit", "50")];
        more.extend(after.as_deref().map(|after| ("after", after)));
        let page = book.page("person", &more);
        seen.extend(names(&page));
        pages += 1;
        assert_eq!(page["isTruncated"], true, "the directory has 20,001: {page:#}");
        after = page["nextAfter"].as_str().map(str::to_owned);
        assert!(after.as_ref().is_none_or(|after| after.len() <= 34 && !after.contains("contoso")));
        if after.is_none() {
            break;
        }
    }
    let mut sorted = seen.clone();
    sorted.sort_by_key(|name| name.to_lowercase());
    sorted.dedup();
    assert_eq!((seen.len(), pages, &seen), (200, 4, &sorted));
    assert_eq!(book.requests("users"), 1, "the pages are of one answer");
    assert_eq!(book.page("person 19999", &[])["isTruncated"], Value::Null);

    let first = book.page("person", &[("limit", "1")])["nextAfter"].as_str().unwrap().to_owned();
    for (text, more) in [
        ("twin", vec![("after", first.as_str())]),
        ("person", vec![("after", first.as_str()), ("kind", "group")]),
        ("person", vec![("after", "0123456789ab-ffffffff-0123456789ab")]),
        ("person", vec![("after", "")]),
        ("person", vec![("after", &*"a".repeat(10_000))]),
        ("person", vec![("limit", "0")]),
        ("person", vec![("limit", "51")]),
        ("person", vec![("kind", "robot")]),
        ("person", vec![("more", "1")]),
        ("p", vec![]),
        (" p ", vec![]),
        ("a\nb", vec![]),
        ("a\u{0}b", vec![]),
        ("a\u{202e}b", vec![]),
        (&*"x".repeat(101), vec![]),
    ] {
        let answer = book.ask(text, &more);
        assert_eq!(answer.status, 400, "{text:?} {more:?}: {}", answer.body);
        assert_eq!(answer.json()["code"], "MW0212");
    }
}

#[test]
fn a_missing_permission_is_named_and_the_other_kinds_are_found() {
    let book = Book::start(&["Mail.Send", "User.ReadBasic.All", "OrgContact.Read.All"]);
    let page = book.page("jürgen", &[]);
    assert_eq!(names(&page), ["Jürgen Müller", "Jürgens Ltd"]);
    assert_eq!(page["warnings"].as_array().unwrap().len(), 1, "{page:#}");
    assert_eq!(page["warnings"][0]["kind"], "group");
    assert_eq!(page["warnings"][0]["permission"], "Group.Read.All");
    // What was refused is not asked for again and again.
    let before = book.requests("groups");
    book.page("person 77", &[]);
    book.page("person 78", &[]);
    assert_eq!(book.requests("groups"), before);
    // Alone it is an error, with the right word.
    for (text, kind) in [("jürgen", "group"), ("team", "group")] {
        let refused = book.ask(text, &[("kind", kind)]);
        assert_eq!((refused.status, &refused.json()["code"]), (409, &json!("MW0452")), "{}", refused.body);
        assert!(refused.body.contains("Group.Read.All") && refused.body.contains("mailwright verify dev documents"));
    }
    let poor = Book::start(&["Mail.Send"]);
    let refused = poor.ask("jürgen", &[]);
    assert_eq!((refused.status, &refused.json()["code"]), (409, &json!("MW0452")), "{}", refused.body);
    for permission in ["User.Read.All", "User.ReadBasic.All", "Group.Read.All", "OrgContact.Read.All"] {
        assert!(refused.body.contains(permission), "{permission}: {}", refused.body);
    }
    // Mail is not concerned.
    let id = poor.service.send(json!({}));
    poor.service.wait(&id, "delivered");
}

#[test]
fn a_profile_that_cannot_be_searched_is_refused_with_its_own_reason() {
    let book = Book::start(&PERMISSIONS);
    let mut plain = profile();
    plain["functions"] = json!(["all-reports"]);
    let mut disabled = book_profile();
    disabled["functions"] = json!(["documents-accounts-receivable"]);
    disabled["enabled"] = json!(false);
    let mut relay = smtp();
    relay["functions"] = json!(["documents-remittance"]);
    for (name, profile) in
        [("plain", &plain), ("disabled", &disabled), ("relay", &relay), ("desktop", &delegate(DESKTOP))]
    {
        book.write_profile(name, profile);
    }
    book.service.repo.pipe(&["secrets", "set", "dev", "relay/password"], b"any-password").code(0);
    book.service.apply();
    for (name, status, code, words) in [
        ("plain", 422, "MW0450", ["addressBook: true", "mailwright verify dev plain"]),
        ("relay", 422, "MW0450", ["mail server", "microsoft-graph-direct"]),
        ("desktop", 422, "MW0450", ["signed-in user", "mailwright delegate address-book dev"]),
        ("disabled", 409, "MW0451", ["disabled", "enabled: true"]),
        ("absent", 404, "MW0214", ["no profile `absent`", "mailwright status dev"]),
    ] {
        let refused = book.service.repo.http("GET", &path(name, "ann", &[]), &[], b"");
        assert_eq!((refused.status, &refused.json()["code"]), (status, &json!(code)), "{name}: {}", refused.body);
        let text = format!("{} {}", refused.json()["detail"], refused.json()["remedy"]);
        assert!(words.iter().all(|word| text.contains(word)), "{name}: {text}");
    }
    assert_eq!(book.requests("users"), 0);

    // A login that is refused suspends the profile, and the address book is not searched with it.
    book.sandbox.fault(&json!({ "at": "/sendMail", "status": 403, "code": "ErrorAccessDenied" }));
    book.service.send(json!({}));
    book.service.wait_outbox("the suspended profile", |outbox| outbox["suspended"][0]["profile"] == "documents");
    let refused = book.ask("ann", &[]);
    assert_eq!((refused.status, &refused.json()["code"]), (409, &json!("MW0451")), "{}", refused.body);
    assert!(refused.body.contains("suspended") && refused.body.contains("mailwright outbox status dev"));
}

#[test]
fn a_sender_searches_profiles_of_its_own_companies_and_functions() {
    let book = Book::start(&PERMISSIONS);
    let token = |name: &str, role: &str, scope: &[&str]| {
        let command = [&["token", "create", "dev", "--name", name, "--role", role], scope].concat();
        book.service.repo.run(&command).code(0).stdout.trim().to_owned()
    };
    let ask = |token: &str, profile: &str| {
        let authorization = format!("Bearer {token}");
        book.service.repo.http_without_token(
            "GET",
            &path(profile, "jürgen", &[]),
            &[("Authorization", &authorization)],
            b"",
        )
    };
    assert_eq!(ask(&token("all", "sender", &[]), "documents").status, 200);
    let own = token("own", "sender", &["--companies", "EDU1", "--functions", "default"]);
    assert_eq!(ask(&own, "documents").status, 200);
    let other = token("other", "sender", &["--functions", "all-reports"]);
    let refused = ask(&other, "documents");
    assert_eq!((refused.status, &refused.json()["code"]), (403, &json!("MW0260")), "{}", refused.body);
    // A sender does not learn which profiles exist.
    let absent = ask(&other, "absent");
    assert_eq!(absent.body.matches("MW0260").count(), refused.body.matches("MW0260").count(), "{}", absent.body);
    let viewer = ask(&token("viewer", "viewer", &[]), "documents");
    assert_eq!((viewer.status, &viewer.json()["code"]), (403, &json!("MW0202")), "{}", viewer.body);
    assert_eq!(book.service.repo.http_without_token("GET", &path("documents", "ann", &[]), &[], b"").status, 401);
}

#[test]
fn equal_searches_share_one_request_and_a_changed_profile_asks_again() {
    let book = Arc::new(Book::start(&PERMISSIONS));
    book.sandbox.fault(&json!({ "at": "/v1.0/users", "delay": 1500, "times": 1 }));
    let threads: Vec<_> = (0..6)
        .map(|_| {
            let book = Arc::clone(&book);
            thread::spawn(move || book.names("jürgen"))
        })
        .collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap().len(), 3);
    }
    assert_eq!(book.names("JÜRGEN").len(), 3);
    assert_eq!(book.requests("users"), 1);
    let mut changed = book_profile();
    changed["description"] = json!("Changed.");
    book.write_profile("documents", &changed);
    book.service.apply();
    assert_eq!(book.names("jürgen").len(), 3);
    assert_eq!(book.requests("users"), 2);

    // Who, which profile, how many: neither the text nor what was found.
    let audit = book.audit();
    assert_eq!(audit.len(), 8, "{audit:#?}");
    assert_eq!(audit[0]["detail"], json!({ "profile": "documents", "results": 3 }));
    let all = book.service.repo.http("GET", "/v1/audit?limit=1000", &[], b"").body.to_lowercase();
    assert!(!all.contains("jürgen") && !all.contains("jm@contoso"));
    let log = book.service.log().to_lowercase();
    assert!(!log.contains("jürgen") && !log.contains("j%c3%bcrgen") && !log.contains("jm@contoso"));
}

#[test]
fn graph_is_not_asked_again_before_the_time_that_it_names() {
    let book = Book::start(&PERMISSIONS);
    book.sandbox.fault(&json!({ "at": "/v1.0/users", "status": 429, "retryAfter": 600, "times": 1 }));
    // The other kinds were answered.
    let page = book.page("jürgen", &[]);
    assert_eq!(names(&page), ["Jürgen's team", "Jürgens Ltd"]);
    assert_eq!(page["warnings"][0]["kind"], "person", "{page:#}");
    let requests = book.requests("users");
    let refused = book.ask("twin", &[]);
    assert_eq!((refused.status, &refused.json()["code"]), (503, &json!("MW0453")), "{}", refused.body);
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=600).contains(&wait), "{wait}");
    assert_eq!(book.requests("users"), requests);
    let id = book.service.send(json!({}));
    book.service.wait(&id, "delivered");

    // A sign-in that is refused is not tried with each letter.
    let broken = Book::start(&PERMISSIONS);
    broken.sandbox.fault(&json!({ "at": "/token", "status": 401, "aadsts": 7_000_215 }));
    for text in ["jü", "jür", "jürg"] {
        let refused = broken.ask(text, &[]);
        assert_eq!((refused.status, &refused.json()["code"]), (503, &json!("MW0453")), "{}", refused.body);
        assert!(!refused.body.contains(SECRET), "{}", refused.body);
    }
    let requests = broken.sandbox.get("requests");
    let of_tokens = |request: &&Value| request["path"].as_str().unwrap().contains("/oauth2/v2.0/token");
    assert_eq!(requests.as_array().unwrap().iter().filter(of_tokens).count(), 1);
}

#[test]
fn commands_search_the_address_book_of_the_service_and_of_the_person() {
    let mut scenario = scenario(&["Mail.Send", "User.Read.All", "Group.Read.All"]);
    scenario["tenants"][0]["approvesDeviceCodes"] = json!("alice@contoso.example");
    scenario["tenants"][0]["users"][3]["contacts"] =
        json!([{ "name": "Jürgen Private", "mail": "jp@home.example", "company": "Home" }]);
    scenario["tenants"][0]["applications"][1]["consented"] =
        json!(["Mail.Send", "User.Read", "User.ReadBasic.All", "Contacts.Read"]);
    let sandbox = Sandbox::start(scenario);
    let service = post_with(&sandbox, QUICK, &book_profile(), "documents/secret", SECRET);
    let search = ["address-book", "search", "dev", "--profile", "documents"];
    let run = |more: &[&str]| service.repo.run(&[&search[..], more].concat());
    // The missing permission of contacts is a note.
    let found = run(&["jürgen", "--limit", "1"]);
    assert_eq!(found.code, 2, "{}", found.stderr);
    assert!(found.stdout.contains("Jürgen Müller") && found.stdout.contains("Sales"), "{}", found.stdout);
    assert!(found.stderr.contains("OrgContact.Read.All") && found.stderr.contains("--after "), "{}", found.stderr);
    let json = run(&["jürgen", "--kind", "person", "--format", "json"]).code(0).json();
    assert_eq!((&json["environment"], &json["entries"][0]["address"]), (&json!("dev"), &json!("jm@contoso.example")));
    assert!(run(&["absent entirely", "--kind", "person"]).code(0).stdout.contains("No entries."));
    assert!(run(&["evil", "--kind", "person"]).code(0).stdout.contains("<script>"));
    run(&["x"]).code(1);
    run(&["jürgen", "--kind", "robot"]).code(1);

    let person = |more: &[&str]| {
        let mut command = service.repo.command(&[&["delegate", "address-book", "dev", "jürgen"], more].concat());
        let host = &sandbox.running.address;
        command.args(["--device-code", "--outgoing-ca-file", "ca.pem", "--sign-in-host", host, "--graph-host", host]);
        command.env("MAILWRIGHT_DELEGATE_TENANT", TENANT).env("MAILWRIGHT_DELEGATE_APPLICATION", DESKTOP);
        run_command(command)
    };
    let found = person(&["--format", "json"]).code(0).json();
    assert_eq!(names(&found), ["Jürgen Müller", "Jürgen Private"], "{found:#}");
    assert_eq!(found["entries"][1]["kind"], "contact");
    assert_eq!(person(&["--only", "contacts"]).code(0).stdout.lines().count(), 2);
}
