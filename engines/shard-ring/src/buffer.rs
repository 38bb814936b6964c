//! What a slot can own while the kernel reads from it.

use crate::Slice;
use std::{fmt, ops::Range, rc::Rc};

/// Bytes that the kernel may read by their address for as long as the value lives.
///
/// # Safety
/// [`StableBytes::bytes`] shows the same memory at each call, and what stands there does not change, until the value is dropped; also when
/// the value is moved. `Vec`, and whatever else needs `&mut` to change, does so behind an `Rc`.
pub unsafe trait StableBytes: 'static {
    /// The bytes.
    fn bytes(&self) -> &[u8];
}

// SAFETY: the elements of a vector lie on the heap, and change or move only through a `&mut`.
unsafe impl StableBytes for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }
}

/// Bytes to send. The slot of the operation owns it until the completion.
#[derive(Clone)]
pub enum Buffer {
    /// A part of a slab's block: no allocation.
    Slice(Slice),
    /// Owned bytes.
    Vec(Vec<u8>),
    /// A range of something shared, a mapping for instance.
    Shared(Rc<dyn StableBytes>, Range<usize>),
}

impl Buffer {
    /// Bytes in the buffer.
    pub fn len(&self) -> usize {
        self.as_ref().len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        match self {
            Buffer::Slice(slice) => slice.as_ref(),
            Buffer::Vec(bytes) => bytes,
            Buffer::Shared(owner, range) => &owner.bytes()[range.clone()],
        }
    }
}

impl From<Slice> for Buffer {
    fn from(slice: Slice) -> Self {
        Buffer::Slice(slice)
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Self {
        Buffer::Vec(bytes)
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Buffer::Slice(_) => "slice",
            Buffer::Vec(_) => "vec",
            Buffer::Shared(..) => "shared",
        };
        write!(formatter, "Buffer({kind}, {} bytes)", self.len())
    }
}
