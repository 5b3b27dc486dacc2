//! The addresses that a gateway listens on.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use tokio::net::TcpListener;

use super::listener::{say, Role};
use super::neighbours::{self, Neighbour};
use super::settings::Settings;
use super::sys;
use crate::error::{Error, Result};
use crate::log::Level;

/// Addresses that cannot be read are refused before anything is opened.
pub(super) fn check_addresses(settings: &Settings) -> Result<()> {
    for proxy in &settings.trusted_proxies {
        if super::http::proxy::Network::parse(proxy).is_none() {
            return Err(Error::configuration(format!(
                "realtime.gateway.trusted_proxies: {proxy:?} is no address and no network such as 10.0.0.0/8."
            )));
        }
    }
    for origin in &settings.allowed_origins {
        if !super::http::origin::is_valid(origin) {
            return Err(Error::configuration(format!(
                "realtime.gateway.allowed_origins: {origin:?} is no origin, so it would let no page in. Write scheme, host and port as browsers do, without a slash at the end: https://shop.example"
            )));
        }
    }
    Ok(())
}

/// Says what is allowed and unwise.
pub(super) fn warn(settings: &Settings) {
    let local = matches!(settings.host.as_str(), "127.0.0.1" | "::1" | "localhost");
    if !local && settings.allowed_origins.is_empty() {
        say(
            Level::Warning,
            &format!(
                "The gateway listens on {} and lets every page connect. List yours in realtime.gateway.allowed_origins (REALTIME_ALLOWED_ORIGINS).",
                settings.host
            ),
        );
    }
}

/// Binds everything that is listened on, the sockets' port first.
pub(super) fn ports(settings: &Settings) -> Result<Vec<(Role, TcpListener, SocketAddr)>> {
    let role = if settings.api_listen.is_some() {
        Role::Sockets
    } else {
        Role::Everything
    };
    let handed = sys::handed_over()
        .and_then(|l| l.map(TcpListener::from_std).transpose())
        .map_err(|e| {
            Error::connection(format!(
                "Cannot use the socket that systemd handed over: {e}."
            ))
        })?;
    let mut said = false;
    let main = match handed {
        Some(listener) => listener,
        None => shared(
            listen(&format!("{}:{}", bracketed(&settings.host), settings.port))?,
            &mut said,
        ),
    };
    let mut ports = vec![(role, main)];
    if let Some(address) = &settings.api_listen {
        ports.push((Role::Api, shared(listen(address)?, &mut said)));
    }
    if let Some(address) = &settings.ops_listen {
        match listen(address) {
            Ok(found) => ports.push((Role::Operations, shared(found, &mut said))),
            // A second gateway on this machine: sockets are worth more than figures.
            Err(e) => say(Level::Warning, &format!("No /metrics and /ready: {e}")),
        }
    }
    ports
        .into_iter()
        .map(|(role, listener)| {
            let address = listener.local_addr().map_err(|e| {
                Error::connection(format!("Cannot tell the address of the gateway: {e}."))
            })?;
            Ok((role, listener, address))
        })
        .collect()
}

/// Says who else listens there, once for all ports.
fn shared((listener, neighbours): (TcpListener, Vec<Neighbour>), said: &mut bool) -> TcpListener {
    if !neighbours.is_empty() && !std::mem::replace(said, true) {
        let address = listener
            .local_addr()
            .map_or_else(|_| String::new(), |a| a.to_string());
        say(
            Level::Warning,
            &format!(
                "{address} is shared with {}: both are asked until one of them ends. In a restart that is meant, so stop the old one now; otherwise a gateway was forgotten there, or needs a port of its own.",
                named(&neighbours)
            ),
        );
    }
    listener
}

fn named(neighbours: &[Neighbour]) -> String {
    let names: Vec<String> = neighbours.iter().map(ToString::to_string).collect();
    if names.is_empty() {
        return "another server".to_owned();
    }
    names.join(", ")
}

fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

/// A listener, and who has the same address already.
fn listen(address: &str) -> Result<(TcpListener, Vec<Neighbour>)> {
    let resolved = address
        .to_socket_addrs()
        .ok()
        .and_then(|mut all| all.next())
        .ok_or_else(|| {
            Error::configuration(format!("The gateway cannot listen on {address:?}: write host:port, such as 127.0.0.1:6001."))
        })?;
    let neighbours = neighbours::of(resolved);
    let bound = sys::bind(resolved).map_err(|e| {
        let hint = match e.kind() {
            io::ErrorKind::AddrInUse => {
                format!(" The port is taken by {}. Toporia's own WebSocket server uses 6001 too (realtime:serve, REALTIME_WS_PORT). Stop it, or set REALTIME_GATEWAY_PORT.", named(&neighbours))
            }
            io::ErrorKind::PermissionDenied => " Ports below 1024 are for root: choose a higher one behind nginx.".to_owned(),
            io::ErrorKind::AddrNotAvailable => " This machine has no such address.".to_owned(),
            _ => String::new(),
        };
        Error::connection(format!("The gateway cannot listen on {address} ({e}).{hint}"))
    })?;
    Ok((bound, neighbours))
}
