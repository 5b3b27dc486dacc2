//! Admin requests to all gateways, until every gateway has answered or the timeout has passed.

use std::collections::HashSet;

use std::time::Duration;

use tokio::sync::oneshot;

use crate::gateway::backend::AdminResponse;

/// Timeout for the responses.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum channels and connections in one record.
const MAX_ENTRIES_PER_RECORD: usize = 500;

struct PendingRequest {
    id: u64,
    until: u64,
    missing: HashSet<String>,
    response: AdminResponse,
    reply: oneshot::Sender<AdminResponse>,
}

#[derive(Default)]
pub(super) struct PendingRequests {
    open: Vec<PendingRequest>,
    last: u64,
}

impl PendingRequests {
    /// Adds a request and returns its number. `own` is this gateway's response; `other_nodes` must answer.
    pub fn add(
        &mut self,
        own: AdminResponse,
        other_nodes: HashSet<String>,
        reply: oneshot::Sender<AdminResponse>,
        now: u64,
    ) -> u64 {
        self.last += 1;
        let open = PendingRequest {
            id: self.last,
            until: now + u64::try_from(RESPONSE_TIMEOUT.as_millis()).unwrap_or(0),
            missing: other_nodes,
            response: own,
            reply,
        };
        self.open.push(open);
        self.complete_finished(now);
        self.last
    }

    /// Merges a node's response.
    pub fn add_response(
        &mut self,
        from: &str,
        id: u64,
        last: bool,
        response: AdminResponse,
        now: u64,
    ) {
        let open = self.open.iter_mut().find(|open| open.id == id);
        if let Some(open) = open.filter(|open| open.missing.contains(from)) {
            open.response = std::mem::take(&mut open.response).merge(response);
            if last {
                open.missing.remove(from);
            }
        }
        self.complete_finished(now);
    }

    /// A removed node no longer has to answer.
    pub fn node_removed(&mut self, node: &str, now: u64) {
        for open in &mut self.open {
            open.missing.remove(node);
        }
        self.complete_finished(now);
    }

    /// Replies to the requests that are complete or timed out.
    pub fn complete_finished(&mut self, now: u64) {
        let (done, open) = std::mem::take(&mut self.open)
            .into_iter()
            .partition(|open| open.missing.is_empty() || now >= open.until);
        self.open = open;
        let done: Vec<PendingRequest> = done;
        for one in done {
            // Fails only if the request was cancelled.
            let _ = one.reply.send(one.response);
        }
    }
}

/// Splits a response into parts that fit into records.
pub(super) fn split_response(mut response: AdminResponse) -> Vec<AdminResponse> {
    let mut parts = Vec::new();
    let mut connections = std::mem::take(&mut response.connections).into_iter();
    let mut channels = std::mem::take(&mut response.channels).into_iter();
    loop {
        let part = AdminResponse {
            channels: channels.by_ref().take(MAX_ENTRIES_PER_RECORD).collect(),
            connections: connections.by_ref().take(MAX_ENTRIES_PER_RECORD).collect(),
            count: 0,
        };
        if part.channels.is_empty() && part.connections.is_empty() {
            break;
        }
        parts.push(part);
    }
    // The count is sent with the last part.
    match parts.last_mut() {
        Some(last) => last.count = response.count,
        None => parts.push(response),
    }
    parts
}
