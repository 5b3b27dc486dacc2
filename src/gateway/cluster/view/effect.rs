//! What the view asks for: the effects of records and of the clock, and the numbers it goes by.

use super::super::totals::Happening;
use super::super::wire::Seat;
use crate::gateway::admin_api::{AdminRequest, AdminResponse};
use crate::gateway::protocol::SocketId;
use crate::gateway::settings::Settings;

/// The numbers, in ms.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Between two heartbeats.
    pub beat: u64,
    /// A node that is silent for so long is gone.
    pub silent: u64,
    /// The members of a node that ended in order stay for so long.
    pub drain: u64,
    /// Presence waits so long for the nodes heard from.
    pub settle: u64,
    /// A snapshot that did not come is asked for again after this.
    pub again: u64,
}

impl Timing {
    /// As the settings have them.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        let ms = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            beat: ms(settings.heartbeat),
            silent: ms(settings.node_timeout),
            drain: ms(settings.drain_members),
            settle: ms(settings.presence_wait),
            again: ms(settings.heartbeat),
        }
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// A seat of another gateway was taken.
    Add {
        /// Whose.
        node: String,
        /// Which.
        seat: Seat,
    },
    /// A seat of another gateway is free.
    Remove {
        /// Whose.
        node: String,
        /// The channel.
        channel: String,
        /// The socket.
        socket: SocketId,
    },
    /// Everything another gateway has was told anew.
    Replace {
        /// Whose.
        node: String,
        /// Its seats.
        seats: Vec<Seat>,
    },
    /// Another gateway is gone.
    Drop {
        /// Which.
        node: String,
    },
    /// This gateway is to tell all it has.
    Tell,
    /// This gateway is to ask a node for all it has.
    AskGap {
        /// Which.
        of: String,
    },
    /// Something for the webhooks.
    Happened(Happening),
    /// A question of another gateway.
    Asked {
        /// Who asks.
        from: String,
        /// Its number.
        id: u64,
        /// What.
        question: AdminRequest,
    },
    /// An answer to a question of this gateway.
    Answered {
        /// Who answers.
        from: String,
        /// The question's number.
        id: u64,
        /// True for the last part.
        last: bool,
        /// What.
        answer: AdminResponse,
    },
    /// Nobody was heard for long: this is the one that is cut off.
    Isolated,
    /// Somebody is heard again.
    Back,
}
