//! The limit of the benchmark: a plain loop over the same librdkafka as the extension, with nothing around it.
//!
//! ```text
//! bench_limit produce <brokers> <topic> <messages>   the same 261 bytes again and again, flush at the end included
//! bench_limit consume <brokers> <topic> <messages>   with a group of its own, nothing read of the value
//! ```
//!
//! Prints one line of JSON: messages, CPU time of all threads and wall clock in µs.
#![allow(unsafe_code, missing_docs, clippy::print_stdout)]

use std::ffi::{c_char, CStr, CString};
use std::ptr::null_mut;
use std::time::{Duration, Instant};

use rdkafka_sys::bindings as sys;
// The linker takes `poll` from it: the same librdkafka as in the extension.
use toporia_realtime as _;

const VALUE: &[u8] = br#"{"id":"019a9f5e-2b7c-7c41-9d2e-3f6a1b0c8d7e","type":"event","channel":"user.1","event":"order.created","data":{"order_id":1000000,"status":"created","total":149.95,"currency":"EUR","paid":true,"items":[{"sku":"TS-1042-XL","quantity":2}]},"timestamp":1763700000}"#;
const KEY: &[u8] = b"user.1";
/// As many records per poll as `consume()` requests by default.
const BATCH: usize = 100;

const PRODUCER: &[(&str, &str)] = &[
    ("partitioner", "murmur2_random"),
    ("linger.ms", "5"),
    ("queue.buffering.max.messages", "1000000"),
    ("queue.buffering.max.kbytes", "524288"),
    ("enable.idempotence", "true"),
    ("acks", "all"),
    ("delivery.report.only.error", "true"),
];

const CONSUMER: &[(&str, &str)] = &[
    ("auto.offset.reset", "earliest"),
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("enable.auto.offset.store", "false"),
    ("queued.min.messages", "1000000"),
    ("queued.max.messages.kbytes", "65536"),
    ("fetch.queue.backoff.ms", "5"),
    ("fetch.wait.max.ms", "10"),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, brokers, topic, messages] = arguments.as_slice() else {
        fail("Usage: bench_limit produce|consume <brokers> <topic> <messages>");
    };
    let Ok(messages) = messages.parse() else {
        fail("The number of messages is no number.");
    };
    let topic = c_string(topic);
    // SAFETY: every handle is created, used and left to the end of the process in the function it belongs to.
    let (started, cpu) = unsafe {
        match what.as_str() {
            "produce" => produce(brokers, &topic, messages),
            "consume" => consume(brokers, &topic, messages),
            _ => fail("The first argument is produce or consume."),
        }
    };
    let (spent, wall) = (cpu_time().saturating_sub(cpu), started.elapsed());
    println!(
        "{{\"messages\":{messages},\"cpu_us\":{},\"wall_us\":{},\"delivered\":{messages}}}",
        spent.as_micros(),
        wall.as_micros()
    );
}

fn fail(why: &str) -> ! {
    println!("{why}");
    std::process::exit(1);
}

fn c_string(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}

unsafe fn client(kind: sys::rd_kafka_type_t, settings: &[(&str, &str)]) -> *mut sys::rd_kafka_t {
    let conf = sys::rd_kafka_conf_new();
    let mut trouble: [c_char; 512] = [0; 512];
    for (name, value) in settings {
        let (name, value) = (c_string(name), c_string(value));
        let result = sys::rd_kafka_conf_set(
            conf,
            name.as_ptr(),
            value.as_ptr(),
            trouble.as_mut_ptr(),
            trouble.len(),
        );
        if result != sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
            fail(&CStr::from_ptr(trouble.as_ptr()).to_string_lossy());
        }
    }
    if kind == sys::rd_kafka_type_t::RD_KAFKA_PRODUCER {
        sys::rd_kafka_conf_set_events(conf, sys::RD_KAFKA_EVENT_DR);
    }
    let client = sys::rd_kafka_new(kind, conf, trouble.as_mut_ptr(), trouble.len());
    if client.is_null() {
        fail(&CStr::from_ptr(trouble.as_ptr()).to_string_lossy());
    }
    client
}

unsafe fn produce(brokers: &str, topic: &CStr, messages: u64) -> (Instant, Duration) {
    let settings: Vec<_> = PRODUCER
        .iter()
        .copied()
        .chain([("bootstrap.servers", brokers)])
        .collect();
    let client = client(sys::rd_kafka_type_t::RD_KAFKA_PRODUCER, &settings);
    let handle = sys::rd_kafka_topic_new(client, topic.as_ptr(), null_mut());
    let send = || {
        sys::rd_kafka_produce(
            handle,
            -1,
            sys::RD_KAFKA_MSG_F_COPY,
            VALUE.as_ptr().cast_mut().cast(),
            VALUE.len(),
            KEY.as_ptr().cast(),
            KEY.len(),
            null_mut(),
        )
    };
    let flush = || {
        let code = sys::rd_kafka_flush(client, 60_000);
        if code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            fail("Not everything was delivered within a minute.");
        }
    };
    send();
    flush();
    let (started, cpu) = (Instant::now(), cpu_time());
    for _ in 0..messages {
        if send() != 0 {
            fail("The queue is full.");
        }
    }
    flush();
    (started, cpu)
}

unsafe fn consume(brokers: &str, topic: &CStr, messages: u64) -> (Instant, Duration) {
    let (started, cpu) = (Instant::now(), cpu_time());
    let group = format!("limit-{}", std::process::id());
    let settings: Vec<_> = CONSUMER
        .iter()
        .copied()
        .chain([("bootstrap.servers", brokers), ("group.id", &group)])
        .collect();
    let client = client(sys::rd_kafka_type_t::RD_KAFKA_CONSUMER, &settings);
    sys::rd_kafka_poll_set_consumer(client);
    let queue = sys::rd_kafka_queue_get_consumer(client);
    let topics = sys::rd_kafka_topic_partition_list_new(1);
    sys::rd_kafka_topic_partition_list_add(topics, topic.as_ptr(), -1);
    sys::rd_kafka_subscribe(client, topics);
    let mut batch = [null_mut::<sys::rd_kafka_message_t>(); BATCH];
    let (mut seen, mut bytes) = (0_u64, 0_usize);
    let deadline = Instant::now() + Duration::from_secs(60);
    while seen < messages {
        // One poll with a timeout, then only available records: like consume(), because waiting for a full batch costs
        // latency.
        batch[0] = sys::rd_kafka_consumer_poll(client, 100);
        if batch[0].is_null() {
            if Instant::now() > deadline {
                fail("The records did not come within a minute.");
            }
            continue;
        }
        let more =
            sys::rd_kafka_consume_batch_queue(queue, 0, batch.as_mut_ptr().add(1), BATCH - 1);
        let count = 1 + usize::try_from(more).unwrap_or(0);
        for message in &batch[..count] {
            let record = &**message;
            if record.err == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                seen += 1;
                bytes += record.len;
            }
            sys::rd_kafka_message_destroy(*message);
        }
    }
    assert!(bytes > 0, "records without values");
    (started, cpu)
}

/// User and system time of every thread of this process.
fn cpu_time() -> Duration {
    // SAFETY: the structure is plain numbers, filled by the call.
    let usage = unsafe {
        let mut usage = std::mem::zeroed::<libc::rusage>();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    let time = |value: libc::timeval| {
        let seconds = Duration::from_secs(u64::try_from(value.tv_sec).unwrap_or(0));
        seconds + Duration::from_micros(u64::try_from(value.tv_usec).unwrap_or(0))
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}
