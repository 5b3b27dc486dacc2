//! The gateway's listening addresses.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use tokio::net::TcpListener;

use super::listener::{say, Role};
use super::settings::Settings;
use super::sys;
use crate::error::{Error, Result};
use crate::log::Level;

/// Validates the addresses in the settings, before anything is opened.
pub(super) fn check_addresses(settings: &Settings) -> Result<()> {
    for proxy in &settings.trusted_proxies {
        if super::http::proxy::Network::parse(proxy).is_none() {
            return Err(Error::configuration(format!(
                "realtime.gateway.trusted_proxies: {proxy:?} is neither an address nor a network such as 10.0.0.0/8."
            )));
        }
    }
    for origin in &settings.allowed_origins {
        if !super::http::origin::is_valid(origin) {
            return Err(Error::configuration(format!(
                "realtime.gateway.allowed_origins: {origin:?} is not an origin and would match no page. Write scheme, \
                host and port without a trailing slash: https://shop.example"
            )));
        }
    }
    Ok(())
}

/// Warns about settings that are valid but unsafe.
pub(super) fn warn(settings: &Settings) {
    let local = matches!(settings.host.as_str(), "127.0.0.1" | "::1" | "localhost");
    if !local && settings.allowed_origins.is_empty() {
        say(
            Level::Warning,
            &format!(
                "The gateway listens on {} and accepts pages of every origin. List yours in \
                realtime.gateway.allowed_origins (REALTIME_ALLOWED_ORIGINS).",
                settings.host
            ),
        );
    }
}

/// Binds all listening addresses, the port of the sockets first.
pub(super) fn ports(settings: &Settings) -> Result<Vec<(Role, TcpListener, SocketAddr)>> {
    let role = if settings.api_listen.is_some() {
        Role::Sockets
    } else {
        Role::Everything
    };
    let handed = sys::handed_over()
        .and_then(|l| l.map(TcpListener::from_std).transpose())
        .map_err(|e| {
            Error::connection(format!("Cannot use the socket that systemd passed: {e}."))
        })?;
    let main = match handed {
        Some(listener) => listener,
        None => listen(&format!("{}:{}", bracketed(&settings.host), settings.port))?,
    };
    let mut ports = vec![(role, main)];
    if let Some(address) = &settings.api_listen {
        ports.push((Role::Api, listen(address)?));
    }
    if let Some(address) = &settings.ops_listen {
        match listen(address) {
            Ok(found) => ports.push((Role::Operations, found)),
            // With a second gateway on this machine, connections matter more than metrics.
            Err(e) => say(Level::Warning, &format!("No /metrics and /ready: {e}")),
        }
    }
    ports
        .into_iter()
        .map(|(role, listener)| {
            let address = listener.local_addr().map_err(|e| {
                Error::connection(format!(
                    "Cannot read the listening address of the gateway: {e}."
                ))
            })?;
            Ok((role, listener, address))
        })
        .collect()
}

fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

fn listen(address: &str) -> Result<TcpListener> {
    let resolved = address
        .to_socket_addrs()
        .ok()
        .and_then(|mut all| all.next())
        .ok_or_else(|| {
            Error::configuration(format!(
                "The gateway cannot listen on {address:?}: write host:port, such as \
            127.0.0.1:6001."
            ))
        })?;
    let is_shared = sys::is_in_use(resolved);
    let bound = sys::bind(resolved).map_err(|e| {
        let hint = match e.kind() {
            io::ErrorKind::AddrInUse => {
                " Another process has the port: a gateway of another user, or Toporia's own WebSocket server, which \
                uses 6001 too (realtime:serve, REALTIME_WS_PORT). Find it with: ss -ltnp. Stop it, or set \
                REALTIME_GATEWAY_PORT."
            }
            io::ErrorKind::PermissionDenied => " Ports below 1024 are for root: choose a higher one behind nginx.",
            io::ErrorKind::AddrNotAvailable => " This machine has no such address.",
            _ => "",
        };
        Error::connection(format!("The gateway cannot listen on {address} ({e}).{hint}"))
    })?;
    if is_shared {
        say(
            Level::Warning,
            &format!(
                "Another gateway already listens on {address}, and connections are spread over both until one stops. \
                During a restart that is intended: stop the old one now. Otherwise give this one a port of \
                its own (REALTIME_GATEWAY_PORT). To find the other: ss -ltnp."
            ),
        );
    }
    Ok(bound)
}
