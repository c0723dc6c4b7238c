//! Address book: recipients from the directory of a direct profile's tenant, for callers who submit mail.
//!
//! [`Service::search_address_book`] needs the right `look-up` in `mail` for a company and a function of the profile. It refuses
//! profiles without an address book, and those that are disabled or suspended. `cache` keeps answers for a minute, `rate` and the
//! limits of this module bound the requests to Graph per caller and per profile, `cursor` continues a page. A kind whose
//! permission is missing is a warning in the answer, unless nothing else was searched. Each search has an entry in the audit log,
//! within the caller's budget: who, which profile, how many entries. The text that was searched for and what was found are
//! personal data, and neither is recorded or logged.

mod cache;
mod cursor;
mod rate;

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::sync::{Notify, Semaphore, watch};

use cache::{Answer, AnswerCache, KEPT, Pause, SearchKey};
use cursor::Cursor;
use rate::SearchRate;

use super::{Service, caller::Caller, caller_limit::CallerLimit, http::HttpProblem};
use crate::{
    api::address_book::{AddressBookPage, AddressBookWarning, LARGEST_PAGE, LONGEST_SEARCH, SHORTEST_SEARCH},
    delivery::{LookUpFailure, SearchedKinds},
    entra::directory_search::{SearchError, describe_missing, needed_permission},
    model::{
        AppliesTo, AuditOutcome, Code, Digest, Profile, ProfileName, Provider, State, StoredProfile,
        access::{Activity, Area},
        address_book::{AddressKind, merge_entries},
    },
    store::AuditEvent,
    telemetry,
    text::{composed, is_hidden, printable, shortened},
};

/// Maximum number of concurrent searches of one caller. A program can search for many people with one token.
const PER_CALLER: usize = 12;
/// Maximum number of searches at Graph at once, of all callers and profiles of the environment. One caller cannot use all.
const AT_ONCE: usize = 16;
/// Searches of one caller at Graph within a minute.
const PER_CALLER_AND_MINUTE: u32 = 240;
/// Searches of one profile at Graph within a minute.
const PER_PROFILE_AND_MINUTE: u32 = 600;
/// The time in which a search has to end.
const DEADLINE: Duration = Duration::from_secs(15);
/// The pause of a profile after Graph asked to wait without a time.
const PAUSE: Duration = Duration::from_secs(10);
/// The pause after a sign-in that failed: a wrong secret must not be tried with every letter that is typed.
const PAUSE_AFTER_SIGN_IN: Duration = Duration::from_secs(30);
/// The pause after a search that had no answer.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(5);
/// The longest text of another program in a message, in characters.
const REASON: usize = 300;

/// A search as the caller states it.
pub(super) struct AddressBookQuery {
    pub(super) profile: ProfileName,
    pub(super) text: String,
    pub(super) kind: Option<AddressKind>,
    pub(super) limit: u32,
    pub(super) after: Option<String>,
}

/// The address books of an environment.
pub(super) struct AddressBooks {
    answers: AnswerCache,
    callers: SearchRate,
    profiles: SearchRate,
    in_progress: Arc<CallerLimit>,
    working: Semaphore,
    /// Notified when an answer is added.
    added: Arc<Notify>,
}

impl Default for AddressBooks {
    fn default() -> Self {
        Self {
            answers: AnswerCache::default(),
            callers: SearchRate::default(),
            profiles: SearchRate::default(),
            in_progress: CallerLimit::new(PER_CALLER, "searches of the address book"),
            working: Semaphore::new(AT_ONCE),
            added: Arc::default(),
        }
    }
}

impl Service {
    /// Searches the address book of a profile.
    pub(super) async fn search_address_book(
        &self,
        caller: &Caller,
        query: AddressBookQuery,
    ) -> Result<AddressBookPage, HttpProblem> {
        let text = check_text(&query.text)?;
        let limit = check_limit(query.limit)?;
        let cursor = query.after.as_deref().map(parse_cursor).transpose()?;
        let state = self.state();
        let stored = self.find_address_book(caller, &state, &query.profile)?;
        let _permit = self.address_books.in_progress.acquire(caller)?;
        let key = SearchKey { of: Digest::of_document(stored), kind: query.kind, text: text.to_lowercase() };
        let answer = self.answer(caller, &query.profile, &key).await?;
        let search = Digest::of_document(&(&query.profile, query.kind, &key.text));
        let start = match &cursor {
            Some(cursor) => cursor.start(&search, &answer.entries).ok_or_else(foreign_cursor)?,
            None => 0,
        };
        let end = start.saturating_add(limit).min(answer.entries.len());
        let entries = answer.entries.get(start..end).unwrap_or_default().to_vec();
        let has_next = end < answer.entries.len() && end > start;
        let next_after = has_next.then(|| Cursor::behind(&search, &answer.entries, end - 1)).flatten();
        if cursor.is_none() {
            self.record_search(caller, &query, &answer).await?;
        }
        Ok(AddressBookPage {
            profile: query.profile,
            entries,
            next_after: next_after.map(|cursor| cursor.to_string()),
            is_truncated: answer.has_more,
            warnings: answer.warnings.clone(),
        })
    }

    /// Returns a live profile whose address book the caller may search now.
    fn find_address_book<'s>(
        &self,
        caller: &Caller,
        state: &'s State,
        name: &ProfileName,
    ) -> Result<&'s StoredProfile, HttpProblem> {
        let environment = self.environment();
        let stored = state.profiles.get(name).and_then(|profile| profile.live.as_ref());
        let Some(stored) = stored.filter(|stored| may_look_up(caller, state, &stored.profile)) else {
            if stored.is_none() && caller.may_at_all(Area::Profiles, Activity::See) {
                return Err(HttpProblem::not_found(format!("the environment `{environment}` has no profile `{name}`"))
                    .remedy(format!("`mailwright status {environment}` lists the profiles.")));
            }
            // The answer is the same for a profile that does not exist: its name is not for every caller.
            return Err(HttpProblem::new(
                Code::OutOfScope,
                format!(
                    "`{}` may not search the address book of `{name}`: it may look up recipients for no company and function of such a profile",
                    caller.name
                ),
            )
            .remedy(format!(
                "Correct the profile, or use a token for one of its companies and functions. `mailwright token list {environment}` shows the scope of each."
            )));
        };
        check_provider(name, &stored.profile, environment.as_str())?;
        if !stored.profile.enabled {
            return Err(HttpProblem::new(
                Code::ProfileInactive,
                format!("cannot search the address book of `{name}`: the profile is disabled"),
            )
            .remedy("Set `enabled: true` in the profile and apply, or search another profile."));
        }
        if let Some(suspended) = self.delivery.suspension(name) {
            return Err(HttpProblem::new(
                Code::ProfileInactive,
                format!(
                    "cannot search the address book of `{name}`: the profile is suspended since {} ({})",
                    suspended.since,
                    shortened(&printable(&suspended.reason), REASON)
                ),
            )
            .remedy(format!("Remove the cause; it is tried again by itself. mailwright outbox status {environment}")));
        }
        Ok(stored)
    }

    /// Returns the answer to a search: one that is kept, the one that another caller waits for, or a new one.
    async fn answer(&self, caller: &Caller, name: &ProfileName, key: &SearchKey) -> Result<Arc<Answer>, HttpProblem> {
        let books = &self.address_books;
        let slot = books.answers.slot(key, Instant::now());
        let answer = slot.get_or_search(async || self.search_at_graph(caller, name, key).await).await;
        books.answers.ended(key, &slot);
        books.added.notify_one();
        answer
    }

    async fn search_at_graph(
        &self,
        caller: &Caller,
        name: &ProfileName,
        key: &SearchKey,
    ) -> Result<Answer, HttpProblem> {
        let books = &self.address_books;
        let _permit = books.working.acquire().await.map_err(HttpProblem::internal)?;
        let now = Instant::now();
        if let Some(pause) = books.answers.pause(&key.of, now) {
            return Err(unavailable(name, &pause, now));
        }
        let wanted = key.kind.map_or(AddressKind::ALL.to_vec(), |kind| vec![kind]);
        let (denied, kinds): (Vec<AddressKind>, Vec<AddressKind>) =
            wanted.into_iter().partition(|kind| books.answers.is_denied(&key.of, *kind, now));
        let mut searched: SearchedKinds =
            denied.into_iter().map(|kind| (kind, Err(SearchError::Denied { code: String::new() }))).collect();
        if !kinds.is_empty() {
            self.count_search(caller, name, now)?;
            let search = self.delivery.search_address_book(name, &key.of, &kinds, &key.text);
            let found = tokio::time::timeout(DEADLINE, search).await;
            let found = found.unwrap_or_else(|_| {
                let error = SearchError::Failed(format!("no answer within {} s", DEADLINE.as_secs()));
                Ok(kinds.iter().map(|kind| (*kind, Err(error.clone()))).collect())
            });
            let found = found.map_err(|failure| self.look_up_failed(name, key, failure))?;
            for (kind, _) in found.iter().filter(|(_, result)| matches!(result, Err(SearchError::Denied { .. }))) {
                books.answers.set_denied(&key.of, *kind, now);
            }
            searched.extend(found);
        }
        self.conclude(name, key, &searched)
    }

    fn count_search(&self, caller: &Caller, name: &ProfileName, now: Instant) -> Result<(), HttpProblem> {
        let too_many = |of: String, most: u32, wait: Duration| {
            HttpProblem::new(Code::TooManyLookUps, format!("{of} made {most} searches of the address book in a minute"))
                .remedy(format!("Search again in {} s, and after a pause in typing.", wait.as_secs().max(1)))
                .retry_after(wait)
        };
        let books = &self.address_books;
        let most = PER_CALLER_AND_MINUTE;
        let of_caller = || format!("`{}`", caller.name);
        books.callers.count(&caller.owner, most, now).map_err(|wait| too_many(of_caller(), most, wait))?;
        let most = PER_PROFILE_AND_MINUTE;
        let of_profile = || format!("the callers of `{name}`");
        books.profiles.count(name.as_str(), most, now).map_err(|wait| too_many(of_profile(), most, wait))
    }

    /// Pauses the profile after a failed sign-in, and returns the problem.
    fn look_up_failed(&self, name: &ProfileName, key: &SearchKey, failure: LookUpFailure) -> HttpProblem {
        let now = Instant::now();
        match failure {
            LookUpFailure::Changed => HttpProblem::new(
                Code::AddressBookUnavailable,
                format!("`{name}` was changed while its address book was searched"),
            )
            .remedy("Search again."),
            LookUpFailure::SignIn(reply) => {
                tracing::warn!(profile = %name, "cannot sign in for the address book");
                let reply = shortened(&printable(&reply), REASON).into_owned();
                let pause = Pause { until: now + PAUSE_AFTER_SIGN_IN, reason: format!("the sign-in failed: {reply}") };
                self.address_books.answers.set_pause(&key.of, pause.clone());
                unavailable(name, &pause, now).remedy(format!("mailwright verify {} {name}", self.environment()))
            }
        }
    }

    /// Merges the results of the kinds. Fails if every kind failed.
    fn conclude(&self, name: &ProfileName, key: &SearchKey, searched: &SearchedKinds) -> Result<Answer, HttpProblem> {
        let now = Instant::now();
        let answers = &self.address_books.answers;
        let found: Vec<_> = searched.iter().filter_map(|(_, result)| result.as_ref().ok()).collect();
        for error in searched.iter().filter_map(|(_, result)| result.as_ref().err()) {
            // A kind that fails alone does not stop the searches for the others, unless Graph asks to wait.
            let is_throttled = matches!(error, SearchError::Throttled { .. });
            if is_throttled || found.is_empty() && matches!(error, SearchError::Failed(_)) {
                answers.set_pause(&key.of, pause_after(error, now));
            }
        }
        let warnings: Vec<AddressBookWarning> =
            searched.iter().filter_map(|(kind, result)| warning(*kind, result)).collect();
        if found.is_empty() {
            return Err(self.nothing_found(name, &warnings, answers.pause(&key.of, now), now));
        }
        let entries = merge_entries(found.iter().flat_map(|found| &found.entries)).into_iter().cloned().collect();
        Ok(Answer { entries, has_more: found.iter().any(|found| found.has_more), warnings, at: now })
    }

    /// Returns the problem of a search in which every kind failed.
    fn nothing_found(
        &self,
        name: &ProfileName,
        warnings: &[AddressBookWarning],
        pause: Option<Pause>,
        now: Instant,
    ) -> HttpProblem {
        if let Some(pause) = pause {
            return unavailable(name, &pause, now);
        }
        let reasons: Vec<&str> = warnings.iter().map(|warning| warning.message.as_str()).collect();
        let missing: Vec<&str> = warnings.iter().filter_map(|warning| warning.permission.as_deref()).collect();
        let code = if missing.is_empty() { Code::AddressBookUnavailable } else { Code::AddressBookDenied };
        let message = format!("cannot search the address book of `{name}`: {}", reasons.join("; "));
        HttpProblem::new(code, message).remedy(format!(
            "An administrator grants {} to the application. The steps: mailwright verify {} {name}",
            missing.join(", "),
            self.environment()
        ))
    }

    /// Records a search: who, which profile, how many entries. Not the text, and not what was found.
    async fn record_search(
        &self,
        caller: &Caller,
        query: &AddressBookQuery,
        answer: &Answer,
    ) -> Result<(), HttpProblem> {
        let missing: Vec<&str> = answer.warnings.iter().map(|warning| warning.kind.id()).collect();
        let mut detail = json!({ "profile": query.profile, "results": answer.entries.len() });
        if let Some(kind) = query.kind {
            detail["kind"] = json!(kind);
        }
        if !missing.is_empty() {
            detail["missing"] = json!(missing);
        }
        let event = AuditEvent {
            at: self.clock.now(),
            actor: caller.name.clone(),
            action: "address-book.search",
            outcome: AuditOutcome::Accepted,
            detail,
        };
        Ok(self.record_bounded(event).await?)
    }

    /// Starts to remove answers of changed profiles at once, and old ones.
    pub(super) fn start_following_address_books(self: &Arc<Self>) {
        let (state, added) = (self.state.subscribe(), Arc::clone(&self.address_books.added));
        telemetry::spawn(Self::follow_address_books(Arc::downgrade(self), state, added));
    }

    async fn follow_address_books(service: Weak<Self>, mut state: watch::Receiver<Arc<State>>, added: Arc<Notify>) {
        loop {
            let is_empty = {
                let Some(service) = service.upgrade() else { return };
                let live: std::collections::HashSet<Digest> =
                    state.borrow_and_update().live_stored().map(|(_, stored)| Digest::of_document(stored)).collect();
                service.address_books.answers.retain(|of| live.contains(of), Instant::now())
            };
            tokio::select! {
                changed = state.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = added.notified(), if is_empty => {}
                () = tokio::time::sleep(KEPT), if !is_empty => {}
            }
        }
    }
}

/// Returns true if the caller may look up recipients for at least one company and function that the profile is for.
fn may_look_up(caller: &Caller, state: &State, profile: &Profile) -> bool {
    let own = &state.settings.companies;
    let is_own = |company: &&_| match &profile.applies_to {
        AppliesTo::SystemWide => true,
        AppliesTo::Companies(companies) => companies.contains(*company),
    };
    own.iter().filter(is_own).any(|company| {
        profile
            .functions
            .iter()
            .any(|function| caller.may(Area::Mail, Activity::LookUp, Some(company), Some(*function)).is_allowed())
    })
}

/// Refuses a profile whose provider has no address book here.
fn check_provider(name: &ProfileName, profile: &Profile, environment: &str) -> Result<(), HttpProblem> {
    let (reason, remedy) = match &profile.provider {
        Provider::MicrosoftGraphDirect(direct) if direct.address_book => return Ok(()),
        Provider::MicrosoftGraphDirect(_) => (
            "`addressBook` is not set",
            format!(
                "Set `addressBook: true` in the profile and apply. The permissions that it needs: mailwright verify {environment} {name}"
            ),
        ),
        Provider::MicrosoftGraphDelegate(_) => (
            "it sends as the signed-in user, and only the client of that user can read the user's address book",
            format!("The user searches with: mailwright delegate address-book {environment} TEXT"),
        ),
        Provider::Smtp(_) => (
            "a mail server (SMTP) has none",
            "Search a profile with `microsoft-graph-direct` and `addressBook: true`.".to_owned(),
        ),
    };
    Err(HttpProblem::new(Code::NoAddressBook, format!("`{name}` has no address book: {reason}")).remedy(remedy))
}

/// Checks the text of a search, and returns it composed and without spaces around it.
fn check_text(text: &str) -> Result<String, HttpProblem> {
    let text = composed(text.trim()).into_owned();
    let length = text.chars().count();
    if !(SHORTEST_SEARCH..=LONGEST_SEARCH).contains(&length) || text.chars().any(is_hidden) {
        return Err(HttpProblem::malformed(format!(
            "`q` must have {SHORTEST_SEARCH} to {LONGEST_SEARCH} characters, and no control or invisible characters"
        )));
    }
    Ok(text)
}

fn check_limit(limit: u32) -> Result<usize, HttpProblem> {
    let wrong = || HttpProblem::malformed(format!("`limit` must be from 1 to {LARGEST_PAGE}"));
    let limit = Some(limit).filter(|limit| (1..=LARGEST_PAGE).contains(limit)).ok_or_else(wrong)?;
    usize::try_from(limit).map_err(|_| wrong())
}

fn parse_cursor(text: &str) -> Result<Cursor, HttpProblem> {
    let text = Some(text).filter(|text| text.len() <= cursor::LENGTH);
    text.and_then(|text| text.parse().ok()).ok_or_else(foreign_cursor)
}

fn foreign_cursor() -> HttpProblem {
    HttpProblem::malformed("`after` is not `nextAfter` of a page of this search")
        .remedy("Pass `nextAfter` of the previous page, with the same profile, text and kind.")
}

/// Returns the warning for a kind that failed.
fn warning(kind: AddressKind, result: &Result<impl Sized, SearchError>) -> Option<AddressBookWarning> {
    let error = result.as_ref().err()?;
    Some(match error {
        SearchError::Denied { .. } => AddressBookWarning {
            kind,
            message: describe_missing(kind),
            permission: Some(needed_permission(kind).to_owned()),
        },
        error => {
            let reason = error.to_string();
            let message = format!("{} are missing: {}", kind.plural(), shortened(&printable(&reason), REASON));
            AddressBookWarning { kind, message, permission: None }
        }
    })
}

/// Returns the pause of a profile after a search that failed.
fn pause_after(error: &SearchError, now: Instant) -> Pause {
    let wait = match error {
        SearchError::Throttled { retry_after, .. } => retry_after.unwrap_or(PAUSE),
        _ => PAUSE_AFTER_FAILURE,
    };
    Pause { until: now + wait, reason: shortened(&printable(&error.to_string()), REASON).into_owned() }
}

/// Returns the problem of a profile that is not searched now.
fn unavailable(name: &ProfileName, pause: &Pause, now: Instant) -> HttpProblem {
    let wait = pause.until.saturating_duration_since(now);
    HttpProblem::new(
        Code::AddressBookUnavailable,
        format!("cannot search the address book of `{name}`: {}", pause.reason),
    )
    .remedy(format!("Search again in {} s. Mail is not concerned.", wait.as_secs().max(1)))
    .retry_after(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_bounded_and_has_no_control_characters() {
        let longest = "x".repeat(LONGEST_SEARCH);
        for good in ["jü", " O'Neil ", "a\"b", "a\\b", "👩\u{200d}💻", &longest] {
            assert!(check_text(good).is_ok(), "{good:?}");
        }
        for wrong in ["", "a", " a ", "a\nb", "a\u{0}b", "a\u{202e}b", &"x".repeat(LONGEST_SEARCH + 1)] {
            assert!(check_text(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(check_text("Ju\u{308}r").ok().as_deref(), Some("Jür"));
        assert!(
            check_limit(1).is_ok() && check_limit(50).is_ok() && check_limit(0).is_err() && check_limit(51).is_err()
        );
    }

    #[test]
    fn graph_is_left_alone_for_as_long_as_it_asks() {
        let now = Instant::now();
        let throttled = |retry_after| SearchError::Throttled { status: 429, retry_after };
        let asked = Duration::from_secs(120);
        assert_eq!(pause_after(&throttled(Some(asked)), now).until, now + asked);
        assert_eq!(pause_after(&throttled(None), now).until, now + PAUSE);
    }
}
