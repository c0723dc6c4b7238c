//! The comment under a pull request, against a stand-in that answers as the documentation of each forge says.

use crate::support::{
    forge::Forge,
    repository::{CommandOutput, TestRepository},
};
use serde_json::json;

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

fn comment(repo: &TestRepository, variables: &[(&str, String)], arguments: &[&str]) -> CommandOutput {
    let mut command = repo.command(&[&["comment"], arguments].concat());
    for name in ["GITHUB_ACTIONS", "GITLAB_CI", "TF_BUILD", "GITHUB_EVENT_PATH", "GITHUB_REF"] {
        command.env_remove(name);
    }
    command.envs(variables.iter().map(|(name, value)| (*name, value)));
    crate::support::repository::run_command(command)
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
            (0..153).map(|number| (number, format!("comment {number} of another author"))).collect();
        let repo = TestRepository::empty();
        repo.write("plan.md", "### A plan\n");
        let job = job(kind, &forge.address);
        assert_eq!(comment(&repo, &job, &["plan.md"]).code(0).stderr, "The comment was posted.\n", "{kind}");
        assert_eq!(forge.asked().last().unwrap(), first);
        repo.write("plan.md", "### Another plan\n");
        assert_eq!(comment(&repo, &job, &["plan.md"]).code(0).stderr, "The comment was updated.\n", "{kind}");
        assert_eq!(forge.asked().last().unwrap(), again);
        comment(&repo, &job, &["plan.md", "--name", "verify"]).code(0);
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
    let repo = TestRepository::empty();
    let text = format!("<details><summary>all</summary>\n\n```diff\n{}", "+ a line of some length\n".repeat(10_000));
    repo.write("plan.md", text);
    comment(&repo, &job("github", &forge.address), &["plan.md"]).code(0);
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
fn without_a_pull_request_it_says_so() {
    let repo = TestRepository::empty();
    repo.write("plan.md", "plan");
    repo.write("empty.md", "\n");
    assert!(comment(&repo, &[], &["plan.md"]).code(1).stderr.contains("this does not run in GitHub Actions"));
    let mut push = job("github", "http://127.0.0.1:1");
    push.retain(|(name, _)| *name != "GITHUB_REF");
    assert!(comment(&repo, &push, &["plan.md"]).code(0).stderr.contains("does not belong to a pull request"));
    assert!(comment(&repo, &push, &["empty.md"]).code(1).stderr.contains("the text is empty"));
    let mut nameless = job("gitlab", "http://127.0.0.1:1");
    nameless.retain(|(name, _)| *name != "GITLAB_TOKEN");
    assert!(comment(&repo, &nameless, &["plan.md"]).code(1).stderr.contains("the variable GITLAB_TOKEN is missing"));
    assert!(
        comment(&repo, &job("azure", "http://127.0.0.1:1"), &["plan.md"])
            .code(1)
            .stderr
            .contains("Azure DevOps cannot be asked")
    );
}

#[test]
fn the_number_comes_from_githubs_event() {
    let forge = Forge::start(None);
    let repo = TestRepository::empty();
    repo.write("plan.md", "plan");
    repo.write("event.json", json!({ "pull_request": { "number": 34 } }).to_string());
    let mut job = job("github", &forge.address);
    job.push(("GITHUB_EVENT_PATH", repo.path("event.json").display().to_string()));
    comment(&repo, &job, &["plan.md"]).code(0);
    assert_eq!(forge.asked().last().unwrap(), "POST /repos/example/mail/issues/34/comments");
}

#[test]
fn a_token_without_the_permission_is_reported_with_the_permission() {
    for (kind, remedy) in
        [("github", "pull-requests: write"), ("gitlab", "scope `api`"), ("azure", "contribute to pull requests")]
    {
        for status in [401, 403, 404] {
            let forge = Forge::start(Some(status));
            let repo = TestRepository::empty();
            repo.write("plan.md", "plan");
            let output = comment(&repo, &job(kind, &forge.address), &["plan.md"]).code(1);
            assert!(
                output.stderr.contains(&format!("(HTTP {status})")) && output.stderr.contains(remedy),
                "{kind} {}",
                output.stderr
            );
            assert!(!output.stderr.contains("the-token"));
        }
    }
    let forge = Forge::start(Some(500));
    let repo = TestRepository::empty();
    repo.write("plan.md", "plan");
    let output = comment(&repo, &job("github", &forge.address), &["plan.md"]).code(1);
    assert!(output.stderr.contains("GitHub cannot be asked: it answered HTTP 500"), "{}", output.stderr);
}
