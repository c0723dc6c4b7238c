//! Sends queued reports by webhook and mail. Each receiver of each environment has its own queue: a slow one does not hold up others.
//!
//! [`run`] takes what [`Reports`](super::reports::Reports) has due, and reports each outcome back to it; there it is decided when a
//! report is sent again or given up. An answer that is not 2xx, and a service that does not accept the mail within 30 seconds,
//! count as not accepted. When the watch ends, reports that are due have 15 seconds; the others are sent after the next start.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::watch, task::JoinSet};

use super::{
    Shared,
    reports::{DeliveryLane, QueuedReport, Receiver, Report},
};
use crate::{
    api::messages::Submission,
    model::{Code, watch_settings::NotifyMail},
    net::http_client::{HttpClient, describe_error},
    operations::{ClientPurpose, Connector},
    watch::checkout::blocking,
};

/// The number of queues that are worked on at once.
const PARALLEL: usize = 64;
/// The interval in which the queues are checked.
const PAUSE: Duration = Duration::from_millis(300);
/// The time limit for a service to accept a mail.
const SUBMIT_LIMIT: Duration = Duration::from_secs(30);
/// The time limit for sending reports that are due when the watch ends. Others are sent after the next start.
const FINAL_LIMIT: Duration = Duration::from_secs(15);

/// Sends the reports that are due, until the watch has ended and no report is due.
pub(super) async fn run(shared: Arc<Shared>, mut ended: watch::Receiver<bool>) {
    let mut running: JoinSet<DeliveryLane> = JoinSet::new();
    let mut busy: BTreeSet<DeliveryLane> = BTreeSet::new();
    let mut until = None;
    loop {
        for lane in shared.reports.due() {
            if busy.len() < PARALLEL && busy.insert(lane.clone()) {
                running.spawn(drain(Arc::clone(&shared), lane));
            }
        }
        if until.is_some_and(|until| running.is_empty() || Instant::now() > until) {
            return;
        }
        tokio::select! {
            Some(done) = running.join_next(), if !running.is_empty() => {
                if let Ok(lane) = done {
                    busy.remove(&lane);
                }
            }
            _ = ended.wait_for(|ended| *ended), if until.is_none() => until = Some(Instant::now() + FINAL_LIMIT),
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// Sends the reports of a queue, one after the other, until one is not accepted.
async fn drain(shared: Arc<Shared>, lane: DeliveryLane) -> DeliveryLane {
    while let Some(first) = shared.reports.first(&lane) {
        let result = send(&shared, &first).await;
        if !shared.reports.settle(&first, result) {
            break;
        }
    }
    lane
}

async fn send(shared: &Shared, queued: &QueuedReport) -> Result<(), String> {
    match &queued.receiver {
        Receiver::Webhook(url) => post(&shared.reports.http, url, &queued.report).await,
        Receiver::Mail(mail) => submit(&shared.options.connect, mail, &queued.report).await,
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

async fn submit(connect: &Connector, mail: &NotifyMail, report: &Report) -> Result<(), String> {
    let (connect, name) = (Arc::clone(connect), report.environment.clone());
    let client = blocking(move || connect(&name, None, ClientPurpose::SendMail)).await.and_then(|made| made);
    let client = client.map_err(|problem| problem.message)?;
    let mut submission = Submission::new(mail.company.clone(), mail.function);
    submission.to.clone_from(&mail.to);
    let still = if report.reminder { "still: " } else { "" };
    submission.subject = format!("[{}] {still}{}", report.environment, report.event.subject());
    submission.text = Some(render_text(report));
    // The service accepts one mail per key, however often it is submitted.
    let key = format!("watch-{}", report.id);
    match tokio::time::timeout(SUBMIT_LIMIT, client.submit(&submission, Some(&key))).await {
        Err(_) => Err("the service did not answer".to_owned()),
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) if error.code == Code::RoleTooLow => {
            Err(format!("{} (`--mail-token-file` names a token that may send)", error.message))
        }
        Ok(Err(error)) => Err(error.message),
    }
}

/// Returns the text of a mail.
fn render_text(report: &Report) -> String {
    let code = report.code.map(|code| format!(" ({code})")).unwrap_or_default();
    let remedy = if report.remedy.is_empty() { String::new() } else { format!("\nWhat to do: {}\n", report.remedy) };
    let still = if report.reminder { "This was reported before, and lasts.\n" } else { "" };
    format!(
        "Environment: {}\n{}{code}\n{remedy}\n{still}Seen at {} by mailwright watch.\n",
        report.environment,
        report.message,
        report.at.strftime("%Y-%m-%d %H:%M:%S UTC")
    )
}
