//! Answers of the address book that are kept in memory for a minute, and the times until which a profile is not searched.
//!
//! [`AnswerCache::slot`] returns the place of an answer; callers that search for the same wait for one request
//! ([`Slot::get_or_search`]). At most [`ANSWERS`] answers and about [`BYTES`] bytes are kept; the oldest go first. Answers belong to
//! one version of a profile and its secrets. [`AnswerCache::retain`] removes those of other versions, and what is too old. A search
//! that fails leaves nothing, except for the pause. Nothing is written to disk, and nothing here makes a request.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::OnceCell;

use crate::{
    api::address_book::AddressBookWarning,
    model::{
        Digest,
        address_book::{AddressBookEntry, AddressKind},
    },
    sync::Mutex,
};

/// The time for which an answer is kept.
pub(super) const KEPT: Duration = Duration::from_secs(60);
/// The time for which an answer is kept in which a kind is missing that may be there at the next try.
const KEPT_INCOMPLETE: Duration = Duration::from_secs(5);
/// The largest number of answers.
const ANSWERS: usize = 1000;
/// The largest size of all answers.
const BYTES: usize = 8 * 1024 * 1024;

/// The subject of a search.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct SearchKey {
    /// The digest of the profile with its secrets.
    pub(super) of: Digest,
    /// The kind; none means all.
    pub(super) kind: Option<AddressKind>,
    /// The text, in lower case.
    pub(super) text: String,
}

/// The answer to a search.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// The entries in order, each address once.
    pub(super) entries: Vec<AddressBookEntry>,
    /// True if the directory has more.
    pub(super) has_more: bool,
    /// Kinds that are missing.
    pub(super) warnings: Vec<AddressBookWarning>,
    /// The time at which it was read.
    pub(super) at: Instant,
}

impl Answer {
    fn size(&self) -> usize {
        let warnings = self.warnings.iter().map(|warning| size_of::<AddressBookWarning>() + warning.message.len());
        size_of::<Self>() + self.entries.iter().map(AddressBookEntry::size).sum::<usize>() + warnings.sum::<usize>()
    }

    fn is_fresh(&self, now: Instant) -> bool {
        let is_complete = self.warnings.iter().all(|warning| warning.permission.is_some());
        now.duration_since(self.at) < if is_complete { KEPT } else { KEPT_INCOMPLETE }
    }
}

/// The place of one answer.
pub(super) struct Slot {
    created: Instant,
    answer: OnceCell<Arc<Answer>>,
}

impl Slot {
    /// Returns the answer, or searches. Other callers of the same slot wait; if the search fails or its caller gives up, the next
    /// of them searches.
    pub(super) async fn get_or_search<E>(
        &self,
        search: impl AsyncFnOnce() -> Result<Answer, E>,
    ) -> Result<Arc<Answer>, E> {
        self.answer.get_or_try_init(async || search().await.map(Arc::new)).await.cloned()
    }

    fn size(&self) -> usize {
        self.answer.get().map_or(0, |answer| answer.size())
    }

    /// Returns true if the slot has an answer that is too old.
    fn is_outdated(&self, now: Instant) -> bool {
        self.answer.get().is_some_and(|answer| !answer.is_fresh(now))
    }
}

/// A time until which a profile is not searched, with the reason.
#[derive(Clone, Debug)]
pub(super) struct Pause {
    pub(super) until: Instant,
    pub(super) reason: String,
}

/// The answers of an environment.
#[derive(Default)]
pub(super) struct AnswerCache(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    slots: HashMap<SearchKey, Arc<Slot>>,
    pauses: HashMap<Digest, Pause>,
    /// The kinds whose permission is missing, until they are tried again.
    denied: HashMap<(Digest, AddressKind), Instant>,
}

impl Entries {
    /// Removes the oldest slots until there is room for another one.
    fn make_room(&mut self) {
        let size = |slots: &HashMap<SearchKey, Arc<Slot>>| slots.values().map(|slot| slot.size()).sum::<usize>();
        let mut bytes = size(&self.slots);
        while self.slots.len() >= ANSWERS || bytes > BYTES {
            let oldest = self.slots.iter().min_by_key(|(_, slot)| slot.created).map(|(key, _)| key.clone());
            let Some(removed) = oldest.and_then(|key| self.slots.remove(&key)) else { return };
            bytes -= removed.size().min(bytes);
        }
    }
}

impl AnswerCache {
    /// Returns the slot of a search, which may have an answer.
    pub(super) fn slot(&self, key: &SearchKey, now: Instant) -> Arc<Slot> {
        let mut entries = self.0.lock();
        if let Some(slot) = entries.slots.get(key).filter(|slot| !slot.is_outdated(now)) {
            return Arc::clone(slot);
        }
        entries.slots.remove(key);
        entries.make_room();
        let slot = Arc::new(Slot { created: now, answer: OnceCell::new() });
        entries.slots.insert(key.clone(), Arc::clone(&slot));
        slot
    }

    /// Notes that a search has ended: removes a slot without an answer that no other caller waits for, and answers beyond the limit.
    pub(super) fn ended(&self, key: &SearchKey, slot: &Arc<Slot>) {
        let mut entries = self.0.lock();
        // One reference of the caller, and one here.
        let is_abandoned = slot.answer.get().is_none() && Arc::strong_count(slot) <= 2;
        if is_abandoned && entries.slots.get(key).is_some_and(|own| Arc::ptr_eq(own, slot)) {
            entries.slots.remove(key);
        }
        if entries.slots.values().map(|slot| slot.size()).sum::<usize>() > BYTES {
            entries.make_room();
        }
    }

    /// Returns the pause of a profile, if it has not ended.
    pub(super) fn pause(&self, of: &Digest, now: Instant) -> Option<Pause> {
        self.0.lock().pauses.get(of).filter(|pause| pause.until > now).cloned()
    }

    /// Pauses a profile. A longer pause stays.
    pub(super) fn set_pause(&self, of: &Digest, pause: Pause) {
        let mut entries = self.0.lock();
        let kept = entries.pauses.entry(of.clone()).or_insert_with(|| pause.clone());
        if pause.until > kept.until {
            *kept = pause;
        }
    }

    /// Returns true if the permission for a kind was missing a moment ago.
    pub(super) fn is_denied(&self, of: &Digest, kind: AddressKind, now: Instant) -> bool {
        self.0.lock().denied.get(&(of.clone(), kind)).is_some_and(|until| *until > now)
    }

    /// Notes that the permission for a kind is missing.
    pub(super) fn set_denied(&self, of: &Digest, kind: AddressKind, now: Instant) {
        self.0.lock().denied.insert((of.clone(), kind), now + KEPT);
    }

    /// Removes what is too old, and what belongs to profiles that are not live. Returns true if nothing is left.
    pub(super) fn retain(&self, is_live: impl Fn(&Digest) -> bool, now: Instant) -> bool {
        let mut entries = self.0.lock();
        let is_used = |slot: &Arc<Slot>| slot.answer.get().is_some() || Arc::strong_count(slot) > 1;
        entries.slots.retain(|key, slot| is_live(&key.of) && !slot.is_outdated(now) && is_used(slot));
        entries.pauses.retain(|of, pause| is_live(of) && pause.until > now);
        entries.denied.retain(|(of, _), until| is_live(of) && *until > now);
        entries.slots.is_empty() && entries.pauses.is_empty() && entries.denied.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends there")]

    use super::*;

    fn key(of: &str, text: &str) -> SearchKey {
        SearchKey { of: Digest::of_bytes(of.as_bytes()), kind: None, text: text.to_owned() }
    }

    fn answer(at: Instant, count: usize) -> Answer {
        let entry = |number| {
            AddressBookEntry::new(AddressKind::Person, &"n".repeat(200), &format!("p{number}@contoso.example")).unwrap()
        };
        Answer { entries: (0..count).map(entry).collect(), has_more: false, warnings: Vec::new(), at }
    }

    async fn fill(cache: &AnswerCache, key: &SearchKey, now: Instant, count: usize) {
        let slot = cache.slot(key, now);
        slot.get_or_search(async || Ok::<_, ()>(answer(now, count))).await.unwrap();
        cache.ended(key, &slot);
    }

    #[tokio::test]
    async fn equal_searches_share_one_request_and_an_answer_ends_after_a_minute() {
        let (cache, now) = (Arc::new(AnswerCache::default()), Instant::now());
        let (started, go_on) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
        let first = {
            let (slot, started, go_on) = (cache.slot(&key("p", "ann"), now), Arc::clone(&started), Arc::clone(&go_on));
            tokio::spawn(async move {
                let search = async || {
                    started.notify_one();
                    go_on.notified().await;
                    Ok::<_, ()>(answer(now, 1))
                };
                slot.get_or_search(search).await.is_ok()
            })
        };
        started.notified().await;
        let second = {
            let slot = cache.slot(&key("p", "ann"), now);
            tokio::spawn(async move { slot.get_or_search(async || Err::<Answer, _>(())).await.is_ok() })
        };
        go_on.notify_one();
        assert!(first.await.unwrap() && second.await.unwrap(), "the second caller did not search");
        assert!(cache.slot(&key("p", "ann"), now + KEPT / 2).answer.get().is_some());
        assert!(cache.slot(&key("p", "ann"), now + KEPT).answer.get().is_none());
    }

    #[tokio::test]
    async fn a_failed_search_leaves_nothing_and_an_incomplete_one_ends_sooner() {
        let (cache, now) = (AnswerCache::default(), Instant::now());
        let slot = cache.slot(&key("p", "ann"), now);
        assert!(slot.get_or_search(async || Err(())).await.is_err());
        cache.ended(&key("p", "ann"), &slot);
        assert!(cache.0.lock().slots.is_empty());
        let mut incomplete = answer(now, 1);
        let warning = AddressBookWarning { kind: AddressKind::Group, message: "busy".to_owned(), permission: None };
        incomplete.warnings.push(warning.clone());
        assert!(incomplete.is_fresh(now) && !incomplete.is_fresh(now + KEPT_INCOMPLETE));
        incomplete.warnings = vec![AddressBookWarning { permission: Some("Group.Read.All".to_owned()), ..warning }];
        assert!(incomplete.is_fresh(now + KEPT_INCOMPLETE));
    }

    #[tokio::test]
    async fn number_and_bytes_are_bounded_and_a_changed_profile_leaves_nothing() {
        let (cache, now) = (AnswerCache::default(), Instant::now());
        for number in 0..ANSWERS + 50 {
            fill(&cache, &key("p", &number.to_string()), now + Duration::from_nanos(number as u64), 0).await;
        }
        assert_eq!(cache.0.lock().slots.len(), ANSWERS);
        assert!(cache.slot(&key("p", "1049"), now).answer.get().is_some());
        for number in 0..100 {
            fill(&cache, &key("q", &number.to_string()), now + Duration::from_secs(1), 500).await;
        }
        let bytes: usize = cache.0.lock().slots.values().map(|slot| slot.size()).sum();
        assert!(bytes <= BYTES, "{bytes}");
        let pause = Pause { until: now + KEPT, reason: "busy".to_owned() };
        let q = key("q", "").of;
        cache.set_pause(&q, pause.clone());
        cache.set_pause(&q, Pause { until: now + KEPT / 2, ..pause });
        assert!(cache.pause(&q, now + KEPT / 2).is_some(), "the longer pause stays");
        cache.set_denied(&q, AddressKind::Group, now);
        assert!(cache.is_denied(&q, AddressKind::Group, now) && !cache.is_denied(&q, AddressKind::Person, now));
        assert!(!cache.retain(|of| *of == q, now));
        assert!(cache.0.lock().slots.keys().all(|key| key.of == q));
        assert!(cache.retain(|_| false, now));
    }
}
