//! Process metrics from the operating system: resident memory, CPU time, start time.
#![allow(unsafe_code)]

use std::fs;

use super::catalog as c;
use super::snapshot::Snapshot;

/// Adds the values from `/proc` and `getrusage`; values that cannot be read are left out.
pub fn collect(into: &mut Snapshot) {
    if let Some(bytes) = resident() {
        into.gauge_of(&c::RESIDENT, Vec::new(), bytes);
    }
    if let Some(began) = start_time() {
        into.gauge(&c::START_TIME, Vec::new(), began);
    }
    if let Some(family) = into.family(c::CPU.name) {
        let value = super::snapshot::SampleValue::Number(processor_time());
        family.samples.insert(Vec::new(), value);
    }
}

// SAFETY: as the C library has it; it takes and returns numbers.
unsafe extern "C" {
    safe fn sysconf(name: libc::c_int) -> libc::c_long;
}

fn system_constant(name: i32) -> Option<u64> {
    u64::try_from(sysconf(name)).ok()
}

fn resident() -> Option<u64> {
    let pages = fs::read_to_string("/proc/self/statm").ok()?;
    let resident: u64 = pages.split_whitespace().nth(1)?.parse().ok()?;
    Some(resident * system_constant(libc::_SC_PAGESIZE)?)
}

/// Start of the process as Unix time, in seconds.
#[allow(clippy::cast_precision_loss)]
fn start_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The program name is in parentheses and may itself contain spaces and parentheses.
    let fields = stat.rsplit_once(") ")?.1;
    let ticks: u64 = fields.split_whitespace().nth(19)?.parse().ok()?;
    let boot = fs::read_to_string("/proc/stat").ok()?;
    let boot = boot.lines().find_map(|line| line.strip_prefix("btime "))?;
    let boot: u64 = boot.trim().parse().ok()?;
    Some(boot as f64 + ticks as f64 / system_constant(libc::_SC_CLK_TCK)? as f64)
}

/// User and system CPU time, in seconds.
#[allow(clippy::cast_precision_loss)]
fn processor_time() -> f64 {
    // SAFETY: getrusage fills the struct; all zeros is a valid value of rusage.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    [usage.ru_utime, usage.ru_stime]
        .iter()
        .map(|time| time.tv_sec as f64 + time.tv_usec as f64 / 1e6)
        .sum()
}

#[cfg(test)]
mod tests {
    #[test]
    fn memory_start_time_and_cpu_time_are_plausible() {
        assert!(super::resident().unwrap_or(0) > 100_000);
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0.0, |now| now.as_secs_f64());
        let began = super::start_time().unwrap_or(0.0);
        assert!(began < now + 2.0 && began > now - 86_400.0, "{began} {now}");
        assert!(super::processor_time() >= 0.0);
    }
}
