//! Comments on the pull request that a CI job runs for: GitHub, GitLab and Azure DevOps.
//!
//! [`PullRequest::of_job`] finds it by the variables of the job, which the caller reads, and [`PullRequest::comment`] posts. Each
//! marker has one comment: an earlier one is replaced, so that ten pushes leave one comment with the last plan. It is searched
//! among 10,000 comments, which is more than the forges accept. A text that is too long for the forge is cut. A failure is a
//! [`ForgeError`]; nothing is repeated. An answer over 16 MiB or later than 30 seconds is an error, redirects are not followed, and
//! the job's token is sent only to the address of the forge.

use std::time::Duration;

use reqwest::{Method, StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use crate::net::http_client::{HttpClient, describe_error};

/// The maximum number of pages of comments that are searched.
///
/// Sources: GitHub answers 403 "Commenting is disabled on issues with more than 2500 comments"; GitLab, "Instance limits": about 5,000
/// comments per merge request, to which notes of the system are added; Azure DevOps answers with all at once.
const PAGES: u32 = 100;
/// The number of comments per page.
const PAGE: usize = 100;
/// The largest answer that is read, in bytes: a page of the largest comments that GitHub has.
const ANSWER_LIMIT: usize = 16 * 1024 * 1024;

/// The pull request of a job.
pub struct PullRequest {
    forge: Forge,
    /// The address of the pull request's comments.
    comments: Url,
    token: SecretString,
    http: HttpClient,
}

/// A kind of forge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forge {
    /// GitHub, or GitHub Enterprise.
    GitHub,
    /// GitLab.
    GitLab,
    /// Azure DevOps.
    Azure,
}

/// The outcome of posting a comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Posted {
    /// The comment is new.
    Created,
    /// The comment replaced an earlier one.
    Replaced,
}

/// The reason why no comment was posted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForgeError {
    /// The variables belong to no known CI system.
    #[error("this does not run in GitHub Actions, GitLab CI or Azure Pipelines")]
    Nowhere,
    /// The job does not belong to a pull request.
    #[error("this job does not belong to a pull request")]
    NoPullRequest,
    /// A variable is missing or invalid.
    #[error("the variable {0} is missing or invalid")]
    Variable(&'static str),
    /// The token lacks a permission.
    #[error("{forge} does not let the job's token write comments (HTTP {status})")]
    Refused {
        /// The forge.
        forge: &'static str,
        /// The HTTP status.
        status: u16,
    },
    /// The forge could not be reached, or its answer is unusable.
    #[error("{forge} cannot be asked: {why}")]
    Unanswered {
        /// The forge.
        forge: &'static str,
        /// The cause.
        why: String,
    },
}

impl Forge {
    fn name(self) -> &'static str {
        match self {
            Forge::GitHub => "GitHub",
            Forge::GitLab => "GitLab",
            Forge::Azure => "Azure DevOps",
        }
    }

    /// Returns the maximum length of a comment, in characters, with some reserve.
    ///
    /// Sources: GitHub answers 422 "body is too long (maximum is 65536 characters)"; GitLab, "Instance limits": 1,000,000
    /// characters; Azure DevOps, "Git limits": 150,000 characters.
    fn limit(self) -> usize {
        match self {
            Forge::GitHub => 65_000,
            Forge::GitLab => 990_000,
            Forge::Azure => 149_000,
        }
    }

    /// Returns the way to let the token of a job write comments.
    pub fn remedy(self) -> &'static str {
        match self {
            Forge::GitHub => {
                "Give the job `permissions: { pull-requests: write }` and `GITHUB_TOKEN: ${{ github.token }}`."
            }
            Forge::GitLab => {
                "Make a project access token with the scope `api`, and put it into the masked variable GITLAB_TOKEN: the \
                 job's own token may not write notes."
            }
            Forge::Azure => {
                "Map SYSTEM_ACCESSTOKEN: $(System.AccessToken), and let the build service contribute to pull requests."
            }
        }
    }
}

impl PullRequest {
    /// Returns the pull request that a job runs for. `variable` returns a variable of the job, `event` the document of
    /// GitHub's event at a path.
    pub fn of_job(
        variable: impl Fn(&str) -> Option<String>,
        event: impl Fn(&str) -> Option<Value>,
    ) -> Result<Self, ForgeError> {
        let get = |name: &'static str| variable(name).ok_or(ForgeError::Variable(name));
        let is = |name: &str| variable(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let (forge, base, path, token) = if is("GITHUB_ACTIONS") {
            let number = variable("GITHUB_EVENT_PATH")
                .and_then(|path| event(&path))
                .and_then(|event| event["pull_request"]["number"].as_u64().or_else(|| event["number"].as_u64()));
            let number =
                number.or_else(|| variable("GITHUB_REF")?.strip_prefix("refs/pull/")?.split('/').next()?.parse().ok());
            let number = number.ok_or(ForgeError::NoPullRequest)?.to_string();
            let repository = get("GITHUB_REPOSITORY")?;
            let (owner, name) = repository.split_once('/').ok_or(ForgeError::Variable("GITHUB_REPOSITORY"))?;
            let path = ["repos", owner, name, "issues", &number, "comments"].map(str::to_owned).to_vec();
            (Forge::GitHub, ("GITHUB_API_URL", get("GITHUB_API_URL")?), path, get("GITHUB_TOKEN")?)
        } else if is("GITLAB_CI") {
            let number = variable("CI_MERGE_REQUEST_IID").ok_or(ForgeError::NoPullRequest)?;
            let path = ["projects", &get("CI_PROJECT_ID")?, "merge_requests", &number, "notes"].map(str::to_owned);
            (Forge::GitLab, ("CI_API_V4_URL", get("CI_API_V4_URL")?), path.to_vec(), get("GITLAB_TOKEN")?)
        } else if is("TF_BUILD") {
            let number = variable("SYSTEM_PULLREQUEST_PULLREQUESTID").ok_or(ForgeError::NoPullRequest)?;
            let (project, repository) = (get("SYSTEM_TEAMPROJECTID")?, get("BUILD_REPOSITORY_ID")?);
            let path = [&project, "_apis", "git", "repositories", &repository, "pullRequests", &number, "threads"]
                .map(str::to_owned);
            let base = ("SYSTEM_COLLECTIONURI", get("SYSTEM_COLLECTIONURI")?);
            (Forge::Azure, base, path.to_vec(), get("SYSTEM_ACCESSTOKEN")?)
        } else {
            return Err(ForgeError::Nowhere);
        };
        let comments = below(&base.1, &path).ok_or(ForgeError::Variable(base.0))?;
        let http = HttpClient::new(|builder| builder.timeout(Duration::from_secs(30)));
        Ok(Self { forge, comments, token: token.into(), http })
    }

    /// Returns the forge.
    pub fn forge(&self) -> Forge {
        self.forge
    }

    /// Posts the comment of a marker, or replaces the earlier one. A text that is too long is cut at the end of a line, with
    /// a note.
    pub async fn comment(&self, marker: &str, text: &str) -> Result<Posted, ForgeError> {
        let text = cut_at_line_end(text, self.forge.limit());
        let body = match self.forge {
            Forge::GitHub | Forge::GitLab => json!({ "body": text }),
            Forge::Azure => json!({ "content": text }),
        };
        if let Some(address) = self.find(marker).await? {
            let method = if self.forge == Forge::GitLab { Method::PUT } else { Method::PATCH };
            self.send(method, address, Some(&body)).await?;
            return Ok(Posted::Replaced);
        }
        let new = match self.forge {
            Forge::GitHub | Forge::GitLab => body,
            // A comment begins a thread; a closed one does not block the merge.
            Forge::Azure => json!({
                "comments": [{ "parentCommentId": 0, "content": text, "commentType": 1 }],
                "status": "closed",
            }),
        };
        self.send(Method::POST, self.with_version(self.comments.clone()), Some(&new)).await?;
        Ok(Posted::Created)
    }

    /// Returns the address of the comment with the marker, if there is one.
    async fn find(&self, marker: &str) -> Result<Option<Url>, ForgeError> {
        let begins = |text: &Value| text.as_str().is_some_and(|text| text.trim_start().starts_with(marker));
        for page in 1..=PAGES {
            let mut address = self.with_version(self.comments.clone());
            if self.forge != Forge::Azure {
                address
                    .query_pairs_mut()
                    .append_pair("per_page", &PAGE.to_string())
                    .append_pair("page", &page.to_string());
            }
            let answer = self.send(Method::GET, address, None).await?;
            let items = answer.as_array().or_else(|| answer["value"].as_array()).cloned().unwrap_or_default();
            for item in &items {
                let found = match self.forge {
                    Forge::GitHub if begins(&item["body"]) => self.comments_of_repository(item["id"].as_u64()),
                    Forge::GitLab if begins(&item["body"]) => below_id(&self.comments, item["id"].as_u64()),
                    Forge::Azure => {
                        item["comments"].as_array().into_iter().flatten().find(|own| begins(&own["content"])).and_then(
                            |own| {
                                let thread = below_id(&self.comments, item["id"].as_u64())?;
                                below_id(&below(thread.as_str(), &["comments".to_owned()])?, own["id"].as_u64())
                            },
                        )
                    }
                    Forge::GitHub | Forge::GitLab => None,
                };
                if let Some(found) = found {
                    return Ok(Some(self.with_version(found)));
                }
            }
            // Azure DevOps answers with all threads at once.
            if self.forge == Forge::Azure || items.len() < PAGE {
                break;
            }
        }
        Ok(None)
    }

    /// Returns the address of a comment: GitHub lists comments below their issue, and changes them below the repository.
    fn comments_of_repository(&self, id: Option<u64>) -> Option<Url> {
        let mut address = self.comments.clone();
        // .../issues/NUMBER/comments becomes .../issues/comments/ID.
        address.path_segments_mut().ok()?.pop().pop().push("comments").push(&id?.to_string());
        Some(address)
    }

    fn with_version(&self, mut address: Url) -> Url {
        if self.forge == Forge::Azure {
            address.query_pairs_mut().append_pair("api-version", "7.1");
        }
        address
    }

    async fn send(&self, method: Method, address: Url, body: Option<&Value>) -> Result<Value, ForgeError> {
        let forge = self.forge.name();
        let unanswered = |why: String| ForgeError::Unanswered { forge, why };
        let token = self.token.expose_secret();
        let request = self.http.request(method, address);
        let mut request = request.map_err(|error| unanswered(describe_error(&error)))?;
        request = match self.forge {
            Forge::GitHub => request
                .bearer_auth(token)
                .header("Accept", "application/vnd.github+json")
                .header("X-GitHub-Api-Version", "2022-11-28"),
            Forge::GitLab => request.header("PRIVATE-TOKEN", token),
            Forge::Azure => request.bearer_auth(token),
        };
        if let Some(body) = body {
            request = request.json(body);
        }
        let mut response = request.send().await.map_err(|error| unanswered(describe_error(&error)))?;
        let status = response.status();
        // Azure DevOps answers 203 with a sign-in page if it does not accept a token.
        let is_refusal = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND);
        if is_refusal || status == StatusCode::NON_AUTHORITATIVE_INFORMATION || status.is_redirection() {
            return Err(ForgeError::Refused { forge, status: status.as_u16() });
        }
        if !status.is_success() {
            return Err(unanswered(format!("it answered HTTP {}", status.as_u16())));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| unanswered(describe_error(&error)))? {
            if bytes.len() + chunk.len() > ANSWER_LIMIT {
                return Err(unanswered("its answer is too large".to_owned()));
            }
            bytes.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&bytes).map_err(|_| unanswered("its answer is not JSON".to_owned()))
    }
}

/// Returns an address with more segments in its path, each encoded.
fn below(base: &str, path: &[String]) -> Option<Url> {
    let mut url = Url::parse(base).ok().filter(|url| matches!(url.scheme(), "https" | "http"))?;
    url.path_segments_mut().ok()?.pop_if_empty().extend(path);
    Some(url)
}

fn below_id(base: &Url, id: Option<u64>) -> Option<Url> {
    below(base.as_str(), &[id?.to_string()])
}

/// Cuts a text of more than `limit` characters at the end of a line, with a note.
fn cut_at_line_end(text: &str, limit: usize) -> String {
    const CUT: &str = "\n\n_Cut here: the job's log has all of it._\n";
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let kept: String = text.chars().take(limit - CUT.len()).collect();
    let kept = kept.rsplit_once('\n').map_or(kept.as_str(), |(kept, _)| kept);
    // A folded part or a fenced block that is cut is closed, so that the note is outside of it.
    let fence = if kept.matches("\n```").count() % 2 == 1 { "\n```" } else { "" };
    let open = kept.matches("<details").count().saturating_sub(kept.matches("</details>").count());
    format!("{kept}{fence}{}{CUT}", "\n</details>".repeat(open))
}
