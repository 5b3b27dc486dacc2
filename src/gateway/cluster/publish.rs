//! Events of the HTTP API on their way to all gateways: through Kafka, as an application's own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::BrokerConfig;
use crate::gateway::feed::EXACT;
use crate::gateway::seam::ApiEvent;
use crate::ids;
use crate::kafka::producer::delivery::Header;
use crate::kafka::producer::Outgoing;
use crate::message::headers::SOCKET;
use crate::message::{write_end, write_event};
use crate::process;

/// A client that has never reached a broker gets so long to.
const REACH: Duration = Duration::from_secs(2);

/// Sends each event to the topic of its channel, in order.
pub(super) fn publish(config: &Arc<BrokerConfig>, events: &[ApiEvent]) -> Result<(), String> {
    let producer = process::current().clients.get(config);
    let producer = producer.map_err(|error| error.message().to_owned())?;
    // All topics first: either every event can go, or none does.
    let topics = events
        .iter()
        .map(|event| config.topics.topic_for(&event.channel))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| error.message().to_owned())?;
    let until = Instant::now() + REACH;
    while !producer.is_reachable() {
        if Instant::now() >= until {
            return Err(format!("Kafka at {} cannot be reached", config.brokers));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    for (event, topic) in events.iter().zip(&topics) {
        let (id, ms) = ids::new_id_with_time();
        let mut value = Vec::with_capacity(160 + event.data.get().len());
        write_event(&mut value, &id, &event.channel, &event.event);
        if event.data.get() != "null" {
            value.extend_from_slice(b",\"data\":");
            value.extend_from_slice(event.data.get().as_bytes());
        }
        write_end(&mut value, i64::try_from(ms / 1000).unwrap_or(0));
        let mut headers: Vec<Header> = vec![(EXACT.to_owned(), Some(b"1".to_vec()))];
        if let Some(socket) = &event.except {
            headers.push((SOCKET.to_owned(), Some(socket.to_string().into_bytes())));
        }
        let id = String::from_utf8_lossy(&id);
        producer
            .send(&Outgoing {
                id: &id,
                topic,
                partition: None,
                key: Some(event.channel.as_bytes()),
                value: Some(&value),
                headers: &headers,
                timestamp_ms: 0,
            })
            .map_err(|error| error.message().to_owned())?;
    }
    Ok(())
}
