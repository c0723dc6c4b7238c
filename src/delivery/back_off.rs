//! Exponential back-off: the wait before something that failed is tried again.
//!
//! [`doubled`] is the one formula. Callers add their random variation, and choose the first and the longest wait.

use std::time::Duration;

/// Returns the first wait, doubled `times` times, and at most `longest`.
pub(super) fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    first.saturating_mul(1 << times.min(31)).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let wait = |times, longest| doubled(Duration::from_secs(3), times, Duration::from_secs(longest)).as_secs();
        assert_eq!([0, 1, 2, 3].map(|times| wait(times, 20)), [3, 6, 12, 20]);
        assert_eq!(wait(u32::MAX, 3600), 3600);
        assert_eq!(doubled(Duration::MAX, u32::MAX, Duration::MAX), Duration::MAX);
    }
}
