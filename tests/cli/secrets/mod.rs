//! `mailwright secrets`, and everything that happens to a sealed value on its way to its destination.

mod age_program;
mod commands;
mod recipients;
mod redirect;
mod values;
