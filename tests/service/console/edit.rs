//! Profiles are made and changed in the browser: form, plan, apply, conflicts of two editors, rights, policy, files for Git, secrets.

use std::process::Command;

use mailwright::{
    model::{Destination, Encryption, EnvironmentName},
    secrets::{NoCallbacks, Recipients, ValueId, seal_for},
};
use secrecy::SecretSlice;
use serde_json::json;

use super::client::Client;
use crate::support::repository::{HttpResponse, TestRepository};

const CANARY: &str = "Canary-Console-w8Zt41Qe";

/// The fields of a new profile that does not send.
pub(super) const NEW: &[(&str, &str)] = &[
    ("action", "save"),
    ("original", ""),
    ("base", "1"),
    ("provider", "smtp"),
    ("name", "invoices"),
    ("description", "Invoices of EDU1"),
    ("host", "mail.example.com"),
    ("port", ""),
    ("encryption", "starttls"),
    ("login", "none"),
    ("from-address", "billing@example.com"),
    ("applies-to", "companies"),
    ("company", "EDU1"),
    ("function", "documents-accounts-receivable"),
];

pub(super) fn repository() -> TestRepository {
    let mut repo = TestRepository::small();
    repo.serve();
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    repo
}

/// Returns the fields with some of them replaced or added.
pub(super) fn with<'a>(fields: &[(&'a str, &'a str)], changes: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let kept = fields.iter().filter(|(name, _)| !changes.iter().any(|(other, _)| other == name));
    kept.chain(changes).copied().collect()
}

/// Returns the hidden fields of the form that a plan is applied with.
pub(super) fn hidden(page: &str) -> Vec<(String, String)> {
    let form = page.split("class=\"plan\"").nth(1).unwrap_or_else(|| panic!("{page}"));
    let form = form.split("</form>").next().unwrap();
    let value = |text: &str, name: &str| {
        let value = text.split(&format!("{name}=\"")).nth(1)?.split('"').next()?;
        Some(unescape(value))
    };
    let inputs = form.split("<input type=\"hidden\"").skip(1).map(|rest| rest.split('>').next().unwrap());
    inputs.map(|input| (value(input, "name").unwrap(), value(input, "value").unwrap())).collect()
}

fn unescape(text: &str) -> String {
    let mut parts = text.split("&#");
    let mut out = parts.next().unwrap().to_owned();
    for part in parts {
        let (number, rest) = part.split_once(';').unwrap();
        out.push(char::from_u32(number.parse().unwrap()).unwrap());
        out.push_str(rest);
    }
    out
}

/// Sends a plan on, as a browser does.
pub(super) fn send_on(client: &mut Client, path: &str, page: &str, more: &[(&str, &str)]) -> HttpResponse {
    let carried = hidden(page);
    let fields: Vec<(&str, &str)> = carried.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    client.post(path, &[&fields, more].concat())
}

pub(super) fn plan(client: &mut Client, fields: &[(&str, &str)]) -> String {
    let answer = client.post("/console/plan", fields);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

pub(crate) fn git(repo: &TestRepository, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=ann", "-c", "user.email=ann@example.com"]).args(arguments);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").current_dir(repo.path("."));
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    text
}

pub(crate) fn commit_files(repo: &TestRepository) {
    repo.write(".gitignore", ".data\n.token\n.gitconfig\n*.patch\n");
    git(repo, &["init", "--quiet"]);
    git(repo, &["add", "."]);
    git(repo, &["commit", "--quiet", "-m", "files"]);
}

pub(crate) fn assert_plan_is_empty(repo: &TestRepository) {
    let plan = repo.run(&["plan", "dev", "--format", "json"]).code(0).json();
    let plan = plan.get("plan").cloned().unwrap_or(plan);
    assert!(["add", "change", "destroy", "rename"].iter().all(|kind| plan["summary"][kind] == 0), "{plan:#}");
}

#[test]
fn a_profile_is_made_planned_and_applied() {
    let repo = repository();
    let mut client = Client::signed_in(&repo);
    let choice = client.page("/console/profiles/new");
    assert!(choice.contains("value=\"microsoft-graph-delegate\"") && !choice.contains("name=\"host\""), "{choice}");
    let form = client.page("/console/profiles/new?provider=smtp");
    assert!(form.contains("name=\"host\"") && form.contains("name=\"company\" value=\"EDU1\""), "{form}");
    assert!(form.contains("Claimed now by relay") && form.contains("falls back to"), "{form}");
    let delegate = client.page("/console/profiles/new?provider=microsoft-graph-delegate");
    assert_eq!(delegate.matches("name=\"function\"").count(), 1, "{delegate}");
    assert!(delegate.contains("name=\"function\" value=\"user-interface\" checked"), "{delegate}");

    let page = plan(&mut client, NEW);
    assert!(page.contains("provider.smtp.host") && page.contains("mail.example.com"), "{page}");
    assert!(page.contains("The same profile sends for every company"), "{page}");
    assert!(repo.state()["profiles"].get("invoices").is_none());
    let applied = send_on(&mut client, "/console/plan/apply", &page, &[("reason", "a new branch")]);
    assert_eq!(
        (applied.status, applied.header("location")),
        (303, Some("/console/profiles/invoices")),
        "{}",
        applied.body
    );
    let profile = client.page("/console/profiles/invoices");
    assert!(profile.contains("The profile is disabled, so it sends nothing"), "{profile}");
    let sending = client.page("/console/profiles/relay");
    assert!(
        sending.contains("/console/profiles/relay/test\"") && sending.contains("<option value=\"EDU1\">"),
        "{sending}"
    );
    let state = repo.state();
    let live = &state["profiles"]["invoices"]["live"]["profile"];
    assert_eq!(live["provider"]["smtp"]["port"], 587);
    assert_eq!(live["appliesTo"], json!({ "companies": ["EDU1"] }));
    assert_eq!(live["enabled"], false);
    assert_eq!(state["profiles"]["invoices"]["changed"]["kind"], "manual");
    let audit = repo.run(&["audit", "list", "dev", "--format", "json"]).code(0).stdout;
    assert!(audit.contains("console.edit") && audit.contains("a new branch"), "{audit}");
    let detail = client.page("/console/profiles/invoices");
    assert!(detail.contains("not in Git") && detail.contains("/console/profiles/invoices/patch"), "{detail}");
    // The same again changes nothing, and a profile of this name exists.
    let again = client.post("/console/plan", NEW);
    assert!(again.status == 422 && again.body.contains("MW0396"), "{}", again.body);
    let same = with(NEW, &[("original", "invoices"), ("base", "2")]);
    assert!(plan(&mut client, &same).contains("Nothing would change."));
}

#[test]
fn what_is_wrong_is_said_at_its_field_and_what_was_typed_stays() {
    let repo = repository();
    let mut client = Client::signed_in(&repo);
    for (changes, field, code) in [
        (&[("name", "../etc")][..], "problem-name", ""),
        (&[("port", "70000")], "problem-port", "65535"),
        (&[("port", "12x")], "problem-port", "65535"),
        (&[("host", "https://mail")], "problem-host", "MW"),
        (&[("from-address", "no address")], "problem-from-address", "MW"),
        (&[("from-address", "")], "problem-from-address", "MW"),
        (&[("function", "")], "class=\"problem\"", "MW"),
        (&[("company", "")], "class=\"problem\"", "MW"),
        (&[("login", "password"), ("username", "erp")], "problem-secret", "MW"),
        (&[("per-minute", "0")], "problem-per-minute", "100000"),
        (&[("description", "-----BEGIN PRIVATE KEY----- MIIEvQ")], "problem-description", "MW"),
    ] {
        let answer = client.post("/console/plan", &with(NEW, changes));
        assert_eq!(answer.status, 422, "{changes:?}: {}", answer.body);
        assert!(answer.body.contains(field) && answer.body.contains(code), "{changes:?}: {}", answer.body);
        if !changes.iter().any(|(name, _)| *name == "description") {
            assert!(answer.body.contains("value=\"Invoices of EDU1\""), "{changes:?}");
        }
    }
    assert_eq!(repo.state()["generation"], 1);
    // A field that the form does not have is refused, and not logged.
    let secret = client.post("/console/plan", &with(NEW, &[("password", CANARY)]));
    assert_eq!(secret.status, 400);
    assert!(!secret.body.contains(CANARY) && !repo.service_log().contains(CANARY));
}

#[test]
fn a_form_that_is_only_opened_changes_nothing() {
    let repo = repository();
    let mut client = Client::signed_in(&repo);
    // Persian joins letters with characters that are not seen.
    let name = "\u{646}\u{627}\u{645}\u{647}\u{200c}\u{647}\u{627}";
    let page = plan(&mut client, &with(NEW, &[("from-name", name)]));
    assert_eq!(send_on(&mut client, "/console/plan/apply", &page, &[]).status, 303);
    let form = client.page("/console/profiles/invoices/edit");
    assert!(form.contains(&format!("value=\"{name}\"")), "{form}");
    let page = plan(&mut client, &with(NEW, &[("original", "invoices"), ("base", "2"), ("from-name", name)]));
    assert!(page.contains("would change nothing") || !page.contains("from.name"), "{page}");
}

#[test]
fn hostile_values_are_text_in_form_and_plan() {
    let repo = repository();
    let mut client = Client::signed_in(&repo);
    let hostile = "<script>alert(1)</script>\"'&<img src=x onerror=alert(1)>";
    let page = plan(&mut client, &with(NEW, &[("description", hostile), ("from-name", hostile)]));
    assert!(!page.contains("<script>alert") && !page.contains("<img src=x"), "{page}");
    let back = send_on(&mut client, "/console/plan/form", &page, &[]);
    assert_eq!(back.status, 200, "{}", back.body);
    assert!(!back.body.contains("<script>alert") && back.body.contains("&#60;script&#62;"), "{}", back.body);
    let applied = send_on(&mut client, "/console/plan/apply", &page, &[("reason", hostile)]);
    assert_eq!(applied.status, 303, "{}", applied.body);
    assert_eq!(repo.state()["profiles"]["invoices"]["live"]["profile"]["description"], hostile);
    for name in ["%3Cscript%3E", "..%2f..", "nothing"] {
        assert_eq!(client.get(&format!("/console/profiles/{name}/edit")).status, 404, "{name}");
    }
}

#[test]
fn the_second_of_two_editors_is_told_what_the_first_changed() {
    let repo = repository();
    let (mut ann, mut bob) = (Client::signed_in(&repo), Client::signed_in(&repo));
    let page = plan(&mut ann, NEW);
    assert_eq!(send_on(&mut ann, "/console/plan/apply", &page, &[]).status, 303);
    let form = bob.page("/console/profiles/invoices/edit");
    assert!(form.contains("name=\"base\" value=\"2\"") && form.contains("mail.example.com"), "{form}");
    let own = with(NEW, &[("original", "invoices"), ("base", "2")]);
    let page = plan(&mut ann, &with(&own, &[("host", "first.example.com")]));
    assert!(page.contains("mail.example.com") && page.contains("first.example.com"), "{page}");
    let earlier = plan(&mut bob, &with(&own, &[("description", "second")]));
    assert_eq!(send_on(&mut ann, "/console/plan/apply", &page, &[]).status, 303);
    // A plan that was shown before is not applied to another generation.
    let stale = send_on(&mut bob, "/console/plan/apply", &earlier, &[]);
    assert_eq!(stale.status, 409, "{}", stale.body);
    assert!(stale.body.contains("first.example.com"), "{}", stale.body);
    assert_eq!(repo.state()["generation"], 3);
    let conflict = bob.post("/console/plan", &with(&own, &[("description", "second")]));
    assert_eq!(conflict.status, 409, "{}", conflict.body);
    let body = conflict.body;
    assert!(
        body.contains("This profile was changed since you opened it") && body.contains("provider.smtp.host"),
        "{body}"
    );
    assert!(body.contains("mail.example.com → <strong>first.example.com</strong>"), "{body}");
    assert!(body.contains("name=\"base\" value=\"3\"") && body.contains("value=\"second\""), "{body}");
    let page = plan(&mut bob, &with(&own, &[("description", "second"), ("base", "3")]));
    assert_eq!(send_on(&mut bob, "/console/plan/apply", &page, &[]).status, 303);
    // A profile that is gone is reported as gone.
    let deletion = plan(&mut ann, &[("action", "delete"), ("original", "invoices"), ("base", "4")]);
    assert_eq!(send_on(&mut ann, "/console/plan/apply", &deletion, &[]).status, 303);
    let gone = bob.post("/console/plan", &with(&own, &[("base", "4")]));
    assert!(gone.status == 409 && gone.body.contains("was deleted since you opened it"), "{}", gone.body);
}

#[test]
fn buttons_tell_the_second_person_what_the_first_changed() {
    let repo = repository();
    let (mut ann, mut bob) = (Client::signed_in(&repo), Client::signed_in(&repo));
    let page = plan(&mut ann, NEW);
    assert_eq!(send_on(&mut ann, "/console/plan/apply", &page, &[]).status, 303);
    // Two persons make the same profile: the second one reads it at its name.
    let twice = bob.post("/console/plan", NEW);
    assert!(twice.status >= 400 && twice.body.contains("exists already"), "{}", twice.body);
    // Both have the profile open, at generation 2; the first one changes it.
    let own = with(NEW, &[("original", "invoices"), ("base", "2")]);
    let page = plan(&mut ann, &with(&own, &[("host", "first.example.com")]));
    assert_eq!(send_on(&mut ann, "/console/plan/apply", &page, &[]).status, 303);
    let button =
        |action: &'static str, base: &'static str| [("action", action), ("original", "invoices"), ("base", base)];
    for action in ["delete", "enable"] {
        let page = plan(&mut bob, &button(action, "2"));
        assert!(page.contains("was changed since you opened it"), "{action}: {page}");
        assert!(page.contains("mail.example.com → <strong>first.example.com</strong>"), "{action}: {page}");
        let page = plan(&mut bob, &button(action, "3"));
        assert!(!page.contains("since you opened it"), "{action}: {page}");
    }
    // Between the plan and the button below it.
    let page = plan(&mut bob, &button("delete", "3"));
    let theirs = with(&own, &[("base", "3"), ("host", "second.example.com")]);
    let change = plan(&mut ann, &theirs);
    assert_eq!(send_on(&mut ann, "/console/plan/apply", &change, &[]).status, 303);
    let stale = send_on(&mut bob, "/console/plan/apply", &page, &[("allow-name", "invoices")]);
    assert!(
        stale.status == 409 && stale.body.contains("first.example.com → <strong>second.example.com"),
        "{}",
        stale.body
    );
    // A proposal of a button is made of what was seen, and is not applied after a change.
    let page = plan(&mut ann, &button("enable", "4"));
    assert_eq!(repo.patch("invoices", &json!({ "description": "changed before" })).status, 200);
    let stale = send_on(&mut ann, "/console/plan/propose", &page, &[]);
    assert!(stale.status == 409 && stale.body.contains("changed before"), "not what was seen: {}", stale.body);
    let page = plan(&mut ann, &button("enable", "5"));
    let proposed = send_on(&mut ann, "/console/plan/propose", &page, &[]);
    let address = proposed.header("location").unwrap().to_owned();
    assert_eq!(repo.patch("invoices", &json!({ "description": "changed meanwhile" })).status, 200);
    let page = bob.page(&address);
    assert!(page.contains("It cannot be applied any more") && page.contains("changed meanwhile"), "{page}");
    assert_eq!(bob.post(&format!("{address}/apply"), &[("planned", "6")]).status, 409);
    // The profile is gone.
    let page = plan(&mut ann, &button("delete", "6"));
    assert_eq!(send_on(&mut ann, "/console/plan/apply", &page, &[]).status, 303);
    for action in ["delete", "enable", "disable"] {
        let gone = bob.post("/console/plan", &button(action, "6"));
        assert!(gone.status == 404 && gone.body.contains("was deleted"), "{action}: {}", gone.body);
    }
}

#[test]
fn a_guard_wants_to_be_confirmed() {
    let mut repo = TestRepository::small();
    repo.write("environments/dev/environment.yaml", "companies: [EDU1, EDU2]\n");
    repo.write(
        "environments/dev/profiles/other.yaml",
        "provider:\n  smtp:\n    host: smtp.example.com\nfrom:\n  address: other@example.com\nfunctions: [default]\nappliesTo:\n  companies: [EDU1, EDU2]\n",
    );
    repo.serve();
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    let mut client = Client::signed_in(&repo);
    let page = plan(&mut client, &[("action", "delete"), ("original", "relay"), ("base", "1")]);
    assert!(
        page.contains("claims <code>default</code>") && page.contains("name=\"allow-name\" value=\"relay\""),
        "{page}"
    );
    let refused = send_on(&mut client, "/console/plan/apply", &page, &[]);
    assert!(refused.status == 422 && refused.body.contains("MW0218"), "{}", refused.body);
    assert!(!repo.state()["profiles"]["relay"]["live"].is_null());
    let applied = send_on(&mut client, "/console/plan/apply", &page, &[("allow-name", "relay")]);
    assert_eq!((applied.status, applied.header("location")), (303, Some("/console/profiles")), "{}", applied.body);
    assert!(repo.state()["profiles"]["relay"]["live"].is_null());
    // A rule that is broken is not a guard: without `other`, nothing would send.
    let last = client.post("/console/plan", &[("action", "delete"), ("original", "other"), ("base", "2")]);
    assert!(last.status == 422 && last.body.contains("MW0219"), "{}", last.body);
    assert!(last.body.contains("no profile sends"), "{}", last.body);
}

#[test]
fn the_gate_of_verify_wants_to_be_confirmed() {
    let repo = repository();
    let mut client = Client::signed_in(&repo);
    // Nothing listens at this port.
    let fields = with(NEW, &[("enabled", "yes"), ("host", "127.0.0.1"), ("port", "9"), ("encryption", "none")]);
    let page = plan(&mut client, &fields);
    assert!(page.contains("EDU1: documents-accounts-receivable") && page.contains("erp@example.com"), "{page}");
    assert!(page.contains("name=\"accept-findings\"") || page.contains("name=\"accept-unverified\""), "{page}");
    let refused = send_on(&mut client, "/console/plan/apply", &page, &[]);
    assert!(refused.status == 422 && refused.body.contains("MW0234"), "{} {}", refused.status, refused.body);
    let accepted = [("accept-findings", "invoices"), ("accept-unverified", "yes")];
    let without = send_on(&mut client, "/console/plan/apply", &page, &accepted);
    assert!(without.status == 422 && without.body.contains("needs a reason"), "{} {}", without.status, without.body);
    assert!(without.body.contains("<code>invoices</code>"), "names in messages are code: {}", without.body);
    let accepted = [accepted[0], accepted[1], ("reason", "the relay is being set up")];
    let applied = send_on(&mut client, "/console/plan/apply", &page, &accepted);
    assert_eq!(applied.status, 303, "{}", applied.body);
    // Disabling needs no verification.
    let page = plan(&mut client, &[("action", "disable"), ("original", "invoices"), ("base", "2")]);
    assert_eq!(send_on(&mut client, "/console/plan/apply", &page, &[]).status, 303);
    assert_eq!(repo.state()["profiles"]["invoices"]["live"]["profile"]["enabled"], false);
}

#[test]
fn a_plan_says_nothing_about_what_is_live() {
    let repo = repository();
    let mut client = Client::signed_in(&repo);
    let fields = with(NEW, &[("enabled", "yes"), ("host", "127.0.0.1"), ("port", "9"), ("encryption", "none")]);
    let change = with(&fields, &[("original", "relay"), ("applies-to", "system-wide"), ("function", "default")]);
    let page = plan(&mut client, &change);
    assert!(page.contains("SMTP-CONNECT"), "{page}");
    // Only looked at: what is live does not fail because of it.
    let profile = client.page("/console/profiles/relay");
    assert!(!profile.contains("state-failing") && !profile.contains("SMTP-CONNECT"), "{profile}");
    assert!(!client.page("/console/profiles").contains("state-failing"));
    assert!(!client.page("/console").contains("1 error"), "{}", client.page("/console"));
    let accepted = [("accept-findings", "relay"), ("reason", "it is set up tomorrow")];
    assert_eq!(send_on(&mut client, "/console/plan/apply", &page, &accepted).status, 303);
    let profile = client.page("/console/profiles/relay");
    assert!(profile.contains("state-failing") && !profile.contains("of other settings"), "{profile}");
    assert!(client.page("/console").contains("1 error"));
}

#[test]
fn a_plan_says_which_right_is_missing() {
    let repo = repository();
    repo.write("environments/dev/environment.yaml", "companies: [EDU1, EDU2]\n");
    repo.write(
        "environments/dev/access.yaml",
        "roles:
  desk:
    grants:
      - { areas: [profiles], activities: [see] }
      - { areas: [profiles], activities: [create], companies: [EDU1] }
      - { areas: [changes], activities: [plan, propose, edit] }
bindings:
  desk: { subjects: [{ token: desk }], roles: [desk] }
",
    );
    repo.run(&["apply", "--skip-verify", "dev", "--yes", "--allow-rights"]).code(0);
    let token = repo.run(&["token", "create", "dev", "--name", "desk", "--role", "bound"]).code(0).stdout;
    let mut client = Client::new(&repo);
    client.sign_in(token.trim());
    let base = [("base", "2")];
    let own = plan(&mut client, &with(NEW, &base));
    assert!(own.contains(">Apply</button>") && !own.contains("MW0400"), "{own}");
    let other = plan(&mut client, &with(NEW, &[("base", "2"), ("company", "EDU2")]));
    assert!(!other.contains(">Apply</button>") && other.contains("MW0400"), "{other}");
    assert!(other.contains("for company <code>EDU2</code>") && other.contains(">Propose</button>"), "{other}");
    assert_eq!(send_on(&mut client, "/console/plan/apply", &other, &[]).status, 403);
    assert_eq!(send_on(&mut client, "/console/plan/apply", &own, &[]).status, 303);
}

#[test]
fn a_viewer_sees_no_form_and_a_planner_applies_nothing() {
    let repo = repository();
    let token = |role: &str| repo.run(&["token", "create", "dev", "--name", role, "--role", role]).code(0).stdout;
    let mut viewer = Client::new(&repo);
    viewer.sign_in(token("viewer").trim());
    assert!(!viewer.page("/console/profiles").contains("/console/profiles/new"));
    assert!(!viewer.page("/console/profiles/relay").contains("/edit"));
    for path in ["/console/profiles/new", "/console/profiles/relay/edit", "/console/profiles/relay/patch"] {
        assert_eq!(viewer.get(path).status, 403, "{path}");
    }
    for path in ["/console/plan", "/console/plan/form", "/console/plan/patch", "/console/plan/apply"] {
        assert_eq!(viewer.post(path, NEW).status, 403, "{path}");
    }
    let mut planner = Client::new(&repo);
    planner.sign_in(token("planner").trim());
    let page = plan(&mut planner, NEW);
    assert!(!page.contains(">Apply</button>"), "{page}");
    assert_eq!(send_on(&mut planner, "/console/plan/apply", &page, &[]).status, 403);
    assert_eq!(repo.state()["generation"], 1);
}

#[test]
fn the_environment_decides_what_its_console_may_do() {
    let repo = repository();
    let policy = |policy: &str| {
        repo.write("environments/dev/environment.yaml", format!("companies: [EDU1]\npolicy:\n  console: {policy}\n"));
        repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    };
    policy("read-only");
    let mut client = Client::signed_in(&repo);
    assert!(!client.page("/console/profiles").contains("/console/profiles/new"));
    assert!(!client.page("/console/profiles/relay").contains("/edit"));
    let answers = [
        client.get("/console/profiles/new"),
        client.get("/console/profiles/relay/edit"),
        client.get("/console/profiles/relay/patch"),
        client.post("/console/plan", NEW),
        client.post("/console/plan/form", NEW),
        client.post("/console/plan/apply", NEW),
        client.post("/console/plan/patch", NEW),
    ];
    for answer in answers {
        assert!(answer.status == 403 && answer.body.contains("MW0395"), "{}", answer.body);
    }
    policy("propose");
    let page = plan(&mut client, NEW);
    assert!(!page.contains(">Apply</button>"), "{page}");
    assert_eq!(send_on(&mut client, "/console/plan/apply", &page, &[]).status, 403);
    policy("apply");
    assert!(plan(&mut client, NEW).contains(">Apply</button>"));
    repo.write("environments/dev/environment.yaml", "companies: [EDU1]\npolicy:\n  console: everything\n");
    repo.run(&["validate", "dev"]).code(1);
}

#[test]
fn the_patch_of_a_change_makes_the_plan_empty() {
    let repo = repository();
    commit_files(&repo);
    let mut client = Client::signed_in(&repo);
    // A plan can be taken into Git without being applied.
    let page = plan(&mut client, &with(NEW, &[("description", "Rechnungen für ${x} – \"Umlaute\"")]));
    let answer = send_on(&mut client, "/console/plan/patch", &page, &[("reason", "From the console")]);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(answer.header("content-disposition").unwrap().contains("invoices.patch"));
    assert_eq!(send_on(&mut client, "/console/plan/apply", &page, &[]).status, 303);
    let live = client.page("/console/profiles/invoices/patch");
    repo.write("one.patch", &answer.body);
    git(&repo, &["am", "one.patch"]);
    assert!(git(&repo, &["log", "-1", "--format=%s%n%b"]).contains("From the console"));
    assert_plan_is_empty(&repo);
    assert_eq!(repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0).code, 0);
    assert!(!client.page("/console/profiles/invoices").contains("not in Git"));
    assert_eq!(client.get("/console/profiles/invoices/patch").status, 404);
    // What is live is the same patch.
    let files = |mail: &str| mail.split_once("diff --git").unwrap().1.to_owned();
    assert_eq!(files(&live), files(&answer.body));
    // A change of the file that was written, and its deletion.
    let edited = with(
        NEW,
        &[("original", "invoices"), ("base", "3"), ("host", "other.example.com"), ("description", "Rechnungen")],
    );
    let page = plan(&mut client, &edited);
    assert_eq!(send_on(&mut client, "/console/plan/apply", &page, &[]).status, 303);
    repo.write("two.patch", client.page("/console/profiles/invoices/patch"));
    git(&repo, &["am", "two.patch"]);
    assert_plan_is_empty(&repo);
    assert_eq!(repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0).code, 0);
    let page = plan(&mut client, &[("action", "delete"), ("original", "invoices"), ("base", "5")]);
    assert_eq!(send_on(&mut client, "/console/plan/apply", &page, &[]).status, 303);
    repo.write("three.patch", client.page("/console/profiles/invoices/patch"));
    git(&repo, &["am", "three.patch"]);
    assert!(!repo.path("environments/dev/profiles/invoices.yaml").exists());
    assert_plan_is_empty(&repo);
}

/// Seals a value as the browser does.
fn seal(recipient: &str, value: &str, host: &str) -> String {
    let recipients = Recipients::parse(recipient, &NoCallbacks).unwrap();
    let environment: EnvironmentName = "dev".parse().unwrap();
    let destination =
        Destination::Smtp { host: host.to_owned(), port: 587, encryption: Encryption::Starttls }.digest(&environment);
    let value = SecretSlice::from(value.as_bytes().to_vec());
    String::from_utf8(seal_for(&value, &recipients, &ValueId::from_random([7; 16]), &destination).unwrap()).unwrap()
}

#[test]
fn a_secret_arrives_sealed_or_not_at_all() {
    let repo = repository();
    let recipient = repo.http("GET", "/v1/service", &[], b"").json()["recipient"].as_str().unwrap().to_owned();
    repo.write("secrets/dev/recipients.txt", format!("{recipient}\n"));
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    commit_files(&repo);
    let mut client = Client::signed_in(&repo);
    let form = client.page("/console/profiles/new?provider=smtp");
    assert!(form.contains(&format!("data-seal-recipients=\"{recipient}\"")), "{form}");
    assert!(form.contains("<noscript>") && !form.contains("name=\"password\""), "{form}");
    let login = |sealed: &str| -> Vec<(String, String)> {
        let more = [("login", "password"), ("username", "erp"), ("sealed-password", sealed)];
        with(NEW, &more).into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    let other = "age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg";
    for (sealed, code) in [
        (CANARY.to_owned(), "MW0034"),
        (seal(other, CANARY, "mail.example.com"), "MW"),
        // For another host than the form has.
        (seal(&recipient, CANARY, "evil.example.com"), "MW"),
    ] {
        let fields = login(&sealed);
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let answer = client.post("/console/plan", &fields);
        assert_eq!(answer.status, 422, "{}", answer.body);
        assert!(answer.body.contains("problem-secret") && answer.body.contains(code), "{}", answer.body);
        assert!(!answer.body.contains(CANARY) && !repo.service_log().contains(CANARY), "{}", answer.body);
    }
    // Browsers send line ends as CRLF.
    let fields = login(&seal(&recipient, CANARY, "mail.example.com").replace('\n', "\r\n"));
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let page = plan(&mut client, &fields);
    assert!(page.contains("new secret") && page.contains("invoices/password"), "{page}");
    let applied = send_on(&mut client, "/console/plan/apply", &page, &[]);
    assert_eq!(applied.status, 303, "{}", applied.body);
    repo.write("secret.patch", client.page("/console/profiles/invoices/patch"));
    git(&repo, &["am", "secret.patch"]);
    assert!(repo.read("secrets/dev/invoices/password.age").starts_with("-----BEGIN AGE ENCRYPTED FILE-----"));
    assert_plan_is_empty(&repo);
    for path in ["/console/profiles/invoices", "/console/profiles/invoices/edit", "/console/profiles/invoices/patch"] {
        assert!(!client.page(path).contains(CANARY), "{path}");
    }
    // The file of a secret that profiles share is in Git already.
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    let shared = [("name", "receipts"), ("login", "password"), ("username", "erp"), ("secret", "invoices/password")];
    let page = plan(&mut client, &with(NEW, &shared));
    assert_eq!(send_on(&mut client, "/console/plan/apply", &page, &[]).status, 303);
    repo.write("shared.patch", client.page("/console/profiles/receipts/patch"));
    git(&repo, &["am", "shared.patch"]);
    assert_plan_is_empty(&repo);
    assert!(!repo.service_log().contains(CANARY));
}

#[test]
fn the_overview_counts_what_its_link_lists() {
    let repo = repository();
    let mut client = Client::signed_in(&repo);
    let tile = |page: &str| {
        let text = page.split("profiles?drift=yes\"><strong>").nth(1).unwrap();
        text.split('<').next().unwrap().parse::<usize>().unwrap()
    };
    assert_eq!(tile(&client.page("/console")), 0);
    let page = plan(&mut client, NEW);
    assert_eq!(send_on(&mut client, "/console/plan/apply", &page, &[]).status, 303);
    let authorization = format!("Bearer {}", repo.token());
    let headers = [("Authorization", authorization.as_str()), ("If-Match", "*")];
    let by_hand = repo.http_without_token("PATCH", "/v1/profiles/relay", &headers, br#"{"description":"by hand"}"#);
    assert_eq!(by_hand.status, 200, "{}", by_hand.body);
    // One is not in Git, the other was changed.
    let list = client.page("/console/profiles?drift=yes");
    let rows = list.split("<tbody>").nth(1).unwrap().matches("<tr").count();
    assert_eq!((rows, tile(&client.page("/console"))), (2, 2), "{list}");
}
