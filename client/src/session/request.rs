//! A request that owns its bytes: the session keeps it until it is answered, to send it again if necessary.

use dht_protocol::limits::PAYLOAD_MAX;
use dht_protocol::wire::field::Writer;
use dht_protocol::wire::{Opcode, Request};

use crate::error::Error;

/// A request with its args encoded.
#[derive(Clone, Debug)]
pub(crate) struct OwnedRequest {
    pub(crate) opcode: Opcode,
    pub(crate) args: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl OwnedRequest {
    /// Copies a request.
    ///
    /// # Errors
    /// Returns [`Error::BatchTooLarge`].
    ///
    /// # Panics
    /// If the request is about a subscription, because subscriptions belong to one connection.
    pub(crate) fn new(request: &Request<'_>, payload: &[u8]) -> Result<Self, Error> {
        check_payload(payload)?;
        let opcode = request.opcode();
        assert!(
            !matches!(opcode, Opcode::Subscribe | Opcode::Unsubscribe | Opcode::Credit),
            "subscriptions belong to one connection"
        );
        let mut args = Vec::new();
        request.encode(&mut Writer::new(&mut args));
        Ok(Self { opcode, args, payload: payload.to_vec() })
    }
}

/// Checks that a payload fits one frame.
pub(crate) const fn check_payload(payload: &[u8]) -> Result<(), Error> {
    if payload.len() > PAYLOAD_MAX as usize {
        return Err(Error::BatchTooLarge { bytes: payload.len(), bytes_max: PAYLOAD_MAX as usize });
    }
    Ok(())
}
