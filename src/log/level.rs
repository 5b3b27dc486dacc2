//! How serious a line is, as PSR-3 and syslog name it.

/// The levels of PSR-3, the most serious first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Nothing works any more.
    Emergency,
    /// Somebody has to act at once.
    Alert,
    /// A part has failed.
    Critical,
    /// Something was lost or refused.
    Error,
    /// Something to look at.
    Warning,
    /// Said once, for information.
    Notice,
    /// What goes on.
    Info,
    /// Only interesting while searching for a fault.
    Debug,
}

impl Level {
    /// All of them; the place is syslog's severity.
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

    /// PSR-3's name.
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

    /// The level of a syslog severity, as librdkafka has them; what is out of range is for debugging.
    #[must_use]
    pub fn of_severity(severity: i32) -> Self {
        let place = usize::try_from(severity).unwrap_or(0);
        Self::ALL.get(place).copied().unwrap_or(Self::Debug)
    }

    /// The level of a name, in any case; syslog's short names too.
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
    fn every_level_has_its_name_and_its_severity() {
        for (severity, level) in (0..).zip(Level::ALL) {
            assert_eq!(level.severity(), severity);
            assert_eq!(Level::of_severity(severity), level);
            assert_eq!(Level::named(level.as_str()), Some(level));
        }
        assert_eq!(Level::of_severity(9), Level::Debug);
        assert_eq!(Level::named(" WARN"), Some(Level::Warning));
        assert_eq!(Level::named("loud"), None);
        assert!(Level::Error < Level::Warning, "the more serious is less");
    }
}
