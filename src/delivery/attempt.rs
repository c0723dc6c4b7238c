//! One attempt: a message is sent by the profile that serves it now, and what came of it is judged.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::OwnedSemaphorePermit;

use super::{
    content::{self, Outgoing},
    graph,
    refusals::{self, Attribution},
    rotation::Which,
    smtp::{Connection, Failure, Letter, Login, Reach},
};
use crate::{
    credential::{self, CredentialKind},
    delivery::{
        access_tokens::{Applicant, Token},
        dispatcher::Engine,
        scheduler::{LARGE_OF_ONE, Sending, lane_of},
    },
    entra::Endpoints,
    model::{
        Attempt, Message, Provider, Status,
        delivery::{EventKind, RecipientGuard, Unknown},
        message::{Class, Recipient, RecipientStatus},
        provider::{GraphDirect, Smtp},
    },
    replies::About,
    secrets::Purpose,
    store::outbox::{Claimed, NewEvent, Search, Settled},
    time::steady_clock::later,
};

/// How long an over-used mailbox is left alone where the other side does not say.
const THROTTLED: Duration = Duration::from_secs(60);
/// How long a message that the profile may not be able to send waits behind others.
const BEHIND_OTHERS: jiff::SignedDuration = jiff::SignedDuration::from_secs(5);
/// How long Sent Items may take to show what was sent.
const LOOK_AFTER: Duration = Duration::from_secs(20);
/// How much the clocks of this machine and of Exchange may differ.
const CLOCK_DIFFERENCE: jiff::SignedDuration = jiff::SignedDuration::from_mins(10);
/// The longest that a mailbox is left alone at the other side's request.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// How many messages with the same `Message-ID` are compared.
const SAME_ID: u32 = 100;
/// Contents up to this size need no room of their own.
const SMALL: u64 = 64 * 1024;

/// Room for a large message: of its profile's and of all.
type Room = (OwnedSemaphorePermit, OwnedSemaphorePermit);

/// The result of a look into Sent Items for a message whose attempt ended in doubt.
enum Look {
    /// The message is there, and nothing else can be what is there.
    Sent,
    /// It is not there.
    NotSent,
    /// Nothing follows from what is there, for this reason.
    Unclear(String),
}

/// What came of sending.
struct Answer {
    server: String,
    outcome: Result<super::smtp::Sent, Failure>,
}

impl Engine {
    /// Makes an attempt. False if something about the mailbox is wrong, so that the next ones go gently.
    pub(super) async fn attempt(self: &Arc<Self>, sender: Arc<Sending>, claimed: Claimed) -> bool {
        let Claimed { mut message, content, paused_before } = claimed;
        let now = self.time.now();
        let lane = lane_of(&message);
        let stood_still = self.board().stood_still(&lane, paused_before, now.as_millisecond());
        let age = now.as_millisecond() - message.queued_since().as_millisecond() - stood_still;
        let settings = self.board().routes.state().settings.delivery.clone();
        let lifetime = settings.lifetime(message.function);
        if age > lifetime.milliseconds() {
            let last = if message.reason.is_empty() { String::new() } else { format!("; last: {}", message.reason) };
            if message.look_first {
                let why = format!("whether it was sent could not be seen within {lifetime}{last}");
                self.settle(self.left_unknown(message, &why, None, &[]));
                return true;
            }
            self.settle(self.given_up(message, format!("it could not be delivered within {lifetime}{last}")));
            return true;
        }
        let (content, _room) = match self.content(&sender, &message, content).await {
            Ok(content) => content,
            // The store answers, and has no contents: trying again would hold up all other mail for ever.
            Err(crate::store::StoreError::Corrupt(what)) => {
                tracing::error!(message = %message.id, what, "a message cannot be read");
                self.settle(self.given_up(message, format!("the store does not have {what}")));
                return true;
            }
            Err(error) => {
                self.cannot_record(&error);
                self.give_back(vec![Claimed { message, content: None, paused_before }]);
                return true;
            }
        };
        let guard = &settings.recipients;
        for recipient in message.recipients.iter_mut().filter(|r| r.status == RecipientStatus::Waiting) {
            if guard.rewrite_to.is_none() && !guard.allows(&recipient.address) {
                recipient.status = RecipientStatus::Failed;
                "the environment may not write to it".clone_into(&mut recipient.reply);
            }
        }
        let waiting: Vec<String> = waiting(&message);
        if waiting.is_empty() {
            self.settle(self.given_up(message, "nobody is left to send it to".to_owned()));
            return true;
        }
        let outgoing = match self.prepare(&sender, &message, content, &waiting, guard).await {
            Ok(outgoing) => outgoing,
            Err(error) => {
                self.settle(self.given_up(message, error.to_string()));
                return true;
            }
        };
        if message.look_first {
            match self.look(&sender, &message).await {
                Ok(Look::Sent) => {
                    self.settle(self.found_sent(message, &sender));
                    return true;
                }
                // It may come late into Sent Items.
                Ok(Look::NotSent) => (message.look_first, message.possible_duplicate) = (false, true),
                Ok(Look::Unclear(why)) => {
                    let why = format!("whether it was sent could not be seen: {why}");
                    self.settle(self.left_unknown(message, &why, None, &[]));
                    return true;
                }
                Err(failure) => {
                    return self.judge(
                        &sender,
                        message,
                        now,
                        Instant::now(),
                        Answer { server: String::new(), outcome: Err(failure) },
                    );
                }
            }
        }
        let began = Instant::now();
        let mut answer = match &sender.stored.profile.provider {
            Provider::Smtp(smtp) => self.by_smtp(&sender, smtp, &message, &outgoing).await,
            Provider::MicrosoftGraphDirect(direct) => self.by_graph(&sender, direct, &message, &outgoing).await,
            Provider::MicrosoftGraphDelegate(_) => Answer {
                server: String::new(),
                outcome: Err(Failure::new("connect", "a delegate sends as a signed-in user", Class::Transient)),
            },
        };
        // What became of the one address became of everybody whom it stands for. It is the settings of this attempt that
        // count: by now there may be others.
        if outgoing.is_rewritten
            && let Ok(sent) = &mut answer.outcome
            && let Some((_, failure)) = sent.refused.pop()
        {
            sent.refused = waiting.iter().map(|recipient| (recipient.clone(), failure.clone())).collect();
        }
        drop(outgoing);
        self.judge(&sender, message, now, began, answer)
    }

    /// Makes the message of this attempt from the contents that were kept.
    async fn prepare(
        &self,
        sender: &Arc<Sending>,
        message: &Message,
        content: Vec<u8>,
        waiting: &[String],
        guard: &RecipientGuard,
    ) -> Result<Outgoing, content::Malformed> {
        let (sender, name, waiting, guard) =
            (Arc::clone(sender), message.sender_name.clone(), waiting.to_vec(), guard.clone());
        let prepare = move || {
            let profile = &sender.stored.profile;
            let own_name = profile.from.as_ref().and_then(|from| from.name.as_deref());
            content::Sender {
                address: profile.from_address().unwrap_or_default(),
                name: name.as_deref().or(own_name),
                guard: &guard,
                header_is_envelope: matches!(profile.provider, Provider::MicrosoftGraphDirect(_)),
            }
            .outgoing(content, &waiting)
        };
        self.outgoing.pool.run(usize::try_from(message.size).unwrap_or(usize::MAX), prepare).await
    }

    /// The contents, and room for them if they are large.
    async fn content(
        &self,
        sender: &Sending,
        message: &Message,
        content: Option<Vec<u8>>,
    ) -> Result<(Vec<u8>, Option<Room>), crate::store::StoreError> {
        if let Some(content) = content {
            return Ok((content, None));
        }
        // While it is read, and while it is taken apart for Graph, it is there twice.
        let kibibytes = u32::try_from(message.size / 1024 * 2).unwrap_or(u32::MAX).clamp(1, LARGE_OF_ONE);
        let own = Arc::clone(&sender.large).acquire_many_owned(kibibytes).await.ok();
        let all = Arc::clone(&self.large).acquire_many_owned(kibibytes).await.ok();
        let room = own.zip(all);
        let content = self.store.content(message.id).await?;
        let content =
            content.ok_or_else(|| crate::store::StoreError::Corrupt(format!("the contents of {}", message.id)))?;
        Ok((content, room.filter(|_| message.size > SMALL)))
    }

    /// Marks a message before its last byte leaves. Recipients that were refused before have their result from here on,
    /// should the process end during the rest of the attempt; those that wait and have a reply are to be tried again.
    async fn begin(
        &self,
        sender: &Sending,
        message: &Message,
        recipients: usize,
        refused: &[(String, Failure)],
    ) -> Result<(), Failure> {
        let now = self.time.now();
        let mut begun = message.clone();
        begun.recipients.iter_mut().filter(|r| r.status == RecipientStatus::Waiting).for_each(|r| r.reply.clear());
        apply_refusals(&mut begun, refused);
        begun.status = Status::Sending;
        begun.attempts += 1;
        begun.next_attempt_at = None;
        let recipients = u32::try_from(recipients).unwrap_or(u32::MAX);
        self.store.begin(&begun, &sender.mailbox, recipients, now).await.map_err(|error| {
            self.cannot_record(&error);
            Failure::new("begin", format!("the store cannot record the attempt: {error}"), Class::Transient)
        })?;
        if let Some(counter) = self.board().counters.get_mut(&sender.mailbox) {
            counter.count(now.as_second() / 60, recipients);
        }
        Ok(())
    }

    async fn by_smtp(&self, sender: &Sending, smtp: &Smtp, message: &Message, outgoing: &Outgoing) -> Answer {
        let from = sender.stored.profile.from_address().unwrap_or_default();
        let (utf8, eight_bit) = content::needs(&outgoing.bytes, &outgoing.recipients, from);
        let letter = Letter {
            from,
            recipients: &outgoing.recipients,
            bytes: &outgoing.bytes,
            pool: &self.outgoing.pool,
            utf8,
            eight_bit,
            notify: message.notify.as_ref(),
            id: message.id.to_string(),
        };
        let mut server = smtp.host.clone();
        // A connection that was idle may have been closed by the other side; that says nothing about the message.
        for _ in 0..2 {
            let opened = sender.pool.connection(async || self.connect(sender, smtp).await).await;
            let mut connection = match opened {
                Ok(connection) => connection,
                Err(failure) => return Answer { server, outcome: Err(failure) },
            };
            server.clone_from(&connection.server);
            let was_used = connection.is_used();
            let begun = std::sync::atomic::AtomicBool::new(false);
            let begin = async |refused: Vec<(String, Failure)>| {
                begun.store(true, std::sync::atomic::Ordering::Release);
                self.begin(sender, message, outgoing.recipients.len(), &refused).await
            };
            let sent = connection.send(&letter, begin).await;
            let stale = was_used
                && !begun.load(std::sync::atomic::Ordering::Acquire)
                && sent.as_ref().is_err_and(|failure| failure.is_servers);
            match &sent {
                Err(failure) if failure.is_servers => drop(tokio::spawn(connection.quit())),
                _ => sender.pool.give_back(connection),
            }
            if !stale {
                return Answer { server, outcome: sent };
            }
        }
        Answer { server, outcome: Err(Failure::new("connect", "the connection was closed twice", Class::Transient)) }
    }

    /// Connects and logs in, with whichever secret is accepted.
    pub(super) async fn connect(&self, sender: &Sending, smtp: &Smtp) -> Result<Connection, Failure> {
        self.with_secret(sender, smtp).await
    }

    /// Connects and logs in with one of the secrets.
    pub(super) async fn connect_with(
        &self,
        sender: &Sending,
        smtp: &Smtp,
        which: Which,
    ) -> Result<Connection, Failure> {
        let username = smtp.username.clone().unwrap_or_default();
        let login = match (&smtp.oauth, &smtp.password) {
            (Some(oauth), _) => {
                let endpoints = Endpoints::for_cloud(&oauth.cloud)
                    .map_err(|error| Failure::new("token", error.to_string(), Class::Auth))?;
                let applicant = Applicant {
                    of: &sender.of,
                    which,
                    tenant: &oauth.tenant,
                    client: &oauth.client,
                    credential: &oauth.credential,
                    endpoints: &endpoints,
                    scope: endpoints.exchange_scope(),
                };
                Login::Token { username, token: self.token(sender, &applicant).await?.value }
            }
            (None, Some(_)) => Login::Password { username, password: self.secret(sender, which).await? },
            (None, None) => Login::None,
        };
        let reach = Reach { trust: self.http.trust(), hello: &self.outgoing.hello, deadlines: self.outgoing.deadlines };
        let opened = Connection::open(smtp, &login, reach).await;
        if matches!(login, Login::Token { .. }) && opened.as_ref().is_err_and(|failure| failure.class == Class::Auth) {
            // The next one begins with a fresh token.
            self.tokens.forget(&sender.of).await;
        }
        opened
    }

    async fn by_graph(&self, sender: &Sending, direct: &GraphDirect, message: &Message, outgoing: &Outgoing) -> Answer {
        let endpoints = match Endpoints::for_cloud(&direct.cloud) {
            Ok(endpoints) => endpoints,
            Err(error) => {
                let failure = Failure::new("token", error.to_string(), Class::Auth);
                return Answer { server: String::new(), outcome: Err(failure) };
            }
        };
        let server = endpoints.graph.host_str().unwrap_or_default().to_owned();
        for fresh in [false, true] {
            let token = match self.graph_token(sender, direct, &endpoints).await {
                Ok(token) => token,
                Err(failure) => return Answer { server, outcome: Err(failure) },
            };
            let graph = graph::Sender {
                http: &self.http,
                pool: &self.outgoing.pool,
                endpoints: &endpoints,
                token: &token.value,
                from: sender.stored.profile.from_address().unwrap_or_default(),
                request_id: message.id.to_string(),
            };
            let begin = self.begin(sender, message, outgoing.recipients.len(), &[]);
            match graph.send(&outgoing.bytes, begin).await {
                // The token may have been withdrawn, or be older than a grant: a fresh one decides.
                Err(failure) if !fresh && failure.reply.starts_with("HTTP 401") => {
                    self.tokens.forget(&sender.of).await;
                }
                Err(failure) => {
                    if failure.class == Class::Auth {
                        self.tokens.forget(&sender.of).await;
                    }
                    return Answer { server, outcome: Err(failure) };
                }
                Ok(mut reply) => {
                    if outgoing.is_narrowed {
                        reply.push_str("; `To` and `Cc` named only those whom it went to");
                    }
                    let sent = super::smtp::Sent { refused: Vec::new(), reply: Some(reply) };
                    return Answer { server, outcome: Ok(sent) };
                }
            }
        }
        Answer { server, outcome: Err(Failure::new("token", "no token is accepted", Class::Auth)) }
    }

    /// A token for Graph, with whichever secret is accepted.
    pub(super) async fn graph_token(
        &self,
        sender: &Sending,
        direct: &GraphDirect,
        endpoints: &Endpoints,
    ) -> Result<Token, Failure> {
        self.with_secret(sender, &(direct, endpoints)).await
    }

    /// A token for Graph with one of the secrets.
    pub(super) async fn graph_token_with(
        &self,
        sender: &Sending,
        direct: &GraphDirect,
        endpoints: &Endpoints,
        which: Which,
    ) -> Result<Token, Failure> {
        let scope = endpoints.graph_scope();
        let applicant = Applicant {
            of: &sender.of,
            which,
            tenant: &direct.tenant,
            client: &direct.client,
            credential: &direct.credential,
            endpoints,
            scope: &scope,
        };
        self.token(sender, &applicant).await
    }

    async fn token(&self, sender: &Sending, applicant: &Applicant<'_>) -> Result<Token, Failure> {
        let provider = &sender.stored.profile.provider;
        let (files, destination) = (&self.outgoing.federated, provider.destination());
        let environment = self.store.environment();
        self.tokens
            .token(
                &self.http,
                applicant,
                async || self.secret(sender, applicant.which).await,
                |path| files.read(path, environment, &destination),
                self.clock.now(),
            )
            .await
    }

    /// The profile's secret, for whoever explains why it is parked.
    pub(super) async fn opened(&self, sender: &Sending) -> Result<SecretString, Failure> {
        self.secret(sender, self.settled_on(sender)).await
    }

    /// The profile's secret, opened in memory for as long as it takes to log in.
    async fn secret(&self, sender: &Sending, which: Which) -> Result<SecretString, Failure> {
        let failed = |class, why: String| Failure::new("login", why, class);
        let digests = match which {
            Which::Current => &sender.stored.secrets,
            Which::Next => &sender.stored.next,
        };
        let Some(digest) = digests.values().next() else {
            return Err(failed(Class::Auth, "the profile names no secret".to_owned()));
        };
        let file = self.store.age_file(digest).await.map_err(|error| failed(Class::Transient, error.to_string()))?;
        let file =
            file.ok_or_else(|| failed(Class::Auth, "the service does not have the profile's age file".to_owned()))?;
        let (identity, environment) = (Arc::clone(&self.identity), self.store.environment().clone());
        let destination = sender.stored.profile.provider.destination();
        let mut known = self.board().routes.state().secrets.get(digest).cloned();
        if known.is_none() {
            // The profile is another one by now.
            let found = self.store.secrets(vec![digest.clone()]).await;
            known = found.map_err(|error| failed(Class::Transient, error.to_string()))?.pop();
        }
        let open = move || {
            let accepted_for = known.as_ref().map(|record| &record.destination);
            identity.open_for(&file, &Purpose { environment: &environment, destination: &destination, accepted_for })
        };
        let opened = tokio::task::spawn_blocking(open).await;
        let opened = opened.map_err(|_| failed(Class::Transient, "the secret could not be opened".to_owned()))?;
        let value = opened.map_err(|error| failed(Class::Auth, error.to_string()))?;
        let kind = CredentialKind::from_provider(&sender.stored.profile.provider);
        credential::parse_value(kind, value.expose_secret())
            .map(SecretString::from)
            .map_err(|unfit| failed(Class::Auth, format!("the secret cannot work: {unfit}")))
    }

    /// Looks into Sent Items, where the provider has them.
    async fn look(&self, sender: &Sending, message: &Message) -> Result<Look, Failure> {
        let Provider::MicrosoftGraphDirect(direct) = &sender.stored.profile.provider else {
            return Ok(Look::Unclear(format!("`{}` has no Sent Items to look into", sender.name)));
        };
        let endpoints =
            Endpoints::of(&direct.cloud).map_err(|error| Failure::new("token", error.to_string(), Class::Auth))?;
        let server = endpoints.graph.host_str().unwrap_or_default();
        let unread = |error: crate::store::StoreError| Failure::new("look", error.to_string(), Class::Transient);
        // An attempt that ended with the process has no server.
        let history = self.store.attempts(message.id).await.map_err(unread)?;
        let mut possible = history.iter().filter(|attempt| matches!(attempt.class, Class::Unknown | Class::Delivered));
        let is_here =
            |made: &&Attempt| made.profile == sender.name && (made.server.is_empty() || made.server == server);
        if let Some(elsewhere) = possible.find(|made| !is_here(made)) {
            return Ok(Look::Unclear(format!(
                "attempt {} was made by another route, which Sent Items of `{}` do not show",
                elsewhere.number, sender.name
            )));
        }
        let token = self.graph_token(sender, direct, &endpoints).await?;
        let graph = graph::Sender {
            http: &self.http,
            pool: &self.outgoing.pool,
            endpoints: &endpoints,
            token: &token.value,
            from: sender.stored.profile.from_address().unwrap_or_default(),
            request_id: message.id.to_string(),
        };
        match graph.sent_items(&message.message_id).await {
            Ok(items) if items.is_empty() => Ok(Look::NotSent),
            Ok(items) => {
                if let Some(earlier) = self.earlier_sending(message).await.map_err(unread)? {
                    let why = "Sent Items have a message with this Message-ID";
                    return Ok(Look::Unclear(format!("{why}, and {earlier}")));
                }
                let earliest = message.accepted_at.checked_sub(CLOCK_DIFFERENCE).unwrap_or(message.accepted_at);
                if items.into_iter().flatten().any(|sent_at| sent_at >= earliest) {
                    return Ok(Look::Sent);
                }
                let why =
                    "Sent Items have only a message with this Message-ID that was sent before this one was accepted";
                Ok(Look::Unclear(why.to_owned()))
            }
            Err(failure) if failure.reply.starts_with("HTTP 401") => {
                self.tokens.forget(&sender.of).await;
                Err(failure)
            }
            // A consent that is missing for looking is none that is missing for sending: nothing is parked for it.
            Err(failure) if failure.reply.starts_with("HTTP 403") => {
                Ok(Look::Unclear(format!("{}; looking into Sent Items takes Mail.ReadBasic.All", failure.reply)))
            }
            Err(failure) if matches!(failure.class, Class::Transient | Class::Throttled | Class::Auth) => Err(failure),
            Err(failure) => Ok(Look::Unclear(failure.reply)),
        }
    }

    /// Returns the sending that may have left a message with the same `Message-ID` in Sent Items without reaching those who
    /// wait now: of another message, before a replay, or for some of the recipients.
    async fn earlier_sending(&self, message: &Message) -> Result<Option<String>, crate::store::StoreError> {
        if message.sent_again || message.requeued_at.is_some() && message.possible_duplicate {
            return Ok(Some("this one may have been sent before it was put back into the queue".to_owned()));
        }
        if has_reached_some(message) {
            return Ok(Some("this one may have been sent to others of its recipients before".to_owned()));
        }
        let search = Search { message_id: Some(message.message_id.clone()), ..Search::default() };
        let found = self.store.search(search, SAME_ID).await?;
        let others = found.iter().map(|(_, other)| other).filter(|other| other.id != message.id);
        let may_be_sent = |other: &&Message| {
            matches!(other.status, Status::Sending | Status::Delivered | Status::Unknown)
                || other.look_first
                || other.possible_duplicate
                || other.sent_again
                || has_reached_some(other)
        };
        let earlier = others.clone().find(may_be_sent).map(|other| format!("the message {} has the same", other.id));
        // What was not compared may have been sent.
        let is_cut = found.len() >= SAME_ID as usize;
        Ok(earlier.or_else(|| is_cut.then(|| "many messages have the same".to_owned())))
    }

    /// What came of it, written down. False if something about the mailbox is wrong.
    fn judge(
        self: &Arc<Self>,
        sender: &Arc<Sending>,
        mut message: Message,
        at: Timestamp,
        began: Instant,
        answer: Answer,
    ) -> bool {
        let now = self.time.now();
        let made = |message: &Message, phase: &str, reply: &str, class| Attempt {
            number: message.attempts + 1,
            at,
            milliseconds: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            profile: sender.name.clone(),
            generation: sender.generation,
            server: answer.server.clone(),
            phase: phase.to_owned(),
            reply: reply.to_owned(),
            class,
            next_attempt_at: None,
        };
        let outcome = match answer.outcome {
            // Nobody was accepted, and the reason is the profile's or the mailbox's: it is as if MAIL had been refused.
            Ok(sent) if sent.reply.is_none() => match self.profiles_fault(sender, &message, &sent) {
                Some(failure) => Err(failure),
                None => Ok(sent),
            },
            Ok(sent) => {
                if let Some(line) = self.board().line(&sender.name) {
                    line.refusals.accept(message.id);
                    let now = Instant::now();
                    sent.refused.iter().for_each(|(_, failure)| line.refusals.excuse(failure, now));
                }
                Ok(sent)
            }
            // Replies of Graph say whom they are about.
            Err(failure) if matches!(failure.phase, "mail" | "data" | "dot") => {
                Err(self.attributed(sender, &message, failure).1)
            }
            Err(failure) => Err(failure),
        };
        let mut failure = match outcome {
            Ok(sent) => {
                let reply = sent.reply.clone().unwrap_or_default();
                let (phase, class) = summary(&sent);
                let shown = if reply.is_empty() {
                    sent.refused.first().map(|(_, failure)| failure.reply.clone()).unwrap_or_default()
                } else {
                    reply.clone()
                };
                let attempt = made(&message, phase, &shown, class);
                self.recovered(sender);
                let throttled = sent.refused.iter().find(|(_, failure)| failure.class == Class::Throttled);
                let patience = throttled.map(|(_, failure)| self.be_patient(sender, failure));
                self.after_sent(message, attempt, sent, now);
                return patience.is_none();
            }
            Err(failure) => failure,
        };
        tracing::info!(message = %message.id, profile = %sender.name, phase = failure.phase, class = ?failure.class, code = %failure.code(), "an attempt failed");
        let attempt = made(&message, failure.phase, &failure.reply, failure.class);
        message.reason = format!("{}: {}", failure.phase, failure.reply);
        let refused = std::mem::take(&mut failure.refused);
        // What is about the profile may have been the reason of each refusal, too.
        if failure.class != Class::Auth {
            apply_refusals(&mut message, &refused);
            if let Some((_, failure)) = refused.iter().find(|(_, failure)| failure.class == Class::Throttled) {
                self.be_patient(sender, failure);
            }
        }
        match failure.class {
            Class::Auth => {
                // The profile's fault: the attempt is told of and costs the message nothing.
                let next = self.park(sender, &failure).unwrap_or(now);
                message.status = Status::Queued;
                // Where it may be about this message after all, that waits behind the others until the profile is tried
                // again, and holds up none of them.
                message.next_attempt_at = Some(match failure.about {
                    About::Relay | About::Everyone => next,
                    _ if refusals::may_be_about_recipient(&failure) => next.min(now + BEHIND_OTHERS),
                    _ => now,
                });
                let attempt = Attempt { next_attempt_at: Some(next), ..attempt };
                self.settle(Settled { message, attempt: Some(attempt), events: Vec::new() });
                return false;
            }
            Class::Throttled => {
                let wait = self.be_patient(sender, &failure);
                self.retry(message, attempt, wait.max(Duration::from_secs(1)));
                return false;
            }
            Class::Transient if failure.phase == "begin" => {
                // Nothing was tried, for want of a store that records it.
                message.next_attempt_at = Some(now);
                self.give_back(vec![Claimed { message, content: None, paused_before: 0 }]);
                return true;
            }
            Class::Transient => {
                // Who says "not now" to a sender says so to everybody.
                let is_servers = failure.is_servers || failure.phase == "mail";
                if is_servers {
                    self.left_alone(sender);
                }
                let wait = failure.retry_after.unwrap_or_default().max(self.back_off(message.attempts + 1));
                self.retry(message, attempt, wait);
                return !is_servers;
            }
            Class::Unknown => {
                // Whatever takes one in doubt may take the next one so, too: nothing else goes until one has an answer.
                self.left_alone(sender);
                message.attempts += 1;
                self.settle(self.after_unknown(message, &failure.reply, Some(attempt), &refused));
                return false;
            }
            Class::Size | Class::Permanent | Class::Delivered => {
                for recipient in taken_up(&mut message, &refused) {
                    recipient.status = RecipientStatus::Failed;
                    recipient.reply.clone_from(&failure.reply);
                }
                if let Some(waits) = message.recipients.iter().find(|r| r.status == RecipientStatus::Waiting) {
                    message.reason = format!("rcpt: {}", waits.reply);
                    let wait = asked_wait(&refused).max(self.back_off(message.attempts + 1));
                    self.retry(message, attempt, wait);
                    self.recovered(sender);
                    return true;
                }
                message.attempts += 1;
                let mut settled = self.given_up(message, failure.reply);
                settled.attempt = Some(attempt);
                self.settle(settled);
            }
        }
        self.recovered(sender);
        true
    }

    /// The refusal of a message for which nobody was accepted, if it is about the profile or the mailbox.
    fn profiles_fault(&self, sender: &Sending, message: &Message, sent: &super::smtp::Sent) -> Option<Failure> {
        if let Some(index) = sent.everybodys() {
            let failure = sent.refused.get(index)?.1.clone();
            let (attribution, failure) = self.attributed(sender, message, failure);
            let is_messages = attribution == Attribution::Message && failure.class != Class::Throttled;
            return (!is_messages).then_some(failure);
        }
        // The same to all of them, and not a word about any.
        let is_alike = |(_, failure): &(String, Failure)| {
            failure.class == Class::Permanent && failure.about == About::Unstated && !failure.is_servers
        };
        let (_, first) = sent.refused.first().filter(|_| sent.refused.iter().all(is_alike))?;
        let (attribution, failure) = self.attributed(sender, message, first.clone());
        (attribution == Attribution::Profile).then_some(failure)
    }

    /// Returns the subject of a refusal of a whole message, and the refusal with the class that follows from it: a refusal
    /// of the profile never counts against the message.
    fn attributed(&self, sender: &Sending, message: &Message, failure: Failure) -> (Attribution, Failure) {
        let mut board = self.board();
        let Some(line) = board.line(&sender.name) else {
            let is_profiles = failure.class == Class::Auth;
            return (if is_profiles { Attribution::Profile } else { Attribution::Message }, failure);
        };
        let attribution = line.refusals.attribute(message.id, &failure, Instant::now());
        let failure = match (failure.class, attribution) {
            (_, Attribution::Undecided) => Failure { class: Class::Transient, ..failure },
            (Class::Auth, Attribution::Message) if failure.reply.starts_with('4') => {
                Failure { class: Class::Transient, ..failure }
            }
            (Class::Auth, Attribution::Message) => Failure { class: Class::Permanent, ..failure },
            (Class::Permanent, Attribution::Profile) => Failure {
                class: Class::Auth,
                about: About::Everyone,
                reply: format!("{} (the same to several messages in a row)", failure.reply),
                ..failure
            },
            _ => failure,
        };
        (attribution, failure)
    }

    /// The other side asked for patience: nothing else goes through the mailbox until then. Says how long that is.
    fn be_patient(&self, sender: &Sending, failure: &Failure) -> Duration {
        let wait = failure.retry_after.unwrap_or_else(|| THROTTLED.mul_f64(1.0 + super::chance() / 4.0));
        let wait = wait.min(LONGEST_PAUSE);
        if let Some(counter) = self.board().counters.get_mut(&sender.mailbox) {
            counter.paused_until = Some(Instant::now() + wait);
            counter.slow_down();
        }
        wait
    }

    /// The server of a profile is left alone for a moment; then one message goes first.
    fn left_alone(self: &Arc<Self>, sender: &Arc<Sending>) {
        let back = self.board().down(&sender.name, Instant::now(), super::chance());
        self.give_back(back);
    }

    /// The server answered, and had nothing against the profile.
    fn recovered(self: &Arc<Self>, sender: &Arc<Sending>) {
        self.board().up(&sender.name);
        self.resume(sender);
    }

    fn retry(self: &Arc<Self>, mut message: Message, attempt: Attempt, wait: Duration) {
        let due = self.time.after(wait);
        message.status = Status::Queued;
        message.attempts += 1;
        message.next_attempt_at = Some(due);
        self.settle(Settled {
            attempt: Some(Attempt { next_attempt_at: Some(due), ..attempt }),
            message,
            events: Vec::new(),
        });
    }

    /// The server had the whole message, for some at least.
    fn after_sent(self: &Arc<Self>, mut message: Message, attempt: Attempt, sent: super::smtp::Sent, now: Timestamp) {
        let reply = sent.reply.unwrap_or_default();
        apply_refusals(&mut message, &sent.refused);
        for recipient in taken_up(&mut message, &sent.refused) {
            recipient.status = RecipientStatus::Delivered;
            recipient.reply.clone_from(&reply);
        }
        if let Some(waits) = message.recipients.iter().find(|r| r.status == RecipientStatus::Waiting) {
            message.reason = format!("rcpt: {}", waits.reply);
            let wait = asked_wait(&sent.refused).max(self.back_off(message.attempts + 1));
            self.retry(message, attempt, wait);
            return;
        }
        message.attempts += 1;
        let (status, kind) = end(&message);
        let telling = match status {
            Status::Unknown => RecipientStatus::Unknown,
            _ => RecipientStatus::Failed,
        };
        let telling = message.recipients.iter().find(|recipient| recipient.status == telling);
        message.reason = telling.map_or(reply, |recipient| format!("{}: {}", recipient.address, recipient.reply));
        message.status = status;
        message.finished_at = Some(now);
        message.next_attempt_at = None;
        let events = vec![event(kind, &message, Some(&attempt), now)];
        self.settle(Settled { message, attempt: Some(attempt), events });
    }

    fn given_up(&self, mut message: Message, why: String) -> Settled {
        let now = self.time.now();
        for recipient in message.recipients.iter_mut().filter(|r| r.status == RecipientStatus::Waiting) {
            recipient.status = RecipientStatus::Failed;
            if recipient.reply.is_empty() {
                recipient.reply.clone_from(&why);
            }
        }
        // Of one recipient it may be unknown since an earlier attempt, and an operator has to look.
        let (status, kind) = match end(&message) {
            (Status::Unknown, kind) => (Status::Unknown, kind),
            _ => (Status::Failed, EventKind::Failed),
        };
        message.status = status;
        message.reason = why;
        message.finished_at = Some(now);
        message.next_attempt_at = None;
        let events = vec![event(kind, &message, None, now)];
        Settled { message, attempt: None, events }
    }

    fn found_sent(&self, mut message: Message, sender: &Sending) -> Settled {
        let now = self.time.now();
        for recipient in message.recipients.iter_mut().filter(|r| r.status == RecipientStatus::Waiting) {
            recipient.status = RecipientStatus::Delivered;
            "found in Sent Items".clone_into(&mut recipient.reply);
        }
        let (status, kind) = end(&message);
        message.status = status;
        message.look_first = false;
        message.reason = format!("found in Sent Items of `{}`", sender.name);
        message.finished_at = Some(now);
        message.next_attempt_at = None;
        let events = vec![event(kind, &message, None, now)];
        Settled { message, attempt: None, events }
    }

    /// Nobody can know whether it was taken: what the environment says about that.
    /// `refused` are those of whom it is known that it was not.
    pub(super) fn after_unknown(
        &self,
        mut message: Message,
        reply: &str,
        attempt: Option<Attempt>,
        refused: &[(String, Failure)],
    ) -> Settled {
        let routes = Arc::clone(&self.board().routes);
        let policy = routes.state().settings.delivery.unknown(message.function);
        let sender = routes.resolve(&message.company, message.function).profile;
        let can_look = sender
            .as_ref()
            .and_then(|name| routes.stored(name))
            .is_some_and(|stored| matches!(stored.profile.provider, Provider::MicrosoftGraphDirect(_)));
        let wait = match policy {
            Unknown::Retry => self.back_off(message.attempts.max(1)),
            // Sent Items say nothing about recipients that the server refused for now.
            Unknown::Look if can_look && refused.is_empty() => LOOK_AFTER,
            Unknown::Look | Unknown::Hold => return self.left_unknown(message, reply, attempt, refused),
        };
        let due = self.time.after(wait);
        message.look_first = policy == Unknown::Look;
        message.possible_duplicate |= policy == Unknown::Retry;
        message.status = Status::Queued;
        message.next_attempt_at = Some(due);
        message.reason = format!("unknown: {reply}");
        let attempt = attempt.map(|attempt| Attempt { next_attempt_at: Some(due), ..attempt });
        Settled { message, attempt, events: Vec::new() }
    }

    pub(super) fn left_unknown(
        &self,
        mut message: Message,
        reply: &str,
        attempt: Option<Attempt>,
        refused: &[(String, Failure)],
    ) -> Settled {
        let now = self.time.now();
        message.look_first = false;
        for recipient in taken_up(&mut message, refused) {
            recipient.status = RecipientStatus::Unknown;
            reply.clone_into(&mut recipient.reply);
        }
        if let Some(waits) = message.recipients.iter().find(|r| r.status == RecipientStatus::Waiting) {
            // It goes on for those who are to be tried again, and is unknown when they have their results.
            message.reason = format!("unknown for some: {reply}; rcpt: {}", waits.reply);
            let wait = asked_wait(refused).max(self.back_off(message.attempts.max(1)));
            let due = later(now, wait);
            message.status = Status::Queued;
            message.next_attempt_at = Some(due);
            let attempt = attempt.map(|attempt| Attempt { next_attempt_at: Some(due), ..attempt });
            return Settled { message, attempt, events: Vec::new() };
        }
        message.status = Status::Unknown;
        reply.clone_into(&mut message.reason);
        message.finished_at = Some(now);
        message.next_attempt_at = None;
        let events = vec![event(EventKind::Unknown, &message, attempt.as_ref(), now)];
        Settled { message, attempt, events }
    }
}

fn waiting(message: &Message) -> Vec<String> {
    let waiting = message.recipients.iter().filter(|recipient| recipient.status == RecipientStatus::Waiting);
    waiting.map(|recipient| recipient.address.clone()).collect()
}

/// Returns true if a message was delivered to a recipient, or may have been.
fn has_reached_some(message: &Message) -> bool {
    let is_reached = |status| matches!(status, RecipientStatus::Delivered | RecipientStatus::Unknown);
    message.recipients.iter().any(|recipient| is_reached(recipient.status))
}

/// Returns the refusals that [`Dispatcher::begin`] kept in a message: recipients that wait and have a reply were refused
/// for now.
pub(super) fn kept_refusals(message: &Message) -> Vec<(String, Failure)> {
    let is_refused =
        |recipient: &&Recipient| recipient.status == RecipientStatus::Waiting && !recipient.reply.is_empty();
    let refused = message.recipients.iter().filter(is_refused);
    refused
        .map(|recipient| (recipient.address.clone(), Failure::new("rcpt", recipient.reply.clone(), Class::Transient)))
        .collect()
}

/// Gives each recipient that was refused its own reply. Who was refused for now goes on waiting.
fn apply_refusals(message: &mut Message, refused: &[(String, Failure)]) {
    for recipient in message.recipients.iter_mut().filter(|r| r.status == RecipientStatus::Waiting) {
        let Some((_, failure)) = refused.iter().find(|(address, _)| *address == recipient.address) else { continue };
        recipient.reply.clone_from(&failure.reply);
        let is_temporary = matches!(failure.class, Class::Transient | Class::Throttled)
            || failure.class == Class::Auth && failure.reply.starts_with('4');
        if !is_temporary {
            recipient.status = RecipientStatus::Failed;
        }
    }
}

/// The recipients that wait and were not refused: those whom the outcome of an attempt is about.
fn taken_up<'a>(message: &'a mut Message, refused: &'a [(String, Failure)]) -> impl Iterator<Item = &'a mut Recipient> {
    let is_meant = |recipient: &&mut Recipient| {
        recipient.status == RecipientStatus::Waiting
            && !refused.iter().any(|(address, _)| *address == recipient.address)
    };
    message.recipients.iter_mut().filter(is_meant)
}

/// How long those who refused recipients ask to wait.
fn asked_wait(refused: &[(String, Failure)]) -> Duration {
    refused.iter().filter_map(|(_, failure)| failure.retry_after).max().unwrap_or_default()
}

/// The status of a message for which nobody waits any more, and its event: the worst of its recipients decides, and what
/// nobody knows is to be looked into first.
fn end(message: &Message) -> (Status, EventKind) {
    let has = |status| message.recipients.iter().any(|recipient| recipient.status == status);
    if has(RecipientStatus::Unknown) {
        (Status::Unknown, EventKind::Unknown)
    } else if has(RecipientStatus::Failed) {
        (Status::Failed, EventKind::Failed)
    } else {
        (Status::Delivered, EventKind::Delivered)
    }
}

/// What an attempt that got as far as the recipients is called.
fn summary(sent: &super::smtp::Sent) -> (&'static str, Class) {
    match (&sent.reply, sent.refused.first()) {
        (Some(_), _) => ("dot", Class::Delivered),
        (None, Some((_, failure))) => ("rcpt", failure.class),
        (None, None) => ("rcpt", Class::Permanent),
    }
}

/// What is told of a message, by the profile that sent it if one did.
fn event(kind: EventKind, message: &Message, attempt: Option<&Attempt>, at: Timestamp) -> NewEvent {
    let event = NewEvent::about(kind, message, at);
    match attempt {
        Some(attempt) => NewEvent { profile: Some(attempt.profile.clone()), ..event },
        None => event,
    }
}
