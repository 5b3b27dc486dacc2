//! What operators read over HTTP: `/metrics` for Prometheus, `/live` and `/ready` for probes, `/up`.

use super::exposition::{text, ExpositionFormat};
use crate::gateway::http::respond::Response;
use crate::gateway::hub::Hub;
use crate::process;

/// Answers a path. `accept`: the header of that name; `hub`: the gateway whose port it is, where it is one's.
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
        return Response::text(405, "Only GET is answered here.\n");
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
                status: 200,
                kind: format.media_type(),
                body: text(metrics.snapshot(hub), format),
            }
        }
        _ => Response::text(404, "Here are /metrics, /live, /ready and /up.\n"),
    }
}
