//! Renders a [`Report`] of problems in files: as text for a terminal, as JSON, as GitHub annotations, and as SARIF.
//!
//! Returns text, and decides nothing about exit codes. The text for a terminal has the first 100 problems, the others have all.
//! Lines of the files come from the report's excerpts, in which secrets are masked.

use std::{collections::BTreeSet, fmt::Write as _};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde_json::json;

use super::{Diagnostic, Report};
use crate::{model::code::Severity, text::enumerate};

/// The maximum number of problems in text output.
const SHOWN: usize = 100;

impl Report {
    /// Renders for a terminal: each problem with its line, the value underlined, and a remedy. Colours are ANSI sequences,
    /// which the printer strips where they are not supported.
    pub fn human(&self) -> String {
        let renderer = Renderer::styled();
        let mut out = String::new();
        for diagnostic in self.diagnostics.iter().take(SHOWN) {
            out.push_str(&render_diagnostic(&renderer, diagnostic));
            out.push_str("\n\n");
        }
        if self.diagnostics.len() > SHOWN {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "... and {} more; `--format json` lists all.\n", self.diagnostics.len() - SHOWN);
        }
        if self.environments > 1 && !self.failed.is_empty() {
            let _ = writeln!(out, "With errors: {}", enumerate(&self.failed, 8));
        }
        out.push_str(&self.summary());
        out
    }

    /// Returns one line such as `2 errors and 1 warning in 3 environments, 14 files.`
    pub fn summary(&self) -> String {
        let counted =
            |count: usize, noun: &str| if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") };
        let (errors, warnings) = (self.count(Severity::Error), self.count(Severity::Warning));
        let problems = match (errors, warnings) {
            (0, 0) => "No problems".to_owned(),
            (0, warnings) => counted(warnings, "warning"),
            (errors, 0) => counted(errors, "error"),
            (errors, warnings) => format!("{} and {}", counted(errors, "error"), counted(warnings, "warning")),
        };
        format!("{problems} in {}, {}.", counted(self.environments, "environment"), counted(self.files, "file"))
    }

    /// Renders as one JSON document.
    pub fn json(&self) -> String {
        let document = json!({
            "formatVersion": 1,
            "errors": self.count(Severity::Error),
            "warnings": self.count(Severity::Warning),
            "environmentCount": self.environments,
            "files": self.files,
            "failed": self.failed,
            "diagnostics": self.diagnostics,
        });
        format!("{document:#}")
    }

    /// Renders as GitHub workflow commands, one per problem, which GitHub shows at the line in a pull request.
    pub fn github(&self) -> String {
        let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
        let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
        let mut out = String::new();
        for diagnostic in &self.diagnostics {
            let level = match diagnostic.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            };
            let _ = writeln!(
                out,
                "::{level} file={},line={},col={},endColumn={},title={}::{}",
                property(&diagnostic.file),
                diagnostic.line,
                diagnostic.column,
                diagnostic.end_column,
                property(&format!("{} {}", diagnostic.code, diagnostic.code.title())),
                data(&format!("{}. {}", diagnostic.message, diagnostic.remedy)),
            );
        }
        out
    }

    /// Renders as SARIF 2.1.0, for code scanning.
    pub fn sarif(&self) -> String {
        let codes: BTreeSet<_> = self.diagnostics.iter().map(|diagnostic| diagnostic.code).collect();
        let rules: Vec<_> = codes
            .iter()
            .map(|code| {
                json!({
                    "id": code.id(),
                    "shortDescription": { "text": code.title() },
                    "fullDescription": { "text": code.explanation() },
                    "helpUri": format!("https://mailwright.dev/problems/{code}"),
                })
            })
            .collect();
        let results: Vec<_> = self
            .diagnostics
            .iter()
            .map(|diagnostic| {
                json!({
                    "ruleId": diagnostic.code.id(),
                    "level": diagnostic.severity,
                    "message": { "text": format!("{}. {}", diagnostic.message, diagnostic.remedy) },
                    "locations": [{
                        "physicalLocation": {
                            "artifactLocation": { "uri": diagnostic.file, "uriBaseId": "%SRCROOT%" },
                            "region": {
                                "startLine": diagnostic.line,
                                "startColumn": diagnostic.column,
                                "endColumn": diagnostic.end_column.max(diagnostic.column + 1),
                            },
                        },
                    }],
                })
            })
            .collect();
        let document = json!({
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": [{
                "tool": { "driver": {
                    "name": "mailwright",
                    "version": env!("CARGO_PKG_VERSION"),
                    "informationUri": "https://mailwright.dev",
                    "rules": rules,
                } },
                "columnKind": "unicodeCodePoints",
                "results": results,
            }],
        });
        format!("{document:#}")
    }
}

fn render_diagnostic(renderer: &Renderer, diagnostic: &Diagnostic) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(diagnostic.message.as_str()).id(diagnostic.code.id());
    let environment = diagnostic.environment.as_ref().map(|name| format!("as environment `{name}` inherits it"));
    let Some(excerpt) = &diagnostic.excerpt else {
        let mut group = title.element(
            annotate_snippets::Origin::path(diagnostic.file.as_str())
                .line(diagnostic.line)
                .char_column(diagnostic.column),
        );
        if let Some(environment) = &environment {
            group = group.element(Level::NOTE.message(environment.as_str()));
        }
        return renderer.render(&[group.element(Level::HELP.message(diagnostic.remedy.as_str()))]).clone();
    };
    let bytes = |character: usize| excerpt.text.char_indices().nth(character).map_or(excerpt.text.len(), |(at, _)| at);
    let (from, to) = (bytes(excerpt.from), bytes(excerpt.to));
    let snippet = Snippet::source(excerpt.text.as_str())
        .line_start(diagnostic.line)
        .annotation(AnnotationKind::Primary.span(from..to.max(from)));
    let columns_match = excerpt.from + 1 == diagnostic.column;
    // The columns of a cut line differ from those of the file, so the place is stated as text.
    let path = format!("{}:{}:{}", diagnostic.file, diagnostic.line, diagnostic.column);
    let mut group = if columns_match {
        title.element(snippet.path(diagnostic.file.as_str()))
    } else {
        title.element(annotate_snippets::Origin::path(path.as_str())).element(snippet)
    };
    if let Some(environment) = &environment {
        group = group.element(Level::NOTE.message(environment.as_str()));
    }
    renderer.render(&[group.element(Level::HELP.message(diagnostic.remedy.as_str()))]).clone()
}
