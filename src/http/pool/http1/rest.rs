//! What is still to come of a reply's body.

use std::mem;

use bytes::Bytes;

use super::broken::Broken;
use super::chunks::Chunks;

#[derive(Debug)]
pub(super) enum Rest {
    /// So many bytes.
    Length(u64),
    Chunks(Chunks),
    /// All that comes until the server ends the connection.
    UntilEnd,
}

impl Rest {
    pub(super) fn is_over(&self) -> bool {
        match self {
            Self::Length(length) => *length == 0,
            Self::Chunks(chunks) => chunks.is_over(),
            Self::UntilEnd => false,
        }
    }

    /// Takes off the body's content, as far as it is in `input`.
    pub(super) fn take(&mut self, input: &mut &[u8]) -> Result<Bytes, Broken> {
        match self {
            Self::UntilEnd => Ok(Bytes::copy_from_slice(mem::take(input))),
            Self::Length(length) => {
                let here = input.len().min(usize::try_from(*length).unwrap_or(usize::MAX));
                let (content, behind) = input.split_at(here);
                (*length, *input) = (*length - here as u64, behind);
                Ok(Bytes::copy_from_slice(content))
            }
            Self::Chunks(chunks) => {
                let mut content = Vec::with_capacity(input.len());
                while let Some(here) = chunks.next(input)? {
                    content.extend_from_slice(here);
                }
                // Without the room that was for what surrounds it.
                Ok(content.into_boxed_slice().into())
            }
        }
    }
}
