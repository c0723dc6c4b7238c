//! Results of the verifier of settings that are only shown in a plan: they do not make a profile look failed that is not, nor the
//! other way round.

use serde_json::{Value, json};

use super::{
    client::Client,
    edit::{NEW, plan, send_on, with},
};
use crate::support::{
    repository::{HttpResponse, TestRepository, send_request},
    sandbox::{PASSWORD, Sandbox, good, smtp},
};

/// A service with the profile `relay`, whose server accepts it, and `dead`, whose server does not exist. Both were verified.
fn serve() -> (TestRepository, Sandbox) {
    let sandbox = Sandbox::start(good());
    let mut repo = TestRepository::empty();
    repo.write("environments/dev/environment.yaml", "companies: [EDU1]\nunserved: [{ reason: trial }]\n");
    repo.write("secrets/dev/recipients.txt", include_str!("../../../secrets/dev/recipients.txt"));
    repo.write("secrets/dev/demo-identity.txt", include_str!("../../../secrets/dev/demo-identity.txt"));
    let relay = smtp().to_string().replace("\"SMTP\"", &sandbox.running.smtp.port().to_string());
    repo.write("environments/dev/profiles/relay.json", relay);
    // Nothing listens at port 1.
    let dead = json!({
        "provider": { "smtp": { "host": "localhost", "port": 1 } },
        "from": { "address": "documents@contoso.example" }, "functions": ["all-reports"], "appliesTo": "system-wide",
    });
    repo.write("environments/dev/profiles/dead.json", dead.to_string());
    repo.write("ca.pem", &sandbox.running.authority);
    repo.pipe(&["secrets", "set", "dev", "relay/password"], PASSWORD.as_bytes()).code(0);
    let (ca, dns) = (repo.path("ca.pem"), sandbox.running.dns.to_string());
    repo.serve_with(&["--demo", "--outgoing-ca-file", ca.to_str().unwrap(), "--dns-server", &dns]);
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    repo.run(&["verify", "dev"]).code(3);
    (repo, sandbox)
}

/// Sends a request with a token.
fn ask(repo: &TestRepository, token: &str, path: &str, body: &Value) -> HttpResponse {
    let address = repo.address().trim_start_matches("http://");
    let authorization = format!("Bearer {token}");
    send_request(address, "POST", path, &[("Authorization", &authorization)], body.to_string().as_bytes())
}

/// Returns everything that shows the last results: the number of errors of both, and the pages.
fn shown(repo: &TestRepository) -> [String; 6] {
    let last = repo.http("GET", "/v1/verify", &[], b"").json()["profiles"].clone();
    let errors = |name: &str| last[name]["errors"].as_u64().unwrap();
    let mut client = Client::signed_in(repo);
    let state = |client: &mut Client, state: &str| {
        let page = client.page(&format!("/console/profiles?state={state}"));
        let is_listed = |name: &str| page.contains(&format!("/console/profiles/{name}\""));
        format!("{state}: relay {}, dead {}", is_listed("relay"), is_listed("dead"))
    };
    let result = |name: &str| {
        let result = repo.http("GET", &format!("/v1/verify/{name}"), &[], b"").json();
        let findings = result["findings"].as_array().unwrap();
        findings.iter().any(|finding| finding["verdict"] == "fail" && finding["severity"] == "error")
    };
    let overview = client.page("/console");
    [
        format!("errors: relay {}, dead {}", errors("relay"), errors("dead").min(1)),
        format!("findings: relay {}, dead {}", result("relay"), result("dead")),
        state(&mut client, "failing"),
        state(&mut client, "ready"),
        format!(
            "overview: relay {}, dead {}",
            overview.contains("/console/profiles/relay\""),
            overview.contains("/console/profiles/dead\"")
        ),
        repo.run(&["status", "dev"]).stdout.lines().filter(|line| line.contains("error")).collect(),
    ]
}

fn live(repo: &TestRepository, name: &str) -> Value {
    repo.state()["profiles"][name]["live"].clone()
}

#[test]
fn what_is_only_looked_at_changes_no_result_of_what_is_live() {
    let (repo, _sandbox) = serve();
    let planner = repo.run(&["token", "create", "dev", "--name", "ci", "--role", "planner"]).code(0).stdout;
    let before = shown(&repo);
    assert_eq!(before[0], "errors: relay 0, dead 1");
    assert_eq!(before[2..4], ["failing: relay false, dead true", "ready: relay true, dead false"]);
    // Each with the settings of the other one: a healthy profile would fail, and a failed one would be healthy.
    let swapped = json!({
        "environment": "dev", "profiles": { "relay": live(&repo, "dead"), "dead": live(&repo, "relay") },
    });
    let answer = ask(&repo, planner.trim(), "/v1/verify", &swapped);
    assert!(answer.status == 200 && answer.body.contains("\"requests\""), "{}", answer.body);
    let lines: Vec<Value> = answer.body.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let fails = |name: &str| {
        let line =
            lines.iter().find(|line| line["verified"]["profile"] == name).unwrap_or_else(|| panic!("{lines:#?}"));
        line["verified"]["findings"]
            .as_array()
            .unwrap()
            .iter()
            .any(|finding| finding["verdict"] == "fail" && finding["severity"] == "error")
    };
    assert!(fails("relay") && !fails("dead"), "the caller gets its own results: {lines:#?}");
    assert_eq!(shown(&repo), before);
    // They are there under their own settings.
    let list = repo.http("GET", "/v1/verify", &[], b"").json();
    assert_eq!(list["planned"]["relay"][0]["errors"], list["profiles"]["dead"]["errors"]);
    assert_ne!(list["planned"]["relay"][0]["of"], list["profiles"]["relay"]["of"]);
    // Neither do the plan and its page.
    let mut client = Client::signed_in(&repo);
    let fields = with(
        NEW,
        &[
            ("original", "relay"),
            ("name", "relay"),
            ("host", "localhost"),
            ("port", "1"),
            ("from-address", "documents@contoso.example"),
            ("applies-to", "system-wide"),
            ("function", "default"),
            ("enabled", "yes"),
        ],
    );
    let planned = client.post("/console/plan", &fields);
    assert!(planned.status == 200 && planned.body.contains("SMTP-"), "{}", planned.body);
    assert_eq!(shown(&repo), before);
}

#[test]
fn many_looks_do_not_make_what_was_proved_forgotten() {
    let (repo, sandbox) = serve();
    let planner = repo.run(&["token", "create", "dev", "--name", "ci", "--role", "planner"]).code(0).stdout;
    let before = shown(&repo);
    for number in 0..8 {
        let mut other = live(&repo, "relay");
        other["profile"]["from"]["name"] = json!(format!("Branch {number}"));
        let request = json!({ "environment": "dev", "profiles": { "relay": other } });
        assert_eq!(ask(&repo, planner.trim(), "/v1/verify", &request).status, 200);
    }
    let list = repo.http("GET", "/v1/verify", &[], b"").json();
    assert_eq!(list["planned"]["relay"].as_array().unwrap().len(), 4, "bounded: {list:#}");
    assert_eq!(shown(&repo), before);
    drop(sandbox);
    let store = rusqlite::Connection::open(repo.path(".data/store.sqlite")).unwrap();
    let query = "SELECT count(*) FROM proof AS p JOIN verification AS v ON v.name = p.name AND v.of = p.of
                 WHERE v.name = 'relay' AND v.is_last = 1";
    assert_eq!(
        store.query_row(query, [], |row| row.get::<_, i64>(0)).unwrap(),
        1,
        "the proof of the live settings stays"
    );
}

#[test]
fn the_result_of_a_plan_is_that_of_the_profile_once_it_is_applied() {
    let (repo, _sandbox) = serve();
    let relay = repo.read("environments/dev/profiles/relay.json");
    repo.write("environments/dev/profiles/relay.json", repo.read("environments/dev/profiles/dead.json"));
    repo.write("environments/dev/profiles/dead.json", &relay);
    repo.run(&["verify", "dev"]).code(3);
    let before = repo.http("GET", "/v1/verify", &[], b"").json();
    assert_eq!(before["profiles"]["relay"]["errors"], 0);
    // The plan names the results of what it would set.
    let plan = repo.run(&["plan", "dev", "--format", "json"]).json();
    for previous in plan["verified"].as_array().unwrap_or_else(|| panic!("{plan:#}")) {
        assert_eq!(previous["current"], true, "{previous}");
    }
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    let after = repo.http("GET", "/v1/verify", &[], b"").json();
    assert_eq!(after["profiles"]["relay"], before["planned"]["relay"][0]);
    assert_eq!(after["profiles"]["dead"]["errors"], 0);
    // And those of before are there for a way back.
    assert_eq!(after["planned"]["relay"][0], before["profiles"]["relay"]);
    repo.run(&["rollback", "dev", "--to", "1", "--yes"]).code(0);
    let back = repo.http("GET", "/v1/verify", &[], b"").json();
    assert_eq!(back["profiles"], before["profiles"]);
}

/// A run that was not allowed to contact the host, or to use the secret, has no errors because it saw nothing.
#[test]
fn a_run_that_lacked_a_right_is_no_verification() {
    let (repo, _sandbox) = serve();
    let planner = repo.run(&["token", "create", "dev", "--name", "ci", "--role", "planner"]).code(0).stdout;
    let verify = |profile: Value, skipped: &str| {
        let request = json!({ "environment": "dev", "profiles": { "relay": profile } });
        let answer = ask(&repo, planner.trim(), "/v1/verify", &request);
        assert!(answer.status == 200 && answer.body.contains(skipped), "{}", answer.body);
        let list = repo.http("GET", "/v1/verify", &[], b"").json();
        assert!(list["planned"].get("relay").is_none(), "{list:#}");
    };
    let mut elsewhere = live(&repo, "dead");
    elsewhere["profile"]["provider"]["smtp"]["host"] = json!("elsewhere.example");
    verify(elsewhere, "VERIFY-HOST");
    let mut other_secret = live(&repo, "relay");
    let secrets = other_secret["secrets"].as_object_mut().unwrap();
    secrets.values_mut().for_each(|digest| *digest = json!(format!("sha256:{}", "0".repeat(64))));
    verify(other_secret, "VERIFY-SECRET");
}

/// A profile that was made by hand and is declared otherwise changes what sends, so it is verified before the apply.
#[test]
fn a_profile_that_is_adopted_with_other_settings_is_verified() {
    let (repo, _sandbox) = serve();
    repo.write("environments/dev/environment.yaml", "companies: [EDU1]\nunserved: [{ reason: trial }]\n");
    let mut client = Client::signed_in(&repo);
    let relay = live(&repo, "relay")["profile"]["provider"]["smtp"].clone();
    let port = relay["port"].to_string();
    let fields = with(NEW, &[("host", relay["host"].as_str().unwrap()), ("port", &port), ("enabled", "yes")]);
    let page = plan(&mut client, &fields);
    let confirmed = [("accept-unverified", "yes"), ("accept-findings", "invoices"), ("reason", "trial")];
    let answer = send_on(&mut client, "/console/plan/apply", &page, &confirmed);
    assert_eq!(answer.status, 303, "{}", answer.body);
    // Declared as it is: adopted without a look. Declared otherwise: the server does not exist.
    let dead = repo.read("environments/dev/profiles/dead.json");
    let mut declared: Value = serde_json::from_str(&dead).unwrap();
    declared["functions"] = json!(["documents-accounts-receivable"]);
    declared["appliesTo"] = json!({ "companies": ["EDU1"] });
    repo.write("environments/dev/profiles/invoices.json", declared.to_string());
    assert!(repo.run(&["plan", "dev"]).stdout.contains("will be adopted"));
    let refused = repo.run(&["apply", "dev", "--yes"]);
    assert!(refused.stderr.contains("MW0234"), "{}{}", refused.stdout, refused.stderr);
}
