//! Pages that only show: the access policy with its answers, leases and applies, and the progress of the verifier.

use serde_json::json;

use super::client::Client;
use crate::support::repository::TestRepository;

const POLICY: &str = "\
roles:
  mail-desk:
    description: Sender names
    grants:
      - { areas: [profiles], activities: [see] }
      - { areas: [profiles], activities: [change], fields: [from.name], companies: [EDU1] }
bindings:
  desk: { subjects: [{ token: ann }, { group: Mail, issuer: 'https://login.example.com' }], roles: [mail-desk] }
";

fn repository() -> TestRepository {
    let mut repo = TestRepository::small();
    repo.write("environments/dev/access.yaml", POLICY);
    repo.serve();
    repo.run(&["apply", "--skip-verify", "dev", "--yes", "--allow-rights"]).code(0);
    repo
}

fn token(repo: &TestRepository, name: &str, role: &str) -> String {
    repo.run(&["token", "create", "dev", "--name", name, "--role", role]).code(0).stdout.trim().to_owned()
}

#[test]
fn the_access_page_answers_as_the_command_line_does() {
    let repo = repository();
    let mut client = Client::signed_in(&repo);
    let page = client.page("/console/access");
    for text in ["mail-desk", "Sender names", "desk", "group:Mail@https://login.example.com", "from.name", "deployer"] {
        assert!(page.contains(text), "{text}: {page}");
    }
    let answered = client.page("/console/access?subject=token%3Aann&role=viewer");
    let rights = answered.split("<tbody>").nth(1).unwrap().split("</tbody>").next().unwrap();
    let command =
        repo.run(&["access", "explain", "dev", "token:ann", "--live", "--role", "viewer", "--format", "json"]);
    let command = command.code(0).json();
    let possible: Vec<&serde_json::Value> =
        command["answers"].as_array().unwrap().iter().filter(|answer| answer["decision"] != "refused").collect();
    assert_eq!(rights.matches("<tr").count(), possible.len(), "{rights}");
    for answer in possible {
        let row = format!(
            "<code>{}</code></th><td><code>{}</code>",
            answer["area"].as_str().unwrap(),
            answer["activity"].as_str().unwrap()
        );
        assert!(rights.contains(&row), "{row}: {rights}");
    }
    assert!(rights.contains("companies EDU1") && answered.contains("desk"), "{answered}");
    let who = client.page("/console/access?field=from.name&profile=relay");
    let said = repo.run(&["access", "who", "dev", "from.name", "relay", "--live"]).code(0).stdout;
    for line in said.lines().skip(1) {
        let plain = line.trim().replace('`', "");
        let shown = who.replace("<code>", "").replace("</code>", "");
        assert!(shown.contains(&plain), "{plain}: {who}");
    }
    for (query, text) in [
        ("subject=ann", "KIND:NAME"),
        ("subject=%3Cscript%3E", "KIND:NAME"),
        ("subject=token%3Anobody", "It may do nothing"),
        ("field=from.name&profile=nothing", "This profile does not exist"),
    ] {
        let page = client.page(&format!("/console/access?{query}"));
        assert!(page.contains(text) && !page.contains("<script>"), "{query}: {page}");
    }
    // The built-in role of an operator counts as well.
    let operator = json!({ "name": "Eve", "role": "viewer" }).to_string();
    assert!(repo.http("POST", "/v1/operators", &[], operator.as_bytes()).status < 300);
    let page = client.page("/console/access?subject=operator%3Aeve");
    assert!(page.contains("<strong>viewer</strong>") && !page.contains("It may do nothing"), "{page}");
    // Its right is of its own.
    let mut desk = Client::new(&repo);
    desk.sign_in(&token(&repo, "ann", "bound"));
    assert_eq!(desk.get("/console/access").status, 403);
}

#[test]
fn the_page_of_rollouts_shows_leases_and_the_last_apply() {
    let repo = repository();
    let mut client = Client::signed_in(&repo);
    let page = client.page("/console/rollouts");
    assert!(page.contains("No rollout holds a lease") && page.contains("No watch holds the lease"), "{page}");
    assert!(page.contains("nothing was changed outside Git"), "{page}");
    let authorization = format!("Bearer {}", repo.token());
    for (name, holder) in [("rollout:relay-move", "ci <b>7</b>"), ("watch", "watch at gitops-1")] {
        let body = json!({ "holder": holder, "seconds": 300 }).to_string();
        let answer = repo.http_without_token(
            "POST",
            &format!("/v1/leases/{name}"),
            &[("Authorization", &authorization)],
            body.as_bytes(),
        );
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let edit = super::edit::plan(&mut client, super::edit::NEW);
    assert_eq!(super::edit::send_on(&mut client, "/console/plan/apply", &edit, &[]).status, 303);
    let page = client.page("/console/rollouts");
    for text in ["relay-move", "mailwright rollout status relay-move", "watch at gitops-1", "1 profile changed outside"]
    {
        assert!(page.contains(text), "{text}: {page}");
    }
    assert!(!page.contains("<b>7"), "{page}");
}

#[test]
fn the_verifier_runs_from_the_console_with_its_progress() {
    let mut repo = TestRepository::small();
    let relay = repo.read("environments/dev/profiles/relay.yaml");
    // Nothing listens at this port.
    let relay = relay.replace("host: smtp.example.com", "host: 127.0.0.1\n    port: 9\n    encryption: none");
    repo.write("environments/dev/profiles/relay.yaml", relay);
    repo.serve();
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    let mut viewer = Client::new(&repo);
    viewer.sign_in(&token(&repo, "eve", "viewer"));
    assert!(!viewer.page("/console/verify").contains("<button class=\"primary\""));
    assert_eq!(viewer.post("/console/verify", &[]).status, 403);
    let mut client = Client::new(&repo);
    client.sign_in(&token(&repo, "pat", "planner"));
    assert!(client.page("/console/profiles/relay").contains("action=\"/console/verify\""));
    assert_eq!(client.post("/console/verify", &[("profile", "nothing")]).status, 404);
    for fields in [&[("profile", "relay")][..], &[("profile", "")]] {
        let started = client.post("/console/verify", fields);
        assert_eq!(started.status, 303, "{}", started.body);
        let address = started.header("location").unwrap().to_owned();
        let mut page = client.page(&address);
        for _ in 0..600 {
            if !page.contains(">running<") {
                break;
            }
            assert!(page.contains("hx-get=") && page.contains("Show the progress again"), "{page}");
            std::thread::sleep(std::time::Duration::from_millis(100));
            page = client.page(&address);
        }
        assert!(page.contains(">complete<") && page.contains("1 of 1 verified"), "{page}");
        assert!(!page.contains("hx-get="), "{page}");
    }
    let list = client.page("/console/verify");
    assert_eq!(list.matches(">complete<").count(), 2, "{list}");
    assert!(viewer.page("/console/verify").contains("pat"));
    let result = repo.http("GET", "/v1/verify/relay", &[], b"");
    assert_eq!(result.status, 200, "it is the profile's last result: {}", result.body);
    assert_eq!(client.get("/console/verify/000000000000").status, 404);
}
