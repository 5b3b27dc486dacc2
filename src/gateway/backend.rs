//! What the sockets' side asks of the rest: [`Cluster`] for the other gateways, [`History`] for what was missed. [`SingleNode`] and
//! [`NoHistory`] stand in where there is no Kafka.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};

use serde_json::value::RawValue;
use tokio::sync::watch;

use super::admin_api::{AdminRequest, AdminResponse};
use super::broadcast::{Broadcast, Position};
use super::hub::Hub;
use super::protocol::frame::Member;
use super::protocol::SocketId;

/// A future without a name.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// An event of the HTTP API on its way to all gateways.
#[derive(Debug, Clone)]
pub struct ApiEvent {
    /// The socket channel, by its exact name.
    pub channel: String,
    /// Name of the event.
    pub event: String,
    /// The JSON that the caller's data string holds; a JSON string where it holds none.
    pub data: Box<RawValue>,
    /// The socket to leave out.
    pub except: Option<SocketId>,
}

/// All gateways together.
pub trait Cluster: Send + Sync {
    /// A socket of this gateway joined a presence channel; `first` says that no gateway had the user before.
    fn joined(&self, channel: &str, socket: SocketId, member: &Member, first: bool);
    /// A socket of this gateway left a presence channel; `last` says that no gateway has the user any more.
    fn left(&self, channel: &str, socket: SocketId, user_id: &str, last: bool);
    /// This gateway's sockets on any channel became `sockets`; 0 for none left. Called for 0 → 1 and 1 → 0 only.
    fn occupied(&self, channel: &str, sockets: usize);
    /// A client event for the sockets of other gateways.
    fn client_event(&self, channel: &str, event: &str, data: &RawValue, user_id: Option<&str>);
    /// True once every gateway heard from has told its members.
    fn presence_ready(&self) -> watch::Receiver<bool>;
    /// Sends events of the HTTP API to all gateways. Ready once Kafka has acknowledged them; an error in words where it did not.
    fn publish(&self, events: Vec<ApiEvent>) -> BoxFuture<Result<(), String>>;
    /// Asks all gateways; what does not answer in time is left out.
    fn ask(&self, question: AdminRequest) -> BoxFuture<AdminResponse>;
    /// The gateway stops, and its first socket is about to be closed: members stay with the other gateways for a moment, so that they can
    /// come back there.
    fn drain(&self) {}
    /// Whether Kafka is reached and presence is whole; else why not, in words.
    fn ready(&self) -> Result<(), String>;
}

/// Whom a position belongs to.
#[derive(Debug, Clone)]
pub struct TokenSubject {
    /// The socket channel.
    pub channel: String,
    /// The socket.
    pub socket: SocketId,
    /// Its signed-in user.
    pub user: Option<String>,
}

/// What a client missed on a channel.
#[derive(Debug, Default)]
pub struct Replay {
    /// Whether this is everything.
    pub recovered: bool,
    /// The events in order: only such that reach the channel, none twice, none that was withheld from the old socket.
    pub events: Vec<Arc<Broadcast>>,
    /// Everything below is among them or does not concern the channel.
    pub up_to: Position,
    /// Whether Kafka was read for it.
    pub scanned: bool,
}

/// Positions, and what came after them.
///
/// For every record the reader of Kafka first keeps it here, then hands it to [`Hub::deliver`], then moves the position on: a
/// subscriber is entered before its replay starts, so nothing falls between.
pub trait History: Send + Sync {
    /// Next offsets of all that feeds the socket channel: everything below was handed to [`Hub::deliver`], which has returned.
    fn position(&self, channel: &str) -> Position;
    /// The position as an opaque text; `None` where the channel cannot be recovered.
    fn token(&self, holder: &TokenSubject, position: &Position) -> Option<String>;
    /// True if [`Self::replay`] would accept the token for this channel now. Cheap: called for every token a client sends.
    fn accepts(&self, token: &str, channel: &str) -> bool;
    /// What came after a token, for the same channel and user. Without `may_scan` only from memory: this socket had its share of Kafka.
    fn replay(
        &self,
        token: String,
        channel: String,
        user: Option<String>,
        may_scan: bool,
    ) -> BoxFuture<Replay>;
}

/// A gateway that has no other beside it.
pub struct SingleNode {
    hub: Weak<Hub>,
    ready: watch::Sender<bool>,
}

impl SingleNode {
    /// For the sockets of `hub`.
    #[must_use]
    pub fn new(hub: &Arc<Hub>) -> Self {
        Self {
            hub: Arc::downgrade(hub),
            ready: watch::Sender::new(true),
        }
    }
}

impl Cluster for SingleNode {
    fn joined(&self, _: &str, _: SocketId, _: &Member, _: bool) {}
    fn left(&self, _: &str, _: SocketId, _: &str, _: bool) {}
    fn occupied(&self, _: &str, _: usize) {}
    fn client_event(&self, _: &str, _: &str, _: &RawValue, _: Option<&str>) {}

    fn presence_ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    fn publish(&self, events: Vec<ApiEvent>) -> BoxFuture<Result<(), String>> {
        let hub = self.hub.upgrade();
        Box::pin(async move {
            let hub = hub.ok_or("the gateway is closed")?;
            for event in events {
                hub.deliver(&Arc::new(Broadcast {
                    channel: event.channel.into(),
                    event: event.event.into(),
                    id: crate::ids::new_id().into(),
                    data: super::protocol::frame::quoted(event.data.get()).into(),
                    except: event.except,
                    public: false,
                    exact: true,
                    at: None,
                }));
            }
            Ok(())
        })
    }

    fn ask(&self, question: AdminRequest) -> BoxFuture<AdminResponse> {
        let answer = match self.hub.upgrade() {
            Some(hub) => hub.handle_admin_request(&question),
            None => AdminResponse::default(),
        };
        Box::pin(async move { answer })
    }

    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}

/// A gateway that keeps nothing: no positions, nothing recovered.
pub struct NoHistory;

impl History for NoHistory {
    fn position(&self, _: &str) -> Position {
        Position::new()
    }

    fn token(&self, _: &TokenSubject, _: &Position) -> Option<String> {
        None
    }

    fn accepts(&self, _: &str, _: &str) -> bool {
        false
    }

    fn replay(&self, _: String, _: String, _: Option<String>, _: bool) -> BoxFuture<Replay> {
        Box::pin(async { Replay::default() })
    }
}
