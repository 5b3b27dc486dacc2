//! Accepts connections within limits and sees each through its handshake.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicUsize;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::connection::{refuse, serve, Socket};
use super::connection_limit::{
    acquire, acquire_for_address, acquire_unbounded, ConnectionPermit, PerAddress,
};
use super::handshake_limit::{PendingConnections, PendingGuard};
use super::http::proxy::{self, Network};
use super::http::request::{self, Request, RequestError};
use super::http::respond::{respond, Response};
use super::http::{api, handshake, ops};
use super::hub::Hub;
use super::protocol::{Close, SocketId};
use super::sys;
use crate::log::Level;

/// Connections that have not said yet what they want: so many, and at most this part of all descriptors.
const MAX_PENDING: usize = 4096;
const PENDING_SHARE: usize = 4;
/// Of these from one address that counts, where the settings do not allow it more connections.
const MAX_PENDING_PER_ADDRESS: usize = 64;
/// From this part of the permits on, in eighths, it is worth a word that descriptors bound them.
const WARN_AT_EIGHTHS: usize = 7;

/// What a port is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Sockets and the HTTP API.
    Everything,
    /// Sockets only: the API has a port of its own.
    Sockets,
    /// The HTTP API only.
    Api,
    /// `/metrics`, `/live` and `/ready`.
    Operations,
}

/// What all ports share.
pub struct Acceptor {
    hub: Arc<Hub>,
    trusted: Vec<Network>,
    /// Connections that may be open, by settings and file descriptors.
    max_connections: usize,
    /// Descriptors that connections of any kind may take.
    descriptors: usize,
    tcp_connections: Arc<AtomicUsize>,
    sockets: Arc<AtomicUsize>,
    addresses: Arc<PerAddress>,
    pending: Arc<PendingConnections>,
}

/// A connection's id, and its permits in all and for its address.
type Admitted = (SocketId, (ConnectionPermit, Option<ConnectionPermit>));

impl Acceptor {
    /// For the hub, with `descriptors` file descriptors for the whole process.
    #[must_use]
    pub fn new(hub: Arc<Hub>, descriptors: usize) -> Arc<Self> {
        let settings = hub.settings();
        let trusted = settings
            .trusted_proxies
            .iter()
            .filter_map(|n| Network::parse(n))
            .collect();
        let spare = descriptors
            .saturating_sub(settings.descriptor_reserve)
            .max(1);
        Arc::new(Self {
            trusted,
            // Refusals need a descriptor too, for a moment.
            max_connections: settings.max_connections.min(spare - spare / 16),
            descriptors: spare,
            tcp_connections: Arc::default(),
            sockets: Arc::default(),
            addresses: Arc::default(),
            pending: PendingConnections::new(
                MAX_PENDING.min(spare / PENDING_SHARE),
                MAX_PENDING_PER_ADDRESS.max(settings.max_connections_per_address),
            ),
            hub,
        })
    }

    /// Connections that may be open at once.
    #[must_use]
    pub fn max_connections(&self) -> usize {
        self.max_connections
    }

    /// Accepts until `stop` says so, then takes what waits in the queue already and closes the port.
    pub async fn accept(
        self: Arc<Self>,
        listener: TcpListener,
        role: Role,
        mut stop: watch::Receiver<bool>,
    ) {
        loop {
            let accepted = tokio::select! {
                biased;
                accepted = listener.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let acceptor = Arc::clone(&self);
                    let Some(permit) = self.acquire_permit() else {
                        self.hub.counters().descriptors_short.add_one();
                        continue;
                    };
                    tokio::spawn(acceptor.handle_connection(stream, peer, role, permit));
                }
                Err(e) => self.handle_accept_error(&e).await,
            }
        }
    }

    /// A descriptor for one more connection; where they are out, somebody who has not decided has to go for it.
    fn acquire_permit(&self) -> Option<ConnectionPermit> {
        acquire(&self.tcp_connections, self.descriptors).or_else(|| {
            self.pending
                .drop_oldest()
                .then(|| acquire_unbounded(&self.tcp_connections))
        })
    }

    async fn handle_accept_error(&self, error: &io::Error) {
        // The peer gave up already: nothing to wait for.
        if matches!(
            error.kind(),
            io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::Interrupted
        ) {
            return;
        }
        self.hub.counters().descriptors_short.add_one();
        say(
            Level::Warning,
            &format!("The gateway cannot accept connections for a moment: {error}."),
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    /// One connection from its first byte to its handshake or answer.
    async fn handle_connection(
        self: Arc<Self>,
        mut stream: TcpStream,
        peer: SocketAddr,
        role: Role,
        permit: ConnectionPermit,
    ) {
        let peer = peer.ip().to_canonical();
        let is_trusted = peer.is_loopback() || self.trusted.iter().any(|n| n.contains(peer));
        let mut pending = self.pending.insert((!is_trusted).then_some(peer));
        let _ = stream.set_nodelay(true);
        let settings = Arc::clone(self.hub.settings());
        sys::bound_send_buffer(&stream, settings.send_buffer);
        let end = request::deadline(settings.handshake_timeout);
        let head = request::read_head(&mut stream, settings.max_header, end);
        let mut request = match pending
            .run_until_evicted(head)
            .await
            .unwrap_or(Err(RequestError::Evicted))
        {
            Ok(request) => request,
            Err(bad) => return self.respond_error(&mut stream, bad).await,
        };
        if request.is_upgrade() && matches!(role, Role::Everything | Role::Sockets) {
            drop(pending);
            return self.upgrade(stream, peer, request, permit).await;
        }
        match self
            .respond_to_http(&mut stream, role, &mut request, pending, end)
            .await
        {
            Ok(response) => respond(&mut stream, &response).await,
            Err(bad) => self.respond_error(&mut stream, bad).await,
        }
    }

    /// Whatever is no handshake.
    async fn respond_to_http(
        &self,
        stream: &mut TcpStream,
        role: Role,
        request: &mut Request,
        mut pending: PendingGuard,
        end: tokio::time::Instant,
    ) -> Result<Response, RequestError> {
        if request.content_length > self.hub.settings().max_body {
            return Err(RequestError::Status(
                413,
                "The body of the request is too large.",
            ));
        }
        match (role, request.path.as_str()) {
            (Role::Operations, path) => Ok(ops::answer(
                &self.hub,
                &request.method,
                path,
                request.header("accept"),
            )),
            (_, "/up") if request.method == "GET" => Ok(Response::text(200, "OK\n")),
            (_, "/up") if request.method == "HEAD" => Ok(Response::text(200, "")),
            (Role::Everything | Role::Api, path) if api::is_route(path) => {
                // Who asks is known before the body is read: nobody else's is kept.
                let signed = match api::authenticate(&self.hub, request) {
                    Ok(signed) => signed,
                    Err(response) => return Ok(response),
                };
                let body = pending
                    .run_until_evicted(request::read_body(stream, request, end))
                    .await;
                let body = body.unwrap_or(Err(RequestError::Evicted))?;
                drop(pending);
                Ok(api::answer(&self.hub, request, &signed, &body).await)
            }
            (_, path) if path.starts_with("/app/") => {
                Ok(Response::text(426, "This is a WebSocket's address.\n"))
            }
            _ => Ok(Response::text(404, "Nothing here.\n")),
        }
    }

    async fn respond_error(&self, stream: &mut TcpStream, bad: RequestError) {
        match bad {
            RequestError::Status(status, why) => {
                self.hub.counters().bad_requests.add_one();
                respond(stream, &Response::text(status, format!("{why}\n"))).await;
            }
            RequestError::Timeout => {
                self.hub.counters().handshake_timeouts.add_one();
                respond(stream, &Response::text(408, "The request took too long.\n")).await;
            }
            RequestError::Evicted => self.hub.counters().handshake_timeouts.add_one(),
            RequestError::Disconnected => {}
        }
    }

    async fn upgrade(
        self: Arc<Self>,
        mut stream: TcpStream,
        peer: IpAddr,
        request: Request,
        permit: ConnectionPermit,
    ) {
        let accept = match handshake::accept_key(&request) {
            Ok(accept) => accept,
            Err((status, why)) => {
                return self
                    .respond_error(&mut stream, RequestError::Status(status, why))
                    .await
            }
        };
        if handshake::switch(&mut stream, &accept).await.is_err() {
            return;
        }
        let client = proxy::client_address(
            peer,
            &self.trusted,
            request.header_values("x-forwarded-for"),
        );
        if client.missing_forwarded_for {
            crate::process::current().log.say_once(
                Level::Warning,
                "A trusted proxy sends no X-Forwarded-For: connections are not limited per address. In nginx: proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
            );
        }
        match self.admit(&request, &client) {
            Ok((id, permits)) => {
                let settings = self.hub.settings();
                let socket = Arc::new(Socket::new(id, client.address, settings.max_queue));
                let hub = Arc::clone(&self.hub);
                // A task of its own: the one of the handshake is larger.
                tokio::spawn(async move {
                    let _permits = (permit, permits);
                    serve(stream, hub, socket, request.remaining).await;
                });
            }
            Err((close, why)) => {
                self.hub.counters().connections_refused.add_one();
                refuse(stream, close, why).await;
            }
        }
    }

    /// Whether the client may have a connection: its application, its page, and room.
    fn admit(
        &self,
        request: &Request,
        client: &proxy::ClientAddress,
    ) -> Result<Admitted, (Close, &'static str)> {
        let settings = self.hub.settings();
        handshake::check(settings, request).map_err(|close| match close {
            Close::Unauthorized => (
                close,
                "This origin may not connect (realtime.gateway.allowed_origins)",
            ),
            _ => (close, close.reason()),
        })?;
        let total_permit = acquire(&self.sockets, self.max_connections)
            .ok_or((Close::OverCapacity, "Too many connections"))?;
        self.warn_near_descriptor_limit();
        let address_permit = if client.is_limited {
            let most = u32::try_from(settings.max_connections_per_address).unwrap_or(u32::MAX);
            let permit = acquire_for_address(&self.addresses, client.address, most);
            Some(permit.ok_or((
                Close::OverCapacity,
                "Too many connections from this address",
            ))?)
        } else {
            None
        };
        let id =
            SocketId::random().map_err(|_| (Close::OverCapacity, "No randomness for an id"))?;
        Ok((id, (total_permit, address_permit)))
    }

    /// Fewer descriptors than connections are allowed: said when it begins to matter, not at every start.
    fn warn_near_descriptor_limit(&self) {
        let wanted = self.hub.settings().max_connections;
        let taken = self.sockets.load(std::sync::atomic::Ordering::Relaxed);
        if self.max_connections < wanted && taken >= self.max_connections / 8 * WARN_AT_EIGHTHS {
            crate::process::current().log.say_once(
                Level::Warning,
                &format!(
                    "{taken} connections are open, and the gateway takes {} of the {wanted} allowed (max_connections): the process may open too few files. Raise LimitNOFILE, or the hard limit of ulimit -n.",
                    self.max_connections
                ),
            );
        }
    }
}

/// A line for the host's log.
pub(super) fn say(level: Level, text: &str) {
    crate::process::current().log.say(level, text);
}
