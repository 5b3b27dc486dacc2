//! Accepts connections within limits, and answers requests: the WebSocket handshake, event streams, the HTTP API,
//! `/up` and the operations endpoints.
//!
//! Every response other than 101 closes the connection, so a second request on it is never read.

pub mod api;
pub mod event_stream;
pub mod handshake;
mod limits;
pub(in crate::gateway) mod ports;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicUsize;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use self::limits::{
    acquire, acquire_for_address, client_address, network, ClientAddress, ConnectionPermit,
    PendingConnections, PendingGuard, PerAddress,
};
use self::ports::{bound_buffers, set_user_timeout};
use super::hub::Hub;
use super::protocol::{Close, SocketId};
use super::session::{refuse, serve, Input, Socket};
use crate::http::request::Request;
use crate::http::{invite_body, request, respond, RequestError, Response};
use crate::log::{Level, MinuteLog};
use crate::metrics::handle_request;

/// Maximum number of pending connections, which is also limited to this share of the file descriptors.
const MAX_PENDING: usize = 4096;
const PENDING_SHARE: usize = 4;
/// Minimum limit of pending connections per address.
const MAX_PENDING_PER_ADDRESS: usize = 64;
/// The warning about file descriptors is logged when this share of the permits, in eighths, is taken.
const WARN_AT_EIGHTHS: usize = 7;

/// Size of the kernel's receive buffer per connection, in bytes. Left to itself it grows to megabytes while reading
/// is delayed.
const RECEIVE_BUFFER: usize = 64 << 10;

/// The purpose of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Sockets and the HTTP API.
    Everything,
    /// Sockets only; the HTTP API has a port of its own.
    Sockets,
    /// The HTTP API only.
    Api,
    /// `/metrics`, `/live` and `/ready`.
    Operations,
}

/// Accepts connections on all ports.
pub struct Acceptor {
    hub: Arc<Hub>,
    trusted: Vec<IpNet>,
    /// Maximum number of open WebSocket connections, by settings and file descriptors.
    max_connections: usize,
    /// Maximum number of TCP connections of any kind.
    descriptors: usize,
    tcp_connections: Arc<AtomicUsize>,
    sockets: Arc<AtomicUsize>,
    addresses: Arc<PerAddress>,
    pending: Arc<PendingConnections>,
    total_refusals: MinuteLog,
    address_refusals: MinuteLog,
}

/// The id of an admitted connection, its total permit and its permit per address.
type Admitted = (SocketId, (ConnectionPermit, Option<ConnectionPermit>));

impl Acceptor {
    /// `descriptors`: file descriptors of the whole process.
    #[must_use]
    pub fn new(hub: Arc<Hub>, descriptors: usize) -> Arc<Self> {
        let settings = hub.settings();
        let trusted = settings
            .trusted_proxies
            .iter()
            .filter_map(|n| network(n))
            .collect();
        let spare = descriptors
            .saturating_sub(settings.descriptor_reserve)
            .max(1);
        Arc::new(Self {
            trusted,
            // Refused connections need a descriptor for a moment, too.
            max_connections: settings.max_connections.min(spare - spare / 16),
            descriptors: spare,
            tcp_connections: Arc::default(),
            sockets: Arc::default(),
            addresses: Arc::default(),
            total_refusals: MinuteLog::default(),
            address_refusals: MinuteLog::default(),
            pending: PendingConnections::new(
                MAX_PENDING.min(spare / PENDING_SHARE),
                // One address never takes all of them, however many connections it may have.
                MAX_PENDING_PER_ADDRESS
                    .max(settings.max_connections_per_address.min(MAX_PENDING / 2)),
            ),
            hub,
        })
    }

    /// Maximum number of open WebSocket connections.
    #[must_use]
    pub fn max_connections(&self) -> usize {
        self.max_connections
    }

    /// Accepts connections until `stop` is set, then those already in the backlog, and closes the port.
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

    /// Acquires a permit for a TCP connection; when all are taken, the oldest pending connection is dropped for it.
    fn acquire_permit(&self) -> Option<ConnectionPermit> {
        acquire(&self.tcp_connections, self.descriptors).or_else(|| {
            let has_room = self.pending.drop_oldest();
            has_room.then(|| acquire(&self.tcp_connections, usize::MAX))?
        })
    }

    async fn handle_accept_error(&self, error: &io::Error) {
        // The peer has disconnected already.
        if matches!(
            error.kind(),
            io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::Interrupted
        ) {
            return;
        }
        self.hub.counters().descriptors_short.add_one();
        crate::runtime::warn(format!(
            "The gateway cannot accept connections at the moment: {error}."
        ));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    /// Handles a connection until its handshake or response.
    async fn handle_connection(
        self: Arc<Self>,
        mut stream: TcpStream,
        peer: SocketAddr,
        role: Role,
        permit: ConnectionPermit,
    ) {
        let peer = peer.ip().to_canonical();
        let is_trusted = peer.is_loopback() || self.trusted.iter().any(|n| n.contains(&peer));
        let mut pending = self.pending.insert((!is_trusted).then_some(peer));
        let _ = stream.set_nodelay(true);
        let settings = Arc::clone(self.hub.settings());
        bound_buffers(&stream, settings.send_buffer, RECEIVE_BUFFER);
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
        if role != Role::Operations {
            request.strip_prefix(&settings.path_prefix);
        }
        if request.is_upgrade() && matches!(role, Role::Everything | Role::Sockets) {
            drop(pending);
            return self.upgrade(stream, peer, request, permit).await;
        }
        if request.path == event_stream::PATH && matches!(role, Role::Everything | Role::Sockets) {
            drop(pending);
            return self.stream_events(stream, peer, request, permit).await;
        }
        match self
            .respond_to_http(&mut stream, role, &mut request, pending, end)
            .await
        {
            Ok(response) => respond(&mut stream, &response, request.is_head()).await,
            Err(bad) => self.respond_error(&mut stream, bad).await,
        }
    }

    /// Answers a request that is not a WebSocket handshake.
    async fn respond_to_http(
        &self,
        stream: &mut TcpStream,
        role: Role,
        request: &mut Request,
        mut pending: PendingGuard,
        end: tokio::time::Instant,
    ) -> Result<Response, RequestError> {
        let max_body = self.hub.settings().max_body;
        if request.content_length > max_body {
            return Err(RequestError::Status(
                413,
                "The request body is too large (realtime.gateway.max_body).",
            ));
        }
        match (role, request.path.as_str()) {
            (Role::Operations, path) => Ok(handle_request(
                &request.method,
                path,
                request.header("accept"),
                Some(&*self.hub),
            )),
            (_, "/up") if matches!(request.method.as_str(), "GET" | "HEAD") => {
                Ok(Response::text(200, "OK\n"))
            }
            (Role::Everything | Role::Api, path) if api::is_route(path) => {
                // The signature is checked before the body is read, so that no body of an unauthenticated client is
                // buffered.
                let signed = match api::authenticate(&self.hub, request) {
                    Ok(signed) => signed,
                    Err(response) => return Ok(response),
                };
                if request.expects_continue() {
                    invite_body(stream).await;
                }
                let body = pending
                    .run_until_evicted(request::read_body(stream, request, max_body, end))
                    .await;
                let body = body.unwrap_or(Err(RequestError::Evicted))?;
                drop(pending);
                Ok(api::response(&self.hub, request, &signed, &body).await)
            }
            (Role::Everything | Role::Sockets, event_stream::TICKET_PATH) => {
                Ok(event_stream::issue_ticket(self.hub.settings(), request))
            }
            (_, path) if path.starts_with("/app/") => Ok(Response::text(
                426,
                "This URL is for WebSocket connections.\n",
            )),
            _ => Ok(Response::text(404, "Not found.\n")),
        }
    }

    async fn respond_error(&self, stream: &mut TcpStream, bad: RequestError) {
        match bad {
            RequestError::Status(status, why) => {
                self.hub.counters().bad_requests.add_one();
                respond(stream, &Response::text(status, format!("{why}\n")), false).await;
            }
            RequestError::Timeout => {
                self.hub.counters().handshake_timeouts.add_one();
                let late = Response::text(408, "The request did not arrive in time.\n");
                respond(stream, &late, false).await;
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
        let response = handshake::switch(&accept);
        let client = self.client_address(peer, &request);
        match self.admit(&request, &client) {
            Ok((id, permits)) => {
                let settings = self.hub.settings();
                let socket = Arc::new(Socket::new(id, client.address, settings.max_queue));
                let hub = Arc::clone(&self.hub);
                // A new task, because the handshake's task needs more memory.
                tokio::spawn(async move {
                    let _permits = (permit, permits);
                    let received = request.remaining;
                    serve(stream, hub, socket, Input::WebSocket { response, received }).await;
                });
            }
            Err((close, why)) => {
                self.hub.counters().connections_refused.add_one();
                refuse(stream, &response, close, why).await;
            }
        }
    }

    /// Answers `GET /sse` with an event stream, which counts as a connection like a WebSocket.
    async fn stream_events(
        self: Arc<Self>,
        mut stream: TcpStream,
        peer: IpAddr,
        request: Request,
        permit: ConnectionPermit,
    ) {
        let start = match event_stream::parse(&self.hub, &request) {
            Ok(start) => start,
            Err(response) => return respond(&mut stream, &response, request.is_head()).await,
        };
        let client = self.client_address(peer, &request);
        let (id, permits) = match self.acquire_permits(&client) {
            Ok(admitted) => admitted,
            Err((_, why)) => {
                self.hub.counters().connections_refused.add_one();
                event_stream::refuse(&mut stream, &start, why).await;
                return;
            }
        };
        if event_stream::begin(&mut stream, &start).await.is_err() {
            return;
        }
        let settings = self.hub.settings();
        set_user_timeout(&stream, settings.activity_timeout + settings.pong_timeout);
        let mut socket = Socket::new(id, client.address, settings.max_queue);
        socket.authorized_id = start.socket_id.unwrap_or(id);
        let (hub, socket) = (Arc::clone(&self.hub), Arc::new(socket));
        tokio::spawn(async move {
            let _permits = (permit, permits);
            serve(stream, hub, socket, Input::EventStream(start.messages)).await;
        });
    }

    /// The client's address, by the headers of trusted proxies.
    fn client_address(&self, peer: IpAddr, request: &Request) -> ClientAddress {
        let client = client_address(
            peer,
            &self.trusted,
            request.header_values("x-forwarded-for"),
        );
        if client.missing_forwarded_for {
            crate::runtime::current().log.write_once(
                Level::Warning,
                "A trusted proxy sends no X-Forwarded-For: connections are not limited per address. In nginx: \
                 proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
            );
        }
        client
    }

    /// Checks application key, protocol version and origin, and acquires the permits.
    fn admit(
        &self,
        request: &Request,
        client: &ClientAddress,
    ) -> Result<Admitted, (Close, &'static str)> {
        let settings = self.hub.settings();
        handshake::check(settings, request).map_err(|close| match close {
            Close::Unauthorized => (
                close,
                "This origin is not allowed (realtime.gateway.allowed_origins)",
            ),
            _ => (close, close.reason()),
        })?;
        self.acquire_permits(client)
    }

    /// Acquires the permits of a connection, and its id.
    fn acquire_permits(&self, client: &ClientAddress) -> Result<Admitted, (Close, &'static str)> {
        let settings = self.hub.settings();
        let Some(total_permit) = acquire(&self.sockets, self.max_connections) else {
            self.total_refusals.warn(&crate::runtime::current().log, || {
                format!(
                    "The gateway refuses connections: {} are open (realtime.gateway.max_connections, file \
                     descriptors).",
                    self.max_connections
                )
            });
            return Err((Close::OverCapacity, "Too many connections"));
        };
        self.warn_near_descriptor_limit();
        let address_permit = if client.is_limited {
            let most = u32::try_from(settings.max_connections_per_address).unwrap_or(u32::MAX);
            let permit = acquire_for_address(&self.addresses, client.address, most);
            if permit.is_none() {
                self.address_refusals.warn(&crate::runtime::current().log, || {
                    format!(
                        "The gateway refuses connections from {}: it has reached \
                         realtime.gateway.max_connections_per_address ({most}; an IPv6 /64 ten times as \
                         many). If it is a load balancer or proxy, add it to realtime.gateway.trusted_proxies.",
                        client.address
                    )
                });
                return Err((
                    Close::OverCapacity,
                    "Too many connections from this address",
                ));
            }
            permit
        } else {
            None
        };
        let id = SocketId::random().map_err(|_| {
            (
                Close::OverCapacity,
                "The system provides no random numbers for a socket id",
            )
        })?;
        Ok((id, (total_permit, address_permit)))
    }

    /// Warns if file descriptors limit the connections to less than `max_connections`, once the limit is near.
    fn warn_near_descriptor_limit(&self) {
        let wanted = self.hub.settings().max_connections;
        let taken = self.sockets.load(std::sync::atomic::Ordering::Relaxed);
        if self.max_connections < wanted && taken >= self.max_connections / 8 * WARN_AT_EIGHTHS {
            crate::runtime::current().log.write_once(
                Level::Warning,
                &format!(
                    "{taken} connections are open; file descriptors limit the gateway to {} of the {wanted} \
                     connections that max_connections allows. Raise LimitNOFILE, or the hard limit of ulimit -n.",
                    self.max_connections
                ),
            );
        }
    }
}
