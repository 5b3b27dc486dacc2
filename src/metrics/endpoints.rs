//! The HTTP endpoints for operators: `/metrics` for Prometheus, `/live` and `/ready` for probes, `/up`.

use super::exposition::{text, ExpositionFormat};
use crate::gateway::http::respond::Response;
use crate::gateway::hub::Hub;
use crate::process;

/// Handles a request. `accept`: the `Accept` header; `hub`: the gateway that owns the port, if a gateway does.
#[must_use]
pub fn handle_request(
    method: &str,
    path: &str,
    accept: Option<&str>,
    hub: Option<&Hub>,
) -> Response {
    let metrics = &process::current().metrics;
    let known = matches!(path, "/up" | "/live" | "/ready" | "/metrics");
    if known && method != "GET" {
        return Response::text(405, "Only GET is allowed.\n");
    }
    match path {
        "/up" => Response::text(200, "OK\n"),
        "/live" => match metrics.live() {
            Ok(()) => Response::text(200, "live\n"),
            Err(why) => Response::text(503, format!("not live: {why}\n")),
        },
        "/ready" => match metrics.ready(hub) {
            Ok(()) => Response::text(200, "ready\n"),
            Err(why) => Response::text(503, format!("not ready: {why}\n")),
        },
        "/metrics" => {
            let format = ExpositionFormat::accepted(accept);
            Response {
                kind: format.media_type(),
                ..Response::text(200, text(metrics.snapshot(hub), format))
            }
        }
        _ => Response::text(
            404,
            "Not found. Available: /metrics, /live, /ready and /up.\n",
        ),
    }
}
