//! The gateway as clients see it: real sockets, raw bytes where that is how one attacks.

mod api;
mod api_auth;
mod attacks;
mod channels;
mod frames;
mod fuzz;
mod handshake;
mod kafka;
mod lifecycle;
mod nodes;
mod presence;
mod recovery;
mod send_queue;
mod settings;
mod test_client;

use std::time::{Duration, Instant};

use super::settings::Settings;
use super::Gateway;

pub use test_client::{Frame, TestClient};

pub const KEY: &str = "app-key";
pub const SECRET: &str = "4f9c1d7a20b86e35f1a7c9d2e4b60837";

/// Settings for a free port, nothing else changed.
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

/// A gateway of its own for a test.
pub fn gateway(change: impl FnOnce(&mut Settings)) -> Gateway {
    let mut settings = settings();
    change(&mut settings);
    Gateway::alone(settings).unwrap()
}

/// Waits until something holds, five seconds at most.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(5);
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
