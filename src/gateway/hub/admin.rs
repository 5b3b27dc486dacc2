//! Queries and commands of operators and of the HTTP API, for the sockets of this gateway.

use std::sync::Arc;

use super::Hub;
use crate::gateway::backend::{AdminRequest, AdminResponse, ConnectionInfo, Target};
use crate::gateway::protocol::Close;
use crate::gateway::session::Socket;

impl Hub {
    /// Answers a query, or carries out a command, for this gateway.
    pub fn handle_admin_request(&self, request: &AdminRequest) -> AdminResponse {
        let mut response = AdminResponse::default();
        match request {
            AdminRequest::Channels { prefix } => {
                response.channels = self
                    .occupancy()
                    .into_iter()
                    .filter(|(name, _)| name.starts_with(prefix.as_str()))
                    .collect();
            }
            AdminRequest::Channel { name } => {
                let sockets = self.find(name).map(|c| c.state.lock().subscribers.len());
                if let Some(sockets) = sockets.filter(|n| *n > 0) {
                    response.channels.insert(name.clone(), sockets);
                }
            }
            AdminRequest::Connections { target } => {
                let match_all = target.is_empty();
                response.connections = self
                    .sockets()
                    .iter()
                    .filter(|socket| match_all || self.matches(socket, target))
                    .map(|socket| self.describe(socket))
                    .collect();
            }
            AdminRequest::Terminate { user } => response.count = self.terminate_user(user),
            AdminRequest::Kick { target } => response.count = self.kick(target),
            AdminRequest::Unsubscribe { target, channel } => {
                response.count = self.unsubscribe(target, channel);
            }
        }
        response
    }

    /// Closes the connections of a signed-in user with 4009 and returns their number.
    pub fn terminate_user(&self, user: &str) -> usize {
        let ids: Vec<_> = {
            let users = self.users.lock();
            users.get(user).into_iter().flatten().copied().collect()
        };
        let sockets: Vec<Arc<Socket>> = {
            let all = self.sockets.lock();
            ids.iter().filter_map(|id| all.get(id).cloned()).collect()
        };
        for socket in &sockets {
            disconnect(socket, "Terminated by the application");
        }
        sockets.len()
    }

    /// Closes connections with 4009 and returns their number. An empty target matches none.
    pub fn kick(&self, target: &Target) -> usize {
        let mut count = 0;
        for socket in self.matching_sockets(target) {
            disconnect(&socket, "Closed by an operator");
            count += 1;
        }
        count
    }

    /// Ends subscriptions to a channel and returns their number. Each client receives an error on the channel.
    pub fn unsubscribe(&self, target: &Target, channel: &str) -> usize {
        let mut count = 0;
        for socket in self.matching_sockets(target) {
            if self.unsubscribe_socket(&socket, channel) {
                socket.push(crate::gateway::protocol::frame::subscription_error(
                    channel,
                    401,
                    "The subscription was ended by the server.",
                ));
                count += 1;
            }
        }
        count
    }

    fn matching_sockets(&self, target: &Target) -> Vec<Arc<Socket>> {
        if target.is_empty() {
            return Vec::new();
        }
        let mut sockets = self.sockets();
        sockets.retain(|socket| self.matches(socket, target));
        sockets
    }

    fn matches(&self, socket: &Socket, target: &Target) -> bool {
        target.socket.is_none_or(|id| id == socket.id)
            && target
                .user
                .as_ref()
                .is_none_or(|user| socket.user() == Some(user) || self.is_member(socket, user))
            && target
                .channel
                .as_ref()
                .is_none_or(|name| socket.channel(name).is_some())
    }

    fn is_member(&self, socket: &Socket, user: &str) -> bool {
        let channels = socket.channels();
        channels.iter().any(|channel| {
            self.presence
                .user_of(&self.node, channel.name(), socket.id)
                .as_deref()
                == Some(user)
        })
    }

    fn describe(&self, socket: &Socket) -> ConnectionInfo {
        ConnectionInfo {
            socket: socket.id,
            node: self.node.to_string(),
            address: socket.address.to_string(),
            user: socket.user().map(str::to_owned),
            channels: socket
                .channels()
                .iter()
                .map(|c| c.name().to_owned())
                .collect(),
            seconds: socket.opened.elapsed().as_secs(),
            queued: socket.queued(),
        }
    }
}

fn disconnect(socket: &Socket, why: &str) {
    socket.push(crate::gateway::protocol::frame::error(
        Close::Unauthorized.code(),
        why,
    ));
    socket.close(Close::Unauthorized, why);
}
