//! `Toporia\Realtime\Metrics`.

use std::path::Path;

use ext_php_rs::prelude::*;
use ext_php_rs::types::Zval;

use super::arguments::{self, finish, CallError};
use super::{binary, state};
use crate::error::Result;
use crate::metrics::exposition::{text, ExpositionFormat};
use crate::metrics::WATCH;
use crate::monitoring::MONITORING;
use crate::runtime::clock::coarse_ms;

/// Starts the configured monitoring (listener, textfile, heartbeat) of this process, for loops that begin.
pub fn start_monitoring() -> Result<()> {
    MONITORING.current().start(&state::monitor_config()?)
}

/// Metrics for Prometheus and liveness for supervisors.
#[php_class]
#[php(name = "Toporia\\Realtime\\Metrics")]
#[php(flags = ext_php_rs::flags::ClassFlags::Final)]
pub struct Metrics;

#[php_impl]
impl Metrics {
    #[php(vis = "private")]
    fn __construct() -> PhpResult<Self> {
        Err("Metrics cannot be instantiated; call its static methods.".into())
    }

    /// Listens for Prometheus and for probes.
    #[php(optional = address)]
    pub fn serve(address: Option<&Zval>) -> PhpResult<Zval> {
        let serve = || -> Result<Option<String>, CallError> {
            let address = arguments::optional(address, |address| {
                arguments::text(address, "Metrics::serve(): Argument #1 ($address)")
            })?;
            let monitoring = MONITORING.current();
            if let Some(address) = address {
                monitoring.serve(&address)?;
            }
            start_monitoring()?;
            Ok(monitoring.listen_address())
        };
        finish(serve().map(Some)).map(|listens| {
            listens
                .flatten()
                .map_or_else(Zval::null, |address| binary(address.as_bytes()))
        })
    }

    /// Touches a file while loops run.
    #[php(optional = file)]
    pub fn heartbeat(file: Option<&Zval>) -> PhpResult<()> {
        let heartbeat = || -> Result<(), CallError> {
            let file = arguments::optional(file, |file| {
                arguments::text(file, "Metrics::heartbeat(): Argument #1 ($file)")
            })?;
            if let Some(file) = file {
                MONITORING.current().set_heartbeat_file(Path::new(&*file))?;
            }
            Ok(start_monitoring()?)
        };
        finish(heartbeat())
    }

    /// Records one iteration of the application's own loop.
    #[php(defaults(ready = true))]
    #[php(optional = status)]
    pub fn beat(status: Option<&Zval>, ready: bool) -> PhpResult<()> {
        let beat = || -> Result<(), CallError> {
            let status = arguments::optional(status, |status| {
                arguments::text(status, "Metrics::beat(): Argument #1 ($status)")
            })?;
            let now = coarse_ms();
            WATCH.current().main_loop.loop_tick(now);
            MONITORING.current().loop_tick(now, ready, &|| {
                status.as_deref().unwrap_or_default().to_owned()
            });
            Ok(())
        };
        finish(beat())
    }

    /// Why this process counts as stuck; null if it does not.
    pub fn stuck() -> Zval {
        match crate::metrics::live() {
            Ok(()) => Zval::null(),
            Err(why) => binary(why.as_bytes()),
        }
    }

    /// The text of a scrape.
    #[php(defaults(openMetrics = false))]
    #[php(optional = openMetrics)]
    pub fn text(openMetrics: bool) -> Zval {
        let format = if openMetrics {
            ExpositionFormat::OpenMetrics
        } else {
            ExpositionFormat::Classic
        };
        binary(text(crate::metrics::snapshot(None), format).as_bytes())
    }

    /// Closes the port; the application's own loop has ended.
    pub fn stop() {
        MONITORING.current().stop();
    }
}
