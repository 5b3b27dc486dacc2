//! What operators read, on a port of its own: `/metrics` for Prometheus, `/ready` for load balancers.

use std::fmt::Write as _;

use super::respond::Response;
use crate::gateway::hub::Hub;

/// Answers a path.
#[must_use]
pub fn answer(hub: &Hub, method: &str, path: &str) -> Response {
    match (method, path) {
        ("GET", "/up") => Response::text(200, "OK\n"),
        ("GET", "/ready") => match hub.cluster().map(|cluster| cluster.ready()) {
            Some(Ok(())) => Response::text(200, "ready\n"),
            Some(Err(why)) => Response::text(503, format!("not ready: {why}\n")),
            None => Response::text(503, "not ready: starting\n"),
        },
        ("GET", "/metrics") => Response {
            status: 200,
            kind: "text/plain; version=0.0.4; charset=utf-8",
            body: metrics(hub),
        },
        _ => Response::text(404, "Here are /metrics, /ready and /up.\n"),
    }
}

fn metrics(hub: &Hub) -> String {
    let mut out = String::with_capacity(8 << 10);
    for (name, kind, words, value) in hub.counters().all() {
        let suffix = if kind == "counter" { "_total" } else { "" };
        let full = format!("realtime_gateway_{name}{suffix}");
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "# HELP {full} {words}\n# TYPE {full} {kind}\n{full} {value}"
        );
    }
    let ready = hub.cluster().is_some_and(|cluster| cluster.ready().is_ok());
    let _ = writeln!(
        out,
        "# HELP realtime_gateway_ready Whether Kafka is reached and presence is whole.\n# TYPE realtime_gateway_ready gauge\nrealtime_gateway_ready {}",
        u8::from(ready)
    );
    out
}
