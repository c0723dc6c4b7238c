//! Admission: the checks of a submission that do not concern its contents: confirmed restore, scope of the token, company,
//! profile, size, recipients.
//!
//! Each returns a problem for the caller, or nothing. If the environment writes to one address instead, each recipient is
//! allowed. `submissions` runs them in order before anything is stored.

use crate::{
    delivery::route_index::RouteIndex,
    model::{
        Code, CompanyId, EnvironmentName, Profile, ProfileName, Resolution, Settings, StoredProfile,
        access::{Activity, Area},
        delivery::RecipientGuard,
        resolution::Cell,
    },
    service::{Service, caller::Caller, delegates::WantedSender, http::HttpProblem},
};

use super::Addressing;

impl Service {
    /// Refuses mail while a restore from a backup is not confirmed: the restored store does not know messages accepted after the
    /// backup, and could send them twice.
    pub(in crate::service) fn check_accepts_mail(&self) -> Result<(), HttpProblem> {
        let Some(restored) = self.restored() else { return Ok(()) };
        Err(HttpProblem::new(
            Code::RestoreUnconfirmed,
            format!(
                "no mail is accepted: the store was restored from a backup ({}), and no administrator has confirmed that",
                restored.why
            ),
        )
        .remedy(format!(
            "Submit the message again later, with the same key. An administrator confirms the restore: mailwright outbox confirm-restore {}",
            self.store.environment()
        )))
    }
}

/// Checks that the caller may submit mail for the company and the function.
pub(super) fn check_scope(
    caller: &Caller,
    addressing: &Addressing,
    environment: &EnvironmentName,
) -> Result<(), HttpProblem> {
    let Addressing { company, function, .. } = addressing;
    if caller.may(Area::Mail, Activity::Submit, Some(company), Some(*function)).is_allowed() {
        return Ok(());
    }
    Err(HttpProblem::new(
        Code::OutOfScope,
        format!("the token `{}` may not send {} for {company}", caller.name, function.id()),
    )
    .remedy(format!(
        "Use a token for that company and function. `mailwright token list {environment}` shows the scope of each."
    )))
}

/// Checks that the environment has the company.
pub(super) fn check_company(
    settings: &Settings,
    company: &CompanyId,
    environment: &EnvironmentName,
) -> Result<(), HttpProblem> {
    if settings.companies.contains(company) {
        return Ok(());
    }
    Err(HttpProblem::unknown_company(company, settings, environment))
}

/// Returns the profile that sends for a company and a function. If it is a delegate profile, a person sends from their own
/// client.
pub(super) fn find_sender<'a>(
    routes: &'a RouteIndex,
    resolution: &'a Resolution,
    cell: &Cell,
    environment: &EnvironmentName,
) -> Result<(&'a ProfileName, &'a StoredProfile), HttpProblem> {
    let Cell { company, function, .. } = cell;
    let Some((name, stored)) = resolution.profile.as_ref().and_then(|name| Some((name, routes.live_profile(name)?)))
    else {
        return Err(HttpProblem::new(Code::NoRoute, format!("no profile sends {} for {company}", function.id()))
            .remedy(format!(
                "`mailwright resolve {environment} {company} {}` shows which profiles were tried.",
                function.id()
            )));
    };
    // Without the client it is unknown whether the user's own mailbox should send, and another must not send in its place.
    if let Some(delegate) = resolution.delegate_without_client() {
        return Err(HttpProblem::new(
            Code::ClientMissing,
            format!("`{delegate}` sends {} as the signed-in user, and the submission names no client", function.id()),
        )
        .remedy(
            "Name the client that the user works in: `client` (`--client`), `native` or `spa`. Use another function for mail \
             without a user.",
        ));
    }
    Ok((name, stored))
}

/// Checks that the profile that sends is the wanted one, if there is one.
pub(super) fn check_profile(
    sender: &ProfileName,
    wanted: Option<&ProfileName>,
    cell: &Cell,
) -> Result<(), HttpProblem> {
    let Some(wanted) = wanted.filter(|wanted| *wanted != sender) else { return Ok(()) };
    let Cell { company, function, .. } = cell;
    Err(HttpProblem::new(
        Code::NoRoute,
        format!("`{sender}` sends {} for {company}, and `{wanted}` does not", function.id()),
    )
    .remedy(
        "Choose a company and a function for which the profile sends. The page Coverage shows which one does, and why.",
    ))
}

/// Refuses a submission with a person where the service sends: the mail would leave from another mailbox than the person's.
pub(super) fn check_no_sender(wanted: &WantedSender, name: &ProfileName) -> Result<(), HttpProblem> {
    if !wanted.is_given() {
        return Ok(());
    }
    Err(HttpProblem::new(
        Code::NoRoute,
        format!("the submission names the person who sends, and `{name}`, which serves it, does not send as a person"),
    )
    .remedy("Omit the sender, or let a profile with `microsoft-graph-delegate` serve the function and the client."))
}

/// Refuses a display name for a message that a person sends: the name is that of the person's mailbox.
pub(super) fn check_no_sender_name(sender_name: Option<&str>, name: &ProfileName) -> Result<(), HttpProblem> {
    if sender_name.is_none() {
        return Ok(());
    }
    Err(HttpProblem::new(
        Code::MessageMalformed,
        format!("the sender's name is set, and `{name}` sends from the mailbox of the person, with its name"),
    )
    .remedy("Omit `senderName`, or the name in `From` of a raw message."))
}

/// Checks the size of a message against the limit of its profile, and returns it in bytes.
pub(super) fn check_size(content: &[u8], name: &ProfileName, profile: &Profile) -> Result<u64, HttpProblem> {
    let (size, limit) = (content.len() as u64, profile.limits().message_size);
    if size <= limit {
        return Ok(size);
    }
    Err(HttpProblem::new(
        Code::MessageTooLarge,
        format!("the message has {size} bytes, and `{name}` sends at most {limit}"),
    )
    .remedy("Send smaller attachments, or links to them. `limits.messageSize` of the profile is the limit."))
}

/// Checks that the environment may send to the recipients.
pub(super) fn check_recipients(recipients: &[String], guard: &RecipientGuard) -> Result<(), HttpProblem> {
    if guard.rewrite_to.is_some() {
        return Ok(());
    }
    let refused = recipients.iter().filter(|address| !guard.allows(address)).count();
    if refused == 0 {
        return Ok(());
    }
    Err(HttpProblem::new(
        Code::RecipientNotAllowed,
        format!("the environment may not send to {refused} of the {} recipients", recipients.len()),
    )
    .remedy("`delivery.recipients` of the environment lists the allowed recipients."))
}
