//! Measures the gateway: the same broadcasts through it, through a plain tokio-tungstenite fan-out, and through a loop
//! that only writes, in one run. Readers are a process of their own, so that CPU times are the server's.
//!
//! ```text
//! bench_gateway                  everything, as a table
//! bench_gateway fan-out          CPU per delivered frame and deliveries a second at 500 subscribers
//! bench_gateway idle             KB per idle connection at 5000
//! bench_gateway slow             what one client that does not read does to the others
//! bench_gateway delay            what waiting for more frames (write_delay_ms) saves and costs
//! bench_gateway records          CPU per record that no socket subscribes to
//! bench_gateway kafka host:port  how old events are when sockets get them, from the sender through Kafka
//! bench_gateway readers …        (what it starts itself; sender, too)
//! ```
#![allow(
    unsafe_code,
    missing_docs,
    clippy::print_stdout,
    clippy::cast_precision_loss
)]

mod arrival;
mod contenders;
mod kafka;
mod meter;
mod readers;
mod records;

use std::time::{Duration, Instant};

use contenders::{Contender, GatewayServer, Raw, Tungstenite};
use meter::{cpu, rss_kb, sorted, Percentiles, Row};
use readers::{Others, Readers};
use toporia_realtime::config::gateway_settings::Settings;

const SUBSCRIBERS: usize = 500;
const IDLE: usize = 5000;
/// Runs without and with a slow client.
const PAIRS: usize = 7;
/// Characters in the longest field of an event.
const NOTE: usize = 80;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let what: Vec<&str> = args.iter().map(String::as_str).collect();
    match what.as_slice() {
        ["readers", address, count, slow] => readers::run(address, count, slow, Others::Wait),
        ["readers", address, count, slow, _] => {
            readers::run(address, count, slow, Others::InPassing);
        }
        ["sender", brokers, topic, rate, seconds] => kafka::send(brokers, topic, rate, seconds),
        ["kafka", brokers] => kafka::run(brokers),
        ["fan-out"] => fan_out(),
        ["idle"] => idle(),
        ["slow"] => slow(),
        ["records"] => records::print(),
        ["delay"] => delay(),
        [] => {
            fan_out();
            idle();
            slow();
            records::print();
            delay();
        }
        _ => println!("bench_gateway [fan-out|idle|slow|records|delay|kafka host:port]"),
    }
}

/// Event data of about 180 bytes and a note that begins with the time in ns.
fn data(note: usize) -> String {
    data_of(meter::now_ns(), note)
}

fn data_of(called: u64, note: usize) -> String {
    format!(
        "{{\"t\":\"T={:020}\",\"order_id\":1000000,\"status\":\"created\",\"total\":149.95,\"currency\":\"EUR\",\"paid\":true,\"items\":[{{\"sku\":\"TS-1042-XL\",\"quantity\":2}}],\"note\":\"{}\"}}",
        called,
        "x".repeat(note)
    )
}

fn contenders() -> Vec<Box<dyn Contender>> {
    vec![
        Box::new(Raw::start()),
        Box::new(Tungstenite::start()),
        Box::new(GatewayServer::start()),
    ]
}

/// Sends `total` broadcasts, `per_second` of them (0: as fast as possible, at most 32 in flight), and waits until the
/// readers have all. Returns CPU in µs per frame, and frames per second.
fn run(
    contender: &mut dyn Contender,
    readers: &Readers,
    subscribers: usize,
    total: u64,
    per_second: u64,
    note: usize,
) -> (f64, f64) {
    let (before, read_before, begun) = (cpu(), readers.bytes(), Instant::now());
    let pause = 1_000_000_000_u64.checked_div(per_second);
    for sent in 0..total {
        if let Some(pause) = pause {
            let due = Duration::from_nanos(sent * pause);
            std::thread::sleep(due.saturating_sub(begun.elapsed()));
        }
        while pause.is_none() && contender.waiting() > 32 * subscribers as u64 {
            std::thread::sleep(Duration::from_micros(200));
        }
        contender.broadcast(&data(note));
    }
    let frames = total * subscribers as u64;
    let expected = frames * contenders::event(&data(note)).len() as u64;
    let used = cpu() - before;
    // Written is not delivered: the kernel's buffers hold megabytes.
    while per_second == 0 && readers.bytes() - read_before < expected {
        std::thread::sleep(Duration::from_millis(2));
    }
    while contender.waiting() > 0 && per_second == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let used = used.max(cpu() - before);
    (
        used * 1e6 / frames as f64,
        frames as f64 / begun.elapsed().as_secs_f64(),
    )
}

fn fan_out() {
    println!("\n{SUBSCRIBERS} subscribers, events of about 260 bytes; CPU is the server's, kernel included");
    let mut rows = Vec::new();
    for mut contender in contenders() {
        let readers = Readers::start(&contender.address(), SUBSCRIBERS, 0);
        contender.settled(SUBSCRIBERS);
        run(&mut *contender, &readers, SUBSCRIBERS, 200, 0, NOTE);
        let _ = readers.samples();
        let paced = run(&mut *contender, &readers, SUBSCRIBERS, 400, 100, NOTE);
        std::thread::sleep(Duration::from_millis(200));
        let latency = readers.latency();
        let full = run(&mut *contender, &readers, SUBSCRIBERS, 4000, 0, NOTE);
        rows.push(Row {
            name: contender.name(),
            cells: vec![
                format!("{:.2}", paced.0),
                format!("{:.1}", latency.p50),
                format!("{:.1}", latency.p99),
                format!("{:.2}", full.0),
                format!("{:.0}", full.1 / 1000.0),
            ],
        });
    }
    meter::table(
        &[
            "",
            "µs CPU/frame at 50k/s",
            "p50 ms",
            "p99 ms",
            "µs CPU/frame, full speed",
            "thousand deliveries/s",
        ],
        &rows,
    );
}

fn idle() {
    println!("\n{IDLE} idle connections, one subscription each");
    let mut rows = Vec::new();
    for mut contender in contenders().into_iter().skip(1) {
        let before = rss_kb();
        let readers = Readers::start(&contender.address(), IDLE, 0);
        contender.settled(IDLE);
        std::thread::sleep(Duration::from_millis(500));
        let after = rss_kb();
        let each = (after.saturating_sub(before)) as f64 / IDLE as f64;
        rows.push(Row {
            name: contender.name(),
            cells: vec![format!("{each:.1}")],
        });
        drop(readers);
        contender.settled(0);
    }
    meter::table(&["", "KB per connection"], &rows);
}

fn slow() {
    println!(
        "\n{SUBSCRIBERS} subscribers at 20 thousand deliveries a second, without and with one more that never reads; median of {PAIRS} pairs, best"
    );
    let mut contender = GatewayServer::start_with(Settings {
        max_queue: 128 << 10,
        send_buffer: 32 << 10,
        ..contenders::settings()
    });
    let readers = Readers::start(&contender.address(), SUBSCRIBERS, 0);
    contender.settled(SUBSCRIBERS);
    let mut times: [Vec<Percentiles>; 2] = Default::default();
    for place in 0..2 * PAIRS {
        // Without, with, with, without: so that drift does not look like a difference.
        let slow = matches!(place % 4, 1 | 2);
        let stuck = slow.then(|| Readers::start(&contender.address(), 0, 1));
        contender.settled(SUBSCRIBERS + usize::from(slow));
        let _ = readers.samples();
        run(&mut contender, &readers, SUBSCRIBERS, 500, 40, 24 * NOTE);
        std::thread::sleep(Duration::from_millis(200));
        times[usize::from(slow)].push(readers.latency());
        drop(stuck);
    }
    let row = |name, times: &[Percentiles]| {
        let of = |part: fn(&Percentiles) -> f64| {
            let sorted = sorted(times.iter().map(part));
            format!("{:.2}, {:.2}", sorted[PAIRS / 2], sorted[0])
        };
        Row {
            name,
            cells: vec![of(|t| t.p50), of(|t| t.p99)],
        }
    };
    let rows = [
        row("without", &times[0]),
        row("with a slow client", &times[1]),
    ];
    meter::table(&["", "p50 ms", "p99 ms"], &rows);
    println!("Slow clients cut off: {} of {PAIRS}", contender.cut_off());
}

/// 100 subscribers of a stream of 1,000 events a second.
fn delay() {
    println!("\n100 subscribers, 1,000 events a second: frames that wait for others");
    let mut rows = Vec::new();
    for (name, ms) in [("0 ms", 0), ("1 ms", 1), ("2 ms", 2)] {
        let mut contender = GatewayServer::start_with(Settings {
            write_delay: Duration::from_millis(ms),
            ..contenders::settings()
        });
        let readers = Readers::start(&contender.address(), 100, 0);
        contender.settled(100);
        run(&mut contender, &readers, 100, 500, 1000, NOTE);
        let _ = readers.samples();
        let before = contender.writes();
        let total = 5000;
        let (cpu, _) = run(&mut contender, &readers, 100, total, 1000, NOTE);
        std::thread::sleep(Duration::from_millis(200));
        let writes = (contender.writes() - before) as f64;
        let latency = readers.latency();
        rows.push(Row {
            name,
            cells: vec![
                format!("{:.1}", (total * 100) as f64 / writes),
                format!("{cpu:.2}"),
                format!("{:.1}", latency.p50),
                format!("{:.1}", latency.p99),
            ],
        });
    }
    meter::table(
        &["", "frames per write", "µs CPU/frame", "p50 ms", "p99 ms"],
        &rows,
    );
}
