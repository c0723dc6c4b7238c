//! A way to a service that a test can cut and restore.

use std::{
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

/// A way to a service. While it is cut, connections are closed at once.
pub(crate) struct CutLine {
    pub(crate) address: String,
    /// The open connections; none while the line is cut.
    open: Arc<Mutex<Option<Vec<TcpStream>>>>,
}

impl CutLine {
    pub(crate) fn before(service: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let line = Self { address, open: Arc::new(Mutex::new(Some(Vec::new()))) };
        let (service, open) = (service.trim_start_matches("http://").to_owned(), Arc::clone(&line.open));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let mut open = open.lock().unwrap();
                let Some(open) = open.as_mut() else { continue };
                let Ok(server) = TcpStream::connect(&service) else { continue };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    std::thread::spawn(move || {
                        drop(std::io::copy(&mut from, &mut to));
                        drop(to.shutdown(Shutdown::Both));
                    });
                }
                open.extend([client, server]);
            }
        });
        line
    }

    /// Closes all connections, and accepts no others.
    pub(crate) fn cut(&self) {
        for stream in self.open.lock().unwrap().take().into_iter().flatten() {
            drop(stream.shutdown(Shutdown::Both));
        }
    }

    pub(crate) fn restore(&self) {
        *self.open.lock().unwrap() = Some(Vec::new());
    }
}
