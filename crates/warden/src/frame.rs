//! Frames on a stream of bytes: a length of four bytes, big end first, and that many bytes of JSON.

use serde::{Serialize, de::DeserializeOwned};

const HEAD: usize = 4;
/// What is kept between messages of ordinary size.
const KEPT_CAPACITY: usize = 256 << 10;

/// Why what came is no message.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// It is longer than any message.
    #[error("a message of {length} bytes was announced; at most {max} are taken")]
    TooLong {
        /// What was announced.
        length: usize,
        /// What is taken.
        max: usize,
    },
    /// It is not what was expected.
    #[error("a message cannot be read: {0}")]
    Garbage(#[from] serde_json::Error),
}

/// A message as bytes.
///
/// # Errors
/// When it does not fit `max_bytes`.
pub fn encode<T: Serialize>(message: &T, max_bytes: usize) -> Result<Vec<u8>, FrameError> {
    let mut bytes = vec![0; HEAD];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - HEAD;
    let head = u32::try_from(length).ok().filter(|_| length <= max_bytes);
    let Some(head) = head else { return Err(FrameError::TooLong { length, max: max_bytes }) };
    bytes[..HEAD].copy_from_slice(&head.to_be_bytes());
    Ok(bytes)
}

/// Takes bytes as they come and gives back whole messages.
#[derive(Debug)]
pub struct Decoder {
    bytes: Vec<u8>,
    max_bytes: usize,
}

impl Decoder {
    /// For messages of at most so many bytes.
    pub fn new(max_bytes: usize) -> Self {
        Self { bytes: Vec::new(), max_bytes }
    }

    /// Takes what came. The caller empties it by [`Decoder::next_message`] before it takes more.
    pub fn take(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The body of the next whole message, if it is all there.
    ///
    /// # Errors
    /// When it is longer than any message.
    pub fn next_body(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        let Some(head) = self.bytes.first_chunk::<HEAD>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*head)).unwrap_or(usize::MAX);
        if length > self.max_bytes {
            return Err(FrameError::TooLong { length, max: self.max_bytes });
        }
        let Some(body) = self.bytes.get(HEAD..HEAD + length) else { return Ok(None) };
        let body = body.to_vec();
        self.bytes.drain(..HEAD + length);
        if self.bytes.is_empty() && self.bytes.capacity() > KEPT_CAPACITY {
            self.bytes = Vec::new();
        }
        Ok(Some(body))
    }

    /// The next whole message, if it is all there.
    ///
    /// # Errors
    /// When it is none.
    pub fn next_message<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        match self.next_body()? {
            Some(body) => Ok(Some(serde_json::from_slice(&body)?)),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{TO_WARDEN_MAX_BYTES, ToWarden};

    #[test]
    fn messages_come_out_whole_however_they_were_cut() {
        let messages = [ToWarden::Ping { number: 7 }, ToWarden::Lease { deadline_ms: 12 }, ToWarden::Goodbye];
        let bytes: Vec<u8> =
            messages.iter().flat_map(|message| encode(message, TO_WARDEN_MAX_BYTES).unwrap()).collect();
        for size in 1..bytes.len() {
            let mut decoder = Decoder::new(TO_WARDEN_MAX_BYTES);
            let mut came = Vec::new();
            for chunk in bytes.chunks(size) {
                decoder.take(chunk);
                while let Some(message) = decoder.next_message::<ToWarden>().unwrap() {
                    came.push(message);
                }
            }
            assert_eq!(came, messages, "in pieces of {size}");
        }
    }

    #[test]
    fn what_is_too_long_or_no_message_is_refused() {
        let mut decoder = Decoder::new(10);
        decoder.take(&[0, 0, 0, 11]);
        assert!(matches!(
            decoder.next_message::<ToWarden>(),
            Err(FrameError::TooLong { length: 11, max: 10 })
        ));
        let mut decoder = Decoder::new(10);
        decoder.take(&[0, 0, 0, 2, b'h', b'i']);
        assert!(matches!(decoder.next_message::<ToWarden>(), Err(FrameError::Garbage(_))));
        assert!(matches!(encode(&"12345", 6), Err(FrameError::TooLong { length: 7, max: 6 })));
    }
}
