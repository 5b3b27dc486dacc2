//! Forwards a port chosen by the user to the port of the mock broker.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::process;

pub(super) struct Forwarder {
    pub(super) port: u16,
    local: SocketAddr,
    open: Arc<AtomicBool>,
}

impl Forwarder {
    pub(super) fn start(host: &str, port: u16, target: &str) -> Result<Self> {
        let listener = TcpListener::bind((host, port)).map_err(|error| {
            let advice = if error.kind() == io::ErrorKind::AddrInUse {
                " Another Kafka, or another embedded broker, is probably running there; choose another port."
            } else {
                ""
            };
            Error::connection(format!(
                "The embedded broker cannot listen on {host}:{port}: {error}.{advice}"
            ))
        })?;
        let failed = |error: io::Error| {
            Error::connection(format!("The embedded broker cannot be reached: {error}."))
        };
        let local = listener.local_addr().map_err(failed)?;
        let target = target
            .to_socket_addrs()
            .map_err(failed)?
            .next()
            .ok_or_else(|| {
                Error::connection(format!(
                    "The mock cluster's address {target} cannot be read."
                ))
            })?;
        let open = Arc::new(AtomicBool::new(true));
        let still_open = Arc::clone(&open);
        process::spawn("rt-embedded", move || {
            for client in listener.incoming() {
                if !still_open.load(Ordering::Acquire) {
                    return;
                }
                if let Ok(client) = client {
                    join(client, target);
                }
            }
        })?;
        Ok(Self {
            port: local.port(),
            local,
            open,
        })
    }

    pub(super) fn stop(&self) {
        self.open.store(false, Ordering::Release);
        // Wakes the accept call; on an error the listener is gone already.
        drop(TcpStream::connect(self.local));
    }
}

/// Connects a client to the mock broker, in both directions.
fn join(client: TcpStream, target: SocketAddr) {
    let Ok(server) = TcpStream::connect(target) else {
        return;
    };
    // Nagle's algorithm would delay small requests by 40 ms; if it cannot be disabled, the connection is only slower.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    if let (Ok(from_client), Ok(from_server)) = (client.try_clone(), server.try_clone()) {
        pump(from_client, server);
        pump(from_server, client);
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    // If the thread cannot be started, the connection closes and the client reconnects.
    let _ = process::spawn("rt-embedded", move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
    });
}
