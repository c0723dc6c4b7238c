//! [`Retry`]: repeats a request, with growing pauses, until the service answers or refuses.
//!
//! Only requests that may be sent twice are passed to it. It has no time limit: the caller has one, and gets the last error from
//! [`Retry::timed_out`]. A busy service (503) counts as one that does not answer; another refusal is returned at once.

use std::time::Duration;

use crate::{
    model::{Code, HumanDuration, Problem},
    sync::Mutex,
};

/// The pause before the first repetition; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause between two repetitions.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Repeats requests until there is an answer or a refusal. The caller sets the time limit.
///
/// The last transient error is kept, so that [`Retry::timed_out`] can name the cause. Problems are condensed, for journals and
/// status pages.
#[derive(Debug, Default)]
pub struct Retry {
    last_error: Mutex<Option<Problem>>,
}

/// Returns true if a request may be repeated: there was no answer, or the service is busy.
fn is_transient(code: Code) -> bool {
    matches!(code, Code::ServiceUnreachable | Code::IncompleteAnswer | Code::Busy)
}

impl Retry {
    /// Repeats a request until it is answered or refused.
    pub async fn run<T, F: Future<Output = Result<T, Problem>>>(
        &self,
        request: impl FnMut() -> F,
    ) -> Result<T, Problem> {
        self.run_while(|| Ok(()), request).await
    }

    /// Repeats a request until it is answered or refused, as long as `permit` allows it.
    pub async fn run_while<T, F: Future<Output = Result<T, Problem>>>(
        &self,
        permit: impl Fn() -> Result<(), Problem>,
        mut request: impl FnMut() -> F,
    ) -> Result<T, Problem> {
        let mut pause = FIRST_PAUSE;
        loop {
            permit()?;
            match request().await.map_err(Problem::condensed) {
                Ok(answer) => return Ok(answer),
                Err(problem) if is_transient(problem.code) => {
                    self.record(problem);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(problem) => return Err(problem),
            }
        }
    }

    /// Records an error after which the caller tries again.
    pub fn record(&self, problem: Problem) {
        *self.last_error.lock() = Some(problem);
    }

    /// Returns the problem to report when the time limit has passed: the last error, or else that the service is slow, with
    /// the caller's remedy for that.
    pub fn timed_out(&self, limit: HumanDuration, remedy: impl Into<String>) -> Problem {
        let last = self.last_error.lock().take();
        match last {
            Some(problem) => Problem { message: format!("{} (repeated for {limit})", problem.message), ..problem },
            None => {
                Problem::new(Code::DeadlineExceeded, format!("the service took longer than {limit}")).remedy(remedy)
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails where it panics")]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn limit() -> HumanDuration {
        "10m".parse().unwrap()
    }

    #[tokio::test]
    async fn a_request_that_is_not_answered_is_repeated() {
        let (retry, count) = (Retry::default(), Cell::new(0));
        let answer = retry
            .run(|| {
                count.set(count.get() + 1);
                let unreachable = Problem::new(Code::ServiceUnreachable, "no service answers");
                std::future::ready(if count.get() < 3 { Err(unreachable) } else { Ok(count.get()) })
            })
            .await;
        assert_eq!(answer.unwrap(), 3);
        let problem = retry.timed_out(limit(), "");
        assert_eq!(
            (problem.code, problem.message.as_str()),
            (Code::ServiceUnreachable, "no service answers (repeated for 10m)")
        );
    }

    #[tokio::test]
    async fn a_refusal_is_not_repeated() {
        let (retry, count) = (Retry::default(), Cell::new(0));
        let refused = retry
            .run(|| {
                count.set(count.get() + 1);
                std::future::ready(Err::<(), _>(Problem::new(Code::RoleTooLow, "refused")))
            })
            .await;
        assert_eq!((refused.unwrap_err().code, count.get()), (Code::RoleTooLow, 1));
    }

    #[tokio::test]
    async fn no_request_is_made_without_permission() {
        let lost = || Err(Problem::new(Code::LeaseLost, "the lease is lost"));
        let request = || -> std::future::Ready<Result<(), Problem>> { panic!("requested without permission") };
        let refused = Retry::default().run_while(lost, request).await;
        assert_eq!(refused.unwrap_err().code, Code::LeaseLost);
    }

    #[test]
    fn a_slow_service_is_reported_with_the_remedy_of_the_caller() {
        let problem = Retry::default().timed_out(limit(), "Raise `deadline`.");
        assert_eq!((problem.code, problem.remedy.as_str()), (Code::DeadlineExceeded, "Raise `deadline`."));
    }
}
