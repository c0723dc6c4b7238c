//! A mail server with scripted replies: it refuses a command, keeps silent, hangs up, answers byte by byte. It records
//! the mail that it accepted, and a test can wait for a command and act at exactly that moment.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

/// The reaction to a command.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// The usual answer.
    Usual,
    /// This answer.
    Reply(&'static str),
    /// These bytes, as they are.
    Bytes(&'static [u8]),
    /// This answer, so many times; then the usual one.
    ReplyTimes(u32, &'static str),
    /// Nothing, for ever.
    Silent,
    /// Nothing until something else is to be done; then that.
    Held,
    /// The connection ends.
    HangUp,
    /// It ends so many times; then the usual answer.
    HangUpTimes(u32),
    /// The usual answer, a byte every so many milliseconds.
    Slowly(u64),
}

/// A mail that the server accepted.
#[derive(Clone, Debug)]
pub(crate) struct ReceivedMail {
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    pub(crate) content: String,
    /// The connection that it came by, counted from 1.
    pub(crate) connection: usize,
}

impl ReceivedMail {
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        header(&self.content, name)
    }
}

/// The first value of a header, unfolded.
pub(crate) fn header(content: &str, name: &str) -> Option<String> {
    let head = content.split("\r\n\r\n").next()?.replace("\r\n ", " ").replace("\r\n\t", " ");
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

#[derive(Default)]
struct State {
    actions: HashMap<&'static str, Action>,
    /// The number of bytes of contents that are read before it hangs up.
    cut_after: Option<usize>,
    /// The number of bytes that are read before it stops reading.
    stall_after: Option<usize>,
    /// If set, it then reads one byte per second instead.
    drips: bool,
    extensions: Vec<String>,
    received: Vec<ReceivedMail>,
    seen: HashMap<&'static str, usize>,
    users: Vec<(String, String)>,
    /// The line of the reply to EHLO that offers logins.
    auth: Option<&'static str>,
    /// The challenges for a name and for a password (LOGIN), or for both (PLAIN).
    challenges: Option<(&'static str, &'static str)>,
    /// Every login that was tried: the connection, the password, whether it was right.
    logins: Vec<(usize, String, bool)>,
    connections: usize,
    open: usize,
    most_open: usize,
    commands: Vec<String>,
}

/// The server; it ends with the test.
#[derive(Clone)]
pub(crate) struct Sink {
    pub(crate) port: u16,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Sink {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let sink = Self { port, state: Arc::default() };
        sink.with(|state| {
            state.extensions =
                ["8BITMIME", "SMTPUTF8", "SIZE 36700160", "ENHANCEDSTATUSCODES"].map(str::to_owned).into();
        });
        let server = sink.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = server.clone();
                std::thread::spawn(move || {
                    let connection = server.with(|state| {
                        state.connections += 1;
                        state.open += 1;
                        state.most_open = state.most_open.max(state.open);
                        state.connections
                    });
                    // A peer that goes away ends its own connection and nothing else.
                    drop(server.serve_connection(stream, connection));
                    server.with(|state| state.open -= 1);
                });
            }
        });
        sink
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let result = work(&mut self.state.0.lock().unwrap());
        self.state.1.notify_all();
        result
    }

    /// Sets the reaction to a command from now on: connect, ehlo, starttls, handshake, auth, mail, rcpt, data, dot.
    pub(crate) fn on(&self, verb: &'static str, action: Action) {
        self.with(|state| state.actions.insert(verb, action));
    }

    pub(crate) fn cut_after(&self, bytes: Option<usize>) {
        self.with(|state| state.cut_after = bytes);
    }

    /// Reads so much of the contents and then no more, for ever; seen as `stalled`.
    pub(crate) fn stall_after(&self, bytes: Option<usize>) {
        self.with(|state| state.stall_after = bytes);
    }

    /// Reads so much of the contents and then a byte a second; seen as `stalled`.
    pub(crate) fn drip_after(&self, bytes: usize) {
        self.with(|state| (state.stall_after, state.drips) = (Some(bytes), true));
    }

    pub(crate) fn extensions(&self, lines: &[&str]) {
        self.with(|state| state.extensions = lines.iter().map(|line| (*line).to_owned()).collect());
    }

    /// The accounts that may log in. Without any, no login is offered.
    pub(crate) fn users(&self, users: &[(&str, &str)]) {
        self.with(|state| {
            state.users = users.iter().map(|(user, password)| ((*user).to_owned(), (*password).to_owned())).collect();
        });
    }

    /// Sets the line of the reply to EHLO that offers logins.
    pub(crate) fn auth(&self, line: &'static str) {
        self.with(|state| state.auth = Some(line));
    }

    /// Sets the challenges for a name and for a password; PLAIN gets the first one instead of being read with the
    /// command.
    pub(crate) fn challenges(&self, name: &'static str, password: &'static str) {
        self.with(|state| state.challenges = Some((name, password)));
    }

    /// The passwords that were tried so far, and whether each was right.
    pub(crate) fn logins(&self) -> Vec<(String, bool)> {
        self.with(|state| state.logins.iter().map(|(_, password, right)| (password.clone(), *right)).collect())
    }

    /// The password that each letter came by.
    pub(crate) fn passwords_used(&self) -> Vec<String> {
        self.with(|state| {
            let password = |connection: usize| {
                let own = state.logins.iter().rev().find(|(own, _, right)| *own == connection && *right);
                own.map(|(_, password, _)| password.clone()).unwrap_or_default()
            };
            state.received.iter().map(|received| password(received.connection)).collect()
        })
    }

    pub(crate) fn received(&self) -> Vec<ReceivedMail> {
        self.with(|state| state.received.clone())
    }

    /// Returns the mail of one sender: a service of another test may reach this port too.
    pub(crate) fn received_from(&self, sender: &str) -> Vec<ReceivedMail> {
        self.received().into_iter().filter(|mail| mail.from == sender).collect()
    }

    pub(crate) fn connections(&self) -> usize {
        self.with(|state| state.connections)
    }

    pub(crate) fn most_open(&self) -> usize {
        self.with(|state| state.most_open)
    }

    pub(crate) fn commands(&self) -> Vec<String> {
        self.with(|state| state.commands.clone())
    }

    /// Returns how often a command was seen, or `content` for the first byte of contents.
    pub(crate) fn seen(&self, what: &'static str) -> usize {
        self.with(|state| state.seen.get(what).copied().unwrap_or_default())
    }

    /// Waits until something was seen so often.
    pub(crate) fn wait_for(&self, what: &'static str, times: usize) {
        self.wait(&format!("{times} times {what}"), |state| state.seen.get(what).copied().unwrap_or_default() >= times);
    }

    /// Waits until so many mails were taken.
    pub(crate) fn wait_received(&self, count: usize) -> Vec<ReceivedMail> {
        self.wait(&format!("{count} mails"), |state| state.received.len() >= count);
        self.received()
    }

    fn wait(&self, what: &str, done: impl Fn(&State) -> bool) {
        let until = Instant::now() + Duration::from_secs(120);
        let mut state = self.state.0.lock().unwrap();
        while !done(&state) {
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited for {what}: {} received, seen {:?}", state.received.len(), state.seen);
            state = self.state.1.wait_timeout(state, left).unwrap().0;
        }
    }

    /// Returns the reaction to a command, and counts the command.
    fn act(&self, verb: &'static str) -> Action {
        self.with(|state| {
            *state.seen.entry(verb).or_default() += 1;
            let act = state.actions.get_mut(verb);
            match act {
                None | Some(Action::ReplyTimes(0, _) | Action::HangUpTimes(0)) => Action::Usual,
                Some(Action::ReplyTimes(left, text)) => {
                    *left -= 1;
                    Action::Reply(text)
                }
                Some(Action::HangUpTimes(left)) => {
                    *left -= 1;
                    Action::HangUp
                }
                Some(act) => act.clone(),
            }
        })
    }

    /// Answers at a verb. False if the conversation is over.
    fn answer(&self, stream: &mut TcpStream, verb: &'static str, usual: &str) -> std::io::Result<bool> {
        let mut act = self.act(verb);
        if act == Action::Held {
            self.wait(&format!("something to do at {verb}"), |state| state.actions.get(verb) != Some(&Action::Held));
            act = self.with(|state| state.actions.get(verb).cloned()).unwrap_or(Action::Usual);
        }
        match act {
            Action::Held | Action::Usual | Action::ReplyTimes(..) | Action::HangUpTimes(_) => {
                stream.write_all(format!("{usual}\r\n").as_bytes())?;
                Ok(usual.starts_with(['2', '3']))
            }
            Action::Reply(text) => {
                stream.write_all(format!("{text}\r\n").as_bytes())?;
                Ok(text.starts_with(['2', '3']))
            }
            Action::Bytes(bytes) => {
                stream.write_all(bytes)?;
                Ok(bytes.starts_with(b"2") || bytes.starts_with(b"3"))
            }
            Action::Silent => {
                std::thread::sleep(Duration::from_secs(3600));
                Ok(false)
            }
            Action::HangUp => Err(std::io::ErrorKind::ConnectionAborted.into()),
            Action::Slowly(pause) => {
                for byte in format!("{usual}\r\n").bytes() {
                    stream.write_all(&[byte])?;
                    std::thread::sleep(Duration::from_millis(pause));
                }
                Ok(usual.starts_with(['2', '3']))
            }
        }
    }

    fn serve_connection(&self, mut stream: TcpStream, connection: usize) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        if !self.answer(&mut stream, "connect", "220 sink ESMTP")? {
            return Ok(());
        }
        let mut reader = BufReader::new(stream.try_clone()?);
        let (mut from, mut to) = (String::new(), Vec::new());
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim_end().to_owned();
            self.with(|state| state.commands.push(line.clone()));
            let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            match verb.as_str() {
                "EHLO" | "HELO" => {
                    let (mut lines, has_users) = self.with(|state| (state.extensions.clone(), !state.users.is_empty()));
                    if has_users {
                        let auth = self.with(|state| state.auth).unwrap_or("AUTH PLAIN LOGIN");
                        lines.push(auth.to_owned());
                    }
                    lines.insert(0, "sink".to_owned());
                    let last = lines.len() - 1;
                    let lines: Vec<String> = lines
                        .iter()
                        .enumerate()
                        .map(|(index, line)| format!("250{}{line}", if index == last { " " } else { "-" }))
                        .collect();
                    let own = self.with(|state| state.actions.contains_key("helo"));
                    if verb == "HELO" && own {
                        self.answer(&mut stream, "helo", "250 sink")?;
                    } else {
                        self.answer(&mut stream, "ehlo", &lines.join("\r\n"))?;
                    }
                }
                "AUTH" => {
                    use base64::{Engine as _, prelude::BASE64_STANDARD};
                    let decoded = |text: &str| {
                        String::from_utf8(BASE64_STANDARD.decode(text.trim()).unwrap_or_default()).unwrap_or_default()
                    };
                    let mut words = line.split(' ').skip(1);
                    let mechanism = words.next().unwrap_or_default().to_ascii_uppercase();
                    let challenges = self.with(|state| state.challenges);
                    let mut asked = |stream: &mut TcpStream, challenge: &str| {
                        stream.write_all(format!("334 {challenge}\r\n").as_bytes())?;
                        let mut line = String::new();
                        reader.read_line(&mut line)?;
                        Ok::<String, std::io::Error>(decoded(&line))
                    };
                    let (user, password) = if mechanism == "LOGIN" {
                        let (name, password) = challenges.unwrap_or(("VXNlcm5hbWU6", "UGFzc3dvcmQ6"));
                        (asked(&mut stream, name)?, asked(&mut stream, password)?)
                    } else {
                        let said = match challenges {
                            Some((name, _)) => asked(&mut stream, name)?,
                            None => decoded(words.next().unwrap_or_default()),
                        };
                        let mut parts = said.split('\0').skip(1).map(str::to_owned);
                        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
                    };
                    let known = self.with(|state| {
                        let known = state.users.iter().any(|own| own.0 == user && own.1 == password);
                        state.logins.push((connection, password.clone(), known));
                        known
                    });
                    let usual = if known { "235 2.7.0 ok" } else { "535 5.7.8 authentication failed" };
                    self.answer(&mut stream, "auth", usual)?;
                }
                "MAIL" => {
                    to.clear();
                    if self.answer(&mut stream, "mail", "250 2.1.0 ok")? {
                        from = address(&line);
                    }
                }
                "RCPT" => {
                    let recipient = address(&line);
                    // A recipient can contain the reply to it: 550=a@... is refused with 550.
                    let requested = recipient.split_once('=').map(|(code, _)| match code {
                        "relay" => format!("554 5.7.1 <{recipient}>: Relay access denied"),
                        code => format!("{code} {}.1.1 about this one", &code[..1]),
                    });
                    if self.answer(&mut stream, "rcpt", requested.as_deref().unwrap_or("250 2.1.5 ok"))? {
                        to.push(recipient);
                    }
                }
                "DATA" => {
                    if !self.answer(&mut stream, "data", "354 go ahead")? {
                        continue;
                    }
                    let Some(content) = self.content(&mut reader)? else { return Ok(()) };
                    let received =
                        ReceivedMail { from: from.clone(), to: std::mem::take(&mut to), content, connection };
                    // It is taken before the answer is on its way: that is what makes `unknown` possible.
                    let act = self.with(|state| state.actions.get("dot").cloned());
                    let refuses = matches!(act, Some(Action::Reply(_) | Action::ReplyTimes(1.., _)))
                        || matches!(act, Some(Action::Bytes(bytes)) if !bytes.starts_with(b"2"));
                    if !refuses {
                        self.with(|state| state.received.push(received));
                    }
                    self.answer(&mut stream, "dot", "250 2.0.0 taken")?;
                }
                // STARTTLS ends after its reply: this server has no certificate.
                "STARTTLS" => {
                    if self.answer(&mut stream, "starttls", "220 2.0.0 go ahead")? {
                        self.act("handshake");
                        let act = self.with(|state| state.actions.get("handshake").cloned());
                        if act == Some(Action::Silent) {
                            std::thread::sleep(Duration::from_secs(3600));
                        }
                        return Ok(());
                    }
                }
                "RSET" | "NOOP" => stream.write_all(b"250 2.0.0 ok\r\n")?,
                "QUIT" => {
                    stream.write_all(b"221 2.0.0 bye\r\n")?;
                    return Ok(());
                }
                _ => stream.write_all(b"500 5.5.1 what\r\n")?,
            }
        }
    }

    fn content(&self, reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<String>> {
        // In one step: a test that waits for the contents may change the reaction to the next ones.
        let (cut, stall, drips) = self.with(|state| {
            *state.seen.entry("content").or_default() += 1;
            (state.cut_after, state.stall_after, state.drips)
        });
        let mut content = Vec::new();
        loop {
            let mut line = Vec::new();
            if reader.read_until(b'\n', &mut line)? == 0 {
                return Ok(None);
            }
            if line == b".\r\n" {
                return Ok(Some(String::from_utf8_lossy(&content).into_owned()));
            }
            content.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
            if cut.is_some_and(|cut| content.len() >= cut) {
                return Ok(None);
            }
            if stall.is_some_and(|stall| content.len() >= stall) {
                self.with(|state| *state.seen.entry("stalled").or_default() += 1);
                if !drips {
                    std::thread::sleep(Duration::from_secs(3600));
                }
                // Not by the buffered reader, which would take more from the connection at once.
                let mut byte = [0];
                while reader.get_mut().read(&mut byte)? == 1 {
                    std::thread::sleep(Duration::from_secs(1));
                }
                return Ok(None);
            }
        }
    }
}

fn address(line: &str) -> String {
    line.split_once('<')
        .and_then(|(_, rest)| rest.split_once('>'))
        .map_or(String::new(), |(address, _)| address.to_owned())
}
