//! What librdkafka's threads report about a client as it happens: responses, acknowledgements, the end of the client.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_void};
use std::ops::Deref;
use std::sync::Arc;

use rdkafka::error::IsError;
use rdkafka::types::RDKafkaRespErr;
use rdkafka_sys as sys;

use super::handle::{Client, NativeClient};
use super::message::NativeMessage;
use super::owned::Text;

const NO_ERROR: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;

/// Called for every response of a broker.
pub(crate) trait OnResponse: Send + Sync + 'static {
    /// `api_key`: the kind of request. `is_error`: it failed, or was not sent.
    fn on_response(&self, api_key: i16, is_error: bool);
}

/// Called for every message that is acknowledged or has failed.
pub(in crate::kafka) trait OnAcknowledgement: Send + Sync + 'static {
    fn on_acknowledgement(&self, client: &NativeClient, message: &ProducedMessage);
}

/// A message whose acknowledgement is being handled.
#[repr(transparent)]
pub(in crate::kafka) struct ProducedMessage(NativeMessage);

// SAFETY: as librdkafka has it. Only messages of a producer have the text, which lives as long as the response.
unsafe extern "C" {
    safe fn rd_kafka_message_produce_errstr(message: &ProducedMessage) -> Option<Text<'_>>;
}

impl ProducedMessage {
    /// The broker's own text for the refusal of the message.
    pub fn refusal_text(&self) -> Option<String> {
        rd_kafka_message_produce_errstr(self).map(|refusal| refusal.to_string())
    }
}

impl Deref for ProducedMessage {
    type Target = NativeMessage;

    #[inline]
    fn deref(&self) -> &NativeMessage {
        &self.0
    }
}

impl Client {
    /// Reports every response from now on; false if librdkafka refuses. The client keeps the receiver.
    pub(in crate::kafka) fn report_responses<T: OnResponse>(&self, to: &Arc<T>) -> bool {
        self.keep(Arc::clone(to) as _);
        // SAFETY: a live client, which keeps the receiver until it is destroyed.
        let result = unsafe {
            sys::rd_kafka_interceptor_add_on_response_received(
                self.raw(),
                c"toporia_realtime_reachability".as_ptr(),
                Some(on_response::<T>),
                super::opaque(Arc::as_ptr(to)),
            )
        };
        !result.is_error()
    }

    /// Reports every acknowledgement from now on; false if librdkafka refuses. The client keeps the receiver.
    pub(in crate::kafka) fn report_acknowledgements<T: OnAcknowledgement>(
        &self,
        to: &Arc<T>,
    ) -> bool {
        self.keep(Arc::clone(to) as _);
        // SAFETY: as above.
        let result = unsafe {
            sys::rd_kafka_interceptor_add_on_acknowledgement(
                self.raw(),
                c"toporia_realtime".as_ptr(),
                Some(on_acknowledgement::<T>),
                super::opaque(Arc::as_ptr(to)),
            )
        };
        !result.is_error()
    }

    /// Calls a function before the client is destroyed; false if librdkafka refuses.
    pub(in crate::kafka) fn report_end(&self, to: fn(&NativeClient)) -> bool {
        // SAFETY: a live client; the opaque is a function.
        let result = unsafe {
            sys::rd_kafka_interceptor_add_on_destroy(
                self.raw(),
                c"toporia_realtime_token".as_ptr(),
                Some(on_destroy),
                to as *mut c_void,
            )
        };
        !result.is_error()
    }
}

unsafe extern "C" fn on_response<T: OnResponse>(
    _client: *mut sys::rd_kafka_t,
    _socket: c_int,
    _broker: *const c_char,
    _broker_id: i32,
    api_key: i16,
    _api_version: i16,
    _correlation_id: i32,
    _size: usize,
    _rtt: i64,
    error: RDKafkaRespErr,
    to: *mut c_void,
) -> RDKafkaRespErr {
    (*to.cast_const().cast::<T>()).on_response(api_key, error.is_error());
    NO_ERROR
}

unsafe extern "C" fn on_acknowledgement<T: OnAcknowledgement>(
    client: *mut sys::rd_kafka_t,
    message: *mut sys::rd_kafka_message_t,
    to: *mut c_void,
) -> RDKafkaRespErr {
    if let Some(message) = message.cast::<ProducedMessage>().as_ref() {
        let client = NativeClient::from_raw(client);
        (*to.cast_const().cast::<T>()).on_acknowledgement(client, message);
    }
    NO_ERROR
}

unsafe extern "C" fn on_destroy(client: *mut sys::rd_kafka_t, to: *mut c_void) -> RDKafkaRespErr {
    let to = std::mem::transmute::<*mut c_void, fn(&NativeClient)>(to);
    to(NativeClient::from_raw(client));
    NO_ERROR
}
