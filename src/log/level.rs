//! Log levels as defined by PSR-3 and syslog.

/// The levels of PSR-3, most severe first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// The system is unusable.
    Emergency,
    /// Action must be taken immediately.
    Alert,
    /// A component has failed.
    Critical,
    /// Messages were lost or an operation failed.
    Error,
    /// Needs attention, but nothing has failed.
    Warning,
    /// Normal but significant event.
    Notice,
    /// Informational, for example a connection that was established.
    Info,
    /// Debug information, not written by default.
    Debug,
}

impl Level {
    /// All levels; the index is syslog's severity.
    pub const ALL: [Self; 8] = [
        Self::Emergency,
        Self::Alert,
        Self::Critical,
        Self::Error,
        Self::Warning,
        Self::Notice,
        Self::Info,
        Self::Debug,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Emergency => "emergency",
            Self::Alert => "alert",
            Self::Critical => "critical",
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }

    /// syslog's severity, 0 to 7.
    #[must_use]
    pub const fn severity(self) -> i32 {
        self as i32
    }

    /// The level of a syslog severity, as librdkafka uses them; a value out of range is `Debug`.
    #[must_use]
    pub fn of_severity(severity: i32) -> Self {
        let place = usize::try_from(severity).unwrap_or(0);
        Self::ALL.get(place).copied().unwrap_or(Self::Debug)
    }

    /// Parses a name, case-insensitive, including syslog's short names.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let name = name.trim().to_ascii_lowercase();
        let name = match name.as_str() {
            "emerg" => "emergency",
            "crit" => "critical",
            "err" => "error",
            "warn" => "warning",
            other => other,
        };
        Self::ALL.into_iter().find(|level| level.as_str() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::Level;

    #[test]
    fn levels_convert_to_names_and_severities_and_back() {
        for (severity, level) in (0..).zip(Level::ALL) {
            assert_eq!(level.severity(), severity);
            assert_eq!(Level::of_severity(severity), level);
            assert_eq!(Level::named(level.as_str()), Some(level));
        }
        assert_eq!(Level::of_severity(9), Level::Debug);
        assert_eq!(Level::named(" WARN"), Some(Level::Warning));
        assert_eq!(Level::named("loud"), None);
        assert!(
            Level::Error < Level::Warning,
            "more severe levels order first"
        );
    }
}
