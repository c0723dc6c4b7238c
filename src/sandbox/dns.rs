//! Name server of the sandbox: text records of the scenario, over UDP.
//!
//! Other records and other names do not exist. It forwards no query. A question that cannot be parsed gets no answer; a fault of
//! the scenario is SERVFAIL.

use std::sync::Arc;

use hickory_resolver::proto::{
    op::{Message, MessageType, OpCode, ResponseCode},
    rr::{RData, Record, RecordType, rdata::TXT},
};
use tokio::net::UdpSocket;

use super::Sandbox;

/// Answers until the sandbox ends.
pub(super) async fn serve(sandbox: Arc<Sandbox>, socket: UdpSocket) {
    let mut buffer = [0; 4096];
    while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
        if let Some(answer) = answer(&sandbox, &buffer[..length]) {
            drop(socket.send_to(&answer, peer).await);
        }
    }
}

fn answer(sandbox: &Sandbox, question: &[u8]) -> Option<Vec<u8>> {
    let asked = Message::from_vec(question).ok()?;
    let query = asked.queries.first()?.clone();
    let name = query.name().to_ascii().trim_end_matches('.').to_lowercase();
    let scenario = sandbox.scenario();
    let texts = scenario.dns.iter().find(|(known, _)| known.to_lowercase() == name).map(|(_, texts)| texts);
    let mut message = Message::new(asked.metadata.id, MessageType::Response, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.metadata.recursion_available = true;
    if sandbox.take_fault(&format!("dns/{name}")).is_some() {
        message.metadata.response_code = ResponseCode::ServFail;
        message.add_query(query);
        return message.to_vec().ok();
    }
    match texts {
        Some(texts) if query.query_type() == RecordType::TXT => {
            for text in texts {
                // A text record is sent in parts of at most 255 bytes.
                let parts =
                    text.as_bytes().chunks(255).map(|part| String::from_utf8_lossy(part).into_owned()).collect();
                message.add_answer(Record::from_rdata(query.name().clone(), 60, RData::TXT(TXT::new(parts))));
            }
        }
        Some(_) => {}
        None => message.metadata.response_code = ResponseCode::NXDomain,
    }
    message.add_query(query);
    message.to_vec().ok()
}
