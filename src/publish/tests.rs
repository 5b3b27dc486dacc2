//! The rules without Kafka: `send` receives the records.

use std::borrow::Cow;
use std::rc::Rc;

use super::*;
use crate::config::{testing, Value};
use crate::encryption::MasterKey;
use crate::loop_guard::HandlingGuard;

const MASTER_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// Topic, key, value, headers.
type Sent = (String, Vec<u8>, String, Vec<Header>);

fn sent(record: &ProducerRecord<'_>) -> Sent {
    (
        record.topic.to_owned(),
        record.key.unwrap_or_default().to_vec(),
        String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned(),
        record.headers.to_vec(),
    )
}

fn config(more: &[(&str, Value)]) -> Arc<BrokerConfig> {
    testing::config(more)
}

fn with_key() -> Arc<BrokerConfig> {
    config(&[("encryption_master_key", Value::from(MASTER_KEY))])
}

fn options(event: &str) -> EventOptions<'_> {
    EventOptions {
        event,
        key: None,
        headers: Vec::new(),
    }
}

/// Broadcasts on a route as the binding does.
fn broadcast(
    config: &BrokerConfig,
    channel: &str,
    data: Option<&[u8]>,
) -> Result<(BroadcastId, Vec<Sent>)> {
    let (mut all, mut envelope) = (Vec::new(), Vec::new());
    let encode = |out: &mut Vec<u8>| {
        out.extend_from_slice(data.unwrap_or_default());
        Ok::<_, Error>(data.is_some())
    };
    let mut route = route::Route::new(config, channel, "paid")?;
    let id = route.broadcast(config, &mut envelope, None, Vec::new(), encode, |record| {
        all.push(sent(record));
        Ok(())
    })?;
    Ok((id, all))
}

fn broadcast_many(
    config: &BrokerConfig,
    channels: &[&str],
    data: Option<&[u8]>,
) -> (Result<BroadcastId>, Vec<Sent>) {
    let channels: Vec<_> = channels.iter().map(|name| Cow::Borrowed(*name)).collect();
    let mut all = Vec::new();
    let mut envelope = Vec::new();
    let id = broadcast_to_all(
        config,
        &channels,
        data,
        options("paid"),
        &mut envelope,
        |record| {
            all.push(sent(record));
            Ok(())
        },
    );
    (id, all)
}

fn text(id: &BroadcastId) -> String {
    String::from_utf8_lossy(id.as_bytes()).into_owned()
}

#[test]
fn one_channel_and_several_get_the_same_envelope() {
    let config = config(&[]);
    for data in [None, Some(&br#"{"a":1}"#[..])] {
        let (id, one) = broadcast(&config, "user.1", data).unwrap();
        let (many_id, many) = broadcast_many(&config, &["user.1", "user.2"], data);
        let without_id = |sent: &Sent, id: &str| {
            let value = sent.2.replace(id, "ID");
            value.split("\"timestamp\"").next().unwrap().to_owned()
        };
        let many_id = text(&many_id.unwrap());
        assert_eq!(
            without_id(&one[0], &text(&id)),
            without_id(&many[0], &many_id)
        );
        assert_eq!((&one[0].0, &one[0].1), (&many[0].0, &many[0].1));
        assert_eq!(many[1].0, "realtime_user_2");
        assert!(many.iter().all(|sent| sent.2.contains(&many_id)));
        let data = data.map_or("", |_| r#","data":{"a":1}"#);
        let expected =
            format!(r#"{{"id":"ID","type":"event","channel":"user.1","event":"paid"{data},"#);
        assert_eq!(without_id(&one[0], &text(&id)), expected);
    }
}

#[test]
fn an_invalid_channel_among_several_prevents_the_others() {
    let (id, sent) = broadcast_many(&config(&[]), &["user.1", ""], None);
    assert_eq!(id.err().map(|why| why.kind()), Some(Kind::InvalidChannel));
    assert!(sent.is_empty());
    // Without a master key.
    let (id, sent) = broadcast_many(&config(&[]), &["user.1", "private-encrypted-a"], None);
    assert_eq!(id.err().map(|why| why.kind()), Some(Kind::Configuration));
    assert!(sent.is_empty());
}

#[test]
fn encrypted_channels_get_encrypted_data() {
    let config = with_key();
    let key = MasterKey::from_base64(MASTER_KEY).unwrap();
    let channel = "private-encrypted-a";
    let message = Message::new(Some("user.1"), "paid", Some(br#"{"a":1}"#));
    let mut published = Vec::new();
    publish(&config, channel, &message, None, Vec::new(), |record| {
        published.push(sent(record));
        Ok(())
    })
    .unwrap();
    let (_, one) = broadcast(&config, channel, Some(br#"{"a":1}"#)).unwrap();
    let (_, many) = broadcast_many(&config, &[channel, "user.1"], Some(br#"{"a":1}"#));
    assert!(many[1].2.contains(r#""data":{"a":1}"#));
    for sent in [&published[0], &one[0], &many[0]] {
        let message = Message::from_envelope(sent.2.as_bytes()).unwrap();
        let data = std::str::from_utf8(message.data_json().unwrap()).unwrap();
        assert_eq!(key.decrypt(channel, data).unwrap(), br#"{"a":1}"#);
    }
}

#[test]
fn the_content_being_handled_is_not_sent_again() {
    let message = Rc::new(Message::new(Some("user.1"), "paid", Some(b"[1]")));
    let _guard = HandlingGuard::one(Rc::clone(&message));
    let config = config(&[]);
    assert!(repeats_message(&config, "user.1", &message));
    assert!(!repeats_message(&config, "user.2", &message));
    let (id, all) = broadcast(&config, "user.1", Some(b"[1]")).unwrap();
    assert_eq!((text(&id), all.len()), (message.id().into_owned(), 0));
    // Other channels of a list receive it, with the number of hops, and the id is a new one.
    let (id, all) = broadcast_many(&config, &["user.1", "user.2"], Some(b"[1]"));
    assert_ne!(text(&id.unwrap()), message.id());
    assert_eq!((all.len(), all[0].0.as_str()), (1, "realtime_user_2"));
    let hops = vec![(headers::HOPS.to_owned(), Some(b"1".to_vec()))];
    assert_eq!(all[0].3, hops);
    let (_, all) = broadcast(&config, "user.1", Some(b"[2]")).unwrap();
    assert_eq!(all[0].3, hops);
    // publish() is counted and never left out.
    let mut published = Vec::new();
    let send = |record: &ProducerRecord<'_>| {
        published.push(sent(record));
        Ok(())
    };
    publish(&config, "user.1", &message, None, Vec::new(), send).unwrap();
    assert_eq!(published[0].3, hops);
}

#[test]
fn without_the_loop_guard_all_is_sent_without_hops() {
    let message = Rc::new(Message::new(Some("user.1"), "paid", Some(b"[1]")));
    let _guard = HandlingGuard::one(Rc::clone(&message));
    let config = config(&[("loop_guard", Value::Bool(false))]);
    assert!(!repeats_message(&config, "user.1", &message));
    let (_, all) = broadcast(&config, "user.1", Some(b"[1]")).unwrap();
    assert_eq!((all.len(), all[0].3.len()), (1, 0));
}

#[test]
fn too_many_hops_are_refused_by_every_way_of_sending() {
    let hops = vec![(headers::HOPS.to_owned(), Some(b"8".to_vec()))];
    let message = Rc::new(Message::new(Some("a"), "e", None).with_headers(hops));
    let _guard = HandlingGuard::one(Rc::clone(&message));
    let config = config(&[]);
    let never = |_: &ProducerRecord<'_>| -> Result<()> { panic!("sent") };
    let raw = ProducerRecord {
        id: "",
        topic: "orders",
        partition: None,
        key: None,
        value: None,
        headers: &[],
        timestamp_ms: 0,
    };
    let all = [
        broadcast(&config, "user.1", None).err(),
        broadcast_many(&config, &["a", "b"], None).0.err(),
        publish(&config, "a", &message, None, Vec::new(), never).err(),
        send_raw(&config, &raw, Vec::new(), never).err(),
    ];
    for error in all {
        assert_eq!(error.map(|why| why.kind()), Some(Kind::HopLimit));
    }
}

#[test]
fn a_message_passed_on_keeps_its_own_headers_and_not_ours() {
    let header = |name: &str, value: &str| (name.to_owned(), Some(value.as_bytes().to_vec()));
    let message = Message::new(Some("user.1"), "paid", None)
        .with_headers(vec![
            header("tenant", "7"),
            header("traceparent", "old"),
            header("x-realtime-hops", "3"),
            header("x-original-topic", "dlq"),
            header("x-realtime-public", "1"),
        ])
        .with_key(Some(b"own"));
    let mut all = Vec::new();
    let more = vec![header("traceparent", "new")];
    let send = |record: &ProducerRecord<'_>| {
        all.push(sent(record));
        Ok(())
    };
    let id = publish(&config(&[]), "user.1", &message, None, more, send).unwrap();
    let (topic, key, value, headers) = all.remove(0);
    assert_eq!((topic.as_str(), &key[..]), ("realtime_user_1", &b"own"[..]));
    assert_eq!(value.as_bytes(), message.value().unwrap());
    assert_eq!(id, message.id());
    let expected = [
        header("tenant", "7"),
        header("x-realtime-public", "1"),
        header("traceparent", "new"),
    ];
    assert_eq!(headers, expected);
}

#[test]
fn a_socket_id_is_two_numbers() {
    assert_eq!(
        except_header("123.456").unwrap(),
        (headers::SOCKET.to_owned(), Some(b"123.456".to_vec()))
    );
    for wrong in ["", "1", "1.", ".1", "1.2.3", "a.1", "1.2\n", "-1.2", "١.٢"] {
        let error = except_header(wrong).unwrap_err();
        assert_eq!(error.kind(), Kind::Configuration, "{wrong}");
    }
}

#[test]
fn a_raw_record_gets_an_id_and_a_valid_topic() {
    let record = |topic: &'static str| ProducerRecord {
        id: "",
        topic,
        partition: Some(3),
        key: Some(b"k"),
        value: None,
        headers: &[],
        timestamp_ms: 0,
    };
    let mut all = Vec::new();
    let id = send_raw(&config(&[]), &record("orders"), Vec::new(), |record| {
        all.push((
            record.id.to_owned(),
            record.partition,
            record.value.is_none(),
        ));
        Ok(())
    });
    assert_eq!(all, [(id.unwrap(), Some(3), true)]);
    let refused = send_raw(&config(&[]), &record("a b"), Vec::new(), |_| Ok(()));
    assert_eq!(
        refused.err().map(|why| why.kind()),
        Some(Kind::InvalidChannel)
    );
}
