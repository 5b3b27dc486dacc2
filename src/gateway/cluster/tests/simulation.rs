//! Three gateways as three processes: one is killed, one is suspended and resumed, one loses its connection to Kafka.
//! Presence must be right on the other nodes within the timeout, and on the node itself afterwards.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::gateway::tests::test_brokers::{brokers, config, unique, Node};
use crate::kafka::client::connectivity;

const CHANNEL: &str = "presence-simulation";
/// Node timeout, heartbeat, and a margin for a busy machine.
const DETECTION_TIMEOUT: Duration = Duration::from_secs(10 + 2 + 2);

/// A gateway in a separate process: this test binary, running only `gateway_process`.
struct GatewayProcess {
    child: Child,
    output: Arc<Mutex<Output>>,
}

/// The last output line, its time, and the number of lines.
#[derive(Clone)]
struct Output {
    when: Instant,
    line: String,
    lines: u32,
}

/// Time between two output lines of a process that is not starved.
const OUTPUT_INTERVAL: Duration = Duration::from_millis(50);
/// After this the test fails, however slow the machine is.
const MAX_WAIT: Duration = Duration::from_secs(120);

impl GatewayProcess {
    fn start(brokers: &str, prefix: &str, user: &str) -> Self {
        let binary = std::env::current_exe().expect("a path");
        let mut child = Command::new(binary)
            .args([
                "gateway::cluster::tests::simulation::gateway_process",
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

    /// Commands the process to disconnect from Kafka, or to reconnect.
    fn send_line(&mut self, word: &str) {
        let input = self.child.stdin.as_mut().expect("its input");
        writeln!(input, "{word}").expect("an open pipe");
    }

    /// Waits for this output and returns the elapsed time. The bound is in the time of the process, measured by its
    /// output lines: on a busy machine it runs slower.
    fn expect(&self, what: &str, bound: Duration) -> Duration {
        let started = Instant::now();
        let first = self.output.lock().lines;
        loop {
            let output = self.output.lock().clone();
            if output.when > started && output.line == what {
                return started.elapsed();
            }
            let active_time = OUTPUT_INTERVAL * (output.lines - first);
            let is_late = started.elapsed() >= bound && active_time >= bound;
            assert!(
                !is_late && started.elapsed() < MAX_WAIT,
                "wanted {what:?} within {bound:?}, it says {:?} ({:?} ago) after {:?}, of which it had {active_time:?}",
                output.line,
                output.when.elapsed(),
                started.elapsed()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for GatewayProcess {
    fn drop(&mut self) {
        // SIGKILL also ends a stopped process. It may have exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Not a test: a gateway that prints the members until its input ends.
#[test]
#[ignore = "run by the simulation, as a process"]
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
        writeln!(out, "simulation: {} {ready}", all.join(",")).expect("a reader");
        out.flush().expect("a reader");
        std::thread::sleep(OUTPUT_INTERVAL);
    }
}

fn report(what: &str, time: Duration) {
    let line = format!("simulation: {what} after {time:.1?}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}

#[test]
fn presence_converges_after_sigkill_sigstop_and_a_lost_connection() {
    // On a real Kafka if there is one; the embedded broker has its own test of a draining node.
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

    // Suspended: the others remove it; after it resumes it removes no other node.
    b.signal("-STOP");
    for node in [&a, &c] {
        let time = node.expect("ann,cy ready", DETECTION_TIMEOUT);
        report("SIGSTOP: the stopped node is removed", time);
    }
    std::thread::sleep(Duration::from_secs(3));
    b.signal("-CONT");
    for node in [&a, &b, &c] {
        let time = node.expect(all, Duration::from_secs(8));
        report("SIGCONT: presence is complete", time);
    }

    // Disconnected: the others remove it; it keeps its members and is not ready.
    a.send_line("cut");
    for node in [&b, &c] {
        let time = node.expect("bob,cy ready", DETECTION_TIMEOUT);
        report("disconnected: removed by the others", time);
    }
    let time = a.expect("ann,bob,cy not ready", DETECTION_TIMEOUT);
    report("disconnected: frozen and not ready", time);
    std::thread::sleep(Duration::from_secs(3));
    a.expect("ann,bob,cy not ready", Duration::from_secs(1));
    a.send_line("join");
    for node in [&a, &b, &c] {
        let time = node.expect(all, Duration::from_secs(20));
        report("reconnected: presence is complete", time);
    }

    // Killed.
    c.signal("-KILL");
    for node in [&a, &b] {
        let time = node.expect("ann,bob ready", DETECTION_TIMEOUT);
        report("SIGKILL: removed", time);
    }
    // A restarted gateway is another node.
    let c = GatewayProcess::start(&brokers, &prefix, "cy");
    for node in [&a, &b, &c] {
        let time = node.expect(all, Duration::from_secs(30));
        report("restarted: presence is complete", time);
    }
}
