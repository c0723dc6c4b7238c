//! Waits for the end of a command that runs until it is stopped, such as `serve`: Ctrl-C, SIGTERM, or the end of standard
//! input.
//!
//! Rollouts handle signals themselves, because the first one only pauses them.

use tokio::signal::unix::{SignalKind, signal};

/// Waits for Ctrl-C or SIGTERM, or for the end of standard input if `at_end_of_input` is set.
pub(super) async fn wait_for_stop(at_end_of_input: bool) {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    let input_ended = async move {
        if !at_end_of_input {
            return std::future::pending().await;
        }
        drop(tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await);
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
        () = input_ended => {}
    }
}
