//! Number of searches within a minute, by caller and by profile.
//!
//! [`SearchRate::count`] counts a search that makes requests to Graph, or refuses it. A minute begins with the first search. At
//! most [`NAMES`] names are known at once; beyond them, all further ones are refused until a minute has passed. In memory only.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::sync::Mutex;

const WINDOW: Duration = Duration::from_secs(60);
/// The largest number of names.
const NAMES: usize = 10_000;

/// The searches of the current minute, by name.
#[derive(Default)]
pub(super) struct SearchRate(Mutex<HashMap<String, (Instant, u32)>>);

impl SearchRate {
    /// Counts a search. Returns the time to wait if there were `most` in this minute; then it is not counted.
    pub(super) fn count(&self, name: &str, most: u32, now: Instant) -> Result<(), Duration> {
        let mut searches = self.0.lock();
        if searches.len() >= NAMES && !searches.contains_key(name) {
            searches.retain(|_, (begun, _)| now.duration_since(*begun) < WINDOW);
            if searches.len() >= NAMES {
                return Err(WINDOW);
            }
        }
        let (begun, count) = searches.entry(name.to_owned()).or_insert((now, 0));
        if now.duration_since(*begun) >= WINDOW {
            (*begun, *count) = (now, 0);
        }
        if *count >= most {
            return Err(WINDOW.saturating_sub(now.duration_since(*begun)));
        }
        *count += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_its_number_of_searches_in_a_minute() {
        let (rate, now) = (SearchRate::default(), Instant::now());
        assert!((0..3).all(|_| rate.count("a", 3, now).is_ok()));
        assert_eq!(rate.count("a", 3, now + WINDOW / 2), Err(WINDOW / 2));
        assert_eq!(rate.count("b", 3, now), Ok(()));
        assert_eq!(rate.count("a", 3, now + WINDOW), Ok(()));
    }

    #[test]
    fn many_names_cost_bounded_memory() {
        let (rate, now) = (SearchRate::default(), Instant::now());
        let accepted = (0..NAMES + 10).filter(|number| rate.count(&number.to_string(), 1, now).is_ok()).count();
        assert_eq!((accepted, rate.0.lock().len()), (NAMES, NAMES));
        assert!(rate.count("another", 1, now + WINDOW).is_ok());
        assert_eq!(rate.0.lock().len(), 1);
    }
}
