//! Exit codes: one table for all commands.
//!
//! A command returns an [`Exit`]; the help prints [`Exit::ALL`]; [`Exit::combine`] merges the codes of several environments. A
//! code has one meaning in every command. An invalid command line ends with 1 and not with 2, the default of clap: 2 means
//! that the command succeeded and its result needs attention, such as differences or a suspended profile. `terraform plan
//! -detailed-exitcode` separates 1 and 2 in the same way. Prints nothing and does not end the process.

/// The exit code of a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// The command did what it was asked to do, or there was nothing to do.
    #[default]
    Done = 0,
    /// The command failed.
    Error = 1,
    /// The command succeeded, and its result needs attention: differences, a suspended profile, tolerated failures.
    Attention = 2,
    /// `verify` has findings that `--fail-on` names.
    Findings = 3,
    /// The work has not ended: a rollout is paused, or a message is still queued.
    Unfinished = 4,
    /// A message has failed, or was cancelled.
    MessageFailed = 5,
    /// The outcome of a message is unknown.
    OutcomeUnknown = 6,
    /// `--detailed-exitcode=causes`: only changes made outside Git.
    DriftOnly = 7,
    /// `--detailed-exitcode=causes`: changes in Git, and changes made outside Git.
    ChangesAndDrift = 8,
}

impl Exit {
    /// Every exit code, in order.
    pub(crate) const ALL: [Self; 9] = [
        Self::Done,
        Self::Error,
        Self::Attention,
        Self::Findings,
        Self::Unfinished,
        Self::MessageFailed,
        Self::OutcomeUnknown,
        Self::DriftOnly,
        Self::ChangesAndDrift,
    ];

    /// Returns the number.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }

    /// Returns the meaning in one line, as the help shows it.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done, or nothing to do",
            Self::Error => "an error; also an invalid command line",
            Self::Attention => "done, and something needs attention",
            Self::Findings => "findings that `--fail-on` names",
            Self::Unfinished => "not finished yet",
            Self::MessageFailed => "the message has failed or was cancelled",
            Self::OutcomeUnknown => "the outcome of the message is unknown",
            Self::DriftOnly => "only changes made outside Git",
            Self::ChangesAndDrift => "changes in Git, and changes made outside Git",
        }
    }

    /// Returns the commands that end with this code, and when.
    pub(crate) fn commands(self) -> &'static [&'static str] {
        match self {
            Self::Done | Self::Error => &["all commands"],
            Self::Attention => &[
                "`drift`: drift",
                "`plan`, `diff`, `secrets expiring` with `--detailed-exitcode`: changes, differences, expiring credentials",
                "`status`, `outbox status`: a suspended profile, mail without a sender, a server that has been away for 15 minutes, a restore that is not confirmed, a store that cannot be written; with `--trouble` also mail held without an end, a refused rotation, an unknown outcome, a message that failed in the last 24 hours (filters apply)",
                "`rollout`: finished with failures that were tolerated",
                "`watch --once`: something waits for an operator",
                "`address-book search`, `delegate address-book`: a kind of entries is missing",
            ],
            Self::Findings => &["`verify`"],
            Self::Unfinished => &["`rollout`: paused", "`send --wait`: still queued after `--timeout`"],
            Self::MessageFailed | Self::OutcomeUnknown => &["`send --wait`"],
            Self::DriftOnly | Self::ChangesAndDrift => &["`plan --detailed-exitcode=causes`"],
        }
    }

    /// Combines the exit codes of two environments. An error takes precedence; changes in Git of one and drift of another
    /// are both; otherwise the larger code remains.
    pub(crate) fn combine(self, other: Self) -> Self {
        match (self, other) {
            (Self::Error, _) | (_, Self::Error) => Self::Error,
            (Self::Attention, Self::DriftOnly) | (Self::DriftOnly, Self::Attention) => Self::ChangesAndDrift,
            (one, other) => one.max(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Exit::{self, *};

    #[test]
    fn codes_are_consecutive_and_have_a_meaning() {
        for (number, exit) in Exit::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(exit.code()), number);
            assert!(!exit.meaning().is_empty() && !exit.commands().is_empty());
        }
    }

    #[test]
    fn codes_of_environments_are_combined() {
        let combined = |codes: &[Exit]| codes.iter().copied().fold(Done, Exit::combine);
        assert_eq!(combined(&[]), Done);
        assert_eq!(combined(&[Done, Attention, Attention]), Attention);
        assert_eq!(combined(&[Attention, DriftOnly]), ChangesAndDrift);
        assert_eq!(combined(&[Done, Error, ChangesAndDrift]), Error);
        assert_eq!(combined(&[Findings, Done]), Findings);
    }
}
