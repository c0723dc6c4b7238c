//! Pages in Chromium, and what the browser is given. `tests/README.md` says how to add a page.

mod delegate_web;
mod harness;
mod identity;
mod operators;
mod pages;
mod passkeys;
mod profile_form;
mod sealing;
mod session;
mod vendor;
mod walk;
