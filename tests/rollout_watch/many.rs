//! Environments by the dozen, which differ in names, companies and variables: what is equal is reported once, what is quiet is
//! counted, and what needs a person is last.

use serde_json::{Value, json};

use crate::support::{
    fleet::Fleet,
    host_process::HostProcess,
    repository::{CommandOutput, SMALL_PROFILE},
};

/// The number of environments.
const COUNT: usize = 24;

/// Environments `cust-01`, `cust-02`, ..., in one process. Each third has two companies.
struct Customers {
    fleet: Fleet,
    host: HostProcess,
}

fn name(number: usize) -> String {
    format!("cust-{number:02}")
}

impl Customers {
    fn new() -> Self {
        let fleet = Fleet::new();
        let mut host = HostProcess::new(&fleet.repo, ".data/host", (1..=COUNT).map(name).collect());
        host.demo = false;
        host.start();
        let customers = Self { fleet, host };
        for number in 1..=COUNT {
            customers.declare(number, "");
        }
        customers
    }

    fn declare(&self, number: usize, rest: &str) {
        let companies =
            if number.is_multiple_of(3) { format!("C{number:02}, D{number:02}") } else { format!("C{number:02}") };
        let (name, address) = (name(number), self.host.address(&name(number)));
        self.fleet.environment(
            &name,
            &format!(
                "companies: [{companies}]\nservice: {{ address: {address} }}\nvariables: {{ domain: customer{number}.example }}\n{rest}"
            ),
        );
    }

    fn run(&self, arguments: &[&str]) -> CommandOutput {
        self.fleet.run(arguments)
    }

    fn apply(&self) {
        self.run(&["apply", "cust-*", "--yes", "--skip-verify"]).code(0);
    }

    /// Changes a profile outside Git.
    fn change_by_hand(&self, number: usize) {
        let body = json!({ "description": "by hand" }).to_string();
        let (name, authorization) = (name(number), format!("Bearer {}", self.host.token(&name(number))));
        let headers = [("Authorization", authorization.as_str()), ("If-Match", "*")];
        let path = format!("/environments/{name}/v1/profiles/relay");
        let answer = self.host.http("PATCH", &path, &headers, body.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

/// The name servers of customers give different answers, or none.
#[test]
fn verify_of_many_fits_on_a_screen() {
    let customers = Customers::new();
    customers.fleet.repo.remove("environments/base/profiles/relay.yaml");
    // Ports where nothing listens, and names that do not exist: the texts of both differ from customer to customer.
    for number in 1..=COUNT {
        let host = if number % 4 == 0 { format!("mail{number}.invalid") } else { "127.0.0.1".to_owned() };
        let port = 1 + number % 7;
        let profile = json!({
            "provider": { "smtp": { "host": host, "port": port } },
            "from": { "address": format!("erp@customer{number}.example") },
            "functions": ["default"], "appliesTo": "system-wide",
        });
        customers.fleet.repo.write(&format!("environments/{}/profiles/own.json", name(number)), profile.to_string());
    }
    let verify = ["verify", "cust-*", "--local", "--dns-server", "127.0.0.1:1", "--smtp-timeout", "2"];
    let output = customers.run(&verify).code(3);
    let all = lines(&output.stdout);
    assert!(all.len() < 40, "{} lines:\n{}", all.len(), output.stdout);
    let at = |text: &str| output.stdout.find(text).unwrap_or_else(|| panic!("{text}:\n{}", output.stdout));
    // What could not be read is one group, whatever the cause; errors come last.
    assert_eq!(output.stdout.matches("unknown DNS-RESOLVER").count(), 1, "{}", output.stdout);
    assert!(at("unknown DNS-RESOLVER") < at("error SMTP-CONNECT"), "{}", output.stdout);
    assert!(output.stdout.contains("mailwright verify cust-"), "{}", output.stdout);
    assert!(output.stdout.ends_with("24 environments: 24 with findings.\n"), "{}", output.stdout);
    // A few environments have their details.
    let few = customers.run(&["verify", "cust-01", "cust-02", "--local", "--dns-server", "127.0.0.1:1"]).code(3);
    assert!(few.stdout.contains("    seen "), "{}", few.stdout);
    let document = customers.run(&[&verify[..], &["--format", "json"]].concat()).code(3).json();
    assert_eq!(document["environments"].as_object().unwrap().len(), COUNT);
}

#[test]
fn equal_plans_are_shown_once() {
    let customers = Customers::new();
    let output = customers.run(&["plan", "cust-*"]).code(0);
    let all = lines(&output.stdout);
    assert!(all[0].starts_with("=== cust-01, cust-02, ") && all[0].ends_with("and 19 more"), "{}", output.stdout);
    assert_eq!(
        all[1],
        "This is cust-01; the others differ only in names, companies, variables, keys, generations, times and warnings of verify."
    );
    assert_eq!(output.stdout.matches("===").count(), 1, "{}", output.stdout);
    assert!(output.stdout.contains("cust-01 and 23 others  1 to add, 1 to change"), "{}", output.stdout);
    assert!(output.stdout.ends_with("24 environments: 24 with changes.\n"), "{}", output.stdout);
    assert!(all.len() < 40 && output.stderr.is_empty(), "{}{}", output.stdout, output.stderr);
    // Every field is shown, though not on a line of its own.
    assert!(output.stdout.contains("enabled = true; from.address = \"erp@customer1.example\""), "{}", output.stdout);
    // One that differs has a section of its own, and what cannot be planned is last.
    customers
        .fleet
        .repo
        .write("environments/cust-07/profiles/reports.yaml", SMALL_PROFILE.replace("default", "all-reports"));
    customers.fleet.environment("cust-08", "companies: [C08]\nservice: { address: 'http://127.0.0.1:1' }");
    let output = customers.run(&["plan", "cust-*"]).code(1).stdout;
    let at = |text: &str| output.find(text).unwrap_or_else(|| panic!("{text}:\n{output}"));
    assert_eq!(output.matches("===").count(), 3, "{output}");
    assert!(at("=== cust-01,") < at("=== cust-07") && at("=== cust-07") < at("=== cust-08"), "{output}");
    assert!(at("cust-01 and 21 others") < at("cust-07  ") && at("cust-07  ") < at("cust-08  "), "{output}");
    // Counts and trouble alone.
    let summary = customers.run(&["plan", "cust-*", "--summary"]).code(1);
    assert!(!summary.stdout.contains("==="), "{}", summary.stdout);
    assert_eq!(lines(&summary.stdout).len(), 6, "{}", summary.stdout);
    let document = customers.run(&["plan", "cust-*", "--summary", "--format", "json"]).code(1).json();
    let named: Vec<&str> = document["environments"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!((named, &document["summary"]["changed"]), (vec!["cust-08"], &json!(23)));
    // A document of all has all.
    let document = customers.run(&["plan", "cust-*", "--format", "json"]).code(1).json();
    assert_eq!(document["environments"].as_object().unwrap().len(), COUNT);
}

#[test]
fn equal_plans_of_different_generations_are_shown_once() {
    let customers = Customers::new();
    customers.apply();
    let describe = |text: &str| {
        let profile = SMALL_PROFILE.replace("erp@example.com", "erp@${domain}");
        customers.fleet.repo.write("environments/base/profiles/relay.yaml", format!("description: {text}\n{profile}"));
    };
    describe("First.");
    customers.run(&["apply", "cust-05", "--yes", "--skip-verify"]).code(0);
    describe("Second.");
    customers.apply();
    describe("Third.");
    let output = customers.run(&["plan", "cust-*"]).code(0).stdout;
    assert_eq!(output.matches("===").count(), 1, "{output}");
    let summary = customers.run(&["plan", "cust-*", "--summary"]).code(0).stdout;
    assert!(summary.contains("cust-01 and 23 others"), "{summary}");
}

#[test]
fn a_difference_that_is_no_variable_is_not_hidden() {
    let customers = Customers::new();
    customers
        .fleet
        .repo
        .write("environments/cust-02/profiles/relay.yaml", "provider: { smtp: { host: other.example.net } }\n");
    // One company of two is not all companies.
    customers.fleet.repo.write("environments/cust-03/profiles/relay.yaml", "appliesTo: { companies: [C03] }\n");
    customers.declare(3, "unserved: [{ reason: not in use }]");
    let output = customers.run(&["plan", "cust-*"]).code(0).stdout;
    assert_eq!(output.matches("===").count(), 3, "{output}");
    assert!(output.contains("=== cust-02\n") && output.contains("other.example.net"), "{output}");
    assert!(output.contains("=== cust-03\n"), "{output}");
}

#[test]
fn status_counts_what_is_fine_and_ends_with_what_is_not() {
    let customers = Customers::new();
    customers.apply();
    let output = customers.run(&["status", "cust-*"]).code(0);
    assert_eq!(output.stdout, "24 environments: 24 fine.\n");
    customers.change_by_hand(5);
    let output = customers.run(&["status", "cust-*"]).code(0);
    let all = lines(&output.stdout);
    assert_eq!(all[1], "23 others    fine", "{}", output.stdout);
    assert!(all[2].starts_with("cust-05      1 changed outside Git"), "{}", output.stdout);
    assert!(output.stdout.ends_with("24 environments: 1 with trouble, 23 fine.\n"), "{}", output.stdout);
    let document = customers.run(&["status", "cust-*", "--format", "json"]).code(0).json();
    assert_eq!(document["summary"]["trouble"], 1);
    // The same for one alone.
    let one = customers.run(&["status", "cust-05"]).code(0);
    assert!(one.stdout.contains("drift        1 changed outside Git"), "{}", one.stdout);
    // What ends soon: equal ends share a row.
    let create = ["token", "create", "cust-0[1-4]", "--name", "robot", "--role", "viewer", "--expires", "490h"];
    customers.run(&[&create[..], &["--out", "robots/{environment}"]].concat()).code(0);
    let ends = customers.run(&["status", "cust-*"]).code(0).stdout;
    assert!(ends.contains("cust-01 and 3 others  token `robot`: 20 days ("), "{ends}");
    assert!(ends.ends_with("24 environments: 5 with trouble, 19 fine.\n"), "{ends}");
    let one = customers.run(&["status", "cust-02"]).code(0);
    assert!(one.stdout.contains("ends soon    token `robot`: "), "{}", one.stdout);
    assert_eq!(customers.run(&["drift", "cust-*"]).code(2).stdout.matches("===").count(), 1);
}

#[test]
fn a_rollout_plans_customers_with_their_own_companies_as_one_change() {
    let customers = Customers::new();
    customers.fleet.repo.write(
        "rollouts/first.yaml",
        "waves:\n  - { name: canary, environments: [cust-01] }\n  - { name: rest, environments: ['cust-*'] }\n",
    );
    let output = customers.run(&["rollout", "plan", "first"]).code(0).stdout;
    assert!(output.contains("1 change, in 24 environments"), "{output}");
    assert!(output.contains("${companies}"), "{output}");
    let document: Value = customers.run(&["rollout", "plan", "first", "--format", "json"]).code(0).json();
    assert_eq!(document["groups"].as_array().unwrap().len(), 1);
}

/// A relay with a password, and each customer's own host.
const RELAY_WITH_PASSWORD: &str = "provider:\n  smtp:\n    host: 'smtp.${domain}'\n    username: erp\n    password: { secret: relay/password }\nfrom: { address: 'erp@${domain}' }\nfunctions: [default]\nappliesTo: system-wide\n";
const CANARY: &str = "canary-of-many-4711";

impl Customers {
    /// Customers with recipients, whose profile needs a password.
    fn with_recipients() -> Self {
        let customers = Self::new();
        customers.fleet.repo.write("environments/base/profiles/relay.yaml", RELAY_WITH_PASSWORD);
        let written = customers.run(&["secrets", "init", "cust-*", "--from-service"]).code(0).stdout;
        assert!(written.ends_with("24 environments: 24 written.\n"), "{written}");
        customers
    }

    fn pipe(&self, arguments: &[&str], input: &str) -> CommandOutput {
        let output = self.fleet.repo.pipe(arguments, input.as_bytes());
        for text in [&output.stdout, &output.stderr] {
            assert!(!text.contains(CANARY), "{text}");
        }
        output
    }

    fn set(&self) {
        let sealed = self.pipe(&["secrets", "set", "cust-*", "relay/password"], CANARY).code(0).stdout;
        assert!(
            sealed.contains("cust-01 and 23 others  sealed to 1 recipient, for smtp.customer1.example"),
            "{sealed}"
        );
        assert!(sealed.ends_with("24 environments: 24 sealed.\n"), "{sealed}");
    }

    fn has(&self, number: usize, file: &str) -> bool {
        self.fleet.repo.path(&format!("secrets/{}/relay/{file}", name(number))).is_file()
    }
}

#[test]
fn one_value_is_sealed_for_many_and_rotated_in_many() {
    let customers = Customers::with_recipients();
    let again = customers.run(&["secrets", "init", "cust-*", "--from-service"]).code(0).stdout;
    assert_eq!(again, "24 environments: 24 left out, which exist.\n");
    let missing = customers.run(&["secrets", "list", "cust-*"]).code(0).stdout;
    assert!(missing.ends_with("24 environments: 24 with missing secrets.\n"), "{missing}");
    customers.set();
    let listed = customers.run(&["secrets", "list", "cust-*"]).code(0).stdout;
    assert_eq!((listed.matches("===").count(), listed.matches("relay/password").count()), (1, 1), "{listed}");
    let staged = customers.pipe(&["secrets", "rotate", "cust-*", "relay/password"], "next value").code(0);
    assert!(staged.stdout.ends_with("24 environments: 24 staged.\n"), "{}", staged.stdout);
    assert!(staged.stderr.contains("secrets rotate 'cust-*' relay/password --finish"), "{}", staged.stderr);
    assert!(customers.has(24, "password.next.age"));
    // No service has tried it.
    let early = customers.run(&["secrets", "rotate", "cust-*", "relay/password", "--finish"]).code(1);
    assert_eq!(early.stdout.matches("MW0363").count() / 2, 1, "{}", early.stdout);
    let abandoned = customers.run(&["secrets", "rotate", "cust-*", "relay/password", "--abandon"]).code(0).stdout;
    assert!(abandoned.ends_with("24 environments: 24 abandoned.\n"), "{abandoned}");
    assert!(!customers.has(24, "password.next.age"));
}

#[test]
fn a_value_that_cannot_be_sealed_in_one_environment_is_sealed_in_the_others() {
    let customers = Customers::with_recipients();
    customers.fleet.repo.remove("secrets/cust-03/recipients.txt");
    let sealed = customers.pipe(&["secrets", "set", "cust-*", "relay/password"], CANARY).code(1);
    // The remedy names the environment that it is for.
    assert!(sealed.stdout.contains("mailwright secrets init cust-03 RECIPIENT..."), "{}", sealed.stdout);
    assert!(sealed.stdout.ends_with("24 environments: 23 sealed, 1 failed.\n"), "{}", sealed.stdout);
    assert!(customers.has(4, "password.age") && !customers.has(3, "password.age"));
    for (arguments, message) in [
        (&["secrets", "set", "cust-01"][..], "no secret is named"),
        (&["secrets", "set", "relay/password"], "the command needs the name of an environment"),
        (&["secrets", "set", "cust-99", "relay/password"], "unknown environment `cust-99`"),
        (&["secrets", "set", "cust-01", "--from-csv", "-", "relay/password"], "cannot be used with names"),
    ] {
        let refused = customers.pipe(arguments, CANARY).code(1);
        assert!(refused.stderr.contains(message), "{arguments:?}: {}", refused.stderr);
    }
}

#[test]
fn a_list_of_values_is_sealed_completely_or_not_at_all() {
    let customers = Customers::with_recipients();
    let list = format!(
        "environment,secret,value\ncust-01,relay/password,{CANARY}\ncust-99,relay/password,{CANARY}\ncust-02,relay/other,{CANARY}\ncust-01,relay/password,{CANARY}\ncust-04,relay/password,\n"
    );
    let refused = customers.pipe(&["secrets", "set", "--from-csv", "-"], &list).code(1);
    for message in [
        "line 3, column `environment`: the repository has no environment of this name",
        "line 4, column `secret`: no profile of `cust-02` uses a secret of this name",
        "line 5, column `secret`: the secret is in the list twice",
        "line 6, column `value`: the value is empty",
    ] {
        assert!(refused.stderr.contains(message), "{message}: {}", refused.stderr);
    }
    assert!(!customers.has(1, "password.age"));
    // What sealing refuses is found before the first value is sealed, and no note says that one is sealed.
    let list = format!(
        "environment,secret,value\ncust-05,relay/password,blank \ncust-06,relay/password,{}\ncust-07,relay/password,*****\n",
        "x".repeat(17 * 1024)
    );
    let refused = customers.pipe(&["secrets", "set", "--from-csv", "-"], &list).code(1);
    for line in ["line 3, column `value`", "line 4, column `value`"] {
        assert!(refused.stderr.contains(line), "{line}: {}", refused.stderr);
    }
    assert!(!refused.stderr.contains("line 2") && !refused.stderr.contains("a blank"), "{}", refused.stderr);
    assert!((5..=7).all(|number| !customers.has(number, "password.age")));
    // A value in a wrong column is never shown.
    for row in ["CANARY,relay/password,cust-01", "cust-01,CANARY,relay/password", "cust-01,CANARY/x,relay/password"] {
        let list = format!("environment,secret,value\n{}\n", row.replace("CANARY", "k9-hidden-words"));
        let refused = customers.pipe(&["secrets", "set", "--from-csv", "-"], &list).code(1);
        assert!(refused.stderr.contains("the order of the columns"), "{row}: {}", refused.stderr);
        assert!(!(refused.stdout + &refused.stderr).contains("k9-hidden"), "{row}");
    }
    let list = format!(
        "secret;environment;value\nrelay/password;cust-01;\"{CANARY} \"\"x\"\"; y\"\nrelay/password;cust-02;other\n"
    );
    let sealed = customers.pipe(&["secrets", "set", "--from-csv", "-", "--format", "json"], &list).code(0).json();
    assert_eq!(sealed["summary"]["sealed"], 2);
    assert!(customers.has(1, "password.age") && customers.has(2, "password.age") && !customers.has(3, "password.age"));
    // A file is read, too, with a warning.
    customers.fleet.repo.write("values.csv", "environment,secret,value\ncust-03,relay/password,x1\n");
    let warned = customers.pipe(&["secrets", "set", "--from-csv", "values.csv"], "").code(0);
    assert!(warned.stderr.contains("`values.csv` has values that are not encrypted"), "{}", warned.stderr);
}

#[test]
fn history_rollback_and_audit_take_many() {
    let customers = Customers::new();
    assert_eq!(customers.run(&["history", "cust-*"]).code(0).stdout, "24 environments: 24 without generations.\n");
    customers.apply();
    customers
        .fleet
        .repo
        .write("environments/base/profiles/relay.yaml", SMALL_PROFILE.replace("erp@example.com", "mail@${domain}"));
    customers.apply();
    let history = customers.run(&["history", "cust-*"]).code(0).stdout;
    assert!(history.contains("cust-01 and 23 others  2: apply by first-admin: 1 changed"), "{history}");
    let asked = customers.run(&["rollback", "cust-*", "--to", "previous"]).code(1);
    assert!(asked.stderr.contains("MW0233") && asked.stdout.contains("24 with changes"), "{}", asked.stderr);
    assert_eq!(asked.stdout.matches("===").count(), 1, "{}", asked.stdout);
    let back = customers.run(&["rollback", "cust-*", "--to", "previous", "--yes"]).code(0).stdout;
    assert!(back.contains("cust-01 and 23 others  back to generation 1: 1 changed"), "{back}");
    assert!(back.ends_with("24 environments: 24 rolled back.\n"), "{back}");
    let history = customers.run(&["history", "cust-07", "--format", "json"]).code(0).json();
    assert_eq!(
        (&history["generations"][0]["number"], &history["generations"][0]["rolledBackTo"]),
        (&json!(3), &json!(1))
    );
    assert_eq!(customers.run(&["audit", "verify", "cust-*"]).code(0).stdout, "24 environments: 24 intact.\n");
    let heads = customers.run(&["audit", "verify", "cust-*", "--format", "json"]).code(0).json();
    assert_eq!(heads["environments"]["cust-09"]["intact"], true);
    let refused = customers.run(&["rollback", "cust-*", "--to", "yesterday"]).code(1);
    assert!(refused.stderr.contains("neither a number nor `previous`"), "{}", refused.stderr);
}

impl Customers {
    /// Sends a message in an environment, to wait there or to be tried.
    fn send(&self, number: usize) {
        let (name, company) = (name(number), format!("C{number:02}"));
        let message = ["--function", "default", "--to", "a@example.com", "--subject", "invoice", "--text", "hello"];
        self.run(&[&["send", &name, "--company", &company], &message[..]].concat()).code(0);
    }
}

#[test]
fn the_outboxes_of_many_are_held_listed_and_changed_together() {
    let customers = Customers::new();
    customers.apply();
    assert_eq!(customers.run(&["outbox", "status", "cust-*"]).code(0).stdout, "24 environments: 24 fine.\n");
    let hold = ["outbox", "hold", "cust-*", "--function", "default", "--reason", "wrong prices"];
    assert!(customers.run(&hold).code(1).stderr.contains("MW0233"));
    let held = customers.run(&[&hold[..], &["--yes"]].concat()).code(0);
    assert!(held.stdout.contains("cust-01 and 23 others  0 queued messages\n"), "{}", held.stdout);
    assert!(held.stdout.ends_with("24 environments: 24 with the hold.\n"), "{}", held.stdout);
    assert!(held.stderr.contains("outbox release 'cust-*' --reason='wrong prices'"), "{}", held.stderr);
    for number in [3, 5, 5] {
        customers.send(number);
    }
    let status = customers.run(&["outbox", "status", "cust-*"]).code(0).stdout;
    assert!(status.contains("cust-01 and 21 others  1 hold\n"), "{status}");
    assert!(status.contains("cust-03                1 queued, 1 hold\n"), "{status}");
    let listed = customers.run(&["outbox", "list", "cust-*", "--status", "queued"]).code(0).stdout;
    assert!(listed.ends_with("24 environments: 2 with messages, 22 without messages.\n"), "{listed}");
    assert_eq!(listed.matches("===").count(), 2, "{listed}");
    // What changes mail says how much, and asks once.
    let cancel = ["outbox", "cancel", "cust-*", "--status", "queued"];
    let asked = customers.run(&cancel).code(1);
    assert!(asked.stderr.contains("MW0233") && asked.stdout.contains("cust-05      2 messages\n"), "{}", asked.stdout);
    let dry = customers.run(&[&cancel[..], &["--dry-run"]].concat()).code(0).stdout;
    assert!(dry.ends_with("24 environments: 2 with messages, 22 without messages.\n"), "{dry}");
    filters_and_ids(&customers);
    let cancelled = customers.run(&[&cancel[..], &["--yes"]].concat()).code(0).stdout;
    assert!(cancelled.contains("cust-05      2 of 2 messages cancelled\n"), "{cancelled}");
    assert!(cancelled.ends_with("24 environments: 2 cancelled, 22 unchanged.\n"), "{cancelled}");
    // Cancelled mail is not sent again by accident.
    let replay = ["outbox", "replay", "cust-*", "--status", "cancelled"];
    let refused = customers.run(&[&replay[..], &["--yes"]].concat()).code(1).stdout;
    assert!(refused.contains("MW0242") && refused.ends_with("22 without messages, 2 failed.\n"), "{refused}");
    let counted = customers.run(&[&replay[..], &["--all-recipients", "--dry-run"]].concat()).code(0).stdout;
    assert!(
        counted.contains("cust-05      2 messages to 2 recipients: 0 received it before, 0 may have\n"),
        "{counted}"
    );
    let release = ["outbox", "release", "cust-*", "--reason", "wrong prices"];
    let asked = customers.run(&release).code(1);
    assert!(asked.stderr.contains("MW0233") && asked.stdout.contains("23 others  1 hold\n"), "{}", asked.stdout);
    let dry = customers.run(&[&release[..], &["--dry-run"]].concat()).code(0).stdout;
    assert!(dry.ends_with("24 environments: 24 with holds.\n"), "{dry}");
    let released = customers.run(&[&release[..], &["--yes"]].concat()).code(0).stdout;
    assert!(released.ends_with("24 environments: 24 released.\n"), "{released}");
    let document = customers.run(&["outbox", "status", "cust-*", "--format", "json"]).code(0).json();
    assert_eq!(document["environments"]["cust-05"]["messages"]["cancelled"], 2, "{document:#}");
    for (arguments, message) in [
        (
            &["outbox", "show", "cust-*", "01a2189d-c931-7000-8000-000000000000"][..],
            "no environment has a message whose id begins with `01a2189d",
        ),
        (&["outbox", "show", "cust-*"], "`mailwright outbox list 'cust-*'` shows the ids."),
        (&["outbox", "retry", "cust-*"], "neither a message id nor `--status` is given"),
        (&["outbox", "retry", "cust-*", "deadbeef"], "no environment has a message whose id begins with `deadbeef`"),
        (&["outbox", "retry", "cust-*", "cust-99"], "`cust-99` is not a message id"),
        (&["outbox", "release", "cust-*"], "`mailwright outbox holds 'cust-*'` lists the holds"),
        (&["outbox", "release", "cust-*", "abcd"], "no environment has a hold whose id begins with `abcd`"),
        (&["outbox", "list", "cust-*", "--before", "9"], "mailwright outbox list cust-01 --before 9"),
    ] {
        let refused = customers.run(arguments).code(1);
        assert!(refused.stderr.contains(message), "{}", refused.stderr);
    }
}

/// The mail of cust-03 and cust-05 is held: it is found by filters, by ids and by its recipient, wherever it is.
fn filters_and_ids(customers: &Customers) {
    let status =
        |more: &[&str], code| customers.run(&[&["outbox", "status", "cust-*"], more].concat()).code(code).stdout;
    let held = status(&["--reason", "held"], 0);
    assert!(held.contains("cust-03 and 1 other  held relay, 3 waiting\n"), "{held}");
    assert_eq!(held.matches("===").count(), 1, "{held}");
    assert!(
        held.contains("=== cust-03, cust-05\nThis is cust-03; the others differ only in names, counts and times.\n"),
        "{held}"
    );
    assert!(held.ends_with("24 environments: 2 with trouble, 22 fine.\n"), "{held}");
    assert_eq!(status(&["--reason", "throttled"], 0), "24 environments: 24 fine.\n");
    assert_eq!(status(&["--profile", "reports"], 0), "24 environments: 24 fine.\n");
    assert!(status(&["--since", "2001-01-01"], 0).ends_with("24 environments: 2 with trouble, 22 fine.\n"));
    assert_eq!(status(&["--since", "2001-01-01", "--reason", "no-sender"], 0), "24 environments: 24 fine.\n");
    // A hold without an end needs an operator.
    let trouble = status(&["--trouble", "--summary"], 2);
    assert!(trouble.contains("held relay, 3 waiting") && !trouble.contains("==="), "{trouble}");
    let document = customers.run(&["outbox", "status", "cust-*", "--reason", "throttled", "--format", "json"]).json();
    assert_eq!(document["environments"]["cust-05"]["waiting"], Value::Null, "{document:#}");
    follow(customers);

    let listed = customers.run(&["outbox", "list", "cust-03", "cust-05", "--format", "json"]).code(0).json();
    let of = |name: &str| listed["environments"][name]["messages"][0]["id"].as_str().unwrap().to_owned();
    let (third, fifth) = (of("cust-03"), of("cust-05"));
    let shown = customers.run(&["outbox", "show", "cust-*", &fifth, "--format", "json"]).code(0).json();
    assert_eq!((&shown["environment"], &shown["id"]), (&json!("cust-05"), &json!(fifth)));
    let export = customers.run(&["outbox", "export", "cust-03", "cust-05", &third]).code(0).stdout;
    assert!(export.contains("Subject: invoice"), "{export}");
    let retry = ["outbox", "retry", "cust-*", &third, &fifth];
    let counted = customers.run(&[&retry[..], &["--dry-run"]].concat()).code(0).stdout;
    assert!(counted.contains("cust-03 and 1 other  1 message\n"), "{counted}");
    let retried = customers.run(&[&retry[..], &["--yes"]].concat()).code(0).stdout;
    assert!(retried.contains("cust-03 and 1 other  1 of 1 message retried\n"), "{retried}");
    let single =
        customers.run(&["outbox", "cancel", "cust-05", &fifth, "--dry-run", "--format", "json"]).code(0).json();
    assert_eq!((&single["environment"], &single["messages"][0]["status"]), (&json!("cust-05"), &json!("queued")));

    // An environment that does not answer hides no answer of the others.
    customers.fleet.dead("cust-99", "companies: [C99]");
    let why = |more: &[&str], code| customers.run(&[&["why", "cust-*"], more].concat()).code(code);
    let answer = why(&["--message", &fifth], 1).stdout;
    assert!(answer.contains("=== cust-05\n") && answer.contains("mailwright outbox release cust-05"), "{answer}");
    assert!(answer.contains("=== cust-99\n") && answer.contains("MW0200"), "{answer}");
    assert!(answer.ends_with("25 environments: 1 with a match, 23 without a match, 1 failed.\n"), "{answer}");
    let missing = customers.run(&["outbox", "show", "cust-*", "deadbeef"]).code(1).stderr;
    assert!(missing.contains("1 environment could not be asked: cust-99"), "{missing}");
    assert!(missing.contains("mailwright doctor cust-99"), "{missing}");
    std::fs::remove_dir_all(customers.fleet.repo.path("environments/cust-99")).unwrap();
    let document = why(&["--recipient", "a@example.com", "--format", "json"], 0).json();
    assert_eq!(document["summary"]["found"], 2, "{document:#}");
    assert_eq!(
        (&document["environments"]["cust-05"]["found"], &document["environments"]["cust-04"]["found"]),
        (&json!(2), &json!(0))
    );
    assert_eq!(why(&["--document", "invoice/4711"], 0).stdout, "24 environments: 24 without a match.\n");
    assert_eq!(why(&["--document", "4711"], 1).stderr.matches("it is not type/number").count(), 1);
}

/// The live view of many prints one document per line.
fn follow(customers: &Customers) {
    use std::{io::BufRead as _, process::Stdio};
    let arguments = ["outbox", "status", "cust-*", "--follow", "--reason", "held", "--format", "json"];
    let mut child = customers.fleet.command(&arguments).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.next().unwrap().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let document: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&document["formatVersion"], &document["summary"]["trouble"]), (&json!(1), &json!(2)), "{document:#}");
    assert_eq!(document["environments"]["cust-05"]["waiting"][0]["messages"], 2, "{document:#}");
}

#[test]
fn tokens_of_many_are_created_in_files_listed_and_revoked_by_name() {
    let customers = Customers::new();
    let create = ["token", "create", "cust-*", "--name", "pipeline", "--role", "deployer"];
    assert!(customers.run(&create).code(1).stderr.contains("--out 'tokens/{environment}'"));
    // In one file, each token would replace the one before.
    for more in [&["--out", "token"][..], &["--out", "token", "--format", "json"]] {
        let refused = customers.run(&[&create[..], more].concat()).code(1);
        assert!((refused.stdout + &refused.stderr).contains("--out 'tokens/{environment}'"), "{}", refused.stderr);
        assert!(!customers.fleet.repo.path("token").exists());
    }
    let created = customers.run(&[&create[..], &["--out", "pipelines/{environment}"]].concat()).code(0).stdout;
    assert!(created.ends_with("24 environments: 24 created.\n"), "{created}");
    let token = customers.fleet.repo.read("pipelines/cust-07");
    assert!(token.starts_with("mw_") && !created.contains(token.trim()));
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(customers.fleet.repo.path("pipelines/cust-07")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o077, 0);
    // An existing file is not replaced, and no token is created for it.
    let again = customers.run(&[&create[..], &["--out", "pipelines/{environment}"]].concat()).code(1).stdout;
    assert!(again.ends_with("24 environments: 24 failed.\n"), "{again}");
    let listed = customers.run(&["token", "list", "cust-*"]).code(0).stdout;
    assert!(listed.contains("cust-01 and 23 others") && listed.matches("pipeline (deployer").count() == 1, "{listed}");
    let revoke = ["token", "revoke", "cust-*", "--name", "pipeline"];
    let asked = customers.run(&revoke).code(1);
    assert!(asked.stderr.contains("MW0233"), "{}", asked.stderr);
    let revoked = customers.run(&[&revoke[..], &["--yes"]].concat()).code(0).stdout;
    assert!(revoked.ends_with("24 environments: 24 with revoked tokens.\n"), "{revoked}");
    let again = customers.run(&[&revoke[..], &["--yes"]].concat()).code(0).stdout;
    assert_eq!(again, "24 environments: 24 without such a token.\n");
    let usage = customers.run(&["token", "revoke", "cust-01"]).code(1);
    assert!(usage.stderr.contains("exactly one environment and one id are required"), "{}", usage.stderr);
}
