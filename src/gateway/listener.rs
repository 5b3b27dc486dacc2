//! Accepts connections within limits and sees each through its handshake.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicUsize;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::connection::{refuse, serve, Socket};
use super::connection_limit::{take, take_anyway, take_for, Place, Table};
use super::handshake_limit::{Doorstep, Turn};
use super::http::proxy::{self, Network};
use super::http::request::{self, Bad, Request};
use super::http::respond::{respond, Response};
use super::http::{api, handshake, ops};
use super::hub::Hub;
use super::protocol::{Close, SocketId};
use super::sys;
use crate::log::Level;

/// Connections that have not said yet what they want: so many, and at most this part of all descriptors.
const UNDECIDED: usize = 4096;
const UNDECIDED_PART: usize = 4;
/// Of these from one address that counts, where the settings do not allow it more connections.
const UNDECIDED_OF_ADDRESS: usize = 64;
/// From this part of the places on, in eighths, it is worth a word that descriptors bound them.
const NEARLY_FULL: usize = 7;

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
pub struct Doors {
    hub: Arc<Hub>,
    trusted: Vec<Network>,
    /// Connections that may be open, by settings and file descriptors.
    most: usize,
    /// Descriptors that connections of any kind may take.
    descriptors: usize,
    tcp: Arc<AtomicUsize>,
    sockets: Arc<AtomicUsize>,
    addresses: Arc<Table>,
    doorstep: Arc<Doorstep>,
}

/// A connection's id, and its places in all and for its address.
type Admitted = (SocketId, (Place, Option<Place>));

impl Doors {
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
            most: settings.max_connections.min(spare - spare / 16),
            descriptors: spare,
            tcp: Arc::default(),
            sockets: Arc::default(),
            addresses: Arc::default(),
            doorstep: Doorstep::new(
                UNDECIDED.min(spare / UNDECIDED_PART),
                UNDECIDED_OF_ADDRESS.max(settings.max_connections_per_address),
            ),
            hub,
        })
    }

    /// Connections that may be open at once.
    #[must_use]
    pub fn most(&self) -> usize {
        self.most
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
                    let doors = Arc::clone(&self);
                    let Some(place) = self.place() else {
                        self.hub.counters().descriptors_short.add_one();
                        continue;
                    };
                    tokio::spawn(doors.receive(stream, peer, role, place));
                }
                Err(e) => self.cannot_accept(&e).await,
            }
        }
    }

    /// A descriptor for one more connection; where they are out, somebody who has not decided has to go for it.
    fn place(&self) -> Option<Place> {
        take(&self.tcp, self.descriptors).or_else(|| {
            self.doorstep
                .send_one_away()
                .then(|| take_anyway(&self.tcp))
        })
    }

    async fn cannot_accept(&self, error: &io::Error) {
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
    async fn receive(
        self: Arc<Self>,
        mut stream: TcpStream,
        peer: SocketAddr,
        role: Role,
        place: Place,
    ) {
        let peer = peer.ip().to_canonical();
        let is_ours = peer.is_loopback() || self.trusted.iter().any(|n| n.contains(peer));
        let mut turn = self.doorstep.enter((!is_ours).then_some(peer));
        let _ = stream.set_nodelay(true);
        let settings = Arc::clone(self.hub.settings());
        sys::bound_send_buffer(&stream, settings.send_buffer);
        let end = request::deadline(settings.handshake_timeout);
        let head = request::read_head(&mut stream, settings.max_header, end);
        let mut request = match turn.wait(head).await.unwrap_or(Err(Bad::Crowded)) {
            Ok(request) => request,
            Err(bad) => return self.bad(&mut stream, bad).await,
        };
        if request.is_upgrade() && matches!(role, Role::Everything | Role::Sockets) {
            drop(turn);
            return self.upgrade(stream, peer, request, place).await;
        }
        match self
            .answer(&mut stream, role, &mut request, turn, end)
            .await
        {
            Ok(response) => respond(&mut stream, &response).await,
            Err(bad) => self.bad(&mut stream, bad).await,
        }
    }

    /// Whatever is no handshake.
    async fn answer(
        &self,
        stream: &mut TcpStream,
        role: Role,
        request: &mut Request,
        mut turn: Turn,
        end: tokio::time::Instant,
    ) -> Result<Response, Bad> {
        if request.length > self.hub.settings().max_body {
            return Err(Bad::Status(413, "The body of the request is too large."));
        }
        match (role, request.path.as_str()) {
            (Role::Operations, path) => Ok(ops::answer(
                &self.hub,
                &request.method,
                path,
                request.field("accept"),
            )),
            (_, "/up") if request.method == "GET" => Ok(Response::text(200, "OK\n")),
            (_, "/up") if request.method == "HEAD" => Ok(Response::text(200, "")),
            (Role::Everything | Role::Api, path) if api::is_route(path) => {
                // Who asks is known before the body is read: nobody else's is kept.
                let signed = match api::enter(&self.hub, request) {
                    Ok(signed) => signed,
                    Err(response) => return Ok(response),
                };
                let body = turn.wait(request::read_body(stream, request, end)).await;
                let body = body.unwrap_or(Err(Bad::Crowded))?;
                drop(turn);
                Ok(api::answer(&self.hub, request, &signed, &body).await)
            }
            (_, path) if path.starts_with("/app/") => {
                Ok(Response::text(426, "This is a WebSocket's address.\n"))
            }
            _ => Ok(Response::text(404, "Nothing here.\n")),
        }
    }

    async fn bad(&self, stream: &mut TcpStream, bad: Bad) {
        match bad {
            Bad::Status(status, why) => {
                self.hub.counters().bad_requests.add_one();
                respond(stream, &Response::text(status, format!("{why}\n"))).await;
            }
            Bad::Slow => {
                self.hub.counters().handshake_timeouts.add_one();
                respond(stream, &Response::text(408, "The request took too long.\n")).await;
            }
            Bad::Crowded => self.hub.counters().handshake_timeouts.add_one(),
            Bad::Gone => {}
        }
    }

    async fn upgrade(
        self: Arc<Self>,
        mut stream: TcpStream,
        peer: IpAddr,
        request: Request,
        place: Place,
    ) {
        let accept = match handshake::accept_key(&request) {
            Ok(accept) => accept,
            Err((status, why)) => return self.bad(&mut stream, Bad::Status(status, why)).await,
        };
        if handshake::switch(&mut stream, &accept).await.is_err() {
            return;
        }
        let client = proxy::client(peer, &self.trusted, request.all("x-forwarded-for"));
        if client.silent_proxy {
            crate::process::current().log.say_once(
                Level::Warning,
                "A trusted proxy sends no X-Forwarded-For: connections are not limited per address. In nginx: proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
            );
        }
        match self.admit(&request, &client) {
            Ok((id, places)) => {
                let settings = self.hub.settings();
                let socket = Arc::new(Socket::new(id, client.address, settings.max_queue));
                let hub = Arc::clone(&self.hub);
                // A task of its own: the one of the handshake is larger.
                tokio::spawn(async move {
                    let _places = (place, places);
                    serve(stream, hub, socket, request.rest).await;
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
        client: &proxy::Client,
    ) -> Result<Admitted, (Close, &'static str)> {
        let settings = self.hub.settings();
        handshake::check(settings, request).map_err(|close| match close {
            Close::Unauthorized => (
                close,
                "This origin may not connect (realtime.gateway.allowed_origins)",
            ),
            _ => (close, close.reason()),
        })?;
        let in_all =
            take(&self.sockets, self.most).ok_or((Close::OverCapacity, "Too many connections"))?;
        self.warn_of_descriptors();
        let of_address = if client.counts {
            let most = u32::try_from(settings.max_connections_per_address).unwrap_or(u32::MAX);
            let place = take_for(&self.addresses, client.address, most);
            Some(place.ok_or((
                Close::OverCapacity,
                "Too many connections from this address",
            ))?)
        } else {
            None
        };
        let id =
            SocketId::random().map_err(|_| (Close::OverCapacity, "No randomness for an id"))?;
        Ok((id, (in_all, of_address)))
    }

    /// Fewer descriptors than connections are allowed: said when it begins to matter, not at every start.
    fn warn_of_descriptors(&self) {
        let wanted = self.hub.settings().max_connections;
        let taken = self.sockets.load(std::sync::atomic::Ordering::Relaxed);
        if self.most < wanted && taken >= self.most / 8 * NEARLY_FULL {
            crate::process::current().log.say_once(
                Level::Warning,
                &format!(
                    "{taken} connections are open, and the gateway takes {} of the {wanted} allowed (max_connections): the process may open too few files. Raise LimitNOFILE, or the hard limit of ulimit -n.",
                    self.most
                ),
            );
        }
    }
}

/// A line for the host's log.
pub(super) fn say(level: Level, text: &str) {
    crate::process::current().log.say(level, text);
}
