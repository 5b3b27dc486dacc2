//! The types that Reflection shows for our methods: PHP's own types, `static` and unions, which Rust's types cannot
//! express.
//!
//! The methods check their arguments themselves; PHP reads these types for reflection only. They are the stubs'
//! signatures, and a test compares both.

use std::ffi::{c_void, CString};
use std::sync::atomic::{AtomicPtr, Ordering};

use ext_php_rs::builders::{ClassBuilder, FunctionBuilder};
use ext_php_rs::ffi::{zend_class_entry, zend_function, zend_internal_arg_info, zend_type};
use ext_php_rs::flags::{ClassFlags, MethodFlags};
use ext_php_rs::types::{ZendStr, Zval};
use ext_php_rs::zend::ClassEntry;

use super::arguments::{self, CallError};

/// `class::method(parameters): return`, as in the stubs.
const SIGNATURES: &[&str] = &[
    "Realtime::configure(array $config): void",
    "Realtime::broadcast(string|array $channel, string $event, mixed $data = null, ?string $key = null, array \
    $headers = [], ?string $except = null): string",
    "Realtime::broker(?string $name = null): Toporia\\Realtime\\Broker",
    "Realtime::flush(int $timeoutMs = 10000): void",
    "Realtime::stats(): array",
    "Realtime::log(string $level, string $message): void",
    "Realtime::fake(?Toporia\\Realtime\\Contract\\Publisher $fake = null): Toporia\\Realtime\\Testing\\RealtimeFake",
    "Realtime::swap(Toporia\\Realtime\\Contract\\Publisher $publisher): void",
    "Realtime::restore(): void",
    "Broker::__construct(array $config = [])",
    "Broker::publish(string $channel, Toporia\\Realtime\\Message $message, ?string $key = null, array $headers = \
    []): string",
    "Broker::repeats(string $channel, Toporia\\Realtime\\Message $message): bool",
    "Broker::publishBatch(array $messages, int $flushTimeoutMs = 10000): array",
    "Broker::send(string $topic, mixed $value, ?string $key = null, array $headers = [], ?int $partition = null): \
    string",
    "Broker::subscribe(string $channel, ?callable $callback = null): static",
    "Broker::subscribeBatch(string $channel, callable $callback): static",
    "Broker::subscribeTopic(string $topic, ?callable $callback = null): static",
    "Broker::unsubscribe(string $channel): static",
    "Broker::consume(int $timeoutMs = 1000, int $batchSize = 100, int $maxMessages = 0, bool $stopWhenEmpty = \
    false): int",
    "Broker::stopConsuming(): void",
    "Broker::onAssigned(callable $callback): static",
    "Broker::onRevoked(callable $callback): static",
    "Broker::onTick(callable $callback, int $everyMs = 1000): static",
    "Broker::onFailed(callable $callback): static",
    "Broker::retryWith(?Toporia\\Realtime\\Contract\\RetryStrategy $strategy): static",
    "Broker::pause(?string $topic = null, ?int $partition = null): static",
    "Broker::resume(?string $topic = null, ?int $partition = null): static",
    "Broker::seek(string $topic, int $partition, DateTimeInterface|string|int $position): static",
    "Broker::poll(int $timeoutMs = 1000): ?Toporia\\Realtime\\Message",
    "Broker::ack(Toporia\\Realtime\\Message $message): void",
    "Broker::nack(Toporia\\Realtime\\Message $message, ?Throwable $why = null): void",
    "Broker::stats(): array",
    "Broker::close(): void",
    "Message::event(?string $channel, string $event, mixed $data = null): static",
    "Message::fromJson(string $json): static",
    "Message::fromArray(array $a): static",
    "Message::withKey(?string $key): static",
    "Message::withHeaders(array $headers): static",
    "Message::getId(): string",
    "Message::getType(): string",
    "Message::getChannel(): ?string",
    "Message::getEvent(): ?string",
    "Message::getData(): mixed",
    "Message::getTimestamp(): int",
    "Message::toJson(): string",
    "Message::toArray(): array",
    "Message::jsonSerialize(): mixed",
    "Message::getHeaders(): array",
    "Message::getHeaderValues(string $name): array",
    "Message::getKey(): ?string",
    "Message::getTopic(): ?string",
    "Message::getPartition(): ?int",
    "Message::getOffset(): ?int",
    "Message::getAttempt(): int",
    "Message::getPayload(): ?string",
    "Gateway::__construct(array $config = [])",
    "Gateway::start(): static",
    "Gateway::stop(int $drainMs = 5000): void",
    "Gateway::wait(int $timeoutMs = 1000): bool",
    "Gateway::isRunning(): bool",
    "Gateway::address(): string",
    "Gateway::broadcastLocally(string $channel, string $event, mixed $data = null, ?string $except = null): int",
    "Gateway::connections(array $where = []): array",
    "Gateway::stats(): array",
    "Gateway::kick(array $where): int",
    "Gateway::unsubscribe(array $where, string $channel): int",
    "Gateway::authorize(string $socketId, string $channelName, ?array $presence = null, array $config = []): array",
    "Gateway::authenticate(string $socketId, array $userData, array $config = []): array",
    "Gateway::configuration(): array",
    "Admin::__construct(array $config = [])",
    "Admin::configuration(): array",
    "Admin::topicsOf(array $channels): array",
    "Admin::probe(string $address, int $timeoutMs = 5000): array",
    "Admin::topics(?string $pattern = null): array",
    "Admin::cluster(): array",
    "Admin::groups(): array",
    "Admin::group(string $group): array",
    "Admin::describeGroups(array $groups): array",
    "Admin::groupOffsets(string $group): array",
    "Admin::subscriptions(string $group): array",
    "Admin::offsetsOfGroups(array $groups): array",
    "Admin::topicConfig(string $topic): array",
    "Admin::operations(array $topics): array",
    "Admin::createTopic(string $topic, int $partitions = 1, int $replication = -1, array $config = [], \
     bool $validateOnly = false): bool",
    "Admin::createPartitions(string $topic, int $total): void",
    "Admin::deleteTopic(string $topic): void",
    "Admin::offsets(string $topic): array",
    "Admin::offsetsOfTopics(array $topics): array",
    "Admin::offsetsAt(string $topic, DateTimeInterface|int $time): array",
    "Admin::read(string $topic, callable $callback, array $from = []): int",
    "Admin::deleteRecords(string $topic, array $before): void",
    "Admin::close(): void",
    "EmbeddedBroker::start(int $port = 0, string $host = '127.0.0.1'): static",
    "EmbeddedBroker::shared(): static",
    "EmbeddedBroker::address(): string",
    "EmbeddedBroker::createTopic(string $topic, int $partitions = 1): static",
    "EmbeddedBroker::failNext(string $request, string $error, int $times = 1): static",
    "EmbeddedBroker::failTopic(string $topic, ?string $error): static",
    "EmbeddedBroker::setLatency(int $ms): static",
    "EmbeddedBroker::down(): static",
    "EmbeddedBroker::up(): static",
    "EmbeddedBroker::clearFaults(): static",
    "EmbeddedBroker::stop(): void",
    "Metrics::serve(?string $address = null): ?string",
    "Metrics::heartbeat(?string $file = null): void",
    "Metrics::beat(?string $status = null, bool $ready = true): void",
    "Metrics::stuck(): ?string",
    "Metrics::text(bool $openMetrics = false): string",
    "Metrics::stop(): void",
    "Contract\\RetryStrategy::delay(Toporia\\Realtime\\Message $message, Throwable $why, int $attempt): ?int",
    "Exception\\BatchException::__construct(int $index, ?Throwable $previous = null)",
];

/// Methods that are declared by an interface too.
const INTERFACES: [(&str, &[&str]); 2] = [
    ("Contract\\Publisher", &["publish", "publishBatch", "send"]),
    (
        "Contract\\Consumer",
        &[
            "subscribe",
            "subscribeBatch",
            "subscribeTopic",
            "unsubscribe",
            "consume",
            "stopConsuming",
            "poll",
            "ack",
            "nack",
        ],
    ),
];

/// Writes all signatures into the engine's tables. Called once, when every class is registered and no PHP has run yet.
pub fn apply() {
    for signature in SIGNATURES {
        apply_one(signature);
    }
}

fn apply_one(signature: &str) {
    let Some((class, rest)) = signature.split_once("::") else {
        return;
    };
    let Some((method, rest)) = rest.split_once('(') else {
        return;
    };
    let Some((parameters, returns)) = rest.rsplit_once(')') else {
        return;
    };
    write(class, method, parameters, returns.strip_prefix(": "));
    if class == "Broker" {
        for (interface, methods) in INTERFACES {
            if methods.contains(&method) {
                write(interface, method, parameters, returns.strip_prefix(": "));
            }
        }
    }
}

fn write(class: &str, method: &str, parameters: &str, returns: Option<&str>) {
    let Some(entry) = ClassEntry::try_find(&format!("Toporia\\Realtime\\{class}")) else {
        return;
    };
    let name = ZendStr::new(method.to_ascii_lowercase(), false).into_raw();
    // SAFETY: the class's function table holds zend_function values, whose argument tables were leaked for the life of
    // the
    // process by the registration and are written before any PHP code reads them.
    unsafe {
        let found = ext_php_rs::ffi::zend_hash_find(&raw const entry.function_table, name);
        ext_php_rs::ffi::ext_php_rs_zend_string_release(name);
        let Some(found) = found.as_ref() else {
            return;
        };
        let function = found.value.ptr.cast::<zend_function>();
        let arguments: *mut zend_internal_arg_info = (*function).internal_function.arg_info;
        if let Some(returns) = returns {
            set_type(&mut (*arguments.sub(1)).type_, returns);
        }
        for (place, parameter) in parameters
            .split(", ")
            .filter(|text| !text.is_empty())
            .enumerate()
        {
            let (declared, default) = match parameter.split_once(" = ") {
                Some((declared, default)) => (declared, Some(default)),
                None => (parameter, None),
            };
            let argument = &mut *arguments.add(place);
            if let Some((kind, _)) = declared.split_once(" $") {
                set_type(&mut argument.type_, kind);
            }
            argument.default_value = default
                .and_then(|default| CString::new(default).ok())
                .map_or(std::ptr::null(), |default| default.into_raw().cast_const());
        }
    }
}

/// Bits of `type_mask` are `1 << type`, except where PHP says otherwise.
fn set_type(slot: &mut zend_type, text: &str) {
    use ext_php_rs::ffi::{_ZEND_TYPE_NAME_BIT, MAY_BE_ANY};
    const NULL: u32 = 1 << 1;
    let mut mask = 0;
    let mut class = std::ptr::null_mut::<c_void>();
    let (nullable, text) = match text.strip_prefix('?') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    for word in text.split('|') {
        mask |= match word {
            "null" => NULL,
            "bool" => (1 << 2) | (1 << 3),
            "int" => 1 << 4,
            "float" => 1 << 5,
            "string" => 1 << 6,
            "array" => 1 << 7,
            "callable" => 1 << 12,
            "void" => 1 << 14,
            "static" => 1 << 15,
            "mixed" => MAY_BE_ANY,
            name => {
                // Persistent and owned by this type alone: strings interned during a request end with it.
                class = ZendStr::new(name, true).into_raw().cast();
                _ZEND_TYPE_NAME_BIT
            }
        };
    }
    if nullable {
        mask |= NULL;
    }
    // Passing by reference and variadics are kept in higher bits; none of our methods has them.
    slot.ptr = class;
    slot.type_mask = mask;
}

static PUBLISHER: AtomicPtr<zend_class_entry> = AtomicPtr::new(std::ptr::null_mut());
static CONSUMER: AtomicPtr<zend_class_entry> = AtomicPtr::new(std::ptr::null_mut());

pub fn publisher() -> &'static ClassEntry {
    // SAFETY: set while the module starts, valid until the process ends.
    unsafe { &*PUBLISHER.load(Ordering::Acquire) }
}

pub fn consumer() -> &'static ClassEntry {
    // SAFETY: as above.
    unsafe { &*CONSUMER.load(Ordering::Acquire) }
}

/// A method, and how it is declared.
pub type Method = (FunctionBuilder<'static>, MethodFlags);

fn interface(
    (name, wanted): (&str, &[&str]),
    methods: Vec<Method>,
    names: &[&str],
) -> ClassBuilder {
    let mut builder =
        ClassBuilder::new(format!("Toporia\\Realtime\\{name}")).flags(ClassFlags::Interface);
    for ((method, _), name) in methods.into_iter().zip(names) {
        if wanted.contains(name) {
            builder = builder.method(method, MethodFlags::Public | MethodFlags::Abstract);
        }
    }
    builder
}

/// Registers both. Called once, while the module starts, before `Broker`, with its methods and their names.
///
/// # Errors
/// The engine refuses them.
pub fn register_interfaces(
    methods: fn() -> Vec<Method>,
    names: &[&str],
) -> ext_php_rs::error::Result<()> {
    interface(INTERFACES[0], methods(), names)
        .registration(|entry, tables| {
            PUBLISHER.store(entry, Ordering::Release);
            std::mem::forget(tables);
        })
        .register()?;
    interface(INTERFACES[1], methods(), names)
        .registration(|entry, tables| {
            CONSUMER.store(entry, Ordering::Release);
            std::mem::forget(tables);
        })
        .register()
}

/// A TypeError if the value is not a publisher.
pub fn check_publisher(value: &Zval, place: &str) -> Result<(), CallError> {
    let value = value.dereference();
    if value
        .object()
        .is_some_and(|object| object.instance_of(publisher()))
    {
        return Ok(());
    }
    Err(arguments::type_error(place, "Toporia\\Realtime\\Contract\\Publisher", value).into())
}
