//! The recipients of secrets as a setting: who may change them, what a plan shows, and what the service refuses.

use mailwright::{
    model::{Settings, State},
    secrets::ServiceIdentity,
};
use serde_json::{Value, json};

use crate::support::repository::{CommandOutput, HttpResponse, TestRepository, run_command};

const APPLY: [&str; 4] = ["apply", "dev", "--yes", "--skip-verify"];
const UNKNOWN: &str = "018f3a2e-0000-7000-8000-00000000000b";

struct Fixture {
    repo: TestRepository,
    own: String,
    ann: String,
}

impl Fixture {
    fn new(environment: &str, access: &str) -> Self {
        let mut repo = TestRepository::small();
        repo.write("environments/dev/environment.yaml", environment);
        if !access.is_empty() {
            repo.write("environments/dev/access.yaml", access);
        }
        repo.serve();
        let own = repo.http("GET", "/v1/service", &[], b"").json()["recipient"].as_str().unwrap().to_owned();
        let fixture = Self { repo, own, ann: ServiceIdentity::generate().recipient() };
        fixture.write("");
        fixture.repo.run(&[&APPLY[..], &["--allow-rights"]].concat()).code(0);
        fixture
    }

    /// Writes the recipients: the service, Ann, and more lines.
    fn write(&self, more: &str) {
        self.repo.write("secrets/dev/recipients.txt", format!("{}\n\n# Ann\n{}\n{more}", self.own, self.ann));
    }

    fn apply_as(&self, token: &str, more: &[&str]) -> CommandOutput {
        let mut command = self.repo.command(&[&APPLY[..], more].concat());
        command.env("MAILWRIGHT_TOKEN", token);
        run_command(command)
    }

    fn token(&self, name: &str, role: &str) -> String {
        let created = self.repo.run(&["token", "create", "dev", "--name", name, "--role", role]).code(0);
        created.stdout.trim().to_owned()
    }

    fn known(&self) -> Vec<Value> {
        self.repo.state()["settings"]["secretRecipients"].as_array().cloned().unwrap_or_default()
    }

    /// Sends a changeset with these recipients, by hand.
    fn send(&self, token: &str, recipients: Value) -> HttpResponse {
        let state = self.repo.state();
        let mut settings = state["settings"].clone();
        settings["secretRecipients"] = recipients;
        let changeset = json!({
            "id": UNKNOWN, "environment": "dev", "base": state["generation"], "settings": settings, "changes": [],
            "allowances": { "rights": true },
        });
        let authorization = format!("Bearer {token}");
        let headers = [("Authorization", authorization.as_str())];
        self.repo.http_without_token("POST", "/v1/changesets", &headers, changeset.to_string().as_bytes())
    }
}

#[test]
fn an_added_recipient_is_shown_and_needs_an_allowance() {
    let fixture = Fixture::new("companies: [EDU1]\n", "");
    let repo = &fixture.repo;
    assert_eq!(fixture.known().len(), 2);
    let bob = ServiceIdentity::generate().recipient();
    fixture.write(&format!("\n# Bob\n{bob}\n"));
    let plan = repo.run(&["plan", "dev"]).code(0).stdout;
    for text in [
        "secretRecipients",
        &format!("{bob} # Bob"),
        "(2 unchanged)",
        "could be read with the key of",
        "(Bob, fingerprint",
        "--allow-rights",
    ] {
        assert!(plan.contains(text), "{text}: {plan}");
    }
    let document = repo.run(&["plan", "dev", "--format", "json"]).code(0).json();
    let text = document.to_string();
    assert!(text.contains("\"guard\":\"recipients-added\"") && text.contains(&bob), "{document:#}");
    let refused = repo.run(&APPLY).code(1);
    assert!(refused.stderr.contains("MW0402") && refused.stderr.contains("--allow-rights"), "{}", refused.stderr);
    assert_eq!(fixture.known().len(), 2);
    repo.run(&[&APPLY[..], &["--allow-rights"]].concat()).code(0);
    assert_eq!(fixture.known().len(), 3);
    let audit = repo.http("GET", "/v1/audit?limit=50", &[], b"").body;
    assert!(audit.contains("recipientsAdded") && audit.contains(&bob), "{audit}");
    // Another name, or a recipient less, needs no allowance.
    fixture.write(&format!("\n# Robert\n{bob}\n"));
    repo.run(&APPLY).code(0);
    fixture.write("");
    repo.run(&APPLY).code(0);
    assert_eq!(fixture.known().len(), 2);
    // A list that is emptied would let the next one be filled unnoticed.
    repo.remove("secrets/dev/recipients.txt");
    let refused = repo.run(&APPLY).code(1);
    assert!(
        refused.stderr.contains("MW0402") && refused.stderr.contains("none of its 2 recipients"),
        "{}",
        refused.stderr
    );
}

#[test]
fn the_recipients_are_in_history_and_survive_a_rollback() {
    let fixture = Fixture::new("companies: [EDU1]\n", "");
    let repo = &fixture.repo;
    let bob = ServiceIdentity::generate().recipient();
    fixture.write(&format!("\n# Bob\n{bob}\n"));
    repo.write("environments/dev/environment.yaml", "companies: [EDU1, EDU2]\n");
    repo.run(&[&APPLY[..], &["--allow-rights"]].concat()).code(0);
    fixture.write("");
    repo.write("environments/dev/environment.yaml", "companies: [EDU1]\n");
    repo.run(&APPLY).code(0);
    let shown = repo.http("GET", "/v1/generations/2", &[], b"").body;
    assert!(shown.contains("Bob"), "{shown}");
    // Bob has left: a rollback does not bring his key back.
    let rolled = repo.run(&["rollback", "dev", "--to", "2", "--yes"]);
    assert_eq!(rolled.code, 0, "{}{}", rolled.stdout, rolled.stderr);
    assert_eq!(repo.state()["settings"]["companies"], json!(["EDU1", "EDU2"]));
    assert!(fixture.known().iter().all(|one| one["recipient"] != json!(bob)), "{:?}", fixture.known());
}

#[test]
fn the_right_to_other_settings_is_no_right_to_the_recipients() {
    let access = "\
roles:
  settings:
    grants:
      - { areas: [service, profiles, settings, access], activities: [see] }
      - { areas: [settings], activities: [change], fields: [companies, delivery.*] }
      - { areas: [changes], activities: [plan, apply] }
  recipients:
    grants: [{ areas: [settings], activities: [change], fields: [secretRecipients] }]
bindings:
  desk: { subjects: [{ token: desk }, { token: keeper }], roles: [settings] }
  keeper: { subjects: [{ token: keeper }], roles: [recipients] }
";
    let fixture = Fixture::new("companies: [EDU1]\n", access);
    let (desk, keeper) = (fixture.token("desk", "bound"), fixture.token("keeper", "bound"));
    fixture.repo.write("environments/dev/environment.yaml", "companies: [EDU1, EDU2]\n");
    fixture.apply_as(&desk, &[]).code(0);
    fixture.write(&format!("\n# Eve\n{}\n", ServiceIdentity::generate().recipient()));
    let refused = fixture.apply_as(&desk, &["--allow-rights"]).code(1);
    assert!(refused.stderr.contains("MW0400") && refused.stderr.contains("secretRecipients"), "{}", refused.stderr);
    let by_hand = fixture.send(&desk, json!([{ "recipient": ServiceIdentity::generate().recipient() }]));
    assert_eq!((by_hand.status, by_hand.json()["code"].as_str()), (403, Some("MW0400")), "{}", by_hand.body);
    // Nor to remove or rename one.
    assert_eq!(fixture.send(&desk, json!([])).status, 403);
    assert_eq!(fixture.known().len(), 2);
    fixture.apply_as(&keeper, &["--allow-rights"]).code(0);
    assert_eq!(fixture.known().len(), 3);
}

/// Every rule about approvals matches, also one that is for profiles alone.
#[test]
fn an_added_recipient_needs_every_approval() {
    let key = include_str!("../fixtures/ssh/ed25519.pub").trim();
    let environment = format!(
        "companies: [EDU1]\npolicy:\n  approvals:\n    signers: [{{ name: alice, key: \"{key}\" }}]\n    rules:\n      - {{ count: 1, actions: [delete] }}\n"
    );
    let fixture = Fixture::new(&environment, "");
    // A name is a change of the settings, which no rule is for.
    let own = fixture.repo.read("secrets/dev/recipients.txt");
    fixture.repo.write("secrets/dev/recipients.txt", own.replace("# Ann", "# Anna"));
    fixture.repo.run(&APPLY).code(0);
    fixture.write(&format!("{}\n", ServiceIdentity::generate().recipient()));
    let refused = fixture.repo.run(&[&APPLY[..], &["--allow-rights"]].concat()).code(1);
    assert!(refused.stderr.contains("MW0310"), "{}", refused.stderr);
    let plan = fixture.repo.run(&["plan", "dev"]).code(0).stdout;
    assert!(plan.contains("lets more persons decrypt secrets"), "{plan}");
}

#[test]
fn what_is_no_recipient_is_refused() {
    let fixture = Fixture::new("companies: [EDU1]\n", "");
    let own = &fixture.own;
    let token = fixture.repo.token().to_owned();
    let [eve, one] = [(); 2].map(|()| ServiceIdentity::generate().recipient());
    let ssh = include_str!("../fixtures/ssh/ed25519.pub").trim();
    let many: Vec<Value> = (0..201).map(|_| json!({ "recipient": ServiceIdentity::generate().recipient() })).collect();
    for recipients in [
        // A second line would be another recipient of the page.
        json!([{ "recipient": format!("{one}\n{eve}") }]),
        json!([{ "recipient": one, "name": format!("Ann\n{eve}") }]),
        json!([{ "recipient": format!("{one} {eve}") }]),
        json!([{ "recipient": one.to_uppercase() }]),
        json!([{ "recipient": ssh }]),
        json!([{ "recipient": "" }]),
        json!([{ "recipient": "age-secret-key-1qqpq" }]),
        json!([{ "recipient": "age1nonsense" }]),
        json!([{ "recipient": &one[..one.len() - 1] }]),
        json!([{ "recipient": one, "name": "a" }, { "recipient": one, "name": "b" }]),
        json!([{ "recipient": one, "name": "\u{202e}nnA" }]),
        json!([{ "recipient": one, "name": "x".repeat(81) }]),
        json!([{ "recipient": one, "name": "" }]),
        json!([{ "recipient": one, "name": "AGE-SECRET-KEY-1QQ" }]),
        json!([{ "recipient": format!("age1{}", "q".repeat(5000)) }]),
        json!([{ "recipient": format!("ssh-rsa {}", "A".repeat(600)) }]),
        json!(many),
    ] {
        let answer = fixture.send(&token, recipients.clone());
        assert_eq!(answer.status, 422, "{recipients}: {}", answer.body);
        assert!(
            answer.body.contains("MW0035") && !answer.body.to_lowercase().contains("age-secret"),
            "{recipients}: {}",
            answer.body
        );
    }
    assert_eq!(fixture.known().len(), 2);
    let answer = fixture.send(&token, json!([{ "recipient": own }, { "recipient": one, "name": "Ann Ä. Meyer" }]));
    assert_eq!(answer.status, 201, "{}", answer.body);
}

/// The key of the examples is public: only a service of the examples seals for it.
#[test]
fn the_public_recipient_is_refused_outside_of_examples() {
    let mut repo = TestRepository::small();
    repo.write("secrets/dev/recipients.txt", include_str!("../../secrets/dev/recipients.txt"));
    repo.serve_with(&[]);
    let refused = repo.run(&APPLY).code(1);
    assert!(refused.stderr.contains("MW0224") && refused.stderr.contains("anyone could decrypt"), "{}", refused.stderr);
}

#[test]
fn settings_of_an_earlier_version_have_no_recipients() {
    let settings: Settings = serde_json::from_value(json!({ "companies": ["EDU1"] })).unwrap();
    assert!(settings.secret_recipients.is_empty());
    assert!(serde_json::to_value(&settings).unwrap().get("secretRecipients").is_none(), "digests of old settings stay");
    let state = State::empty("dev".parse().unwrap());
    assert!(state.settings.secret_recipients.is_empty());
}
