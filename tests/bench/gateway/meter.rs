//! What is measured: CPU time of this process, memory, the clock that both processes share.

use std::fs;

/// CPU seconds of all threads of this process so far.
pub fn cpu() -> f64 {
    // SAFETY: plain call with local memory.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// Unix time in ns, the same in every process and in the kernel's timestamps of what came.
pub fn now_ns() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: plain call with local memory.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut now) };
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// Resident memory of this process in KB.
pub fn rss_kb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// The value below which so many of a thousand are, in ms, of a sorted list in ns; 0 for none.
pub fn at(sorted: &[u64], permille: usize) -> f64 {
    let place = (sorted.len() * permille / 1000).min(sorted.len().saturating_sub(1));
    sorted.get(place).copied().unwrap_or(0) as f64 / 1e6
}

/// A line of a table.
pub struct Row {
    pub name: &'static str,
    pub cells: Vec<String>,
}

/// Prints a table as Markdown.
pub fn table(head: &[&str], rows: &[Row]) {
    println!("| {} |\n|{}", head.join(" | "), "---|".repeat(head.len()));
    for row in rows {
        println!("| {} | {} |", row.name, row.cells.join(" | "));
    }
}
