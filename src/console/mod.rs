//! Console: the pages of the service for people with a browser, at `/console`.
//!
//! * `routing` has every address with its method and its right; the guard in it lets nothing else through
//! * `page` has what every page knows (environment, language, signed-in user), and the extractors of handlers
//! * `pages` has one file per page: the handler, and the struct that its template in `templates/` is filled from
//! * `texts` has every text, in English and German; no text is in Rust or in a template
//! * `assets` has style sheet, scripts and icon, which are part of the binary; `answer` renders pages and problems
//! * `cookies`, `extract`, `headers`, `live`, `parameters`, `passkey_form`: the rest of what a browser needs
//!
//! Pages are rendered here and work without JavaScript: links, forms by GET that only read, forms by POST that change something
//! and redirect. The console decides no right and has no rule of its own: it calls the same functions of
//! [`crate::service`] as the HTTP API, as the same caller. It sends no requests to the API.
//!
//! # Adding a page
//!
//! 1. `pages/NAME.rs`: a struct with `#[derive(Template)]` and `page: Page`, and a handler that returns `answer::Answer`. Copy
//!    `pages/sessions.rs`, which has a list and a form. What the page shows comes from a function of `Service`; move logic out
//!    of a handler of the API rather than repeat it.
//! 2. `templates/NAME.html`: extends `layout.html`. A text is `{{ page.t("key") }}`, with a value
//!    `page.t1("key", "name", value)`, with a number `page.tn("key", count)`; a time is `{{ page.time(at) }}`. Everything is
//!    escaped; the filter `safe` is refused by a test, as are inline scripts and styles, which the content security policy would
//!    block.
//! 3. `texts/en.ftl` and `texts/de.ftl`: the texts. Keys begin with the name of the page. A key that is put together at run
//!    time goes through `page.word("group", id)`, and its group belongs into the test in `texts`.
//! 4. `routing::routes`: a line with method, path, right and handler, and the same line in `tests/service/console/routes.rs`.
//!    A page with the right `InScope` leaves out what the caller may not see (`service::visibility`), and has a line in
//!    `tests/service/console/scoped.rs`; one that cannot do that has the right `May`.
//! 5. `layout.html`: an entry in the navigation, if the page begins an area.
//! 6. `tests/service/browser/pages.rs`: a line, so that the page is opened in a browser in every way that it must withstand.
//!
//! A field for a secret is described in `docs/console-sealing.md`, a form for a passkey in `docs/console-passkeys.md`.
//!
//! A value from outside (descriptions, replies of servers) goes through `page::shown`, so that no character hides others. A
//! list has a limit or pages; no page may be larger than 200 KB.

mod answer;
mod assets;
mod cookies;
mod extract;
mod headers;
mod live;
mod page;
mod pages;
mod parameters;
mod passkey_form;
mod problem_page;
mod routing;
mod texts;

use crate::service::ConsoleRoutes;

pub use routing::{RouteInfo, route_list};

/// Returns the routes of the console, for [`crate::service::SharedResources`].
pub fn routes() -> ConsoleRoutes {
    ConsoleRoutes(routing::router)
}
