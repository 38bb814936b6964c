//! Zig-zag varints of 32 and 64 bits, as in Protocol Buffers' `sint32` and `sint64`.

/// Bytes of the longest 64-bit varint.
pub(crate) const VARINT_BYTES_MAX: usize = 10;

/// Bytes that `value` takes.
pub(crate) fn varint_bytes(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Appends `value`.
pub(crate) fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = zigzag(value);
    let mut bytes = [0; VARINT_BYTES_MAX];
    let mut used = 0;
    loop {
        let low = (rest & 0x7f) as u8;
        rest >>= 7;
        bytes[used] = if rest == 0 { low } else { low | 0x80 };
        used += 1;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&bytes[..used]);
}

/// Takes a varint from the front of `bytes`; `None` if it is cut off or does not fit 64 bits.
pub(crate) fn take_varint(bytes: &mut &[u8]) -> Option<i64> {
    let mut value = 0u64;
    for (at, &byte) in bytes.iter().take(VARINT_BYTES_MAX).enumerate() {
        let low = u64::from(byte & 0x7f);
        if at == VARINT_BYTES_MAX - 1 && low > 1 {
            return None;
        }
        value |= low << (7 * at);
        if byte & 0x80 == 0 {
            *bytes = &bytes[at + 1..];
            return Some(((value >> 1) as i64) ^ -((value & 1) as i64));
        }
    }
    None
}

/// A varint that must fit 32 bits.
pub(crate) fn take_varint32(bytes: &mut &[u8]) -> Option<i32> {
    take_varint(bytes).and_then(|value| i32::try_from(value).ok())
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_known_encodings() {
        for (value, bytes) in [(0, vec![0]), (-1, vec![1]), (1, vec![2]), (63, vec![126]), (-65, vec![0x81, 1])] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out, bytes, "{value}");
        }
    }

    #[test]
    fn too_long_is_refused() {
        let mut endless: &[u8] = &[0x80; 20];
        assert_eq!(take_varint(&mut endless), None);
        let mut too_wide: &[u8] = &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        assert_eq!(take_varint(&mut too_wide), None);
        let mut empty: &[u8] = &[];
        assert_eq!(take_varint(&mut empty), None);
    }

    proptest! {
        #[test]
        fn comes_back(value in prop_oneof![any::<i64>(), -300i64..300, Just(i64::MIN), Just(i64::MAX)]) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            prop_assert_eq!(out.len(), varint_bytes(value));
            let mut rest: &[u8] = &out;
            prop_assert_eq!(take_varint(&mut rest), Some(value));
            prop_assert!(rest.is_empty());
        }
    }
}
