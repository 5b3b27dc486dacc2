//! The operations endpoints on `ops_listen`: the pages of `--metrics`, for this gateway.

use super::respond::Response;
use crate::gateway::hub::Hub;

/// Answers a request; `accept` is its Accept header.
#[must_use]
pub fn response(hub: &Hub, method: &str, path: &str, accept: Option<&str>) -> Response {
    crate::metrics::handle_request(method, path, accept, Some(hub))
}
