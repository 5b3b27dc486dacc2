//! Every order of subscribing, becoming ready, finishing and failing replays and unsubscribing, on one and on two
//! channels: afterwards every subscribed channel has received one `realtime:recovered` and delivers live events.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::task::Context;
use std::time::{Duration, Instant};

use futures_util::task::noop_waker;
use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};

use super::client::Session;
use super::recover::SessionRecovery;
use super::socket::Socket;
use crate::config::gateway_settings::Settings;
use crate::gateway::backend::{
    AdminRequest, AdminResponse, ApiEvent, BoxFuture, Cluster, History, Replay, TokenSubject,
};
use crate::gateway::broadcast::{Broadcast, Position};
use crate::gateway::hub::Hub;
use crate::gateway::protocol::incoming::Subscribe;
use crate::gateway::protocol::{auth, SocketId};

const SECRET: &str = "4f9c1d7a20b86e35f1a7c9d2e4b60837";
const CHANNEL_DATA: &str = r#"{"user_id":"7"}"#;

/// A cluster whose presence becomes complete when the test says so.
struct ScriptedCluster(watch::Sender<bool>);

impl Cluster for ScriptedCluster {
    fn presence_ready(&self) -> watch::Receiver<bool> {
        self.0.subscribe()
    }
    fn publish(&self, _: Vec<ApiEvent>) -> BoxFuture<crate::error::Result<()>> {
        Box::pin(async { Ok(()) })
    }
    fn send_admin_request(&self, _: AdminRequest) -> BoxFuture<AdminResponse> {
        Box::pin(async { AdminResponse::default() })
    }
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}

/// A history whose replays finish when the test says so.
#[derive(Default)]
struct ScriptedHistory(Mutex<VecDeque<oneshot::Sender<Replay>>>);

impl History for ScriptedHistory {
    fn position(&self, _: &str) -> Position {
        Position::new()
    }
    fn token(&self, _: &TokenSubject, _: &Position) -> Option<String> {
        None
    }
    fn previous_socket(&self, _: &str, _: &str) -> Option<SocketId> {
        "1.1".parse().ok()
    }
    fn replay(
        self: Arc<Self>,
        _: String,
        _: String,
        _: Option<String>,
        _: bool,
    ) -> BoxFuture<Replay> {
        let (sender, receiver) = oneshot::channel();
        self.0.lock().push_back(sender);
        Box::pin(async { receiver.await.unwrap_or_default() })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Subscribe(usize),
    Unsubscribe(usize),
    PresenceReady,
    ReplaySucceeds,
    ReplayFails,
}

const STEPS: [Step; 7] = [
    Step::Subscribe(0),
    Step::Subscribe(1),
    Step::PresenceReady,
    Step::ReplaySucceeds,
    Step::ReplayFails,
    Step::Unsubscribe(0),
    Step::Unsubscribe(1),
];

struct Scenario<'a> {
    channels: [&'a str; 2],
    hub: Arc<Hub>,
    cluster: Arc<ScriptedCluster>,
    history: Arc<ScriptedHistory>,
    session: Session,
    /// `realtime:recovered` frames of each channel since it was last unsubscribed.
    recovered: [usize; 2],
    /// Frames of the event `live`.
    live: [usize; 2],
}

impl<'a> Scenario<'a> {
    fn new(channels: [&'a str; 2], settings: &Arc<Settings>) -> Self {
        let hub = Hub::new(Arc::clone(settings), Arc::default());
        let cluster = Arc::new(ScriptedCluster(watch::Sender::new(false)));
        let history = Arc::<ScriptedHistory>::default();
        hub.attach(Arc::clone(&cluster) as _, Some(Arc::clone(&history) as _));
        let id: SocketId = "1.2".parse().expect("an id");
        let socket = Arc::new(Socket::new(id, IpAddr::V4(Ipv4Addr::LOCALHOST), 1 << 20));
        let session = Session::new(Arc::clone(&hub), socket, Instant::now());
        Self {
            channels,
            hub,
            cluster,
            history,
            session,
            recovered: [0; 2],
            live: [0; 2],
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Subscribe(at) => {
                let channel = self.channels[at];
                let tokens = [(channel.to_owned(), "token".to_owned())];
                self.session.recovery.resume(tokens.into());
                let data = channel.starts_with("presence-").then_some(CHANNEL_DATA);
                let text = auth::subscription_text(self.session.socket.id, channel, data);
                let request = serde_json::json!({
                    "channel": channel,
                    "auth": format!("app-key:{}", auth::signature(SECRET, &text)),
                    "channel_data": data,
                })
                .to_string();
                let request: Subscribe<'_> = serde_json::from_str(&request).expect("a request");
                self.session.subscribe(&request, Instant::now());
            }
            Step::Unsubscribe(at) => {
                self.session.unsubscribe(self.channels[at]);
                self.read_frames();
                self.recovered[at] = 0;
            }
            Step::PresenceReady => {
                self.cluster.0.send_replace(true);
            }
            Step::ReplaySucceeds => {
                let running = self.history.0.lock().pop_front();
                let replay = Replay {
                    recovered: true,
                    ..Replay::default()
                };
                let _ = running.map(|running| running.send(replay));
            }
            Step::ReplayFails => drop(self.history.0.lock().pop_front()),
        }
        self.run();
    }

    /// As the connection's task: completes work as long as some is ready.
    fn run(&mut self) {
        let waker = noop_waker();
        let mut context = Context::from_waker(&waker);
        while self.session.poll_work(&mut context).is_ready() {
            self.session.complete_work();
        }
        self.read_frames();
    }

    fn read_frames(&mut self) {
        let batch = self.session.socket.take();
        for queued in batch.frames {
            self.session.socket.written(queued.frame.len(), 1);
            let text = String::from_utf8_lossy(&queued.frame);
            for (at, channel) in self.channels.iter().enumerate() {
                if text.contains(&format!("\"channel\":\"{channel}\"")) {
                    self.recovered[at] += usize::from(text.contains("realtime:recovered"));
                    self.live[at] += usize::from(text.contains("\"event\":\"live\""));
                }
            }
        }
    }

    /// Lets everything finish; then every subscribed channel must be live.
    fn check(mut self, steps: &[Step]) {
        self.step(Step::PresenceReady);
        // Cancelled replays are still in the history.
        while !self.history.0.lock().is_empty() {
            self.step(Step::ReplaySucceeds);
        }
        assert!(self.session.pending_joins.is_empty(), "{steps:?}");
        for (at, channel) in self.channels.into_iter().enumerate() {
            if self.session.socket.channel(channel).is_none() {
                continue;
            }
            let mut broadcast = Broadcast::new(channel, "live", "1", "1");
            broadcast.exact = true;
            self.hub.channels().deliver(&Arc::new(broadcast));
            self.read_frames();
            assert_eq!(self.recovered[at], 1, "{channel} after {steps:?}");
            assert_eq!(self.live[at], 1, "{channel} after {steps:?}");
        }
        self.hub.unregister(&self.session.socket);
    }
}

fn settings() -> Arc<Settings> {
    Arc::new(Settings {
        key: "app-key".into(),
        secrets: vec![SECRET.into()],
        presence_joins: 1_000,
        replays_per_minute: 1_000,
        ..Settings::default()
    })
}

fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().build().expect("a runtime")
}

/// All sequences of `length` steps.
fn check_all(channels: [&str; 2], length: u32) {
    let runtime = runtime();
    let _context = runtime.enter();
    let settings = settings();
    for mut number in 0..STEPS.len().pow(length) {
        let mut steps = Vec::new();
        for _ in 0..length {
            steps.push(STEPS[number % STEPS.len()]);
            number /= STEPS.len();
        }
        let mut scenario = Scenario::new(channels, &settings);
        for step in &steps {
            scenario.step(*step);
        }
        scenario.check(&steps);
    }
}

#[test]
fn no_order_of_events_leaves_a_presence_and_a_private_channel_silent() {
    check_all(["presence-a", "private-b"], 6);
}

#[test]
fn no_order_of_events_leaves_two_presence_channels_silent() {
    check_all(["presence-a", "presence-b"], 5);
}

#[test]
fn no_order_of_events_leaves_two_private_channels_silent() {
    check_all(["private-a", "private-cache-b"], 5);
}

#[test]
fn a_presence_subscription_that_is_refused_after_its_wait_is_counted() {
    let runtime = runtime();
    let _context = runtime.enter();
    let settings = Settings {
        max_channels: 1,
        ..Settings::clone(&settings())
    };
    let mut scenario = Scenario::new(["presence-a", "presence-b"], &Arc::new(settings));
    scenario.step(Step::Subscribe(0));
    scenario.step(Step::Subscribe(1));
    scenario.step(Step::PresenceReady);
    assert_eq!(scenario.session.socket.subscriptions(), 1);
    assert_eq!(scenario.hub.counters().subscriptions_refused.get(), 1);
}

#[test]
fn a_replay_that_never_finishes_goes_live_at_its_deadline() {
    let runtime = runtime();
    let channels = ["private-a", "private-b"];
    runtime.block_on(async {
        let mut scenario = Scenario::new(channels, &settings());
        let session = &mut scenario.session;
        let timeout = Duration::from_millis(100);
        session.recovery =
            SessionRecovery::new(&session.hub, &session.socket, Instant::now(), timeout);
        scenario.step(Step::Subscribe(0));
        scenario.step(Step::Subscribe(1));
        assert_eq!(scenario.recovered, [0, 0]);
        tokio::time::sleep(Duration::from_millis(150)).await;
        scenario.run();
        assert_eq!(scenario.recovered, [1, 1]);
        assert_eq!(scenario.hub.counters().not_recovered.get(), 2);
        scenario.check(&[]);
    });
}
