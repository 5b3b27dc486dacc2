//! The feed on the embedded broker, and on a real Kafka if REALTIME_TEST_BROKERS names one.

use std::io::Write;
use std::time::{Duration, Instant};

use super::*;
use crate::gateway::tests::test_brokers::{brokers, config, unique, until, Sender};

/// Channel, id, offset, live or not, and time of arrival.
type Entry = (String, String, i64, bool, Instant);

#[derive(Default)]
struct RecordingSink {
    all: Mutex<Vec<Entry>>,
    began: Mutex<Vec<(String, i32, i64)>>,
    ended: Mutex<Vec<(String, i32)>>,
    control: Mutex<Vec<(TopicRole, String, bool)>>,
}

impl FeedSink for RecordingSink {
    fn partition_started(&self, state: &PartitionState, offset: i64, _: i64) {
        let entry = (state.name.to_string(), state.number, offset);
        self.began.lock().push(entry);
    }

    fn partition_stopped(&self, state: &PartitionState) {
        self.ended
            .lock()
            .push((state.name.to_string(), state.number));
    }

    fn broadcast(&self, broadcast: &Arc<Broadcast>, _: i64, live: bool) {
        let offset = broadcast.at.map_or(-1, |at| at.offset);
        let entry = (
            broadcast.channel().to_owned(),
            broadcast.id().to_owned(),
            offset,
            live,
            Instant::now(),
        );
        self.all.lock().push(entry);
    }

    fn control(&self, control: &RawControlRecord<'_>) {
        let value = String::from_utf8_lossy(control.value).into_owned();
        self.control
            .lock()
            .push((control.role, value, control.live));
    }
}

impl RecordingSink {
    fn live(&self) -> Vec<String> {
        let all = self.all.lock();
        let live = all.iter().filter(|entry| entry.3);
        live.map(|entry| entry.1.clone()).collect()
    }

    fn buffered(&self) -> Vec<String> {
        let all = self.all.lock();
        let buffered = all.iter().filter(|entry| !entry.3);
        buffered.map(|entry| entry.1.clone()).collect()
    }
}

struct Run {
    feed: Feed,
    sink: Arc<RecordingSink>,
    counters: Arc<Counters>,
    positions: Arc<Positions>,
}

fn run(config: &Arc<BrokerConfig>, feed_config: FeedConfig) -> Run {
    let (sink, counters) = (Arc::<RecordingSink>::default(), Arc::<Counters>::default());
    let positions = Arc::<Positions>::default();
    let shared_sink: Arc<dyn FeedSink> = Arc::clone(&sink) as _;
    let feed = Feed::start(
        config,
        feed_config,
        Arc::clone(&positions),
        Arc::clone(&counters),
        shared_sink,
    )
    .expect("a feed");
    assert!(feed.wait_filled(Duration::from_secs(20)), "it did not fill");
    Run {
        feed,
        sink,
        counters,
        positions,
    }
}

#[test]
fn reading_starts_at_the_end_and_recent_records_fill_the_buffer() {
    for brokers in brokers() {
        let config = config(&brokers, &unique("feed"));
        let sender = Sender::start(&config);
        let before: Vec<String> = (0..5).map(|_| sender.send("user.1", "e", "1")).collect();
        sender.flush();
        let run = run(&config, FeedConfig::default());
        assert_eq!(run.sink.buffered(), before);
        let after: Vec<String> = (0..5).map(|_| sender.send("user.1", "e", "1")).collect();
        until("five broadcasts", || run.sink.live().len() == 5);
        assert_eq!(run.sink.live(), after);
        let topic = config.topics.topic_for("user.1").expect("a topic");
        let topic = run.positions.find(&topic).expect("it is read");
        let mut sum = 0;
        until("positions", || {
            sum = 0;
            topic.for_each_next_offset(|_, next| sum += next);
            sum == 10
        });
        // The embedded broker has no topic ids.
        let is_real = std::env::var("REALTIME_TEST_BROKERS").is_ok_and(|real| real == brokers);
        assert_eq!(topic.id() != 0, is_real, "{brokers}");
        run.feed.stop();
    }
}

#[test]
fn a_new_topic_is_read_completely_and_old_records_are_not_delivered() {
    for brokers in brokers() {
        let config = config(&brokers, &unique("late"));
        let sender = Sender::start(&config);
        let run = run(&config, FeedConfig::default());
        std::thread::sleep(Duration::from_millis(1500));
        let sent: Vec<String> = (0..3).map(|_| sender.send("new.1", "e", "1")).collect();
        until("the late topic", || run.sink.live().len() >= 3);
        assert_eq!(run.sink.live(), sent);
        // Records from a day ago, in a topic that the feed has not seen yet.
        let old = i64::try_from(crate::ids::unix_ms()).unwrap_or(0) - 86_400_000;
        for _ in 0..3 {
            sender.send_at("old.1", "e", "1", old);
        }
        let fresh = sender.send("old.1", "e", "1");
        until("the fresh one", || run.sink.live().contains(&fresh));
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(run.sink.live().len(), 4);
        run.feed.stop();
    }
}

#[test]
fn invalid_records_are_counted_and_skipped() {
    for brokers in brokers() {
        let config = config(&brokers, &unique("skips"));
        let sender = Sender::start(&config);
        sender.send("user.1", "e", "1");
        sender.flush();
        let feed_config = FeedConfig {
            channels: vec![ChannelPattern::parse("user.*").expect("a pattern")],
            ..FeedConfig::default()
        };
        let run = run(&config, feed_config);
        let topic = config.topics.topic_for("user.1").expect("a topic");
        sender.raw(&topic, b"no envelope");
        sender.raw(&topic, br#"{"type":"ping","channel":"user.1","event":"e"}"#);
        sender.raw(&topic, br#"{"id":"1","channel":"user_1","event":"e"}"#);
        sender.raw(&topic, br#"{"id":"1","channel":"user.2","event":"e"}"#);
        sender.raw(
            &topic,
            br#"{"id":"1","channel":"user.1","event":"pusher:x"}"#,
        );
        let large = format!(
            r#"{{"id":"1","channel":"user.1","event":"e","data":"{}"}}"#,
            "x".repeat(300 << 10)
        );
        sender.raw(&topic, large.as_bytes());
        let last = sender.send("user.1", "e", "1");
        until("the last", || run.sink.live().contains(&last));
        // `user_1` maps to this topic as well, but the gateway does not serve that channel.
        assert_eq!(run.sink.live(), [last]);
        let counters = &run.counters;
        assert_eq!(counters.bad_records.get(), 2);
        assert_eq!(counters.topic_mismatch.get(), 1);
        assert_eq!(counters.reserved_events.get(), 1);
        assert_eq!(counters.oversized_events.get(), 1);
        run.feed.stop();
    }
}

#[test]
fn reading_continues_after_a_topic_is_recreated() {
    // Records are deleted while the feed reads: real Kafka only.
    for brokers in brokers().into_iter().filter(|b| b.contains(':')).skip(1) {
        let config = config(&brokers, &unique("range"));
        let sender = Sender::start(&config);
        sender.send("user.1", "e", "1");
        sender.flush();
        let run = run(&config, FeedConfig::default());
        let topic = config.topics.topic_for("user.1").expect("a topic");
        let admin = crate::kafka::admin::Admin::start(&config).expect("an admin");
        admin.delete_topic(&topic, &|| true).expect("deleted");
        std::thread::sleep(Duration::from_millis(500));
        let sent = sender.send("user.1", "e", "2");
        sender.flush();
        until("the topic that was made again", || {
            run.sink.live().contains(&sent)
        });
        run.feed.stop();
    }
}

#[test]
fn delivery_latency_is_low() {
    for brokers in brokers() {
        let config = config(&brokers, &unique("speed"));
        let sender = Sender::start(&config);
        sender.send("user.1", "e", "1");
        sender.flush();
        let run = run(&config, FeedConfig::default());
        let rate = if cfg!(debug_assertions) {
            5_000
        } else {
            20_000
        };
        let mut sent = HashMap::new();
        let start_initial = Instant::now();
        for n in 0..rate {
            let due = start_initial + Duration::from_secs(1) * n / rate;
            while Instant::now() < due {
                std::thread::sleep(Duration::from_micros(200));
            }
            let now = Instant::now();
            sent.insert(sender.send("user.1", "e", "{\"id\":7}"), now);
        }
        let wanted = usize::try_from(rate).expect("small");
        until("all of them", || run.sink.live().len() == wanted);
        let all = run.sink.all.lock();
        let mut times: Vec<Duration> = all
            .iter()
            .filter(|entry| entry.3)
            .map(|entry| entry.4 - sent[&entry.1])
            .collect();
        times.sort_unstable();
        let at = |share: usize| times[times.len() * share / 1000 - 1];
        // For information; the promised latency is measured with the release build.
        let line = format!(
            "{rate}/s on {brokers}: p50 {:?} p99 {:?} p99.9 {:?}\n",
            at(500),
            at(990),
            at(999),
        );
        let _ = std::io::stderr().write_all(line.as_bytes());
        // A shared machine can pause, so the bound is generous.
        assert!(at(500) < Duration::from_secs(1));
        drop(all);
        run.feed.stop();
    }
}

#[test]
fn every_topic_of_the_prefix_is_selected() {
    let selector = TopicSelector::new(&TopicMap::one_per_channel("realtime", false), &[]);
    let table = [
        ("realtime_user_1", Some(TopicRole::Channels)),
        ("realtime_staging_user_1", Some(TopicRole::Channels)),
        ("realtime_user.1", None),
        ("realtime_", None),
        ("realtime", None),
        ("other_user_1", None),
        ("dlq.realtime_user_1", None),
        ("realtime___presence", None),
        ("realtime.__presence", Some(TopicRole::Presence)),
        ("realtime.__client", Some(TopicRole::Client)),
        ("realtime.__events", Some(TopicRole::Events)),
        ("realtime_staging.__presence", None),
    ];
    for (topic, expected) in table {
        assert_eq!(selector.role(topic), expected, "{topic}");
    }
    let dots = TopicSelector::new(&TopicMap::one_per_channel("realtime", true), &[]);
    assert_eq!(dots.role("realtime_user.1"), Some(TopicRole::Channels));
    assert_eq!(dots.role("realtime_x.__presence"), None);
}

#[test]
fn grouped_topics_are_selected_by_name_and_narrowed_by_channels() {
    let pattern = |text: &str| ChannelPattern::parse(text).expect("a pattern");
    let mapping = vec![crate::topic::Mapping {
        pattern: pattern("user.*"),
        topic: "realtime.user".to_owned(),
        spec: crate::topic::TopicSpec::default(),
    }];
    let topics = TopicMap::grouped("realtime", mapping, "realtime.rest", None);
    let all = TopicSelector::new(&topics, &[]);
    assert_eq!(all.role("realtime.user"), Some(TopicRole::Channels));
    assert_eq!(all.role("realtime.rest"), Some(TopicRole::Channels));
    assert_eq!(all.role("realtime_user_1"), None);
    let some = TopicSelector::new(&topics, &[pattern("user.*")]);
    assert_eq!(some.role("realtime.user"), Some(TopicRole::Channels));
    assert_eq!(some.role("realtime.rest"), None);
    let one = TopicSelector::new(
        &TopicMap::one_per_channel("realtime", false),
        &[pattern("user.1")],
    );
    assert_eq!(one.role("realtime_user_1"), Some(TopicRole::Channels));
    assert_eq!(one.role("realtime_user_2"), None);
    assert_eq!(one.role("realtime.__presence"), Some(TopicRole::Presence));
}
