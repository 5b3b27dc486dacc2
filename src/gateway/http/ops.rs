//! What operators read, on a port of its own: the same as on the one of `--metrics`, of this gateway.

use super::respond::Response;
use crate::gateway::hub::Hub;

/// Answers a path; `accept` is the header of that name.
#[must_use]
pub fn answer(hub: &Hub, method: &str, path: &str, accept: Option<&str>) -> Response {
    crate::metrics::handle_request(method, path, accept, Some(hub))
}
