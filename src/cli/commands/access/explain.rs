//! `mailwright access explain`: everything that a subject may do, or the answer to single questions with the reason.

use serde_json::{Value, json};

use super::SourceArgs;
use crate::{
    changes::access_report::{self, RightAnswer, bindings_of},
    cli::{
        CliError, Context, Exit, Format,
        args::environment::EnvironmentArg,
        environment::{self, Environment},
        ui::table::table,
    },
    config::suggest,
    model::{
        Code, CompanyId, Function,
        access::{self, AccessPolicy, Activity, Area, Decision, Extent, Question, Subject},
        token::Role,
    },
    text::printable,
};

/// Show what a subject may do, and why
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright access explain prod operator:ann\n  \
    mailwright access explain prod token:erp --role viewer   with the role of the token\n  \
    mailwright access explain prod operator:ann profiles:change --company EDU1 --field from.name\n  \
    mailwright access explain prod group:Mail@https://login.example.com outbox\n\n\
    A subject is token:NAME, operator:NAME, pipeline:NAME, key:SHA256:...,\n\
    group:NAME@ISSUER or role:NAME@ISSUER; a name alone is one that the bindings\n\
    have. An activity is AREA:ACTIVITY, AREA or ACTIVITY. Exit code 2 if one of the\n\
    named activities is refused.")]
pub(super) struct Explain {
    #[command(flatten)]
    environment: EnvironmentArg,
    /// Subject, then activities [default: all that it may do]
    #[arg(value_name = "SUBJECT ACTIVITY")]
    names: Vec<String>,
    /// Built-in role of the token or operator [with `--live`: that of the service]
    #[arg(long, value_name = "ROLE")]
    role: Option<Role>,
    /// Company that the question is about
    #[arg(long, value_name = "ID")]
    company: Option<CompanyId>,
    /// Function that the question is about
    #[arg(long, value_name = "FUNCTION")]
    function: Option<String>,
    /// Field that the question is about
    #[arg(long, value_name = "FIELD")]
    field: Option<String>,
    #[command(flatten)]
    pub(super) source: SourceArgs,
}

impl Explain {
    pub(super) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let (environment, names) = self.environment.find_before(context, &self.names, |_| true)?;
        let Some((subject, activities)) = names.split_first() else {
            return Err(CliError::coded(Code::Usage, "the name of a subject is required")
                .remedy("mailwright access explain ENV SUBJECT [ACTIVITY ...]"));
        };
        let source = self.source.read(context, &environment)?;
        let policy = &source.settings.access;
        let subject = find_subject(policy, subject)?;
        let asked = parse_activities(activities)?;
        let function = self.function.as_deref().map(environment::function).transpose()?;
        let now = context.clock.now();
        let role = self.role.or_else(|| self.live_role(context, &environment, &subject));
        let principal = access_report::principal(&subject, role, now);
        let pairs: Vec<(Area, Activity)> = if asked.is_empty() { Area::pairs().collect() } else { asked.clone() };
        let answers: Vec<RightAnswer> = pairs
            .into_iter()
            .map(|(area, activity)| {
                let question = self.question(area, activity, function);
                if asked.is_empty() {
                    RightAnswer::of_list(policy, &principal, &question, now)
                } else {
                    RightAnswer::new(policy, &principal, &question, now)
                }
            })
            .collect();
        let bindings = bindings_of(policy, &subject);
        if self.source.output.format == Format::Json {
            context.printer.json(&json!({
                "environment": environment.name, "generation": source.generation,
                "subject": subject.to_string(), "role": role, "bindings": bindings,
                "answers": answers.iter().map(to_json).collect::<Vec<_>>(),
            }));
        } else {
            context.printer.out(&self.text((&subject, role), &bindings, &answers, !asked.is_empty(), function));
        }
        let is_refused = !asked.is_empty() && answers.iter().any(|answer| !answer.decision.is_allowed());
        Ok(if is_refused { Exit::Attention } else { Exit::Done })
    }

    /// Returns the role of a token or an operator as the service knows it; none without `--live`, or if the caller may not list
    /// them.
    fn live_role(&self, context: &Context, environment: &Environment, subject: &Subject) -> Option<Role> {
        if let Some(name) = subject.operator.as_ref().filter(|_| self.source.live).map(|name| name.to_lowercase()) {
            let client = environment.client(context, &self.source.service).ok()?;
            let list = context.runtime().ok()?.block_on(client.operators()).ok()?;
            let found = list.operators.iter().find(|operator| operator.name.to_lowercase() == name);
            return found.filter(|operator| operator.removed_at.is_none()).map(|operator| operator.role);
        }
        let name = subject.token.as_ref().filter(|_| self.source.live)?.to_lowercase();
        let client = environment.client(context, &self.source.service).ok()?;
        let list = context.runtime().ok()?.block_on(client.tokens()).ok()?;
        let now = context.clock.now();
        list.tokens
            .iter()
            .find(|token| token.name.to_lowercase() == name && token.is_in_effect(now))
            .map(|token| token.role)
    }

    fn question(&self, area: Area, activity: Activity, function: Option<Function>) -> Question<'_> {
        Question {
            company: self.company.as_ref().map_or(Extent::Any, Extent::One),
            function: function.map_or(Extent::Any, Extent::One),
            field: self.field.as_deref().map_or(Extent::Any, Extent::One),
            ..Question::any(area, activity)
        }
    }

    fn text(
        &self,
        (subject, role): (&Subject, Option<Role>),
        bindings: &[&String],
        answers: &[RightAnswer],
        are_asked: bool,
        function: Option<Function>,
    ) -> String {
        let name = printable(&subject.to_string()).into_owned();
        if are_asked {
            let line = |answer: &RightAnswer| {
                let question = self.question(answer.area, answer.activity, function);
                let request = access::describe_question(&question);
                let verb = if answer.decision.is_allowed() { "may" } else { "may not" };
                let limits = match (answer.decision.is_allowed(), answer.limits.join(" | ")) {
                    (true, limits) if !limits.is_empty() => format!(" [{limits}]"),
                    _ => String::new(),
                };
                format!("{name} {verb} {request}: {}{limits}", answer.decision.describe())
            };
            return answers.iter().map(line).collect::<Vec<_>>().join("\n");
        }
        let mut lines = Vec::new();
        let bound = bindings.iter().map(|binding| format!("`{binding}`")).collect::<Vec<_>>().join(", ");
        let holder = if subject.operator.is_some() { "operator" } else { "token" };
        lines.push(match (bindings.is_empty(), role) {
            (true, None) => format!("{name}: no binding names this subject."),
            (true, Some(role)) => format!("{name}: role `{}` of the {holder}; no binding names it.", role.id()),
            (false, None) => format!("{name}: bindings {bound}."),
            (false, Some(role)) => format!("{name}: role `{}` of the {holder}; bindings {bound}.", role.id()),
        });
        if subject.token.is_some() && role.is_none() {
            lines.push(
                "A token also has the built-in role that it was created with: pass --live or --role ROLE.".to_owned(),
            );
        }
        if subject.operator.is_some() && role.is_none() {
            lines.push(
                "An operator also has the built-in role that it was added with: pass --live or --role ROLE.".to_owned(),
            );
        }
        let rows = answers.iter().filter(|answer| answer.is_possible()).map(|answer| {
            let by = match &answer.decision {
                Decision::Allowed { by } | Decision::StepUp { by, .. } => format!("{} ({})", by.role, by.grant),
                Decision::Refused { .. } => String::new(),
            };
            let limits = if answer.limits.is_empty() { "none".to_owned() } else { answer.limits.join(" | ") };
            vec![answer.area.id().to_owned(), answer.activity.id().to_owned(), by, limits]
        });
        let rows: Vec<Vec<String>> = rows.collect();
        if rows.is_empty() {
            lines.push("It may do nothing.".to_owned());
        } else {
            lines.push(String::new());
            lines.push(table(&["area", "activity", "role (grant)", "limits"], rows));
        }
        lines.join("\n")
    }
}

fn to_json(answer: &RightAnswer) -> Value {
    let mut document = serde_json::to_value(&answer.decision).unwrap_or_default();
    document["area"] = json!(answer.area);
    document["activity"] = json!(answer.activity);
    document["limits"] = json!(answer.limits);
    document["reason"] = json!(answer.decision.describe());
    document
}

/// Finds a subject by its text, or by its name alone among the subjects of the bindings.
fn find_subject(policy: &AccessPolicy, text: &str) -> Result<Subject, CliError> {
    let has_kind = text.split_once(':').is_some_and(|(kind, _)| access::SUBJECT_KINDS.contains(&kind));
    if has_kind {
        return text.parse().map_err(|flaw: &str| {
            CliError::coded(Code::Usage, format!("`{}` is not a subject: {flaw}", printable(text)))
        });
    }
    let named = |subject: &&&Subject| subject.kinds().iter().any(|(_, name)| name.eq_ignore_ascii_case(text));
    let subjects = policy.subjects();
    let found: Vec<&&Subject> = subjects.iter().filter(named).collect();
    match found.as_slice() {
        [one] => Ok((**one).clone()),
        [] => {
            let known: Vec<&str> = subjects.iter().flat_map(|subject| subject.kinds()).map(|(_, name)| name).collect();
            let remedy = match suggest::nearest(text, known.iter().copied()) {
                Some(meant) => format!("Did you mean `{meant}`?"),
                None => format!("For a token without a binding, write token:{}.", printable(text)),
            };
            let message = format!("no binding names `{}`", printable(text));
            Err(CliError::coded(Code::NotFound, message).remedy(remedy))
        }
        several => {
            let kinds: Vec<String> = several.iter().map(ToString::to_string).collect();
            let message = format!("several subjects have the name `{}`", printable(text));
            Err(CliError::coded(Code::AmbiguousArgument, message).remedy(format!("Name one of: {}.", kinds.join(", "))))
        }
    }
}

/// Parses activities: `AREA:ACTIVITY`, an area, or an activity.
fn parse_activities(texts: &[String]) -> Result<Vec<(Area, Activity)>, CliError> {
    let mut pairs = Vec::new();
    for text in texts {
        let found: Vec<(Area, Activity)> = match text.split_once(':') {
            Some((area, activity)) => Area::pairs().filter(|(a, b)| a.id() == area && b.id() == activity).collect(),
            None => Area::pairs().filter(|(area, activity)| area.id() == text || activity.id() == text).collect(),
        };
        if found.is_empty() {
            let words: Vec<String> = Area::ALL
                .iter()
                .map(|area| area.id().to_owned())
                .chain(Activity::ALL.iter().map(|activity| activity.id().to_owned()))
                .chain(Area::pairs().map(|(area, activity)| format!("{area}:{activity}")))
                .collect();
            let error = CliError::coded(Code::UnknownValue, format!("unknown activity `{}`", printable(text)));
            return Err(match suggest::nearest(text, words.iter().map(String::as_str)) {
                Some(meant) => error.remedy(format!("Did you mean `{meant}`?")),
                None => error.remedy("Write AREA:ACTIVITY, such as profiles:change; docs/access.md lists them."),
            });
        }
        pairs.extend(found);
    }
    Ok(pairs)
}
