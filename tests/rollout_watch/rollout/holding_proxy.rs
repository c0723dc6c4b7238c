//! A way to a service that a test can hold up.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

/// A way to a service that can be held up: the first request that begins so waits until it is let through.
pub(crate) struct HoldingProxy {
    pub(crate) address: String,
    shared: Arc<(Mutex<HeldRequests>, Condvar)>,
}

#[derive(Default)]
struct HeldRequests {
    /// The requests to hold; without any, everything passes.
    what: Option<&'static str>,
    waits: bool,
}

impl HoldingProxy {
    pub(crate) fn before(service: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::<(Mutex<HeldRequests>, Condvar)>::default();
        let (service, own) = (service.trim_start_matches("http://").to_owned(), Arc::clone(&shared));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, service, own) = (client.unwrap(), service.clone(), Arc::clone(&own));
                std::thread::spawn(move || pass(client, &service, &own));
            }
        });
        Self { address, shared }
    }

    pub(crate) fn hold(&self, what: &'static str) {
        self.shared.0.lock().unwrap().what = Some(what);
    }

    /// Waits until a request is held.
    pub(crate) fn wait(&self) {
        let until = Instant::now() + Duration::from_secs(120);
        while !self.shared.0.lock().unwrap().waits {
            assert!(Instant::now() < until, "no request came");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Releases the held requests.
    pub(crate) fn open(&self) {
        self.shared.0.lock().unwrap().waits = false;
        self.shared.1.notify_all();
    }
}

fn pass(mut client: TcpStream, service: &str, (held, opened): &(Mutex<HeldRequests>, Condvar)) {
    let mut server = TcpStream::connect(service).unwrap();
    let (mut from, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    std::thread::spawn(move || drop(std::io::copy(&mut from, &mut to)));
    let mut buffer = [0; 65536];
    while let Ok(read @ 1..) = client.read(&mut buffer) {
        let mut state = held.lock().unwrap();
        if state.what.is_some_and(|what| buffer[..read].starts_with(what.as_bytes())) {
            // Only one is held; later requests pass.
            (state.what, state.waits) = (None, true);
            drop(opened.wait_while(state, |state| state.waits).unwrap());
        } else {
            drop(state);
        }
        if server.write_all(&buffer[..read]).is_err() {
            return;
        }
    }
}
