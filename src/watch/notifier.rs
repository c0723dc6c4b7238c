//! Sends what is to be told. Each receiver of each environment has a lane: one that is slow holds up no other.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::watch, task::JoinSet};

use super::{
    Shared,
    reports::{Lane, Receiver, Report, Waiting},
};
use crate::{
    api::messages::Submission,
    model::{Code, watch_settings::NotifyMail},
    net::http_client::{HttpClient, describe_error},
    rollout::{Connect, Purpose},
    watch::checkout::blocking,
};

/// How many lanes are at work at once.
const LANES: usize = 64;
/// How often it is looked for something new.
const PAUSE: Duration = Duration::from_millis(300);
/// How long a service may take to accept a mail.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long what is due may take in the end. What is not taken by then is sent after the next start.
const FINISH: Duration = Duration::from_secs(15);

/// Sends what is due, until the watch has ended and nothing more is.
pub(super) async fn tell(shared: Arc<Shared>, mut ended: watch::Receiver<bool>) {
    let mut under_way: JoinSet<Lane> = JoinSet::new();
    let mut busy: BTreeSet<Lane> = BTreeSet::new();
    let mut until = None;
    loop {
        for lane in shared.reports.due() {
            if busy.len() < LANES && busy.insert(lane.clone()) {
                under_way.spawn(drain(Arc::clone(&shared), lane));
            }
        }
        if until.is_some_and(|until| under_way.is_empty() || Instant::now() > until) {
            return;
        }
        tokio::select! {
            Some(done) = under_way.join_next(), if !under_way.is_empty() => {
                if let Ok(lane) = done {
                    busy.remove(&lane);
                }
            }
            _ = ended.wait_for(|ended| *ended), if until.is_none() => until = Some(Instant::now() + FINISH),
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// Sends what is due in a lane, one after the other, until one is not taken.
async fn drain(shared: Arc<Shared>, lane: Lane) -> Lane {
    while let Some(first) = shared.reports.first(&lane) {
        let result = send(&shared, &first).await;
        if !shared.reports.settle(&first, result) {
            break;
        }
    }
    lane
}

async fn send(shared: &Shared, one: &Waiting) -> Result<(), String> {
    match &one.receiver {
        Receiver::Webhook(url) => post(&shared.reports.http, url, &one.report).await,
        Receiver::Mail(mail) => submit(&shared.options.connect, mail, &one.report).await,
    }
}

async fn post(http: &HttpClient, url: &str, report: &Report) -> Result<(), String> {
    let body = serde_json::to_string(report).map_err(|error| error.to_string())?;
    let url = reqwest::Url::parse(url).map_err(|error| error.to_string())?;
    let request = http.request(reqwest::Method::POST, url).map_err(|error| describe_error(&error))?;
    let sent = request.header("content-type", "application/json").body(body).send().await;
    let answer = sent.map_err(|error| describe_error(&error))?;
    let status = answer.status();
    if status.is_success() { Ok(()) } else { Err(format!("the webhook answered {}", status.as_u16())) }
}

async fn submit(connect: &Connect, mail: &NotifyMail, report: &Report) -> Result<(), String> {
    let (connect, name) = (Arc::clone(connect), report.environment.clone());
    let client = blocking(move || connect(&name, None, Purpose::Probe)).await.and_then(|made| made);
    let client = client.map_err(|problem| problem.message)?;
    let mut submission = Submission::new(mail.company.clone(), mail.function);
    submission.to.clone_from(&mail.to);
    let still = if report.reminder { "still: " } else { "" };
    submission.subject = format!("[{}] {still}{}", report.environment, report.event.words());
    submission.text = Some(text(report));
    // However often it is sent, one mail is accepted.
    let key = format!("watch-{}", report.id);
    match tokio::time::timeout(PATIENCE, client.submit(&submission, Some(&key))).await {
        Err(_) => Err("the service did not answer".to_owned()),
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) if error.code == Code::RoleTooLow => {
            Err(format!("{} (`--mail-token-file` names a token that may send)", error.message))
        }
        Ok(Err(error)) => Err(error.message),
    }
}

/// What a mail says.
fn text(report: &Report) -> String {
    let code = report.code.map(|code| format!(" ({code})")).unwrap_or_default();
    let remedy = if report.remedy.is_empty() { String::new() } else { format!("\nWhat to do: {}\n", report.remedy) };
    let still = if report.reminder { "It was told before, and it lasts.\n" } else { "" };
    format!(
        "Environment: {}\n{}{code}\n{remedy}\n{still}Seen at {} by mailwright watch.\n",
        report.environment,
        report.message,
        report.at.strftime("%Y-%m-%d %H:%M:%S UTC")
    )
}
