//! A stand-in for GitHub, GitLab and Azure DevOps, which answers as their documentation says: it keeps comments.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

/// A forge: the comments that it has, and what was asked of it.
#[derive(Clone, Default)]
pub(crate) struct Forge {
    pub(crate) comments: Arc<Mutex<Vec<(u64, String)>>>,
    pub(crate) requests: Arc<Mutex<Vec<(String, String, Value)>>>,
    pub(crate) address: String,
    /// Answered instead of everything else.
    status: Option<u16>,
}

impl Forge {
    pub(crate) fn start(status: Option<u16>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let forge = Self { address: format!("http://{}", listener.local_addr().unwrap()), status, ..Self::default() };
        let own = forge.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                own.answer(stream);
            }
        });
        forge
    }

    fn answer(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let mut words = line.split_whitespace().map(str::to_owned);
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (mut length, mut head) = (0, String::new());
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if line.trim().is_empty() {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            head.push_str(&line);
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        self.requests.lock().unwrap().push((format!("{method} {path}"), head, body.clone()));
        let (status, answer) = match self.status {
            Some(status) => (status, json!({ "message": "no" })),
            None => (200, self.serve(&method, &path, &body)),
        };
        let answer = answer.to_string();
        drop(write!(
            stream,
            "HTTP/1.1 {status} Answer\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}",
            answer.len()
        ));
    }

    fn serve(&self, method: &str, path: &str, body: &Value) -> Value {
        let azure = path.contains("/threads");
        let text = |body: &Value| {
            let own = body["body"]
                .as_str()
                .or_else(|| body["content"].as_str())
                .or_else(|| body["comments"][0]["content"].as_str());
            own.unwrap().to_owned()
        };
        let mut comments = self.comments.lock().unwrap();
        match method {
            "GET" => {
                let parameter = |name: &str| {
                    path.split(['?', '&'])
                        .find_map(|part| part.strip_prefix(&format!("{name}=")))
                        .and_then(|value| value.parse::<usize>().ok())
                };
                let items = comments.iter().map(|(id, text)| {
                    if azure {
                        json!({ "id": id, "comments": [{ "id": 1, "content": text }] })
                    } else {
                        json!({ "id": id, "body": text })
                    }
                });
                if azure {
                    return json!({ "value": items.collect::<Vec<_>>() });
                }
                let (size, page) = (parameter("per_page").unwrap_or(20), parameter("page").unwrap_or(1));
                items.skip(size * (page - 1)).take(size).collect()
            }
            "POST" => {
                let id = 100 + comments.len() as u64;
                comments.push((id, text(body)));
                json!({ "id": id })
            }
            _ => {
                let segments: Vec<&str> = path.split('?').next().unwrap().split('/').collect();
                let id = if azure { segments[segments.len() - 3] } else { segments[segments.len() - 1] };
                let found = comments.iter_mut().find(|(own, _)| own.to_string() == id).unwrap();
                found.1 = text(body);
                json!({ "id": found.0 })
            }
        }
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.requests.lock().unwrap().iter().map(|(line, _, _)| line.clone()).collect()
    }
}
