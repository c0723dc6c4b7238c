//! Terminal output: printer, progress, tables, prompts. Used by commands; knows none of them.

pub(crate) mod age_prompt;
pub(crate) mod confirm;
pub(crate) mod format;
pub(crate) mod outbox;
pub(crate) mod printer;
pub(crate) mod progress;
pub(crate) mod table;
pub(crate) mod wording;
