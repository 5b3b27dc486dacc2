//! Tests of the gateway over real sockets.

mod api;
mod api_auth;
mod attacks;
mod channels;
mod event_stream;
mod frames;
mod fuzz;
mod handshake;
mod kafka;
mod large_pages;
mod lifecycle;
mod memory;
mod presence;
mod recovery;
mod send_queue;
pub(crate) mod test_brokers;
mod test_client;

use std::time::{Duration, Instant};

use super::Gateway;
use crate::config::gateway_settings::Settings;
use crate::gateway::testing::single_node;

pub use test_client::{Frame, TestClient};

pub const KEY: &str = "app-key";
pub const SECRET: &str = "4f9c1d7a20b86e35f1a7c9d2e4b60837";

/// Default settings with a free port.
pub fn settings() -> Settings {
    Settings {
        port: 0,
        app_id: "app".into(),
        key: KEY.into(),
        secrets: vec![SECRET.into()],
        ops_listen: None,
        ..Settings::default()
    }
}

/// Starts a gateway for one test.
pub fn gateway(change: impl FnOnce(&mut Settings)) -> Gateway {
    crate::monitoring::install();
    let mut settings = settings();
    change(&mut settings);
    single_node(settings).unwrap()
}

/// Waits up to five seconds until the condition holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(5);
    while !holds() {
        assert!(Instant::now() < end, "timed out: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
