//! Signals to a rollout that is running: pause, abort, lease lost.
//!
//! The session sends them, the engine reads them between steps. A signal replaces a weaker one only; from weak to strong: a pause
//! of a watch, a pause of an operator, abort, abort with rollback, lease lost.

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// A signal to a rollout that is running. A step that has started is always finished.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ControlSignal {
    /// The rollout continues.
    #[default]
    Continue,
    /// Nothing more is started.
    Pause {
        /// The reason.
        reason: String,
        /// The origin.
        by: PauseOrigin,
    },
    /// The run is aborted.
    Abort {
        /// The operator.
        by: String,
        /// The scope of the rollback that comes first, if one was requested.
        rollback: Option<RollbackScope>,
    },
    /// The lease is lost: another process may start.
    LeaseLost,
}

/// The origin of a pause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PauseOrigin {
    /// The watch that works on the run. It resumes the run without an operator.
    Watch,
    /// An operator, whose pause lasts until an operator resumes or aborts the run. The name is printable.
    Operator(String),
}

impl PauseOrigin {
    /// Returns the origin of a pause whose entry has none: journals of earlier versions did not record it. None if it was not a
    /// watch.
    pub(super) fn of_old_entry(reason: &str) -> Option<Self> {
        matches!(reason, "the watch ends" | "a newer commit").then_some(Self::Watch)
    }
}

/// The environments that a rollback includes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RollbackScope {
    /// Environments that had a generation before the run. One that was empty is left as it is, and reported.
    PreviousGenerations,
    /// Environments that were empty before the run as well: they are emptied.
    IncludingEmpty,
}

impl ControlSignal {
    /// Sends the signal, unless a stronger one was sent before: an abort is not replaced by a pause, an operator's pause not by
    /// that of a watch, and without the lease nothing continues.
    pub fn send(self, signals: &watch::Sender<ControlSignal>) {
        signals.send_if_modified(|present| {
            let is_stronger = self.rank() > present.rank();
            if is_stronger {
                *present = self;
            }
            is_stronger
        });
    }

    fn rank(&self) -> u8 {
        match self {
            ControlSignal::Continue => 0,
            ControlSignal::Pause { by: PauseOrigin::Watch, .. } => 1,
            ControlSignal::Pause { by: PauseOrigin::Operator(_), .. } => 2,
            ControlSignal::Abort { rollback: None, .. } => 3,
            ControlSignal::Abort { rollback: Some(RollbackScope::PreviousGenerations), .. } => 4,
            ControlSignal::Abort { rollback: Some(RollbackScope::IncludingEmpty), .. } => 5,
            ControlSignal::LeaseLost => 6,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weaker_signal_does_not_replace_a_stronger_one() {
        let (signals, received) = watch::channel(ControlSignal::Continue);
        let by_watch = || ControlSignal::Pause { reason: "a newer commit".to_owned(), by: PauseOrigin::Watch };
        let ann = || PauseOrigin::Operator("ann".to_owned());
        let pause = || ControlSignal::Pause { reason: "Ctrl-C".to_owned(), by: ann() };
        by_watch().send(&signals);
        let abort = ControlSignal::Abort { by: "ann".to_owned(), rollback: None };
        pause().send(&signals);
        by_watch().send(&signals);
        assert_eq!(*received.borrow(), pause());
        abort.clone().send(&signals);
        pause().send(&signals);
        assert_eq!(*received.borrow(), abort);
        ControlSignal::LeaseLost.send(&signals);
        abort.send(&signals);
        assert_eq!(*received.borrow(), ControlSignal::LeaseLost);
    }
}
