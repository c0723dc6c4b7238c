//! Terminal output: printer, progress, tables, prompts, output formats and wording that commands share.
//!
//! The functions take data of the library and return text, or write it through [`printer::Printer`]. The prompts also read an
//! answer; `age_prompt` writes to standard error itself. They do not use commands
//! and call no service.

pub(crate) mod address_book;
pub(crate) mod age_prompt;
pub(crate) mod confirm;
pub(crate) mod delivery_summary;
pub(crate) mod fleet_report;
pub(crate) mod format;
pub(crate) mod outbox;
pub(crate) mod plan;
pub(crate) mod printer;
pub(crate) mod progress;
pub(crate) mod table;
pub(crate) mod terminal;
pub(crate) mod wording;
pub(crate) mod wrap;
