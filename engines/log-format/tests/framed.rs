//! A framed batch comes back with its place, and no bit of it can change unnoticed.

use log_api::{Batch, Epoch, Framing, Offset};
use log_format::{
    BatchBuilder, ENTRY_HEADER_BYTES_MAX, FRAME_BYTES, FRAME_HEAD_BYTES, FormatError, HEADER_BYTES, crc32c,
    entry_header_bytes, entry_magic, frame, peek_entry, peek_frame, place_entry, verify, verify_entry,
};
use proptest::{collection::vec, prelude::*};

fn batch(values: &[Vec<u8>]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(1_000);
    for value in values {
        builder.push(0, None, Some(value));
    }
    builder.finish()
}

/// An entry of a framed log, as one is appended: two pieces, and the place that the log gives it.
fn entry(batch: &[u8], partition: u32, base: Offset, sequence: Offset, epoch: Epoch) -> Vec<u8> {
    let head = frame(batch, partition, base, epoch);
    let pieces = Batch::framed(&head, &batch[FRAME_HEAD_BYTES - FRAME_BYTES..]);
    let placed = place_entry(&pieces, sequence, epoch);
    let mut bytes = vec![0; pieces.stored_bytes() as usize];
    placed.copy_to(&mut bytes);
    assert_eq!(bytes, [placed.head(), placed.rest()].concat());
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_framed_batch_comes_back(
        values in vec(vec(any::<u8>(), 0..300), 1..8),
        partition in any::<u32>(),
        base in 0..1u64 << 62,
        sequence in 0..1u64 << 62,
        epoch in 0..1u32 << 31,
    ) {
        let bare = batch(&values);
        let bytes = entry(&bare, partition, Offset(base), Offset(sequence), Epoch(epoch));
        prop_assert_eq!(bytes.len(), FRAME_BYTES + bare.len());
        let framed = peek_frame(&bytes).expect("a sound frame").expect("a frame starts here");
        prop_assert_eq!((framed.sequence, framed.epoch), (Some(Offset(sequence)), Some(Epoch(epoch))));
        prop_assert_eq!((framed.partition, framed.total_bytes()), (partition, bytes.len() as u64));
        let carried = verify(&bytes[FRAME_BYTES..]).expect("the batch in it is whole");
        prop_assert_eq!((carried.base(), carried.header().epoch()), (Some(Offset(base)), Some(Epoch(epoch))));
        prop_assert_eq!(carried.payload(), &bare[HEADER_BYTES..]);
        prop_assert_eq!(*carried.header(), framed.batch);

        let whole = verify_entry(Framing::Framed, &bytes).expect("a sound entry");
        prop_assert_eq!((whole.offset, whole.takes, whole.bytes), (Some(Offset(sequence)), bytes.len() as u64, bytes.len() as u64));
        prop_assert_eq!(whole.crc, crc32c(&bytes[whole.checksummed_from as usize..]));
        prop_assert_eq!(peek_entry(Framing::Framed, &bytes[..ENTRY_HEADER_BYTES_MAX]), Ok(Some(whole)));
        prop_assert_eq!(bytes[16], entry_magic(Framing::Framed));
        // What follows an entry is the next one's affair.
        prop_assert_eq!(verify_entry(Framing::Framed, &[&bytes[..], b"more"].concat()), Ok(whole));
    }

    #[test]
    fn a_bare_batch_is_an_entry_too(values in vec(vec(any::<u8>(), 0..300), 1..8), offset in 0..1u64 << 62, epoch in 0..1u32 << 31) {
        let given = batch(&values);
        let pieces = Batch::verified(&given, values.len() as u32);
        let placed = place_entry(&pieces, Offset(offset), Epoch(epoch));
        let bytes = [placed.head(), placed.rest()].concat();
        let whole = verify_entry(Framing::Bare, &bytes).expect("still sound");
        prop_assert_eq!((whole.offset, whole.epoch), (Some(Offset(offset)), Some(Epoch(epoch))));
        prop_assert_eq!((whole.takes, whole.bytes), (values.len() as u64, given.len() as u64));
        prop_assert_eq!(bytes[16], entry_magic(Framing::Bare));
        prop_assert_eq!(peek_entry(Framing::Bare, &bytes[..entry_header_bytes(Framing::Bare)]), Ok(Some(whole)));
        prop_assert!(matches!(peek_entry(Framing::Framed, &[bytes, vec![0; 99]].concat()), Err(FormatError::Magic(2))));
    }

    #[test]
    fn no_bit_changes_unnoticed(values in vec(vec(any::<u8>(), 0..40), 1..3), sequence in 1..1u64 << 40) {
        let bytes = entry(&batch(&values), 7, Offset(1234), Offset(sequence), Epoch(3));
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            match verify_entry(Framing::Framed, &changed) {
                Err(_) => {}
                // Sequence and epoch are compared with what must stand there.
                Ok(other) => prop_assert!(
                    other.offset != Some(Offset(sequence)) || other.epoch != Some(Epoch(3)),
                    "bit {} changed unnoticed", bit
                ),
            }
        }
    }

    #[test]
    fn arbitrary_bytes_are_refused_or_whole(mut bytes in vec(any::<u8>(), 0..200), looks_right in any::<bool>()) {
        if looks_right && bytes.len() > 16 {
            bytes[16] = entry_magic(Framing::Framed);
            bytes[8..11].fill(0);
        }
        if let Ok(whole) = verify_entry(Framing::Framed, &bytes) {
            prop_assert!(whole.bytes <= bytes.len() as u64);
        }
    }
}

#[test]
fn what_ends_a_log_is_no_frame() {
    assert_eq!(peek_frame(&[]), Ok(None));
    assert_eq!(peek_frame(&[0; 4096]), Ok(None));
    assert_eq!(peek_frame(&entry(&batch(&[vec![]]), 0, Offset(0), Offset(0), Epoch(0))[..92]), Ok(None));
    let truncated = verify_entry(Framing::Framed, &[0; 10]);
    assert_eq!(truncated, Err(FormatError::Truncated { needed: 93, available: 10 }));
}

#[test]
fn a_frame_whose_fields_do_not_add_up_is_refused_though_its_checksum_is_right() {
    let sound = entry(&batch(&[vec![1; 30]]), 5, Offset(9), Offset(0), Epoch(1));
    let with = |at: usize, byte: u8| {
        let mut bytes = sound.clone();
        bytes[at] = byte;
        let crc = crc32c(&[&bytes[8..12], &bytes[21..53]].concat());
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        peek_frame(&bytes)
    };
    assert_eq!(with(22, 1), Err(FormatError::Frame("reserved bytes that are not zero")));
    assert_eq!(with(31, 1), Err(FormatError::Frame("reserved bytes that are not zero")));
    assert_eq!(with(11, sound[11] - 1), Err(FormatError::Frame("a batch of another length in it")));
    assert_eq!(with(32, 0x80), Err(FormatError::Frame("a batch without a place in its partition")));
    assert!(with(8, 0x80).is_err_and(|error| matches!(error, FormatError::Length(_))));
    assert!(with(27, 6).is_ok_and(|frame| frame.is_some_and(|frame| frame.partition == 6)));
}
