//! The close codes, with the reaction of pusher-js to each.

/// The reaction of pusher-js to a close code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientReaction {
    /// Reconnects immediately, over TLS.
    ReconnectsOverTls,
    GivesUp,
    /// Reconnects after a second.
    ReconnectsAfterDelay,
    /// Reconnects immediately and without jitter: such closes must be spread over time, and never precede
    /// `connection_established`.
    ReconnectsImmediately,
    /// The code is sent in `pusher:error` only; the connection stays open.
    KeepsConnection,
    /// A code of the WebSocket protocol: treated as a lost connection, so pusher-js reconnects after a second.
    TreatsAsConnectionLoss,
}

/// Why the server closes a connection, or refuses a request on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Close {
    Normal = 1000,
    /// A violation of the WebSocket protocol: reserved bits, unmasked frames, invalid control frames.
    ProtocolError = 1002,
    Unsupported = 1003,
    /// Text that is not UTF-8.
    BadData = 1007,
    /// An invalid message: too deeply nested, duplicate keys, unknown event.
    Policy = 1008,
    /// A message over the limit.
    TooBig = 1009,
    /// TLS is required. Never sent by this server, which leaves TLS to its proxy.
    TlsOnly = 4000,
    /// No application with this key.
    NoApp = 4001,
    /// The application is disabled.
    Disabled = 4003,
    /// The application has reached its connection quota.
    Quota = 4004,
    Path = 4005,
    /// The protocol version is not a number.
    VersionFormat = 4006,
    /// The protocol version is not supported.
    UnsupportedProtocol = 4007,
    /// The protocol version is missing.
    NoProtocol = 4008,
    /// Not allowed: origin, sign-in, terminated by the application.
    Unauthorized = 4009,
    /// Over capacity: too many connections, or a client that reads too slowly.
    OverCapacity = 4100,
    /// Please reconnect: this server is being restarted.
    Reconnect = 4200,
    /// No pong in time.
    NoPong = 4201,
    Inactive = 4202,
    /// Client events faster than allowed; an error frame, not a close.
    ClientEventRate = 4301,
}

impl Close {
    /// Every code, for tables and tests.
    pub const ALL: [Self; 20] = [
        Self::Normal,
        Self::ProtocolError,
        Self::Unsupported,
        Self::BadData,
        Self::Policy,
        Self::TooBig,
        Self::TlsOnly,
        Self::NoApp,
        Self::Disabled,
        Self::Quota,
        Self::Path,
        Self::VersionFormat,
        Self::UnsupportedProtocol,
        Self::NoProtocol,
        Self::Unauthorized,
        Self::OverCapacity,
        Self::Reconnect,
        Self::NoPong,
        Self::Inactive,
        Self::ClientEventRate,
    ];

    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// The default text for the close frame and `pusher:error`.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Normal => "Closed",
            Self::ProtocolError => "Violation of the WebSocket protocol",
            Self::Unsupported => "Only text frames are supported",
            Self::BadData => "Text is not valid UTF-8",
            Self::Policy => "Message not allowed",
            Self::TooBig => "Message exceeds the size limit",
            Self::TlsOnly => "Connect over TLS",
            Self::NoApp => "No application with this key",
            Self::Disabled => "Application disabled",
            Self::Quota => "Connection quota of the application reached",
            Self::Path => "Unknown path; connect to /app/{key}",
            Self::VersionFormat => "Invalid protocol version",
            Self::UnsupportedProtocol => "Protocol version not supported; use 5, 6 or 7",
            Self::NoProtocol => "Protocol version missing; add ?protocol=7",
            Self::Unauthorized => "Not authorized",
            Self::OverCapacity => "Over capacity",
            Self::Reconnect => "Server is restarting, please reconnect",
            Self::NoPong => "No pong in time",
            Self::Inactive => "Closed after inactivity",
            Self::ClientEventRate => "Client event rate exceeded",
        }
    }

    /// The reaction of pusher-js.
    #[must_use]
    pub const fn client_reaction(self) -> ClientReaction {
        match self.code() {
            4000 => ClientReaction::ReconnectsOverTls,
            4301 => ClientReaction::KeepsConnection,
            4001..=4099 | 4300..=4999 => ClientReaction::GivesUp,
            4100..=4199 => ClientReaction::ReconnectsAfterDelay,
            4200..=4299 => ClientReaction::ReconnectsImmediately,
            _ => ClientReaction::TreatsAsConnectionLoss,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ClientReaction, Close};

    #[test]
    fn every_close_code_has_the_documented_client_reaction() {
        let expected = [
            (1000, ClientReaction::TreatsAsConnectionLoss),
            (1002, ClientReaction::TreatsAsConnectionLoss),
            (1003, ClientReaction::TreatsAsConnectionLoss),
            (1007, ClientReaction::TreatsAsConnectionLoss),
            (1008, ClientReaction::TreatsAsConnectionLoss),
            (1009, ClientReaction::TreatsAsConnectionLoss),
            (4000, ClientReaction::ReconnectsOverTls),
            (4001, ClientReaction::GivesUp),
            (4003, ClientReaction::GivesUp),
            (4004, ClientReaction::GivesUp),
            (4005, ClientReaction::GivesUp),
            (4006, ClientReaction::GivesUp),
            (4007, ClientReaction::GivesUp),
            (4008, ClientReaction::GivesUp),
            (4009, ClientReaction::GivesUp),
            (4100, ClientReaction::ReconnectsAfterDelay),
            (4200, ClientReaction::ReconnectsImmediately),
            (4201, ClientReaction::ReconnectsImmediately),
            (4202, ClientReaction::ReconnectsImmediately),
            (4301, ClientReaction::KeepsConnection),
        ];
        let table: Vec<(u16, ClientReaction)> = Close::ALL
            .iter()
            .map(|c| (c.code(), c.client_reaction()))
            .collect();
        assert_eq!(table, expected);
    }

    #[test]
    fn a_reason_fits_into_a_close_frame() {
        // 125 bytes minus the code.
        assert!(Close::ALL.iter().all(|close| close.reason().len() <= 123));
    }
}
