//! A peer that writes down what it is sent: a proxy that should not be asked, a service that the files chose.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
    time::Duration,
};

use super::own::own_loopback;

/// A server that answers everything in the same way, and keeps what it was sent.
pub(crate) struct Recorder {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Recorder {
    /// Starts a server that refuses.
    pub(crate) fn start() -> Self {
        Self::answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned())
    }

    /// Starts a server with this response.
    pub(crate) fn answering(answer: String) -> Self {
        let listener = TcpListener::bind((own_loopback(), 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(mut stream), kept, answer) = (stream, Arc::clone(&kept), answer.clone()) else { continue };
                std::thread::spawn(move || {
                    drop(stream.set_read_timeout(Some(Duration::from_secs(10))));
                    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
                    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                        match stream.read(&mut buffer) {
                            Ok(read @ 1..) => request.extend_from_slice(&buffer[..read]),
                            _ => break,
                        }
                    }
                    // Before the response: a client that has it is recorded.
                    kept.lock().unwrap().push(String::from_utf8_lossy(&request).into_owned());
                    drop(stream.write_all(answer.as_bytes()));
                });
            }
        });
        Self { address, seen }
    }

    pub(crate) fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns everything that it was sent so far.
    pub(crate) fn seen(&self) -> String {
        self.seen.lock().unwrap().join("\n")
    }
}
