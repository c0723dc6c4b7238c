//! Senders and addresses of one test alone. Ports are used again: a service of another test may connect to a port that was its
//! own before and is now that of this test. A test that expects nothing recognises its own mail by the sender, and its own HTTP
//! requests by an address that no other test has.

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicU32, Ordering},
};

/// Returns an address that no other profile sends from.
pub(crate) fn own_sender() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("erp-{}-{}@example.com", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Returns the rest of a profile that sends from an address.
pub(crate) fn sending_from(sender: &str) -> String {
    format!("from: {{ address: {sender}, name: ERP }}\n")
}

/// Returns a loopback address that no other test uses, since each test is a process. Only Linux has more than one address.
pub(crate) fn own_loopback() -> Ipv4Addr {
    if !cfg!(target_os = "linux") {
        return Ipv4Addr::LOCALHOST;
    }
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    // 127.0.0.1 belongs to all, and so does 127.9.9.9.
    Ipv4Addr::new(127, 100 + high % 100, middle, low)
}
