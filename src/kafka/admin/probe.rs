//! Connects to one broker with a short-lived client and reports the steps that passed and the one that failed.
//!
//! librdkafka tells an application that a broker is down, not in which step. Its debug lines do: every change of a
//! broker's state, every failure with its code, the features that follow from the broker's API versions, and its first
//! metadata response. The broker at a bootstrap address is replaced by those of that response, reachable or not, so
//! that no later request says anything about it.

use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaType;

use super::{AdminError, AdminResult, PollInterrupts, POLL_INTERVAL};
use crate::config::BrokerConfig;
use crate::kafka::client::{self, Client, Conf, LogLines, NativeClient};
use crate::kafka::embedded;
use crate::kafka::oauth::TOKENS;
use crate::kafka::EXCLUDED_PROPERTIES;

/// The steps of connecting to a broker, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeStep {
    Dns,
    Tcp,
    Tls,
    Api,
    Sasl,
}

impl ProbeStep {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "DNS",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Api => "API",
            Self::Sasl => "SASL",
        }
    }

    /// The step that a broker's state belongs to; `None` while there is no attempt, and once all steps have passed.
    fn of_state(state: &str) -> Option<Self> {
        Some(match state {
            "CONNECT" => Self::Tcp,
            "SSL_HANDSHAKE" => Self::Tls,
            "APIVERSION_QUERY" => Self::Api,
            "AUTH_HANDSHAKE" | "AUTH_REQ" | "AUTH_LEGACY" => Self::Sasl,
            _ => return None,
        })
    }
}

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeFailure {
    pub step: ProbeStep,
    /// librdkafka's name of the error, such as `_TRANSPORT`.
    pub error: String,
    /// librdkafka's text.
    pub text: String,
}

/// What is known of a broker after the attempt to connect.
#[derive(Debug, Clone, Default)]
pub struct BrokerProbe {
    /// The steps that passed, and their duration.
    pub steps: Vec<(ProbeStep, Duration)>,
    pub failure: Option<ProbeFailure>,
    /// The cluster that the broker belongs to.
    pub cluster_id: Option<String>,
    /// The brokers of the cluster: node id, advertised host and port.
    pub brokers: Vec<(i32, String, u16)>,
    /// librdkafka's names of the features that the API versions of the broker allow, such as `BrokerBalancedConsumer`.
    pub features: Vec<String>,
}

/// A client whose debug lines are collected.
struct ProbeClient {
    client: Client,
    lines: Arc<LogLines>,
}

impl ProbeClient {
    fn start(
        config: &Arc<BrokerConfig>,
        address: &str,
        timeout: Duration,
    ) -> crate::error::Result<Self> {
        let mut properties = config.consumer_properties();
        // Longer than all steps together: which of them is late is decided here.
        let timeout = (timeout.as_millis() * 5).clamp(1000, 600_000).to_string();
        let ours = [
            ("bootstrap.servers", address),
            ("debug", "broker,feature,metadata"),
            ("allow.auto.create.topics", "false"),
            ("socket.connection.setup.timeout.ms", timeout.as_str()),
            // The next address of a name is tried soon.
            ("reconnect.backoff.ms", "10"),
            ("reconnect.backoff.max.ms", "50"),
        ];
        properties.retain(|(name, _)| {
            !EXCLUDED_PROPERTIES.contains(&name.as_str())
                && ours.iter().all(|(known, _)| known != name)
        });
        embedded::resolve(config, &mut properties)?;
        properties.retain(|(name, _)| name != "bootstrap.servers");
        properties.extend(
            ours.iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        let mut conf = Conf::new(&properties, "consumer_config")?;
        let lines = Arc::<LogLines>::default();
        conf.collect_log_lines(&lines);
        let client = conf.into_client(RDKafkaType::RD_KAFKA_CONSUMER)?;
        Ok(Self { client, lines })
    }
}

/// Connects to the broker at `address` with the settings of `config`. Each step may take `timeout`.
///
/// # Errors
/// Configuration: properties librdkafka rejects.
pub fn probe(
    config: &Arc<BrokerConfig>,
    address: &str,
    timeout: Duration,
    poll_interrupts: PollInterrupts<'_>,
) -> AdminResult<BrokerProbe> {
    let ProbeClient { client, lines } = ProbeClient::start(config, address, timeout)?;
    let mut progress = Progress::new(Instant::now());
    loop {
        // A client connects when it has a request.
        let _ = client::brokers(&client, POLL_INTERVAL);
        progress.follow(std::mem::take(&mut *lines.lock()));
        if progress.has_metadata {
            return Ok(progress.probe);
        }
        if !poll_interrupts() {
            return Err(AdminError::Interrupted);
        }
        let is_late = progress.since.elapsed() > timeout;
        if let Some(failure) = progress.failure(address, is_late) {
            progress.probe.failure = Some(failure);
        } else if is_late {
            progress.probe.failure = Some(progress.timed_out(&client));
        } else {
            continue;
        }
        return Ok(progress.probe);
    }
}

/// Follows the states of the broker.
struct Progress {
    probe: BrokerProbe,
    state: String,
    /// When the state began.
    since: Instant,
    failures: Vec<ProbeFailure>,
    /// All brokers of the cluster are known.
    has_metadata: bool,
}

impl Progress {
    fn new(now: Instant) -> Self {
        Self {
            probe: BrokerProbe::default(),
            state: "INIT".to_owned(),
            since: now,
            failures: Vec::new(),
            has_metadata: false,
        }
    }

    fn follow(&mut self, lines: Vec<(Instant, String)>) {
        for (at, line) in lines {
            // The other brokers of the cluster follow after the first response.
            if self.has_metadata {
                return;
            }
            let Some((_, line)) = line.split_once("/bootstrap: ") else {
                continue;
            };
            if let Some(states) = line.strip_prefix("Broker changed state ") {
                if let Some((_, state)) = states.split_once(" -> ") {
                    self.enter(state, at);
                }
            } else if let Some(feature) = line.strip_prefix("Enabling feature ") {
                self.probe.features.push(feature.to_owned());
            } else if let Some(about) = line.strip_prefix("ClusterId: ") {
                let id = about.split(',').next().filter(|id| !id.is_empty());
                self.probe.cluster_id = id.map(str::to_owned);
                self.probe.brokers.clear();
            } else if let Some((broker, count)) = parse_broker(line) {
                self.probe.brokers.push(broker);
                self.has_metadata = self.probe.brokers.len() == count;
            } else {
                self.failures.extend(parse_failure(line, &self.state));
            }
        }
    }

    fn enter(&mut self, state: &str, at: Instant) {
        let (before, after) = (ProbeStep::of_state(&self.state), ProbeStep::of_state(state));
        if after.is_some() || state == "UP" {
            let took = at.saturating_duration_since(self.since);
            match (before, self.probe.steps.last_mut()) {
                // The handshake and the authentication are one step.
                (Some(step), Some((last, sum))) if step == *last => *sum += took,
                (Some(step), _) => self.probe.steps.push((step, took)),
                (None, _) => self.probe.steps.clear(),
            }
        }
        state.clone_into(&mut self.state);
        self.since = at;
    }

    /// The failure that ends the attempt: of TCP only once every address of the name has been tried.
    fn failure(&self, address: &str, is_late: bool) -> Option<ProbeFailure> {
        let failure = self.failures.last()?;
        let all = if failure.step == ProbeStep::Tcp && !is_late {
            address
                .to_socket_addrs()
                .map_or(1, |all| all.into_iter().count())
        } else {
            1
        };
        (self.failures.len() >= all).then(|| failure.clone())
    }

    fn timed_out(&self, client: &NativeClient) -> ProbeFailure {
        let (step, text) = match TOKENS.current().missing(client) {
            Some(reason) => (ProbeStep::Sasl, reason),
            None => (
                ProbeStep::of_state(&self.state).unwrap_or(ProbeStep::Api),
                format!("no response in state {}", self.state),
            ),
        };
        ProbeFailure {
            step,
            error: "_TIMED_OUT".to_owned(),
            text,
        }
    }
}

/// Reads `  Broker #0/3: HOST:PORT NodeId 1`: a broker, and how many there are.
fn parse_broker(line: &str) -> Option<((i32, String, u16), usize)> {
    let (place, broker) = line.strip_prefix("  Broker #")?.split_once(": ")?;
    let (_, count) = place.split_once('/')?;
    let (address, id) = broker.rsplit_once(" NodeId ")?;
    let (host, port) = address.rsplit_once(':')?;
    let broker = (id.parse().ok()?, host.to_owned(), port.parse().ok()?);
    Some((broker, count.parse().ok()?))
}

/// Reads `TEXT (after 3ms in state CONNECT) (_TRANSPORT)`. `None`: another line.
fn parse_failure(line: &str, state: &str) -> Option<ProbeFailure> {
    let (text, state, error) = if let Some((text, rest)) = line.split_once(" (after ") {
        let (after, error) = rest.split_once(") (")?;
        let (_, during) = after.split_once("in state ")?;
        (text, during.split(',').next()?, error)
    } else {
        // The text was too long for the state.
        let place = line.rfind(" (_")?;
        (&line[..place], state, &line[place + 2..])
    };
    let error = error.split(')').next()?;
    let step = match error {
        "_RESOLVE" => ProbeStep::Dns,
        "_AUTHENTICATION" | "SASL_AUTHENTICATION_FAILED" => ProbeStep::Sasl,
        // The client replaces the broker.
        "_DESTROY" | "_DESTROY_BROKER" => return None,
        // With TLS 1.3 the broker refuses a client certificate after the handshake.
        "_SSL" => ProbeStep::Tls,
        _ if matches!(state, "INIT" | "DOWN" | "TRY_CONNECT") => ProbeStep::Tcp,
        _ => ProbeStep::of_state(state).unwrap_or(ProbeStep::Api),
    };
    Some(ProbeFailure {
        step,
        error: error.to_owned(),
        text: text.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{testing, Value};
    use crate::kafka::embedded::EmbeddedCluster;

    const TIMEOUT: Duration = Duration::from_secs(5);

    fn probe_of(address: &str) -> BrokerProbe {
        let config = testing::config(&[("brokers", Value::from("127.0.0.1:1"))]);
        probe(&config, address, TIMEOUT, &|| true).expect("a probe")
    }

    #[test]
    fn a_broker_that_responds() {
        let kafka = EmbeddedCluster::start("127.0.0.1", 0).expect("an embedded broker");
        let found = probe_of(kafka.address());
        assert_eq!(found.failure, None);
        let steps: Vec<ProbeStep> = found.steps.iter().map(|(step, _)| *step).collect();
        assert_eq!(steps, [ProbeStep::Tcp, ProbeStep::Api]);
        assert!(client::is_mock(&found.cluster_id.expect("a cluster")));
        assert_eq!(found.brokers.len(), 1);
        assert!(found.features.iter().any(|name| name == "ApiVersion"));
    }

    #[test]
    fn a_step_that_fails() {
        let refused = probe_of("127.0.0.1:1").failure.expect("a failure");
        assert_eq!(refused.step, ProbeStep::Tcp);
        assert!(refused.text.contains("refused"), "{}", refused.text);
        let unknown = probe_of("kafka-7.invalid:9092").failure.expect("a failure");
        assert_eq!(unknown.step, ProbeStep::Dns);
    }

    #[test]
    fn lines_of_failures() {
        let found = |line| parse_failure(line, "UP").map(|one| (one.step, one.error, one.text));
        let expected =
            |step, error: &str, text: &str| Some((step, error.to_owned(), text.to_owned()));
        assert_eq!(
            found("Disconnected: requesting ApiVersion (after 3ms in state APIVERSION_QUERY) (_TRANSPORT)"),
            expected(ProbeStep::Api, "_TRANSPORT", "Disconnected: requesting ApiVersion")
        );
        assert_eq!(
            found(
                "SASL authentication error: no (x) (after 9ms in state AUTH_REQ, 1 identical error(s) suppressed) \
                 (_AUTHENTICATION): identical to last error"
            ),
            expected(
                ProbeStep::Sasl,
                "_AUTHENTICATION",
                "SASL authentication error: no (x)"
            )
        );
        assert_eq!(
            found("SSL transport error: alert (after 1ms in state APIVERSION_QUERY) (_SSL)"),
            expected(ProbeStep::Tls, "_SSL", "SSL transport error: alert")
        );
        assert_eq!(found("Connected to ipv4#127.0.0.1:9092"), None);
        assert_eq!(
            found("a long text (_AUTHENTICATION)"),
            expected(ProbeStep::Sasl, "_AUTHENTICATION", "a long text")
        );
        let replaced = "Broker handle is terminating (after 1ms in state UP) (_DESTROY_BROKER)";
        assert_eq!(found(replaced), None);
        assert_eq!(
            parse_broker("  Broker #1/3: ::1:9092 NodeId 7"),
            Some(((7, "::1".to_owned(), 9092), 3))
        );
    }
}
