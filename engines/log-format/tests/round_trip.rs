//! What is encoded comes back; what is damaged is noticed; nothing panics.

use log_api::{Epoch, Offset};
use log_format::{BatchBuilder, FormatError, HEADER_BYTES, Template, assign, iterate, peek, records, verify};
use proptest::{collection::vec, option, prelude::*};

#[derive(Clone, Debug)]
struct Model {
    timestamp_delta: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

fn model() -> impl Strategy<Value = Model> {
    let bytes = || vec(any::<u8>(), 0..200);
    (
        prop_oneof![0..1000i64, any::<i64>()],
        option::of(bytes()),
        option::of(bytes()),
        vec((vec(any::<u8>(), 0..10), option::of(vec(any::<u8>(), 0..10))), 0..3),
    )
        .prop_map(|(timestamp_delta, key, value, headers)| Model { timestamp_delta, key, value, headers })
}

fn encode(base_timestamp: i64, models: &[Model]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(base_timestamp);
    for model in models {
        let headers: Vec<_> = model.headers.iter().map(|(name, value)| (name.as_slice(), value.as_deref())).collect();
        builder.push_with_headers(model.timestamp_delta, model.key.as_deref(), model.value.as_deref(), &headers);
    }
    assert_eq!(builder.records() as usize, models.len());
    let bytes = builder.bytes();
    let batch = builder.finish();
    assert_eq!(batch.len(), bytes);
    batch
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_batch_comes_back(base in any::<i64>(), models in vec(model(), 1..20)) {
        let bytes = encode(base, &models);
        let batch = verify(&bytes).expect("just encoded");
        prop_assert_eq!(batch.records() as usize, models.len());
        prop_assert_eq!(batch.header().base_timestamp, base);
        let latest = models.iter().map(|m| base.saturating_add(m.timestamp_delta)).max().expect("one at least");
        prop_assert_eq!(batch.header().max_timestamp, latest.max(base));
        let mut count = 0;
        for (place, (record, model)) in records(&batch).expect("not compressed").zip(&models).enumerate() {
            let record = record.expect("just encoded");
            prop_assert_eq!(record.offset_delta as usize, place);
            prop_assert_eq!(record.timestamp_delta, model.timestamp_delta);
            prop_assert_eq!(record.key, model.key.as_deref());
            prop_assert_eq!(record.value, model.value.as_deref());
            let headers: Vec<_> = record.headers.map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec))).collect();
            prop_assert_eq!(&headers, &model.headers);
            count += 1;
        }
        prop_assert_eq!(count, models.len());
    }

    #[test]
    fn assigning_keeps_the_checksum(models in vec(model(), 1..5), base in 0..=i64::MAX as u64, epoch in 0..=i32::MAX as u32) {
        let mut bytes = encode(0, &models);
        let before = bytes.clone();
        assign(&mut bytes, Offset(base), Epoch(epoch));
        let batch = verify(&bytes).expect("offset and epoch lie outside the checksum");
        prop_assert_eq!(batch.header().base_offset, base as i64);
        prop_assert_eq!(batch.header().epoch(), Some(Epoch(epoch)));
        let last_fits = base.checked_add(models.len() as u64).is_some_and(|end| end <= i64::MAX as u64);
        prop_assert_eq!(batch.base(), last_fits.then_some(Offset(base)));
        prop_assert_eq!(&bytes[8..12], &before[8..12]);
        prop_assert_eq!(&bytes[16..], &before[16..]);
    }

    #[test]
    fn batches_follow_each_other(sizes in vec(1..4usize, 1..10), zeros in 0..200usize, model in model()) {
        let mut log = Vec::new();
        let mut expected = Vec::new();
        for size in sizes {
            let batch = encode(5, &vec![model.clone(); size]);
            expected.push((log.len(), batch.len()));
            log.extend(batch);
        }
        let end = log.len();
        log.extend(vec![0; zeros]);
        let mut batches = iterate(&log);
        for (position, bytes) in expected {
            prop_assert_eq!(batches.position(), position);
            let (header, batch) = batches.next().expect("a batch").expect("whole");
            prop_assert_eq!(batch.len(), bytes);
            prop_assert_eq!(header.total_bytes(), bytes as u64);
            prop_assert!(verify(batch).is_ok());
        }
        prop_assert!(batches.next().is_none());
        prop_assert_eq!(batches.position(), end);
    }

    #[test]
    fn arbitrary_bytes_are_refused_without_panic(mut bytes in vec(any::<u8>(), 0..300), plausible in any::<bool>(), length in 0..400i32) {
        if plausible && bytes.len() >= HEADER_BYTES {
            // Past the cheap checks, so that the later ones are reached.
            bytes[8..12].copy_from_slice(&length.to_be_bytes());
            bytes[16] = 2;
            bytes[21..23].copy_from_slice(&[0, 0]);
            bytes[23..27].copy_from_slice(&[0, 0, 0, 3]);
            bytes[57..61].copy_from_slice(&[0, 0, 0, 4]);
        }
        prop_assert!(verify(&bytes).is_err());
        let _ = peek(&bytes);
        prop_assert!(iterate(&bytes).count() <= bytes.len() / HEADER_BYTES + 1);
    }

    /// A stranger may checksum nonsense: the records must still be refused, within the bytes that there are.
    #[test]
    fn sealed_nonsense_ends(payload in vec(any::<u8>(), 0..300), count in 1..i32::MAX) {
        let mut bytes = BatchBuilder::new(0).push(0, None, None).clone().finish();
        bytes.truncate(HEADER_BYTES);
        bytes.extend(payload);
        let length = (bytes.len() - 12) as i32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[23..27].copy_from_slice(&(count - 1).to_be_bytes());
        bytes[57..61].copy_from_slice(&count.to_be_bytes());
        Template::new(1, 0).seal(&mut bytes);
        let batch = verify(&bytes).expect("the checksum is right");
        prop_assert_eq!(batch.records(), count as u32);
        let read = records(&batch).expect("not compressed");
        prop_assert!(read.count() <= bytes.len());
    }
}

/// Each bit under the checksum, and the checksum itself. The bits outside it (offset, epoch) are the log's to judge; those of length
/// and magic are caught by their own checks or by the checksum.
#[test]
fn each_flipped_bit_is_noticed() {
    let good = encode(1, &[Model { timestamp_delta: 3, key: None, value: Some(vec![9; 100]), headers: Vec::new() }]);
    let noticed = |at: usize| !(0..8).contains(&at) && !(12..16).contains(&at);
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(verify(&bytes).is_err(), noticed(bit / 8), "bit {bit}");
    }
}

#[test]
fn each_truncation_is_noticed() {
    let good = encode(1, &[Model { timestamp_delta: 3, key: None, value: Some(vec![9; 100]), headers: Vec::new() }]);
    for length in 0..good.len() {
        assert!(matches!(verify(&good[..length]), Err(FormatError::Truncated { .. })), "{length} bytes");
    }
    let mut longer = good.clone();
    longer.push(0);
    assert_eq!(verify(&longer).expect_err("one too many"), FormatError::Trailing(1));
}

#[test]
fn no_batch_starts_in_zeros() {
    assert_eq!(peek(&[0; 100]), Ok(None));
    assert_eq!(peek(&[1; 60]), Ok(None));
    assert_eq!(verify(&[0; 100]).expect_err("zeros"), FormatError::Length(0));
}

#[test]
fn a_template_is_stamped_in_place() {
    for (count, bytes) in [(1u32, 0usize), (1, 1024), (7, 100), (100, 63), (3, 64)] {
        let template = Template::filled(count, bytes, |record, value| value.fill(record as u8));
        let mut batch = vec![0xff; template.bytes()];
        template.write(&mut batch);
        assert!(verify(&batch).is_ok(), "sealed as it is written");
        template.set_timestamp(&mut batch, 77);
        for record in 0..count {
            let place = template.value(record);
            assert_eq!(place.len(), bytes);
            if let Some(first) = batch[place].first_mut() {
                *first = 200;
            }
        }
        assert!(verify(&batch).is_err(), "stamped and not sealed");
        template.seal(&mut batch);
        let batch = verify(&batch).expect("sealed");
        assert_eq!((batch.header().base_timestamp, batch.header().max_timestamp), (77, 77));
        assert_eq!(batch.records(), count);
        for (place, record) in records(&batch).expect("not compressed").enumerate() {
            let value = record.expect("whole").value.expect("has one");
            let mut expected = vec![place as u8; bytes];
            if let Some(first) = expected.first_mut() {
                *first = 200;
            }
            assert_eq!(value, expected);
        }
    }
}
