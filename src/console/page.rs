//! [`Page`]: what every page knows, with the functions that templates call; [`SignedIn`]: the caller of a request.
//!
//! Both are extractors of handlers. A template has the page in its field `page`.

use std::{fmt::Display, sync::Arc};

use askama::{Template, filters::Safe};
use axum::{
    extract::{FromRequestParts, Request},
    http::{header, request::Parts},
};
use jiff::Timestamp;

use super::{
    assets, cookies, routing,
    texts::{self, Argument, Language},
};
use crate::{
    model::{
        Function,
        access::{Activity, Area},
        session::Session,
    },
    service::{Caller, HttpProblem, RequestId, Service},
    text::{printable, shortened},
};

/// Returns a text from outside so that no character hides or reorders others.
pub(super) fn shown(text: &str) -> String {
    printable(text).into_owned()
}

/// Returns the beginning of a text from outside, at most some characters, so that no character hides or reorders others.
pub(super) fn shown_up_to(text: &str, limit: usize) -> String {
    shortened(&shown(text), limit).into_owned()
}

/// The signed-in person or program, for the head of the page.
#[derive(Clone, Debug)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) role: &'static str,
    pub(super) caller: Caller,
}

/// The caller of a request and its session; only on addresses that need one, or that have one.
#[derive(Clone)]
pub(super) struct SignedIn {
    pub(super) session: Session,
    pub(super) caller: Caller,
}

/// The data that every page has.
#[derive(Clone, Debug)]
pub(super) struct Page {
    /// The path prefix of the environment; empty at the root.
    pub(super) base: String,
    pub(super) environment: String,
    pub(super) language: Language,
    /// The languages to choose from.
    pub(super) languages: &'static [Language],
    /// The version of the program.
    pub(super) version: &'static str,
    /// The path and query of the request, without the base.
    pub(super) here: String,
    pub(super) user: Option<User>,
    pub(super) request_id: String,
    /// True if the service uses the public identity of the examples.
    pub(super) demo: bool,
}

/// A time as HTML: in UTC, which the script replaces by local time.
#[derive(Template)]
#[template(ext = "html", source = "<time datetime=\"{{ iso }}\">{{ text }}</time>")]
struct TimeElement {
    iso: String,
    text: String,
}

/// A sentence as HTML, with what is between backticks as code.
#[derive(Template)]
#[template(
    ext = "html",
    source = "<bdi{% if is_foreign %} lang=\"en\"{% endif %}>{% for part in parts %}{% if loop.index0 % 2 == 1 %}<code>{{ part }}</code>{% else %}{{ part }}{% endif %}{% endfor %}</bdi>"
)]
struct Prose<'a> {
    /// True if the page is in another language: causes and remedies are in English.
    is_foreign: bool,
    parts: Vec<&'a str>,
}

impl Page {
    /// Creates the page of a request, before its caller is known.
    pub(super) fn new(service: &Service, request: &Request) -> Self {
        let headers = request.headers();
        let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let uri = request.uri();
        let here = match uri.path_and_query() {
            // The answer of an identity provider has a code in its query, which belongs into no page.
            _ if uri.path().starts_with("/console/sign-in/") => uri.path(),
            Some(here) => here.as_str(),
            None => "/console",
        };
        let id = request.extensions().get::<RequestId>().map(|id| id.0.to_string());
        Self {
            base: service.base().to_owned(),
            environment: service.environment().to_string(),
            language: cookies::language(headers).unwrap_or_else(|| Language::negotiate(accepted)),
            languages: Language::ALL,
            version: env!("CARGO_PKG_VERSION"),
            here: here.to_owned(),
            user: None,
            request_id: id.unwrap_or_default(),
            demo: service.is_demo(),
        }
    }

    /// Returns a text.
    pub(super) fn t(&self, key: &str) -> String {
        texts::text(self.language, key, &[])
    }

    /// Returns a text with a value.
    pub(super) fn t1(&self, key: &str, name: &str, value: impl Display) -> String {
        texts::text(self.language, key, &[(name, Argument::Text(value.to_string()))])
    }

    /// Returns a text with two values.
    pub(super) fn t2(&self, key: &str, name: &str, value: impl Display, other: &str, second: impl Display) -> String {
        let arguments = [(name, Argument::Text(value.to_string())), (other, Argument::Text(second.to_string()))];
        texts::text(self.language, key, &arguments)
    }

    /// Returns a text with a number, which the text calls `count`.
    pub(super) fn tn(&self, key: &str, count: impl Display) -> String {
        let count = count.to_string().parse().unwrap_or_default();
        texts::text(self.language, key, &[("count", Argument::Number(count))])
    }

    /// Returns the text for one of a group of ids: the key `GROUP-ID`.
    pub(super) fn word(&self, group: &str, id: &str) -> String {
        texts::text(self.language, &format!("{group}-{id}"), &[])
    }

    /// Returns the name of a function.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "templates pass references")]
    pub(super) fn function(&self, function: &Function) -> String {
        self.word("function", function.id())
    }

    /// Returns a time in UTC as text.
    pub(super) fn utc(&self, at: &Timestamp) -> String {
        let form = match self.language {
            Language::English => "%Y-%m-%d %H:%M UTC",
            Language::German => "%d.%m.%Y %H:%M UTC",
        };
        at.strftime(form).to_string()
    }

    /// Returns a time as an element, which the browser shows in its own time zone.
    pub(super) fn time(&self, at: &Timestamp) -> Safe<String> {
        let text = self.utc(at);
        Safe(TimeElement { iso: at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(), text }.render().unwrap_or_default())
    }

    /// Returns true if the signed-in caller may do something for at least one company and function. What it may not is not
    /// offered.
    pub(super) fn may(&self, area: Area, activity: Activity) -> bool {
        self.user.as_ref().is_some_and(|user| user.caller.may_at_all(area, activity))
    }

    /// Returns true if the signed-in caller may open the page at a path.
    pub(super) fn may_open(&self, path: &str) -> bool {
        self.user.as_ref().is_some_and(|user| routing::may_open(&user.caller, path))
    }

    /// Returns a cause or remedy of the service: names and commands in it are between backticks.
    pub(super) fn prose(&self, text: &str) -> Safe<String> {
        let parts: Vec<&str> = text.split('`').collect();
        // One backtick alone is a character as any other.
        let parts = if parts.len() % 2 == 1 { parts } else { vec![text] };
        Safe(Prose { is_foreign: self.language != Language::English, parts }.render().unwrap_or_default())
    }

    /// Returns the address of an asset.
    pub(super) fn asset(&self, name: &str) -> String {
        assets::address(&self.base, name)
    }

    /// Returns true if the page is the one at a path, or below it.
    pub(super) fn is_at(&self, path: &str) -> bool {
        let here = self.here.split('?').next().unwrap_or_default();
        here == path || path != "/console" && here.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
    }
}

impl FromRequestParts<Arc<Service>> for Page {
    type Rejection = HttpProblem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Service>) -> Result<Self, HttpProblem> {
        parts
            .extensions
            .get::<Page>()
            .cloned()
            .ok_or_else(|| HttpProblem::internal("a handler of the console has no page"))
    }
}

impl FromRequestParts<Arc<Service>> for SignedIn {
    type Rejection = HttpProblem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Service>) -> Result<Self, HttpProblem> {
        let signed_in = parts.extensions.get::<SignedIn>().cloned();
        signed_in.ok_or_else(|| HttpProblem::internal("a handler needs a caller, and its address does not"))
    }
}
