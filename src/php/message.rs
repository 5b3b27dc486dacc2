//! `Toporia\Realtime\Message`: the PHP class around a message of the core, and the objects of received records. The
//! object of a record becomes that of the next one if the callback kept no reference to it, which spares the
//! allocations and the engine's work for a new object.

use std::cell::Cell;
use std::rc::Rc;

use ext_php_rs::ffi::zend_object;
use ext_php_rs::prelude::*;
use ext_php_rs::types::{ZendClassObject, ZendHashTable, Zval};

use super::arguments::{self, finish, CallError};
use super::{binary, json, zend};
use crate::envelope::Scanned;
use crate::error::Error;
use crate::kafka::consumer::Record;
use crate::message::{Message as Inner, Origin};

/// A message to send or one that was received. Immutable: the with…() methods return a copy.
#[php_class]
#[php(name = "Toporia\\Realtime\\Message")]
#[php(flags = ext_php_rs::flags::ClassFlags::Final)]
#[php(implements(ce = || zend::php_json_serializable_ce, stub = "\\JsonSerializable"))]
pub struct Message {
    pub(super) inner: Rc<Inner>,
    decoded: Cell<Option<Zval>>,
}

impl Message {
    pub fn new(inner: impl Into<Rc<Inner>>) -> Self {
        Self {
            inner: inner.into(),
            decoded: Cell::new(None),
        }
    }

    /// The message that an argument is.
    ///
    /// # Errors
    /// TypeError: another type. `place` names the argument.
    pub(super) fn of<'a>(value: &'a Zval, place: &str) -> PhpResult<&'a Self> {
        let value = value.dereference();
        let object = value.object();
        let message = object.and_then(ZendClassObject::<Self>::from_zend_obj);
        message
            .map(|message| &**message)
            .ok_or_else(|| arguments::type_error(place, "Toporia\\Realtime\\Message", value))
    }

    /// The content, where nothing else refers to it. The caller replaces it by that of another record.
    pub(super) fn unshared(&mut self) -> Option<&mut Inner> {
        Rc::get_mut(&mut self.inner)
    }

    /// Frees the decoded data.
    pub(super) fn forget_data(&self) {
        drop(self.decoded.take());
    }

    pub(super) fn data(&self) -> Result<Zval, CallError> {
        if let Some(value) = self.decoded.take() {
            let copy = value.shallow_clone();
            self.decoded.set(Some(value));
            return Ok(copy);
        }
        let value = if self.inner.is_raw() {
            // The data of a raw record is its JSON; bytes that are not JSON have no data.
            self.inner
                .value()
                .and_then(|bytes| json::decode(bytes).ok())
                .unwrap_or_else(Zval::null)
        } else {
            match self.inner.data_json() {
                Some(bytes) => json::decode(bytes).map_err(|error| self.broken(&error))?,
                None => Zval::null(),
            }
        };
        self.decoded.set(Some(value.shallow_clone()));
        Ok(value)
    }

    fn broken(&self, error: &Error) -> Error {
        let place = self
            .inner
            .origin
            .as_ref()
            .map_or_else(String::new, |origin| {
                format!(
                    " (topic \"{}\", partition {}, offset {})",
                    origin.topic, origin.partition, origin.offset
                )
            });
        Error::encoding(format!(
            "The data of message {}{place} is broken. {}",
            self.inner.id(),
            error.message()
        ))
    }

    fn array(&self) -> Result<ext_php_rs::boxed::ZBox<ZendHashTable>, CallError> {
        let refused = |error: ext_php_rs::error::Error| Error::encoding(error.to_string());
        let inner = &self.inner;
        let mut all = ZendHashTable::new();
        all.insert("id", inner.id().as_ref()).map_err(refused)?;
        all.insert("type", inner.kind()).map_err(refused)?;
        if let Some(channel) = inner.channel() {
            all.insert("channel", channel).map_err(refused)?;
        }
        if let Some(event) = inner.event() {
            all.insert("event", event).map_err(refused)?;
        }
        let data = self.data()?;
        if !data.is_null() {
            all.insert("data", data).map_err(refused)?;
        }
        all.insert("timestamp", inner.timestamp())
            .map_err(refused)?;
        Ok(all)
    }
}

/// Appends data as `json_encode` writes it; false for null, which an envelope leaves out (the caller truncates).
#[inline]
pub fn encode_data(data: Option<&Zval>, out: &mut Vec<u8>) -> Result<bool, CallError> {
    let Some(data) = data.map(Zval::dereference).filter(|data| !data.is_null()) else {
        return Ok(false);
    };
    let from = out.len();
    json::encode(data, out)?;
    // jsonSerialize() may have returned null.
    Ok(&out[from..] != b"null")
}

fn of_array(a: &Zval) -> Result<Message, CallError> {
    let table = arguments::array(a, "Message::fromArray(): Argument #1 ($a)")?;
    let field = |name: &str| {
        let value = table
            .get(name)
            .map(Zval::dereference)
            .filter(|value| !value.is_null());
        value
            .map(|value| {
                arguments::text(value, &format!("Message::fromArray(): key '{name}'")).map_err(
                    |_| {
                        CallError::from(Error::encoding(format!(
                            "Message::fromArray(): \"{name}\" must be a string."
                        )))
                    },
                )
            })
            .transpose()
    };
    let (id, kind) = (field("id")?, field("type")?);
    let (channel, event) = (field("channel")?, field("event")?);
    #[allow(clippy::cast_possible_truncation)] // seconds
    let timestamp = match table
        .get("timestamp")
        .map(Zval::dereference)
        .filter(|value| !value.is_null())
    {
        None => None,
        Some(value) => Some(
            value
                .long()
                .or_else(|| {
                    let seconds = value.double().filter(|seconds| seconds.abs() < 9.2e18);
                    seconds.map(|seconds| seconds as i64)
                })
                .ok_or_else(|| {
                    Error::encoding(
                        "Message::fromArray(): \"timestamp\" must be a number of Unix seconds.",
                    )
                })?,
        ),
    };
    json::with_buffer(|data| {
        let has_data = encode_data(table.get("data"), data)?;
        let mut bytes = Vec::with_capacity(data.len() + 160);
        let (fresh, millis) = crate::ids::new_id_with_time();
        crate::envelope::write_envelope(
            &mut bytes,
            id.as_ref()
                .map_or(fresh.as_bytes().as_slice(), |id| id.as_bytes()),
            kind.as_deref().unwrap_or("event"),
            channel.as_deref(),
            event.as_deref(),
            has_data.then_some(data.as_slice()),
            timestamp.unwrap_or_else(|| i64::try_from(millis / 1000).unwrap_or(0)),
        );
        Ok(Message::new(Inner::from_envelope(&bytes)?))
    })
}

fn of_event(
    channel: Option<&Zval>,
    event: &Zval,
    data: Option<&Zval>,
) -> Result<Message, CallError> {
    let channel = arguments::optional(channel, |channel| {
        arguments::channel(channel, "Message::event(): Argument #1 ($channel)")
    })?;
    let event = arguments::event(event, "Message::event(): Argument #2 ($event)")?;
    if let Some(channel) = &channel {
        crate::topic::validate_channel(channel)?;
    }
    json::with_buffer(|bytes| {
        let has_data = encode_data(data, bytes)?;
        Ok(Message::new(Inner::new(
            channel.as_deref(),
            &event,
            has_data.then_some(bytes.as_slice()),
        )))
    })
}

/// Returns a message as an object, or throws.
fn return_or_throw(message: Result<Message, CallError>) -> PhpResult<Zval> {
    finish(message.map(super::object))
}

#[php_impl]
impl Message {
    #[php(vis = "private")]
    fn __construct() -> PhpResult<Self> {
        Err(
            "Message has no public constructor: use Message::event(), fromJson() or fromArray()."
                .into(),
        )
    }

    /// A new event with a new id and the current time.
    #[php(optional = data)]
    pub fn event(channel: Option<&Zval>, event: &Zval, data: Option<&Zval>) -> PhpResult<Zval> {
        return_or_throw(of_event(channel, event, data))
    }

    /// Reads an envelope. The bytes are kept: if the message is published unchanged, they are sent as they are.
    pub fn from_json(json: &Zval) -> PhpResult<Zval> {
        return_or_throw(
            arguments::bytes(json, "Message::fromJson(): Argument #1 ($json)").and_then(|bytes| {
                let inner = Inner::from_envelope(&bytes)?;
                Ok(Message::new(inner.completed()))
            }),
        )
    }

    /// Reads an envelope from an array with its keys.
    pub fn from_array(a: &Zval) -> PhpResult<Zval> {
        return_or_throw(of_array(a))
    }

    /// A copy with this record key; null: the channel is the key.
    pub fn with_key(&self, key: &Zval) -> PhpResult<Zval> {
        let key = arguments::optional(Some(key), |key| {
            arguments::bytes(key, "Message::withKey(): Argument #1 ($key)")
        });
        return_or_throw(key.map(|key| Self::new(self.inner.with_key(key.as_deref()))))
    }

    /// A copy with these record headers in place of the present ones.
    pub fn with_headers(&self, headers: &Zval) -> PhpResult<Zval> {
        let headers = arguments::record_headers(
            Some(headers),
            "Message::withHeaders(): Argument #1 ($headers)",
        );
        return_or_throw(headers.map(|headers| Self::new(self.inner.with_headers(headers))))
    }

    /// The id: a UUIDv7 for messages of this extension; `topic-partition-offset` for a record of a raw topic and for a
    /// received envelope without an id.
    pub fn get_id(&self) -> Zval {
        binary(self.inner.id().as_bytes())
    }

    /// event, subscribe, unsubscribe, error, ping or pong; `raw` for a record of a raw topic.
    pub fn get_type(&self) -> Zval {
        binary(self.inner.kind().as_bytes())
    }

    /// The channel; null for a record of a raw topic.
    pub fn get_channel(&self) -> Zval {
        self.inner
            .channel()
            .map_or_else(Zval::null, |channel| binary(channel.as_bytes()))
    }

    /// The event's name; null for a record of a raw topic.
    pub fn get_event(&self) -> Zval {
        self.inner
            .event()
            .map_or_else(Zval::null, |event| binary(event.as_bytes()))
    }

    /// The data as json_decode(…, true) gives it. Decoded on the first call, then kept.
    pub fn get_data(&self) -> PhpResult<Zval> {
        finish(self.data())
    }

    /// The time of creation in Unix seconds; for a record of a raw topic its Kafka timestamp.
    pub fn get_timestamp(&self) -> i64 {
        self.inner.timestamp()
    }

    /// The envelope as JSON; for a message that was received, its original bytes.
    pub fn to_json(&self) -> Zval {
        binary(self.inner.value().unwrap_or_default())
    }

    /// The envelope as an array, in its order and without the keys that are null.
    pub fn to_array(&self) -> PhpResult<Zval> {
        finish(self.array().map(super::array))
    }

    /// The value for json_encode($message): toArray().
    pub fn json_serialize(&self) -> PhpResult<Zval> {
        self.to_array()
    }

    /// The record headers: name to value; null for a header without one. Of a repeated name, the last value.
    pub fn get_headers(&self) -> PhpResult<Zval> {
        let mut all = ZendHashTable::new();
        for (name, value) in &self.inner.headers {
            let value = value.as_deref().map_or_else(Zval::null, binary);
            all.insert(name.as_str(), value)
                .map_err(|error| PhpException::from(error.to_string()))?;
        }
        Ok(super::array(all))
    }

    /// All values of a record header in their order; empty if there is no such header.
    pub fn get_header_values(&self, name: &Zval) -> PhpResult<Zval> {
        let name = arguments::text(name, "Message::getHeaderValues(): Argument #1 ($name)");
        let mut all = ZendHashTable::new();
        let name = finish(name.map(Some))?.unwrap_or_default();
        for (_, value) in self.inner.headers.iter().filter(|(one, _)| *one == *name) {
            all.push(value.as_deref().map_or_else(Zval::null, binary))
                .map_err(|error| PhpException::from(error.to_string()))?;
        }
        Ok(super::array(all))
    }

    /// The record key: that of withKey(), or that of the received record.
    pub fn get_key(&self) -> Zval {
        self.inner.key().map_or_else(Zval::null, binary)
    }

    /// The Kafka topic it was received from; null if it was not received.
    pub fn get_topic(&self) -> Zval {
        self.inner
            .origin
            .as_ref()
            .map_or_else(Zval::null, |origin| binary(origin.topic.as_bytes()))
    }

    /// The partition it was received from; null if it was not received.
    pub fn get_partition(&self) -> Option<i64> {
        self.inner
            .origin
            .as_ref()
            .map(|origin| i64::from(origin.partition))
    }

    /// Its offset in the partition; null if it was not received.
    pub fn get_offset(&self) -> Option<i64> {
        self.inner.origin.as_ref().map(|origin| origin.offset)
    }

    /// The number of this delivery attempt, from 1.
    pub fn get_attempt(&self) -> i64 {
        self.inner
            .origin
            .as_ref()
            .map_or(1, |origin| i64::from(origin.attempt))
    }

    /// The bytes of the record's value; null for a tombstone, or if it was not received.
    pub fn get_payload(&self) -> Zval {
        match (&self.inner.origin, self.inner.value()) {
            (Some(_), Some(bytes)) => binary(bytes),
            _ => Zval::null(),
        }
    }
}

/// The bits of a counted value that hold its type and flags; the garbage collector uses those above.
const TYPE_AND_FLAGS: u32 = (1 << 10) - 1;

/// The objects of one loop.
#[derive(Default)]
pub struct ReceivedMessages {
    /// An object that nothing else refers to.
    spare: Cell<Option<Zval>>,
    /// The flags of a new object. The engine notes in the flags that there are weak references to an object.
    flags: Cell<u32>,
}

impl ReceivedMessages {
    /// The message of a record, and its object.
    pub fn receive(&self, record: &Record, envelope: Option<&Scanned<'_>>) -> (Zval, Rc<Inner>) {
        if let Some(mut object) = self.spare.take() {
            if let Some(message) = replace(&mut object, record, envelope) {
                return (object, message);
            }
        }
        let message = message_of(record, envelope, origin_of(record, envelope));
        let object = super::object(Message::new(Rc::clone(&message)));
        if let Some(pointer) = pointer(&object) {
            self.flags.set(flags(pointer));
        }
        (object, message)
    }

    /// The callback of a record has returned: its object is used for the next record, unless something refers to it.
    pub fn release(&self, object: Zval) {
        let is_free = pointer(&object).is_some_and(|pointer| {
            // SAFETY: the zval holds a reference to the object.
            let is_unshared =
                unsafe { (*pointer).gc.refcount == 1 && (*pointer).properties.is_null() };
            is_unshared && flags(pointer) == self.flags.get()
        });
        if is_free {
            let message = object
                .object()
                .and_then(ZendClassObject::<Message>::from_zend_obj);
            if let Some(message) = message {
                message.forget_data();
            }
            self.spare.set(Some(object));
        }
    }
}

/// The message of a record.
pub fn message_of(record: &Record, envelope: Option<&Scanned<'_>>, origin: Origin) -> Rc<Inner> {
    Rc::new(Inner::from_record(
        record.value(),
        record.key(),
        record.headers(),
        envelope,
        origin,
    ))
}

/// The origin of a record.
#[inline]
pub fn origin_of(record: &Record, envelope: Option<&Scanned<'_>>) -> Origin {
    Origin {
        topic: Rc::clone(&record.topic),
        partition: record.partition,
        offset: record.offset,
        attempt: record.attempt,
        transient: record.transient,
        transient_since: record.transient_since,
        timestamp_ms: if envelope.is_some() {
            -1
        } else {
            record.timestamp_ms()
        },
    }
}

fn pointer(object: &Zval) -> Option<*mut zend_object> {
    if !object.is_object() {
        return None;
    }
    // SAFETY: the value of a zval with an object is a pointer to it.
    Some(unsafe { object.value.obj })
}

fn flags(object: *const zend_object) -> u32 {
    // SAFETY: called for objects that a zval refers to.
    unsafe { (*object).gc.u.type_info & TYPE_AND_FLAGS }
}

/// Puts the message of a record into a spare object; `None` where its old message is still in use.
fn replace(
    object: &mut Zval,
    record: &Record,
    envelope: Option<&Scanned<'_>>,
) -> Option<Rc<Inner>> {
    let message: &mut Message =
        ZendClassObject::<Message>::from_zend_obj_mut(object.object_mut()?)?;
    message.unshared()?.replace_by_record(
        record.value(),
        record.key(),
        record.headers(),
        envelope,
        origin_of(record, envelope),
    );
    Some(Rc::clone(&message.inner))
}
