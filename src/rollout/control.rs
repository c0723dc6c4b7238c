//! Signals to a rollout that is running: pause, abort, lease lost.
//!
//! The session sends them, the engine reads them between steps. A weaker signal never replaces a stronger one.

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

/// The environments that a rollback includes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RollbackScope {
    /// Environments that had a generation before the run. One that was empty is left as it is, and reported.
    PreviousGenerations,
    /// Environments that were empty before the run as well: they are emptied.
    IncludingEmpty,
}

impl ControlSignal {
    /// Sends the signal, unless a stronger one was sent before: an abort is not replaced by a pause, and without the lease
    /// nothing continues.
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
            ControlSignal::Pause { .. } => 1,
            ControlSignal::Abort { rollback: None, .. } => 2,
            ControlSignal::Abort { rollback: Some(RollbackScope::PreviousGenerations), .. } => 3,
            ControlSignal::Abort { rollback: Some(RollbackScope::IncludingEmpty), .. } => 4,
            ControlSignal::LeaseLost => 5,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weaker_signal_does_not_replace_a_stronger_one() {
        let (signals, received) = watch::channel(ControlSignal::Continue);
        let pause = || ControlSignal::Pause { reason: "Ctrl-C".to_owned() };
        let abort = ControlSignal::Abort { by: "ann".to_owned(), rollback: None };
        pause().send(&signals);
        assert_eq!(*received.borrow(), pause());
        abort.clone().send(&signals);
        pause().send(&signals);
        assert_eq!(*received.borrow(), abort);
        ControlSignal::LeaseLost.send(&signals);
        abort.send(&signals);
        assert_eq!(*received.borrow(), ControlSignal::LeaseLost);
    }
}
