//! Start and stop of a gateway: settings, ports, draining.

use super::*;
use crate::gateway::bootstrap::single_node;

fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// Sends a request and reads the whole response.
fn answer(address: SocketAddr, request: &str) -> String {
    let mut client = TestClient::raw(address);
    client.write(format!("{request}\r\nHost: a\r\n\r\n").as_bytes());
    client.read_to_end()
}

#[test]
fn stopping_closes_every_socket_with_4200_while_the_successor_accepts() {
    let old = gateway(|_| {});
    let mut clients: Vec<TestClient> = (0..20).map(|_| TestClient::connect(&old)).collect();
    for client in &mut clients {
        client.subscribe("private-a", None);
    }
    send(&old, "a", "last", "1");
    let port = old.address().port();
    let successor = gateway(|s| s.port = port);
    assert_eq!(successor.address(), old.address());
    let started = Instant::now();
    old.stop(Duration::from_secs(5));
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
    assert!(!old.is_running());
    for client in &mut clients {
        // Queued events are sent before the close.
        client.expect("last", "private-a");
        assert_eq!(client.expect_close(), 4200);
    }
    // Reconnecting clients reach the successor.
    for _ in 0..20 {
        TestClient::connect(&successor).subscribe("private-a", None);
    }
    old.stop(Duration::from_secs(5));
    assert_eq!(
        old.stats().not_ready.as_deref(),
        Some("the gateway is not running")
    );
}

#[test]
fn a_port_in_use_is_reported_with_the_likely_owner() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut settings = settings();
    settings.port = taken.local_addr().unwrap().port();
    let error = single_node(settings).err().unwrap();
    assert!(
        error.message().contains("6001")
            && error
                .message()
                .contains(&taken.local_addr().unwrap().port().to_string()),
        "{error}"
    );
}

#[test]
fn invalid_settings_are_rejected_at_start() {
    for change in [
        (|s: &mut Settings| s.secrets = vec!["secret".into()]) as fn(&mut Settings),
        |s| s.secrets = vec![],
        |s| s.trusted_proxies = vec!["10.0.0.0/99".into()],
        |s| s.allowed_origins = vec!["shop.example".into()],
        |s| s.host = "no such host".into(),
        |s| s.api_listen = Some("nonsense".into()),
    ] {
        let mut settings = settings();
        change(&mut settings);
        assert!(single_node(settings).is_err());
    }
}

#[test]
fn metrics_and_readiness_are_served_on_the_operations_port() {
    let ops = free_address();
    let gateway = gateway(|s| s.ops_listen = Some(ops.to_string()));
    let get = |path: &str| answer(ops, &format!("GET {path} HTTP/1.1"));
    let _client = TestClient::connect(&gateway);
    assert!(get("/ready").starts_with("HTTP/1.1 200"));
    let metrics = get("/metrics");
    // The sum of all gateways in the process, including those of other tests.
    let open = metrics
        .lines()
        .find_map(|line| line.strip_prefix("realtime_gateway_connections "))
        .and_then(|value| value.parse::<f64>().ok());
    assert!(open >= Some(1.0), "{metrics}");
    assert!(metrics.contains("# TYPE realtime_gateway_broadcasts_total counter"));
    assert!(get("/apps/app/channels").starts_with("HTTP/1.1 404"));
}

#[test]
fn a_socket_passed_by_systemd_is_used() {
    use std::os::fd::OwnedFd;
    use std::process::{Command, Stdio};
    const HANDED: &str = "REALTIME_TEST_HANDED";
    if let Ok(expected) = std::env::var(HANDED) {
        // The child process listens on the passed socket instead of the port of its settings.
        let gateway = gateway(|_| {});
        assert_eq!(gateway.address().to_string(), expected);
        eventually("the client is connected", || {
            gateway.hub().counters().connections_accepted.get() == 1
        });
        gateway.stop(Duration::from_secs(2));
        return;
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // The client connects before the gateway starts and waits in the backlog.
    let early = std::thread::spawn(move || {
        let mut client = TestClient::open(address, "/app/app-key?protocol=7", "");
        client.establish();
        client.expect_close()
    });
    let status = Command::new("sh")
        .args([
            "-c",
            "exec 3<&0; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" --exact \
         gateway::tests::lifecycle::a_socket_passed_by_systemd_is_used",
        ])
        .arg(std::env::current_exe().unwrap())
        .env(HANDED, address.to_string())
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(early.join().unwrap(), 4200);
}

#[test]
fn file_descriptors_limit_the_connections() {
    let gateway = gateway(|s| s.max_connections = 1000);
    let max_connections = |descriptors| {
        crate::gateway::server::Acceptor::new(std::sync::Arc::clone(gateway.hub()), descriptors)
            .max_connections()
    };
    assert_eq!(max_connections(100_000), 1000);
    // 64 are reserved for everything else, a sixteenth of the rest for refused connections.
    assert_eq!(max_connections(224), 150);
    assert_eq!(max_connections(10), 1);
}

#[test]
fn an_operations_port_is_never_shared() {
    let browsers = gateway(|_| {});
    let port = browsers.address().to_string();
    // The port of another gateway's sockets: every browser still reaches the sockets.
    let other = gateway(|s| s.ops_listen = Some(port.clone()));
    for _ in 0..40 {
        TestClient::connect(&browsers);
    }
    // The operations port of another gateway: taken over when that gateway stops, as in a restart.
    let ops = free_address();
    let predecessor = gateway(|s| s.ops_listen = Some(ops.to_string()));
    let successor = gateway(|s| s.ops_listen = Some(ops.to_string()));
    let is_ready = || {
        std::net::TcpStream::connect(ops).is_ok()
            && answer(ops, "GET /ready HTTP/1.1").starts_with("HTTP/1.1 200")
    };
    assert!(is_ready());
    predecessor.stop(Duration::from_millis(100));
    eventually("the successor serves the port", is_ready);
    successor.stop(Duration::from_millis(100));
    other.stop(Duration::from_millis(100));
}

#[test]
fn the_listeners_of_a_gateway_need_ports_of_their_own() {
    for change in [
        (|s: &mut Settings| s.ops_listen = Some("127.0.0.1:6001".into())) as fn(&mut Settings),
        |s| s.ops_listen = Some("0.0.0.0:6001".into()),
        |s| s.api_listen = Some("127.0.0.1:6001".into()),
        |s| {
            s.host = "::".into();
            s.api_listen = Some("[::1]:6001".into());
        },
        |s| {
            s.api_listen = Some("127.0.0.1:7001".into());
            s.ops_listen = Some("127.0.0.1:7001".into());
        },
    ] {
        let mut settings = settings();
        settings.port = 6001;
        change(&mut settings);
        let error = single_node(settings).err().unwrap();
        assert!(error.message().contains("a port of its own"), "{error}");
    }
}

#[test]
fn missing_and_weak_secrets_are_rejected() {
    let validate = |change: &dyn Fn(&mut Settings)| {
        let mut settings = settings();
        change(&mut settings);
        settings.validate()
    };
    assert!(validate(&|_| {}).is_ok());
    let (repeated, short) = ("a".repeat(64), "x".repeat(31));
    for secret in [
        "",
        "short",
        &repeated,
        "0123456789abcdef0123456789abcdef",
        &short,
    ] {
        assert!(
            validate(&|s| s.secrets = vec![secret.into()]).is_err(),
            "{secret}"
        );
        // Also behind a strong first secret.
        assert!(
            validate(&|s| s.secrets.push(secret.into())).is_err(),
            "{secret}"
        );
    }
    assert!(validate(&|s| s.secrets.clear()).is_err());
    assert!(validate(&|s| s.key.clear()).is_err());
    assert!(validate(&|s| s.app_id = "a/b".into()).is_err());
}

#[test]
fn defaults_are_as_documented() {
    let s = Settings::default();
    assert_eq!(s.host, "127.0.0.1");
    assert_eq!(s.ops_listen.as_deref(), Some("127.0.0.1:6900"));
    assert!(s.is_public("public.news") && !s.is_public("user.1") && !s.public_by_mark);
    assert_eq!(
        (s.max_message, s.max_depth, s.max_queue),
        (16_384, 32, 1_048_576)
    );
    assert!(s.serves("anything"));
}

#[test]
fn the_api_can_have_a_port_of_its_own() {
    let api = free_address();
    let gateway = gateway(|s| s.api_listen = Some(api.to_string()));
    for (address, request, status) in [
        (
            gateway.address(),
            "GET /apps/app/channels HTTP/1.1",
            "HTTP/1.1 404",
        ),
        (api, "GET /apps/app/channels HTTP/1.1", "HTTP/1.1 401"),
        (
            api,
            "GET /app/app-key?protocol=7 HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade",
            "HTTP/1.1 426",
        ),
    ] {
        assert!(answer(address, request).starts_with(status), "{request}");
    }
}
