//! Messages on the wire, as tonic has them; but what cannot be read is whoever sent it to blame for, and says so.

use crate::{ApiError, InvalidField};
use prost::Message;
use std::marker::PhantomData;
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder},
};
use tonic_prost::ProstCodec;

/// The codec of all our services and clients.
#[derive(Debug)]
pub struct Readable<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Readable<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: Message + Send + 'static, U: Message + Default + Send + 'static> Codec for Readable<T, U> {
    type Encode = T;
    type Decode = U;
    type Encoder = <ProstCodec<T, U> as Codec>::Encoder;
    type Decoder = Reading<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::default().encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        Reading(PhantomData)
    }
}

/// Reads messages.
#[derive(Debug)]
pub struct Reading<U>(PhantomData<U>);

impl<U: Message + Default> Decoder for Reading<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let unreadable = |error: prost::DecodeError| {
            let problem = format!("cannot be read ({error})");
            ApiError::Invalid(InvalidField::new(
                "message",
                &problem,
                "write it as the protos of this version say",
            ))
        };
        Ok(Some(U::decode(bytes).map_err(unreadable)?))
    }
}
