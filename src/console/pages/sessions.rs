//! Sessions: who is signed in, from where and until when, with a button to end each.

use std::sync::Arc;

use askama::Template;
use axum::{extract::State, response::Response};
use jiff::Timestamp;

use super::list_pages::{ListPages, Position};
use crate::{
    console::{
        answer::{Answer, redirect, render},
        extract::{Parameters, Segment},
        page::{Page, SignedIn, shown},
        pages::sign_in::signed_out,
    },
    service::{HttpProblem, Service},
    text::shortened,
};

/// Number of sessions of a page.
const ROWS: usize = 100;
/// Maximum size of the name of a program that is not a browser, in characters.
const NAME: usize = 60;

/// The page.
#[derive(Template)]
#[template(path = "sessions.html")]
struct SessionsPage {
    page: Page,
    sessions: Vec<Row>,
    pages: Option<ListPages>,
    /// True if the sessions of others are listed as well.
    of_all: bool,
}

/// A session in the list.
struct Row {
    id: String,
    name: String,
    role: &'static str,
    client: String,
    /// The browser and its system, if they are known.
    browser: String,
    address: String,
    created_at: Timestamp,
    used_at: Timestamp,
    ends_at: Timestamp,
    is_own: bool,
}

/// Lists the sessions that the caller may see.
pub(in crate::console) async fn show(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { session, caller }: SignedIn,
    Parameters(position): Parameters<Position>,
) -> Answer {
    let found = service.sessions(&caller, &session).await?;
    let of_all = found.iter().any(|other| other.subject != session.subject);
    let (found, pages) =
        ListPages::cut(found, ROWS, position.page, |number| format!("/console/sessions?page={number}"));
    let sessions = found
        .into_iter()
        .map(|found| Row {
            is_own: found.id == session.id,
            id: found.id,
            name: shown(&found.name),
            role: found.role.id(),
            browser: browser_name(&found.client),
            client: found.client,
            address: found.address,
            created_at: found.created_at,
            used_at: found.used_at,
            ends_at: found.ends_at,
        })
        .collect();
    render(&SessionsPage { page, sessions, pages, of_all })
}

/// Ends a session.
pub(in crate::console) async fn end(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { session, caller }: SignedIn,
    Segment(id): Segment<String>,
) -> Result<Response, HttpProblem> {
    service.end_session(&caller, &session, &id).await?;
    Ok(if id == session.id {
        signed_out(&service, &page)
    } else {
        redirect(&format!("{}/console/sessions", page.base))
    })
}

/// Returns the browser and its system in a few words, from the name that it gives itself; that name, if it is another program.
fn browser_name(client: &str) -> String {
    // The first that matches: most name others as well.
    let browsers =
        [("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Version/", "Safari")];
    let systems = [
        ("Windows", "Windows"),
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Mac OS X", "macOS"),
        ("CrOS", "ChromeOS"),
        ("Linux", "Linux"),
    ];
    let Some((sign, browser)) = browsers.into_iter().find(|(sign, _)| client.contains(sign)) else {
        return shortened(client, NAME).into_owned();
    };
    let version: String =
        client.split(sign).nth(1).unwrap_or_default().chars().take_while(char::is_ascii_digit).collect();
    let system = systems.into_iter().find(|(sign, _)| client.contains(sign)).map(|(_, name)| format!(" · {name}"));
    format!("{browser} {version}{}", system.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::browser_name;

    #[test]
    fn browsers_are_named_briefly_and_other_programs_as_they_are() {
        for (client, name) in [
            ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox 140 · Linux"),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/148.0.0.0 Safari/537.36 Edg/148.0.0.0",
                "Edge 148 · Windows",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Mobile/15E148 Safari/604.1",
                "Safari 18 · iPhone",
            ),
            ("curl/8.14.1", "curl/8.14.1"),
            ("", ""),
        ] {
            assert_eq!(browser_name(client), name);
        }
    }
}
