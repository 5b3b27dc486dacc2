//! Three gateways as three processes: one is killed, one is stopped and continued, one is cut off from Kafka. Presence has to be right
//! on the others within the bound, and right on it afterwards.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::gateway::tests_kafka::{brokers, config, unique, Node};
use crate::kafka::client::connectivity;

const CHANNEL: &str = "presence-simulation";
/// Silence, heartbeat, and some air for a busy machine.
const DETECTION_TIMEOUT: Duration = Duration::from_secs(10 + 2 + 2);

/// A gateway in a process of its own: this test binary, told to run `gateway_process` alone.
struct GatewayProcess {
    child: Child,
    output: Arc<Mutex<Output>>,
}

/// What it last said, when, and how many lines before that.
#[derive(Clone)]
struct Output {
    when: Instant,
    line: String,
    lines: u32,
}

/// Time between two lines of one that gets its share of the machine.
const OUTPUT_INTERVAL: Duration = Duration::from_millis(50);
/// However slow the machine is: something hangs.
const MAX_WAIT: Duration = Duration::from_secs(120);

impl GatewayProcess {
    fn start(brokers: &str, prefix: &str, user: &str) -> Self {
        let binary = std::env::current_exe().expect("a path");
        let mut child = Command::new(binary)
            .args([
                "gateway::cluster::simulation_tests::gateway_process",
                "--exact",
                "--ignored",
                "--nocapture",
            ])
            .env("REALTIME_SIMULATION_BROKERS", brokers)
            .env("REALTIME_SIMULATION_PREFIX", prefix)
            .env("REALTIME_SIMULATION_USER", user)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a process");
        let lines = BufReader::new(child.stdout.take().expect("its output"));
        let output = Arc::new(Mutex::new(Output {
            when: Instant::now(),
            line: String::new(),
            lines: 0,
        }));
        let own = Arc::clone(&output);
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                if let Some(line) = line.strip_prefix("simulation: ") {
                    let mut output = own.lock();
                    output.when = Instant::now();
                    line.clone_into(&mut output.line);
                    output.lines += 1;
                }
            }
        });
        Self { child, output }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([name, &self.child.id().to_string()])
            .status();
        assert!(status.expect("kill runs").success());
    }

    /// Tells it to cut itself off from Kafka, or to come back.
    fn send_line(&mut self, word: &str) {
        let input = self.child.stdin.as_mut().expect("its input");
        writeln!(input, "{word}").expect("it listens");
    }

    /// Waits until it says this; how long that took. The bound is in its own time: on a machine that gives it less than its share it
    /// speaks less often, and what it is to do takes as much longer.
    fn expect(&self, what: &str, bound: Duration) -> Duration {
        let begun = Instant::now();
        let first = self.output.lock().lines;
        loop {
            let output = self.output.lock().clone();
            if output.when > begun && output.line == what {
                return begun.elapsed();
            }
            let active_time = OUTPUT_INTERVAL * (output.lines - first);
            let is_late = begun.elapsed() >= bound && active_time >= bound;
            assert!(
                !is_late && begun.elapsed() < MAX_WAIT,
                "wanted {what:?} within {bound:?}, it says {:?} ({:?} ago) after {:?}, of which it had {active_time:?}",
                output.line,
                output.when.elapsed(),
                begun.elapsed()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for GatewayProcess {
    fn drop(&mut self) {
        // It may be stopped: SIGKILL reaches it all the same. It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Not a test: a gateway that says who is there, until its input ends.
#[test]
#[ignore = "run by the story, as a process"]
fn gateway_process() {
    let read = |name: &str| std::env::var(name).unwrap_or_default();
    let (brokers, user) = (
        read("REALTIME_SIMULATION_BROKERS"),
        read("REALTIME_SIMULATION_USER"),
    );
    if brokers.is_empty() {
        return;
    }
    connectivity::enable();
    let config = config(&brokers, &read("REALTIME_SIMULATION_PREFIX"));
    let node = Node::start(&config);
    let socket = format!("{}.{}", std::process::id(), 1);
    node.join(CHANNEL, &socket, &user);
    std::thread::spawn(|| {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            match line.as_str() {
                "cut" => connectivity::disconnect_all(),
                "join" => connectivity::allow_connections(),
                _ => std::process::exit(0),
            }
        }
        std::process::exit(0);
    });
    loop {
        let mut all = node.members(CHANNEL);
        all.push(user.clone());
        all.sort_unstable();
        let ready = match node.kafka.cluster().ready() {
            Ok(()) => "ready",
            Err(_) => "not ready",
        };
        let mut out = std::io::stdout();
        writeln!(out, "simulation: {} {ready}", all.join(",")).expect("somebody reads");
        out.flush().expect("somebody reads");
        std::thread::sleep(OUTPUT_INTERVAL);
    }
}

fn report(what: &str, time: Duration) {
    let line = format!("simulation: {what} after {time:.1?}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}

#[test]
fn presence_converges_after_sigkill_sigstop_and_a_lost_connection() {
    // The embedded broker has its own test of a node that leaves; here Kafka is real, where there is one.
    let brokers = brokers().pop().expect("one");
    let prefix = unique("simulation");
    let mut a = GatewayProcess::start(&brokers, &prefix, "ann");
    let b = GatewayProcess::start(&brokers, &prefix, "bob");
    let c = GatewayProcess::start(&brokers, &prefix, "cy");
    let all = "ann,bob,cy ready";
    for node in [&a, &b, &c] {
        let time = node.expect(all, Duration::from_secs(30));
        report("all three see each other", time);
    }

    // Stopped: the others miss it, and it has done nothing wrong when it goes on.
    b.signal("-STOP");
    for node in [&a, &c] {
        let time = node.expect("ann,cy ready", DETECTION_TIMEOUT);
        report("SIGSTOP: the stopped one is gone", time);
    }
    std::thread::sleep(Duration::from_secs(3));
    b.signal("-CONT");
    for node in [&a, &b, &c] {
        let time = node.expect(all, Duration::from_secs(8));
        report("SIGCONT: presence is right", time);
    }

    // Cut off: the others miss it; it keeps what it had, and is not ready.
    a.send_line("cut");
    for node in [&b, &c] {
        let time = node.expect("bob,cy ready", DETECTION_TIMEOUT);
        report("cut off: gone on the others", time);
    }
    let time = a.expect("ann,bob,cy not ready", DETECTION_TIMEOUT);
    report("cut off: frozen and not ready itself", time);
    std::thread::sleep(Duration::from_secs(3));
    a.expect("ann,bob,cy not ready", Duration::from_secs(1));
    a.send_line("join");
    for node in [&a, &b, &c] {
        let time = node.expect(all, Duration::from_secs(20));
        report("connected again: presence is right", time);
    }

    // Killed.
    c.signal("-KILL");
    for node in [&a, &b] {
        let time = node.expect("ann,bob ready", DETECTION_TIMEOUT);
        report("SIGKILL: gone", time);
    }
    // Its successor is another node.
    let c = GatewayProcess::start(&brokers, &prefix, "cy");
    for node in [&a, &b, &c] {
        let time = node.expect(all, Duration::from_secs(30));
        report("started again: presence is right", time);
    }
}
