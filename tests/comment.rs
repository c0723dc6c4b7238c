//! The comment under a pull request, against a stand-in that answers as the documentation of each forge says.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends there")]

mod support;

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use support::trial::{Ran, Trial};

/// A forge: the comments that it has, and what was asked of it.
#[derive(Clone, Default)]
struct Forge {
    comments: Arc<Mutex<Vec<(u64, String)>>>,
    requests: Arc<Mutex<Vec<(String, String, Value)>>>,
    address: String,
    /// Answered instead of everything else.
    status: Option<u16>,
}

impl Forge {
    fn start(status: Option<u16>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let forge = Self { address: format!("http://{}", listener.local_addr().unwrap()), status, ..Self::default() };
        let own = forge.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                own.answer(stream);
            }
        });
        forge
    }

    fn answer(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let mut words = line.split_whitespace().map(str::to_owned);
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (mut length, mut head) = (0, String::new());
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if line.trim().is_empty() {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            head.push_str(&line);
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        self.requests.lock().unwrap().push((format!("{method} {path}"), head, body.clone()));
        let (status, answer) = match self.status {
            Some(status) => (status, json!({ "message": "no" })),
            None => (200, self.serve(&method, &path, &body)),
        };
        let answer = answer.to_string();
        drop(write!(
            stream,
            "HTTP/1.1 {status} Answer\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}",
            answer.len()
        ));
    }

    fn serve(&self, method: &str, path: &str, body: &Value) -> Value {
        let azure = path.contains("/threads");
        let text = |body: &Value| {
            let own = body["body"]
                .as_str()
                .or_else(|| body["content"].as_str())
                .or_else(|| body["comments"][0]["content"].as_str());
            own.unwrap().to_owned()
        };
        let mut comments = self.comments.lock().unwrap();
        match method {
            "GET" => {
                let parameter = |name: &str| {
                    path.split(['?', '&'])
                        .find_map(|part| part.strip_prefix(&format!("{name}=")))
                        .and_then(|value| value.parse::<usize>().ok())
                };
                let items = comments.iter().map(|(id, text)| {
                    if azure {
                        json!({ "id": id, "comments": [{ "id": 1, "content": text }] })
                    } else {
                        json!({ "id": id, "body": text })
                    }
                });
                if azure {
                    return json!({ "value": items.collect::<Vec<_>>() });
                }
                let (size, page) = (parameter("per_page").unwrap_or(20), parameter("page").unwrap_or(1));
                items.skip(size * (page - 1)).take(size).collect()
            }
            "POST" => {
                let id = 100 + comments.len() as u64;
                comments.push((id, text(body)));
                json!({ "id": id })
            }
            _ => {
                let segments: Vec<&str> = path.split('?').next().unwrap().split('/').collect();
                let id = if azure { segments[segments.len() - 3] } else { segments[segments.len() - 1] };
                let found = comments.iter_mut().find(|(own, _)| own.to_string() == id).unwrap();
                found.1 = text(body);
                json!({ "id": found.0 })
            }
        }
    }

    fn asked(&self) -> Vec<String> {
        self.requests.lock().unwrap().iter().map(|(line, _, _)| line.clone()).collect()
    }
}

/// The variables of a job of each forge.
fn job(kind: &str, address: &str) -> Vec<(&'static str, String)> {
    let own = |text: &str| text.to_owned();
    match kind {
        "github" => vec![
            ("GITHUB_ACTIONS", own("true")),
            ("GITHUB_API_URL", own(address)),
            ("GITHUB_REPOSITORY", own("example/mail")),
            ("GITHUB_REF", own("refs/pull/12/merge")),
            ("GITHUB_TOKEN", own("the-token")),
        ],
        "gitlab" => vec![
            ("GITLAB_CI", own("true")),
            ("CI_API_V4_URL", format!("{address}/api/v4")),
            ("CI_PROJECT_ID", own("7")),
            ("CI_MERGE_REQUEST_IID", own("12")),
            ("GITLAB_TOKEN", own("the-token")),
        ],
        _ => vec![
            ("TF_BUILD", own("True")),
            ("SYSTEM_COLLECTIONURI", format!("{address}/organisation/")),
            ("SYSTEM_TEAMPROJECTID", own("11111111-2222-3333-4444-555555555555")),
            ("BUILD_REPOSITORY_ID", own("99999999-2222-3333-4444-555555555555")),
            ("SYSTEM_PULLREQUEST_PULLREQUESTID", own("12")),
            ("SYSTEM_ACCESSTOKEN", own("the-token")),
        ],
    }
}

fn comment(trial: &Trial, variables: &[(&str, String)], arguments: &[&str]) -> Ran {
    let mut command = trial.command(&[&["comment"], arguments].concat());
    for name in ["GITHUB_ACTIONS", "GITLAB_CI", "TF_BUILD", "GITHUB_EVENT_PATH", "GITHUB_REF"] {
        command.env_remove(name);
    }
    command.envs(variables.iter().map(|(name, value)| (*name, value)));
    support::trial::finish(command)
}

#[test]
fn there_is_one_comment_however_often_the_job_runs() {
    for (kind, first, again) in [
        ("github", "POST /repos/example/mail/issues/12/comments", "PATCH /repos/example/mail/issues/comments/253"),
        (
            "gitlab",
            "POST /api/v4/projects/7/merge_requests/12/notes",
            "PUT /api/v4/projects/7/merge_requests/12/notes/253",
        ),
        (
            "azure",
            "POST /organisation/11111111-2222-3333-4444-555555555555/_apis/git/repositories/99999999-2222-3333-4444-555555555555/pullRequests/12/threads?api-version=7.1",
            "PATCH /organisation/11111111-2222-3333-4444-555555555555/_apis/git/repositories/99999999-2222-3333-4444-555555555555/pullRequests/12/threads/253/comments/1?api-version=7.1",
        ),
    ] {
        let forge = Forge::start(None);
        // More than a page of other people's.
        *forge.comments.lock().unwrap() =
            (0..153).map(|number| (number, format!("comment {number} of somebody"))).collect();
        let trial = Trial::empty();
        trial.write("plan.md", "### A plan\n");
        let job = job(kind, &forge.address);
        assert_eq!(comment(&trial, &job, &["plan.md"]).code(0).stderr, "The comment is written.\n", "{kind}");
        assert_eq!(forge.asked().last().unwrap(), first);
        trial.write("plan.md", "### Another plan\n");
        assert_eq!(comment(&trial, &job, &["plan.md"]).code(0).stderr, "The comment is replaced.\n", "{kind}");
        assert_eq!(forge.asked().last().unwrap(), again);
        comment(&trial, &job, &["plan.md", "--name", "verify"]).code(0);
        let comments = forge.comments.lock().unwrap();
        assert_eq!(comments.len(), 155, "{kind}: one for each name");
        assert_eq!(comments[153].1, "<!-- mailwright comment plan -->\n### Another plan\n");
        let heads = forge.requests.lock().unwrap();
        let header = if kind == "gitlab" { "private-token: the-token" } else { "authorization: bearer the-token" };
        assert!(heads.iter().all(|(_, head, _)| head.to_ascii_lowercase().contains(header)), "{kind}");
    }
}

#[test]
fn a_long_text_is_cut_where_it_does_no_harm() {
    let forge = Forge::start(None);
    let trial = Trial::empty();
    let text = format!("<details><summary>all</summary>\n\n```diff\n{}", "+ a line of some length\n".repeat(10_000));
    trial.write("plan.md", text);
    comment(&trial, &job("github", &forge.address), &["plan.md"]).code(0);
    let comments = forge.comments.lock().unwrap();
    let text = &comments[0].1;
    assert!(text.len() <= 65_536, "{}", text.len());
    assert!(
        text.ends_with("+ a line of some length\n```\n</details>\n\n_Cut here: the job's log has all of it._\n"),
        "{}",
        &text[text.len() - 200..]
    );
}

#[test]
fn where_there_is_nothing_to_comment_on_it_says_so() {
    let trial = Trial::empty();
    trial.write("plan.md", "plan");
    trial.write("empty.md", "\n");
    assert!(comment(&trial, &[], &["plan.md"]).code(1).stderr.contains("this does not run in GitHub Actions"));
    let mut push = job("github", "http://127.0.0.1:1");
    push.retain(|(name, _)| *name != "GITHUB_REF");
    assert!(comment(&trial, &push, &["plan.md"]).code(0).stderr.contains("runs for no pull request"));
    assert!(comment(&trial, &push, &["empty.md"]).code(1).stderr.contains("the text is empty"));
    let mut nameless = job("gitlab", "http://127.0.0.1:1");
    nameless.retain(|(name, _)| *name != "GITLAB_TOKEN");
    assert!(comment(&trial, &nameless, &["plan.md"]).code(1).stderr.contains("the variable GITLAB_TOKEN is missing"));
    assert!(
        comment(&trial, &job("azure", "http://127.0.0.1:1"), &["plan.md"])
            .code(1)
            .stderr
            .contains("Azure DevOps cannot be asked")
    );
}

#[test]
fn the_number_comes_from_githubs_event() {
    let forge = Forge::start(None);
    let trial = Trial::empty();
    trial.write("plan.md", "plan");
    trial.write("event.json", json!({ "pull_request": { "number": 34 } }).to_string());
    let mut job = job("github", &forge.address);
    job.push(("GITHUB_EVENT_PATH", trial.path("event.json").display().to_string()));
    comment(&trial, &job, &["plan.md"]).code(0);
    assert_eq!(forge.asked().last().unwrap(), "POST /repos/example/mail/issues/34/comments");
}

#[test]
fn a_token_without_the_right_is_told_with_what_gives_it() {
    for (kind, remedy) in
        [("github", "pull-requests: write"), ("gitlab", "scope `api`"), ("azure", "contribute to pull requests")]
    {
        for status in [401, 403, 404] {
            let forge = Forge::start(Some(status));
            let trial = Trial::empty();
            trial.write("plan.md", "plan");
            let ran = comment(&trial, &job(kind, &forge.address), &["plan.md"]).code(1);
            assert!(
                ran.stderr.contains(&format!("(HTTP {status})")) && ran.stderr.contains(remedy),
                "{kind} {}",
                ran.stderr
            );
            assert!(!ran.stderr.contains("the-token"));
        }
    }
    let forge = Forge::start(Some(500));
    let trial = Trial::empty();
    trial.write("plan.md", "plan");
    let ran = comment(&trial, &job("github", &forge.address), &["plan.md"]).code(1);
    assert!(ran.stderr.contains("GitHub cannot be asked: it answered HTTP 500"), "{}", ran.stderr);
}
