//! The templates for CI systems: their YAML against the published schemas, and their scripts as they stand, in real
//! clones, against a real service. The comment goes to a stand-in of the forge.
#![allow(clippy::disallowed_methods, reason = "a job finds its programs by PATH")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::{
    forge::Forge,
    issuer::{AUDIENCE, Issuer, Key, SUBJECT, claims, key, sign},
    repository::{CommandOutput, PROGRAM, TestRepository, clear_environment, run_command},
    sandbox::{SECRET, Sandbox, direct, good},
    tools::{self, tool},
};
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

type Variables = BTreeMap<String, String>;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub(super) fn yaml(path: &str) -> Value {
    let script =
        "import json, sys, ruamel.yaml\nprint(json.dumps(ruamel.yaml.YAML(typ='safe').load(open(sys.argv[1]))))";
    let mut command = Command::new(tool("python3"));
    command.args(["-c", script]).arg(root().join(path));
    run_command(command).code(0).json()
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    clear_environment(&mut command);
    command.current_dir(folder).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    command.args(["-c", "user.name=Ada Example", "-c", "user.email=ada@example.com", "-c", "init.defaultBranch=main"]);
    command.args(arguments);
    run_command(command).code(0).stdout.trim().to_owned()
}

/// A repository with its origin, a service, what it sends through, and a forge.
struct CiFixture {
    sandbox: Sandbox,
    repo: TestRepository,
    /// The service's address, also when it is gone.
    address: String,
    forge: Forge,
    planner: String,
    deployer: String,
    clones: tempfile::TempDir,
    /// The issuer whose identity tokens the service accepts; with one, no job has a token of the service.
    issuer: Option<(Issuer, Key)>,
}

impl CiFixture {
    fn new() -> Self {
        Self::letting_in(None)
    }

    fn letting_in(issuer: Option<(Issuer, Key)>) -> Self {
        let sandbox = Sandbox::start(good());
        let mut repo = TestRepository::empty();
        repo.write("ca.pem", &sandbox.running.authority);
        let (ca, dns) = (repo.path("ca.pem"), sandbox.running.dns.to_string());
        let mut options = vec!["--demo", "--outgoing-ca-file", ca.to_str().unwrap(), "--dns-server", &dns];
        let file = repo.path("oidc.yaml");
        if let Some((issuer, _)) = &issuer {
            let rule = |name: &str, role: &str, event: &str| {
                format!("      - {{ name: {name}, role: {role}, claims: {{ sub: '{SUBJECT}', event: {event} }} }}\n")
            };
            let rules = [
                rule("merged", "deployer", "push"),
                rule("asked", "planner", "pull_request"),
                rule("asked", "planner", "merge_request_event"),
            ];
            let text = format!(
                "issuers:\n  - issuer: {}\n    audience: {AUDIENCE}\n    rules:\n{}",
                issuer.address,
                rules.concat()
            );
            repo.write("oidc.yaml", text);
            options.extend(["--oidc", file.to_str().unwrap()]);
        }
        repo.serve_with(&options);
        let environment = format!(
            "service: {{ address: '{}' }}\ncompanies: [EDU1]\nunserved: [{{ reason: trial }}]\n",
            repo.address()
        );
        repo.write("environments/dev/environment.yaml", environment);
        repo.write(
            "environments/dev/profiles/documents.json",
            direct().to_string().replace("HERE", &sandbox.running.address),
        );
        repo.write("secrets/dev/recipients.txt", include_str!("../../secrets/dev/recipients.txt"));
        repo.write("secrets/dev/demo-identity.txt", include_str!("../../secrets/dev/demo-identity.txt"));
        repo.pipe(&["secrets", "set", "dev", "documents/secret"], SECRET.as_bytes()).code(0);
        let token = |role: &str| {
            let output = repo.run(&["token", "create", "dev", "--name", role, "--role", role]).code(0);
            output.stdout.trim().to_owned()
        };
        let (planner, deployer) = (token("planner"), token("deployer"));
        let clones = tempfile::tempdir().unwrap();
        git(clones.path(), &["init", "--quiet", "--bare", "origin"]);
        let address = repo.address().to_owned();
        let fixture = Self { sandbox, repo, address, forge: Forge::start(None), planner, deployer, clones, issuer };
        fixture.git(&["init", "--quiet"]);
        fixture.git(&["remote", "add", "origin", fixture.clones.path().join("origin").to_str().unwrap()]);
        fixture.commit("main");
        fixture
    }

    fn git(&self, arguments: &[&str]) -> String {
        git(self.repo.folder.path(), arguments)
    }

    /// Commits the files and pushes them as a branch.
    fn commit(&self, branch: &str) -> String {
        self.git(&["add", "environments", "secrets"]);
        self.git(&["commit", "--quiet", "-m", branch]);
        self.git(&["push", "--quiet", "--force", "origin", &format!("HEAD:{branch}")]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// A topic branch in which the profile says something else.
    fn topic(&self, from: &str, to: &str) {
        self.git(&["checkout", "--quiet", "-B", "topic", "main"]);
        let path = "environments/dev/profiles/documents.json";
        self.repo.write(path, self.repo.read(path).replace(from, to));
        self.commit("topic");
    }

    /// Merges the topic into main.
    fn merge(&self) {
        self.git(&["checkout", "--quiet", "main"]);
        self.git(&["merge", "--quiet", "--no-ff", "-m", "merge", "topic"]);
        self.git(&["push", "--quiet", "origin", "main"]);
    }

    /// The commit that a job has checked out. For a pull request this is the merge on GitHub and Azure, the topic on
    /// GitLab.
    fn checkout(&self, kind: &str, event: &str) -> PathBuf {
        let folder = self.clones.path().join("clone");
        drop(fs::remove_dir_all(&folder));
        git(self.clones.path(), &["clone", "--quiet", "origin", "clone"]);
        match (kind, event) {
            (_, "push") => git(&folder, &["checkout", "--quiet", "--detach", "origin/main"]),
            ("gitlab", _) => git(&folder, &["checkout", "--quiet", "--detach", "origin/topic"]),
            _ => {
                git(&folder, &["checkout", "--quiet", "--detach", "origin/main"]);
                git(&folder, &["merge", "--quiet", "--no-ff", "-m", "merge", "origin/topic"])
            }
        };
        folder
    }

    /// The variables that the CI system gives to its jobs, and those that its users set.
    fn variables(&self, kind: &str, event: &str, before: &str) -> Variables {
        let own = |text: &str| text.to_owned();
        let token = if event == "push" { &self.deployer } else { &self.planner };
        let mut all: Vec<(&str, String)> = match kind {
            "github" => vec![
                ("GITHUB_ACTIONS", own("true")),
                ("GITHUB_API_URL", self.forge.address.clone()),
                ("GITHUB_REPOSITORY", own("example/mail")),
                ("GITHUB_STEP_SUMMARY", self.clones.path().join("summary").display().to_string()),
                ("github.event_name", own(event)),
                ("github.token", own("the-token")),
                ("github.event.before", own(before)),
                ("vars.MAILWRIGHT_OIDC_AUDIENCE", String::new()),
                ("vars.MAILWRIGHT_TOKEN_ORIGINS", self.address.clone()),
                ("secrets.MAIL_PLANNER_TOKEN", self.planner.clone()),
                ("secrets.MAIL_DEPLOYER_TOKEN", self.deployer.clone()),
            ],
            "gitlab" => vec![
                ("GITLAB_CI", own("true")),
                ("CI_API_V4_URL", format!("{}/api/v4", self.forge.address)),
                ("CI_PROJECT_ID", own("7")),
                ("CI_PIPELINE_SOURCE", own(event)),
                ("CI_DEFAULT_BRANCH", own("main")),
                ("CI_COMMIT_BEFORE_SHA", own(before)),
                ("PROGRAM_IMAGE", own("image")),
                ("GITLAB_TOKEN", own("the-token")),
                ("MAILWRIGHT_OIDC_AUDIENCE", own("https://mail.example.com")),
                ("MAILWRIGHT_TOKEN_ORIGINS", self.address.clone()),
                ("MAILWRIGHT_TOKEN", token.clone()),
            ],
            _ => vec![
                ("TF_BUILD", own("True")),
                ("SYSTEM_COLLECTIONURI", format!("{}/organisation/", self.forge.address)),
                ("SYSTEM_TEAMPROJECTID", own("1")),
                ("BUILD_REPOSITORY_ID", own("2")),
                ("MAILWRIGHT_TOKEN_ORIGINS", self.address.clone()),
                ("$(MAIL_PLANNER_TOKEN)", self.planner.clone()),
                ("$(MAIL_DEPLOYER_TOKEN)", self.deployer.clone()),
                ("$(System.AccessToken)", own("the-token")),
            ],
        };
        all.extend(match (kind, event) {
            ("github", "push") => vec![("GITHUB_REF", own("refs/heads/main"))],
            ("github", _) => vec![("GITHUB_REF", own("refs/pull/12/merge")), ("GITHUB_BASE_REF", own("main"))],
            ("gitlab", "push") => vec![("CI_COMMIT_BRANCH", own("main"))],
            ("gitlab", _) => vec![
                ("CI_MERGE_REQUEST_IID", own("12")),
                ("CI_MERGE_REQUEST_DIFF_BASE_SHA", self.git(&["merge-base", "main", "topic"])),
            ],
            (_, "push") => vec![("BUILD_SOURCEBRANCH", own("refs/heads/main"))],
            _ => vec![
                ("SYSTEM_PULLREQUEST_PULLREQUESTID", own("12")),
                ("SYSTEM_PULLREQUEST_TARGETBRANCH", own("refs/heads/main")),
            ],
        });
        let mut all: Variables = all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        if let Some((issuer, key)) = &self.issuer {
            let mut claims = claims(issuer);
            claims["event"] = json!(event);
            let token = sign(key, &claims);
            if kind == "github" {
                issuer.answers.lock().unwrap().token = token;
                let asks = [
                    ("vars.MAILWRIGHT_OIDC_AUDIENCE", AUDIENCE.to_owned()),
                    ("secrets.MAIL_PLANNER_TOKEN", String::new()),
                    ("secrets.MAIL_DEPLOYER_TOKEN", String::new()),
                    ("ACTIONS_ID_TOKEN_REQUEST_URL", format!("{}/token?api-version=2.0", issuer.address)),
                    ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "the-asking-token".to_owned()),
                ];
                all.extend(asks.map(|(name, value)| (name.to_owned(), value)));
            } else {
                // GitLab puts it where `id_tokens` says.
                all.insert("MAILWRIGHT_TOKEN".to_owned(), token);
            }
        }
        all
    }

    /// Runs the pipeline of an event as its CI system does. Gives the name and end of each script that ran, and the
    /// folder.
    fn pipeline(&self, kind: &str, event: &str, before: &str) -> (Vec<(String, CommandOutput)>, PathBuf) {
        let folder = self.checkout(kind, event);
        let variables = self.variables(kind, event, before);
        let mut all = Vec::new();
        let mut failed = false;
        for script in scripts(kind, event, &variables) {
            // A step is skipped after one that failed; a job of GitLab after those that it needs.
            if failed && script.needs_all || script.needs.iter().any(|need| ended(&all, need) != Some(0)) {
                continue;
            }
            let mut command = Command::new("bash");
            let path = format!("{}:{}", Path::new(PROGRAM).parent().unwrap().display(), std::env::var("PATH").unwrap());
            command.args(script.shell).args(["-c", &script.text]).current_dir(&folder);
            // Names with a dot or a bracket are those of expressions.
            let named = variables.iter().filter(|(name, _)| !name.contains(['.', '$']));
            command.env_clear().envs(named).envs(&script.env);
            command.env("PATH", path).env("HOME", self.clones.path()).env("GIT_CONFIG_NOSYSTEM", "1");
            let output = run_command(command);
            failed |= output.code != 0;
            all.push((script.name, output));
        }
        (all, folder)
    }

    fn generation(&self) -> u64 {
        self.repo.state()["generation"].as_u64().unwrap()
    }
}

/// Returns the outcome of a script, if it ran.
fn ended(all: &[(String, CommandOutput)], name: &str) -> Option<i32> {
    all.iter().find(|(own, _)| own == name).map(|(_, output)| output.code)
}

/// A script of a template, and how it is run.
struct CiScript {
    name: String,
    text: String,
    shell: &'static [&'static str],
    env: Variables,
    needs: Vec<String>,
    needs_all: bool,
}

/// The scripts of a template for an event, in order, without the one that installs the program: `packages` runs it.
fn scripts(kind: &str, event: &str, variables: &Variables) -> Vec<CiScript> {
    let job = if event == "push" { "apply" } else { "check" };
    let step = |step: &Value, key: &str, name: &str, shell, env| {
        let text = step[key].as_str().filter(|text| !text.contains("/releases/download/"))?;
        let name = step[name].as_str().unwrap().to_lowercase();
        Some(CiScript { name, text: text.to_owned(), shell, env, needs: Vec::new(), needs_all: true })
    };
    let list = |value: &Value| value.as_array().unwrap().clone();
    match kind {
        "github" => {
            let template = yaml("templates/github-actions.yml");
            // Only a shell that is named stops in the middle of a pipe.
            assert_eq!(template["defaults"]["run"]["shell"], "bash");
            let job = &template["jobs"][job];
            assert_eq!(job["if"], format!("github.event_name == '{event}'"));
            let of_step = |own: &Value| {
                let env = [&template["env"], &job["env"], &own["env"]].map(|env| filled(env, variables));
                let env = env.into_iter().flatten().collect();
                step(own, "run", "name", &["--noprofile", "--norc", "-eo", "pipefail"], env)
            };
            list(&job["steps"]).iter().filter_map(of_step).collect()
        }
        "gitlab" => {
            let template = yaml("templates/gitlab-ci.yml");
            let names: &[&str] = if event == "push" { &["apply"] } else { &["validate", "plan", "verify"] };
            let of_job = |name: &&str| {
                let job = &template[*name];
                let text: Vec<String> =
                    list(&job["script"]).iter().map(|line| line.as_str().unwrap().to_owned()).collect();
                let needs = job["needs"].as_array().into_iter().flatten();
                let mut env = Variables::new();
                if !job["extends"].to_string().contains(".service") {
                    env.insert("MAILWRIGHT_TOKEN".to_owned(), String::new());
                }
                CiScript {
                    name: (*name).to_owned(),
                    text: text.join("\n"),
                    shell: &["-eo", "pipefail"],
                    env,
                    needs: needs.map(|need| need.as_str().unwrap().to_owned()).collect(),
                    needs_all: false,
                }
            };
            names.iter().map(of_job).collect()
        }
        _ => {
            let template = yaml("templates/azure-pipelines.yml");
            let stage = list(&template["stages"]).into_iter().find(|stage| stage["stage"] == job).unwrap();
            let job = &stage["jobs"][0];
            let steps = if event == "push" { &job["strategy"]["runOnce"]["deploy"]["steps"] } else { &job["steps"] };
            // The task does not stop by itself at what fails.
            let of_step = |own: &Value| {
                step(own, "bash", "displayName", &["--noprofile", "--norc"], filled(&own["env"], variables))
            };
            list(steps).iter().filter_map(of_step).collect()
        }
    }
}

/// The variables of a template, with expressions filled in. An unknown expression fails the test.
fn filled(env: &Value, variables: &Variables) -> Variables {
    let of = |value: &str| {
        let inner = value.strip_prefix("${{ ").and_then(|rest| rest.strip_suffix(" }}"));
        let name = inner.or_else(|| value.starts_with("$(").then_some(value));
        name.map_or(value.to_owned(), |name| variables.get(name).unwrap_or_else(|| panic!("{name}")).clone())
    };
    let env = env.as_object().into_iter().flatten();
    env.map(|(name, value)| (name.clone(), of(value.as_str().unwrap()))).collect()
}

/// All that a pipeline printed, for a test that fails.
fn transcript(all: &[(String, CommandOutput)]) -> String {
    all.iter()
        .map(|(name, output)| format!("== {name} {}\n{}{}\n", output.code, output.stdout, output.stderr))
        .collect()
}

/// Returns the exit code of each script.
fn codes(all: &[(String, CommandOutput)]) -> Vec<(&str, i32)> {
    all.iter().map(|(name, output)| (name.as_str(), output.code)).collect()
}

fn results(folder: &Path) -> Vec<Value> {
    let sarif: Value = serde_json::from_slice(&fs::read(folder.join("verify.sarif")).unwrap()).unwrap();
    assert_eq!(sarif["version"], "2.1.0");
    sarif["runs"][0]["results"].as_array().unwrap().clone()
}

const ZEROS: &str = "0000000000000000000000000000000000000000";
/// A commit that no clone has, as after a forced push.
const GONE: &str = "deadbeefdeadbeefdeadbeefdeadbeefdeadbeef";

fn the_whole_way(kind: &str) {
    let mut fixture = CiFixture::new();
    let request = if kind == "gitlab" { "merge_request_event" } else { "pull_request" };
    // The first push of main: nothing was before.
    let (all, _) = fixture.pipeline(kind, "push", ZEROS);
    assert_eq!((codes(&all), fixture.generation()), (vec![("apply", 0)], 1), "{}", transcript(&all));

    fixture.topic("documents@contoso.example", "invoices@contoso.example");
    let (all, folder) = fixture.pipeline(kind, request, ZEROS);
    assert!(all.len() >= 3 && all.iter().all(|(_, output)| output.code == 0), "{}", transcript(&all));
    assert!(!results(&folder).is_empty());
    {
        let comments = fixture.forge.comments.lock().unwrap();
        assert!(comments.len() == 1 && comments[0].1.contains("invoices@contoso.example"), "{comments:?}");
    }
    assert_eq!(fixture.generation(), 1, "a pull request changes nothing");

    let before = fixture.git(&["rev-parse", "main"]);
    fixture.merge();
    for run in ["first", "second"] {
        let (all, _) = fixture.pipeline(kind, "push", &before);
        assert_eq!((codes(&all), fixture.generation()), (vec![("apply", 0)], 2), "{run}: {}", transcript(&all));
    }

    // After a forced push.
    fixture.topic("invoices@contoso.example", "documents@contoso.example");
    fixture.merge();
    let (all, _) = fixture.pipeline(kind, "push", GONE);
    assert_eq!((codes(&all), fixture.generation()), (vec![("apply", 0)], 3), "{}", transcript(&all));

    // A finding of verify fails the job, with its report.
    let mut scenario = good();
    scenario["tenants"][0]["applications"][0]["granted"] = json!([]);
    fixture.sandbox.put(&scenario);
    fixture.topic("documents@contoso.example", "invoices@contoso.example");
    let (all, folder) = fixture.pipeline(kind, request, ZEROS);
    assert_eq!(codes(&all).last(), Some(&("verify", 3)), "{}", transcript(&all));
    assert!(results(&folder).iter().any(|result| result["ruleId"] == "GRAPH-CONSENT"));
    assert_eq!(fixture.forge.comments.lock().unwrap().len(), 1);

    // An error in the files stops the pipeline before anything else.
    fixture.topic("all-documents", "all-documnets");
    let (all, _) = fixture.pipeline(kind, request, ZEROS);
    assert_eq!(codes(&all), [("validate", 1)], "{}", transcript(&all));
    let place = if kind == "github" {
        "::error file=environments/dev/profiles/documents.json,line=1,"
    } else {
        "environments/dev/profiles/documents.json:1:"
    };
    assert!(all[0].1.stdout.contains(place), "{}", transcript(&all));

    // A service that does not answer is a failure, whatever follows.
    fixture.topic("documents@contoso.example", "invoices@contoso.example");
    fixture.repo.kill();
    let (all, _) = fixture.pipeline(kind, request, ZEROS);
    assert!(all.iter().all(|(name, output)| (output.code == 1) == (name != "validate")), "{}", transcript(&all));
}

#[test]
fn github_actions_from_the_pull_request_to_the_merge() {
    the_whole_way("github");
}

#[test]
fn gitlab_ci_from_the_merge_request_to_the_merge() {
    the_whole_way("gitlab");
}

#[test]
fn azure_pipelines_from_the_pull_request_to_the_merge() {
    the_whole_way("azure");
}

#[test]
fn no_token_of_the_services_is_needed() {
    for (kind, request) in [("github", "pull_request"), ("gitlab", "merge_request_event")] {
        let (issuer, key) = (Issuer::start(), key("one", Algorithm::RS256));
        issuer.publish(&[&key]);
        let fixture = CiFixture::letting_in(Some((issuer, key)));
        let (all, _) = fixture.pipeline(kind, "push", ZEROS);
        assert_eq!((codes(&all), fixture.generation()), (vec![("apply", 0)], 1), "{kind}: {}", transcript(&all));
        let newest = fixture.repo.http("GET", "/v1/generations?limit=1", &[], b"").json()["generations"][0].clone();
        assert_eq!(newest["by"], format!("merged ({SUBJECT})"), "{kind}");

        fixture.topic("documents@contoso.example", "invoices@contoso.example");
        let (all, folder) = fixture.pipeline(kind, request, ZEROS);
        assert!(all.len() >= 3 && all.iter().all(|(_, output)| output.code == 0), "{kind}: {}", transcript(&all));
        assert!(!results(&folder).is_empty());
        assert!(fixture.forge.comments.lock().unwrap()[0].1.contains("invoices@contoso.example"), "{kind}");
        // A job of a pull request may not apply, even if it runs the script of a merge.
        let before = fixture.git(&["rev-parse", "main"]);
        fixture.merge();
        let mut variables = fixture.variables(kind, request, &before);
        variables.retain(|name, _| !name.contains(['.', '$']));
        let mut command = fixture.repo.command(&["apply", "dev", "--yes"]);
        command.env_remove("MAILWRIGHT_TOKEN").envs(variables).env("MAILWRIGHT_OIDC_AUDIENCE", AUDIENCE);
        assert!(run_command(command).code(1).stderr.contains("asked"), "{kind}");
        assert_eq!(fixture.generation(), 1, "{kind}");
        let (all, _) = fixture.pipeline(kind, "push", &before);
        assert_eq!((codes(&all), fixture.generation()), (vec![("apply", 0)], 2), "{kind}: {}", transcript(&all));
    }
}

/// The jobs that GitLab's rules choose, as a program reads them that runs GitLab's pipelines without GitLab.
fn chosen(folder: &Path, variables: &[&str]) -> Vec<String> {
    let program = tools::folder().join("clients/node_modules/gitlab-ci-local/dist/index.js");
    let mut command = Command::new(tool("node"));
    clear_environment(&mut command);
    command.arg(program).args(["--list-json", "--state-dir", ".git/jobs"]).current_dir(folder);
    command.args(variables.iter().flat_map(|variable| ["--variable", variable]));
    command.env("HOME", folder.join(".git")).env("GIT_CONFIG_GLOBAL", "/dev/null");
    let listed = run_command(command).code(0).stdout;
    // The message about the branch precedes the list.
    let at = if listed.starts_with('[') { 0 } else { listed.find("\n[").unwrap() };
    let listed: Value = serde_json::from_str(&listed[at..]).unwrap();
    let jobs = listed.as_array().unwrap().iter().filter(|job| job["when"] != "never");
    jobs.map(|job| job["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn gitlabs_rules_choose_the_right_jobs() {
    let folder = tempfile::tempdir().unwrap();
    let origin = folder.path().join("origin");
    git(folder.path(), &["init", "--quiet", "--bare", "origin"]);
    let clone = folder.path().join("clone");
    fs::create_dir_all(clone.join("environments/dev/profiles")).unwrap();
    git(&clone, &["init", "--quiet"]);
    git(&clone, &["remote", "add", "origin", origin.to_str().unwrap()]);
    fs::copy(root().join("templates/gitlab-ci.yml"), clone.join(".gitlab-ci.yml")).unwrap();
    let commit = |file: &str, text: &str| {
        fs::write(clone.join(file), text).unwrap();
        git(&clone, &["add", "--all"]);
        git(&clone, &["commit", "--quiet", "-m", file]);
    };
    commit("README.md", "one");
    git(&clone, &["push", "--quiet", "origin", "main"]);
    git(&clone, &["remote", "set-head", "origin", "main"]);
    let (request, push) = ("CI_PIPELINE_SOURCE=merge_request_event", "CI_PIPELINE_SOURCE=push");
    // A change of other files starts nothing.
    commit("README.md", "two");
    assert_eq!(chosen(&clone, &[push]), [""; 0]);
    git(&clone, &["checkout", "--quiet", "-b", "topic"]);
    assert_eq!(chosen(&clone, &[request]), [""; 0]);
    for file in ["environments/dev/profiles/relay.yaml", "secrets/dev/relay/password.age", "rollouts/port.yaml"] {
        git(&clone, &["checkout", "--quiet", "-B", "topic", "origin/main"]);
        fs::create_dir_all(clone.join(file).parent().unwrap()).unwrap();
        commit(file, "changed");
        assert_eq!(chosen(&clone, &[request]), ["validate", "plan", "verify"], "{file}");
        git(&clone, &["checkout", "--quiet", "-B", "main", "topic"]);
        assert_eq!(chosen(&clone, &[push]), ["apply"], "{file}");
    }
    // A pipeline that is started by hand or by a schedule, or for a topic branch, changes nothing.
    for source in ["web", "schedule"] {
        assert_eq!(chosen(&clone, &[&format!("CI_PIPELINE_SOURCE={source}")]), [""; 0], "{source}");
    }
    git(&clone, &["checkout", "--quiet", "-B", "topic"]);
    assert_eq!(chosen(&clone, &[push]), [""; 0]);
}

/// Evaluates a condition of Azure Pipelines; supports only the functions that the template uses.
fn holds(condition: &str, variables: &Variables) -> bool {
    fn value(text: &str, variables: &Variables) -> String {
        let text = text.trim();
        if let Some(name) = text.strip_prefix("variables['").and_then(|rest| rest.strip_suffix("']")) {
            return variables.get(name).cloned().unwrap_or_default();
        }
        text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')).unwrap_or_else(|| panic!("{text}")).to_owned()
    }
    let (function, rest) = condition.trim().split_once('(').unwrap_or_else(|| panic!("{condition}"));
    let inner = rest.strip_suffix(')').unwrap_or_else(|| panic!("{condition}"));
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for c in inner.chars() {
        match c {
            ',' if depth == 0 => parts.push(String::new()),
            _ => parts.last_mut().unwrap().push(c),
        }
        depth += i32::from(c == '(') - i32::from(c == ')');
    }
    // Azure compares texts without regard to their case.
    let same = || value(&parts[0], variables).eq_ignore_ascii_case(&value(&parts[1], variables));
    match function {
        "and" => parts.iter().all(|part| holds(part, variables)),
        "eq" => same(),
        "ne" => !same(),
        "succeededOrFailed" => true,
        other => panic!("{other}"),
    }
}

#[test]
fn azures_conditions_choose_the_right_stages() {
    let template = yaml("templates/azure-pipelines.yml");
    let stages = |reason: &str, branch: &str| -> Vec<String> {
        let variables = [("Build.Reason", reason), ("Build.SourceBranch", branch)];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let chosen = template["stages"].as_array().unwrap().iter();
        let chosen = chosen.filter(|stage| holds(stage["condition"].as_str().unwrap(), &variables));
        chosen.map(|stage| stage["stage"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(stages("PullRequest", "refs/pull/12/merge"), ["check"]);
    // A pull request of main itself into another branch applies nothing.
    assert_eq!(stages("PullRequest", "refs/heads/main"), ["check"]);
    for reason in ["IndividualCI", "BatchedCI", "Manual", "Schedule"] {
        assert_eq!(stages(reason, "refs/heads/main"), ["apply"], "{reason}");
        assert_eq!(stages(reason, "refs/heads/topic"), [""; 0], "{reason}");
        assert_eq!(stages(reason, "refs/tags/main"), [""; 0], "{reason}");
    }
    // Neither waits for the other: a stage that is skipped would skip what depends on it.
    assert_eq!(template["stages"][1]["dependsOn"], json!([]));
    assert_eq!(template["pr"], "none");
}

#[test]
fn templates_are_as_their_schemas_say() {
    for (schema, more, file) in [
        ("vendor.github-workflows", &[][..], "github-actions.yml"),
        ("vendor.github-workflows", &[][..], "release-github.yml"),
        ("vendor.gitlab-ci", &["--data-transform", "gitlab-ci"], "gitlab-ci.yml"),
        (
            "vendor.azure-pipelines",
            &["--data-transform", "azure-pipelines", "--regex-variant", "nonunicode"],
            "azure-pipelines.yml",
        ),
    ] {
        let mut command = Command::new(tool("check-jsonschema"));
        command.args(["--builtin-schema", schema]).args(more).arg(root().join("templates").join(file));
        run_command(command).code(0);
    }
    for (what, file) in
        [("validate-config", "templates/pre-commit-config.yaml"), ("validate-manifest", ".pre-commit-hooks.yaml")]
    {
        let mut command = Command::new(tool("pre-commit"));
        command.arg(what).arg(root().join(file));
        run_command(command).code(0);
    }
}

#[test]
fn every_variable_of_ours_is_known() {
    let known = fs::read_to_string(root().join("src/cli/variables.rs")).unwrap();
    for file in ["github-actions.yml", "gitlab-ci.yml", "azure-pipelines.yml", "../Containerfile", "../docs/ci.md"] {
        let text = fs::read_to_string(root().join("templates").join(file)).unwrap();
        let words = text.split(|c: char| !c.is_ascii_uppercase() && c != '_');
        for word in words.filter(|word| word.starts_with("MAILWRIGHT_")) {
            assert!(known.contains(&format!("\"{word}\"")), "{file}: the program would refuse {word}");
        }
    }
}

#[test]
fn pre_commit_stops_a_broken_file() {
    let repo = TestRepository::small();
    repo.write(".pre-commit-config.yaml", fs::read_to_string(root().join("templates/pre-commit-config.yaml")).unwrap());
    let folder = repo.folder.path();
    git(folder, &["init", "--quiet"]);
    let run = || {
        git(folder, &["add", "--all", "environments", ".pre-commit-config.yaml"]);
        let mut command = Command::new(tool("pre-commit"));
        clear_environment(&mut command);
        let path = format!("{}:{}", Path::new(PROGRAM).parent().unwrap().display(), std::env::var("PATH").unwrap());
        command.args(["run", "--all-files"]).current_dir(folder).env("PATH", path);
        command.env("PRE_COMMIT_HOME", repo.path(".cache")).env("HTTPS_PROXY", "http://127.0.0.1:1");
        run_command(command)
    };
    let passed = run().code(0);
    assert_eq!(passed.stdout.matches("Passed").count(), 2, "{}", passed.stdout);
    repo.remove("environments/dev/profiles/relay.yaml");
    repo.write("environments/dev/environment.yaml", "companies: [EDU1]\nno-such-key: 1\n");
    let failed = run().code(1);
    assert!(failed.stdout.contains("environments/dev/environment.yaml:2:"), "{}", failed.stdout);
}

#[test]
fn the_image_is_built_from_files_that_are_there() {
    let text = fs::read_to_string(root().join("Containerfile")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut sources = Vec::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("COPY ")).filter(|line| !line.starts_with("--from")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (to, from) = words.split_last().unwrap();
        for from in from {
            assert!(root().join(from).exists(), "{from}");
            let to = folder.path().join(to);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            let mut command = Command::new("cp");
            command.arg("-r").arg(root().join(from)).arg(to);
            run_command(command).code(0);
            sources.push(*from);
        }
    }
    let mut command = Command::new(env!("CARGO"));
    command.args(["metadata", "--offline", "--locked", "--no-deps", "--format-version", "1"]);
    let metadata = run_command({
        command.current_dir(folder.path());
        command
    });
    let targets = metadata.code(0).json()["packages"][0]["targets"].clone();
    assert!(
        targets.as_array().unwrap().iter().any(|target| target["name"] == "mailwright" && target["kind"][0] == "bin")
    );
    // Whatever is built into the program is among what is copied.
    let mut found = 0;
    let mut open = vec![folder.path().join("src")];
    while let Some(next) = open.pop() {
        if next.is_dir() {
            open.extend(fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let Ok(text) = fs::read_to_string(&next) else { continue };
        for (start, _) in text.match_indices("include_str!(\"").chain(text.match_indices("include_bytes!(\"")) {
            let name = text[start..].split('"').nth(1).unwrap();
            assert!(next.parent().unwrap().join(name).exists(), "{name} of {} is not copied", next.display());
            found += 1;
        }
        // The files of the example are named from the root.
        for (start, _) in text.match_indices(" file!(\"") {
            let name = text[start..].split('"').nth(1).unwrap();
            assert!(folder.path().join(name).exists(), "{name} of {} is not copied", next.display());
            found += 1;
        }
    }
    assert!(found > 40 && sources.len() > 4);
    assert!(text.contains("--bin mailwright") && text.contains("/release/mailwright /usr/local/bin/mailwright"));
    assert!(text.contains("ENTRYPOINT [\"/usr/local/bin/mailwright\"]"));
}
