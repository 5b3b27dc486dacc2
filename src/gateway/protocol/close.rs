//! The close codes, as one table that also says what pusher-js does with each.

/// What pusher-js does after a close with this code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientReaction {
    /// Comes back at once, over TLS.
    ReconnectsOverTls,
    /// Never comes back.
    GivesUp,
    /// Comes back after a second.
    ReconnectsAfterDelay,
    /// Comes back at once and without jitter: such closes have to be spread, and never come before `connection_established`.
    ReconnectsImmediately,
    /// The code stands in a `pusher:error` frame only; the connection stays.
    KeepsConnection,
    /// A code of the WebSocket protocol itself: pusher-js treats it as a lost connection and comes back after a second.
    TreatsAsConnectionLoss,
}

/// Why the server ends a connection, or refuses something on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Close {
    /// The server is going away with nothing more to say.
    Normal = 1000,
    /// A frame against the WebSocket protocol: reserved bits, unmasked, broken control frames.
    ProtocolError = 1002,
    /// A binary frame.
    Unsupported = 1003,
    /// Text that is not UTF-8.
    BadData = 1007,
    /// A frame that is no message of ours: depth, duplicate keys, too many a second.
    Policy = 1008,
    /// A message over the limit.
    TooBig = 1009,
    /// Only TLS here. Sent only where TLS exists, so never by this server, which leaves TLS to its proxy.
    TlsOnly = 4000,
    /// No application with this key.
    NoApp = 4001,
    /// The application is switched off.
    Disabled = 4003,
    /// Over the connections the application may have.
    Quota = 4004,
    /// No such path.
    Path = 4005,
    /// A version that is no version.
    VersionFormat = 4006,
    /// A protocol version that is not spoken here.
    UnsupportedProtocol = 4007,
    /// No protocol version given.
    NoProtocol = 4008,
    /// Not allowed: origin, sign-in, terminated by the application.
    Unauthorized = 4009,
    /// Over capacity: too many connections, or a client that reads too slowly.
    OverCapacity = 4100,
    /// Please reconnect: this server is being restarted.
    Reconnect = 4200,
    /// No pong in time.
    NoPong = 4201,
    /// Closed after too long without a word.
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

    /// Words for the close frame and for `pusher:error`, where nothing more exact is known.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Normal => "Closed",
            Self::ProtocolError => "A frame against the WebSocket protocol",
            Self::Unsupported => "Text frames only",
            Self::BadData => "Text that is not UTF-8",
            Self::Policy => "A message that is not allowed",
            Self::TooBig => "Message over the size limit",
            Self::TlsOnly => "Connect over TLS",
            Self::NoApp => "No application with this key",
            Self::Disabled => "Application disabled",
            Self::Quota => "Over the application's connections",
            Self::Path => "No such path; connect to /app/{key}",
            Self::VersionFormat => "The version is not a version",
            Self::UnsupportedProtocol => "Protocol version not supported; this server speaks 7",
            Self::NoProtocol => "No protocol version given; add ?protocol=7",
            Self::Unauthorized => "Not authorized",
            Self::OverCapacity => "Over capacity",
            Self::Reconnect => "Server is restarting, please reconnect",
            Self::NoPong => "No pong in time",
            Self::Inactive => "Closed after inactivity",
            Self::ClientEventRate => "Client events faster than allowed",
        }
    }

    /// What pusher-js does with it.
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

    /// Whether it may be sent before `connection_established`: a code that brings the client back at once would make it loop
    /// without a pause there.
    #[must_use]
    pub const fn may_refuse(self) -> bool {
        !matches!(
            self.client_reaction(),
            ClientReaction::ReconnectsImmediately | ClientReaction::ReconnectsOverTls
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{ClientReaction, Close};

    #[test]
    fn every_code_stands_in_the_table_once_and_says_what_the_client_does() {
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
    fn nothing_that_makes_a_client_loop_refuses_a_connection() {
        for close in Close::ALL {
            let loops = (4200..4300).contains(&close.code()) || close == Close::TlsOnly;
            assert_eq!(close.may_refuse(), !loops, "{close:?}");
            // A reason has to fit into a close frame: 125 bytes less the code.
            assert!(close.reason().len() <= 123);
        }
    }
}
