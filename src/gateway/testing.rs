//! For tests and benchmarks: a gateway without Kafka.

use std::sync::{Arc, Weak};

use serde_json::value::RawValue;
use tokio::sync::watch;

use super::backend::{AdminRequest, AdminResponse, ApiEvent, BoxFuture, Cluster, NoHistory};
use super::broadcast::Broadcast;
use super::hub::Hub;
use super::protocol::incoming::Member;
use super::protocol::SocketId;
use super::{Backends, Gateway};
use crate::config::gateway_settings::Settings;
use crate::error::{Error, Result};

/// Starts a gateway without Kafka: its events come from [`Gateway::broadcast_locally`] and its HTTP API only.
///
/// # Errors
/// As [`Gateway::start_with`].
pub fn single_node(settings: Settings) -> Result<Gateway> {
    Gateway::start_with(settings, |hub, _| {
        Ok(Backends {
            cluster: Arc::new(SingleNode::new(hub)),
            history: Arc::new(NoHistory),
            stop: None,
        })
    })
}

/// A gateway without others.
pub struct SingleNode {
    hub: Weak<Hub>,
    ready: watch::Sender<bool>,
}

impl SingleNode {
    /// Creates it for the sockets of `hub`.
    #[must_use]
    pub fn new(hub: &Arc<Hub>) -> Self {
        Self {
            hub: Arc::downgrade(hub),
            ready: watch::Sender::new(true),
        }
    }
}

impl Cluster for SingleNode {
    fn joined(&self, _: &str, _: SocketId, _: &Member) {}
    fn left(&self, _: &str, _: SocketId) {}
    fn occupied(&self, _: &str, _: usize) {}
    fn client_event(&self, _: &str, _: &str, _: &RawValue, _: Option<&str>) {}

    fn presence_ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    fn publish(&self, events: Vec<ApiEvent>) -> BoxFuture<Result<()>> {
        let hub = self.hub.upgrade();
        Box::pin(async move {
            let hub = hub.ok_or_else(|| Error::connection("the gateway has stopped"))?;
            for event in events {
                let id = crate::ids::new_id();
                let data = event.data.get();
                let mut broadcast = Broadcast::new(&event.channel, &event.event, &id, data);
                broadcast.except = event.except;
                broadcast.exact = true;
                hub.channels().deliver(&Arc::new(broadcast));
            }
            Ok(())
        })
    }

    fn send_admin_request(&self, request: AdminRequest) -> BoxFuture<AdminResponse> {
        let response = match self.hub.upgrade() {
            Some(hub) => hub.handle_admin_request(&request),
            None => AdminResponse::default(),
        };
        Box::pin(async move { response })
    }

    fn ready(&self) -> std::result::Result<(), String> {
        Ok(())
    }
}
