//! An independent implementation reads what we write, and we accept what it writes.

use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    indexmap::IndexMap,
    records::{Compression, Record, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType},
};
use log_api::{Epoch, Offset};
use log_format::{BatchBuilder, FormatError, assign, records, verify};
use proptest::{collection::vec, option, prelude::*};

type Pair = (Option<Vec<u8>>, Option<Vec<u8>>);

fn pairs() -> impl Strategy<Value = Vec<Pair>> {
    let bytes = || option::of(vec(any::<u8>(), 0..300));
    vec((bytes(), bytes()), 1..30)
}

fn theirs(pairs: &[Pair], base: i64, compression: Compression) -> Vec<u8> {
    let records: Vec<Record> = pairs
        .iter()
        .enumerate()
        .map(|(place, (key, value))| Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: 3,
            producer_id: -1,
            producer_epoch: -1,
            timestamp_type: TimestampType::Creation,
            offset: base + place as i64,
            sequence: place as i32 - 1,
            timestamp: 1_700_000_000_000 + place as i64,
            key: key.clone().map(Bytes::from),
            value: value.clone().map(Bytes::from),
            headers: IndexMap::new(),
        })
        .collect();
    let mut out = BytesMut::new();
    RecordBatchEncoder::encode(&mut out, &records, &RecordEncodeOptions { version: 2, compression })
        .expect("they encode");
    out.to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn they_read_ours(pairs in pairs(), base in 0..i64::MAX as u64 / 2, epoch in 0..1000u32) {
        let mut builder = BatchBuilder::new(1_700_000_000_000);
        for (place, (key, value)) in pairs.iter().enumerate() {
            builder.push(place as i64, key.as_deref(), value.as_deref());
        }
        let mut bytes = builder.finish();
        assign(&mut bytes, Offset(base), Epoch(epoch));
        let sets = RecordBatchDecoder::decode_all(&mut Bytes::from(bytes)).expect("they decode ours");
        prop_assert_eq!(sets.len(), 1);
        let read = &sets[0].records;
        prop_assert_eq!(read.len(), pairs.len());
        for (place, (record, (key, value))) in read.iter().zip(&pairs).enumerate() {
            prop_assert_eq!(record.offset, base as i64 + place as i64);
            prop_assert_eq!(record.partition_leader_epoch, epoch as i32);
            prop_assert_eq!(record.timestamp, 1_700_000_000_000 + place as i64);
            prop_assert_eq!(record.key.as_deref(), key.as_deref());
            prop_assert_eq!(record.value.as_deref(), value.as_deref());
        }
    }

    #[test]
    fn we_read_theirs(pairs in pairs(), base in 0..1_000_000i64) {
        let bytes = theirs(&pairs, base, Compression::None);
        let batch = verify(&bytes).expect("we accept theirs");
        prop_assert_eq!(batch.header().base_offset, base);
        let read: Vec<Pair> = records(&batch)
            .expect("not compressed")
            .map(|record| record.expect("whole"))
            .map(|record| (record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec)))
            .collect();
        prop_assert_eq!(read, pairs);
    }

    #[test]
    fn compressed_batches_are_accepted_and_opaque(pairs in pairs(), base in 0..1_000_000i64) {
        for (compression, name) in [
            (Compression::Gzip, log_format::Compression::Gzip),
            (Compression::Snappy, log_format::Compression::Snappy),
            (Compression::Lz4, log_format::Compression::Lz4),
            (Compression::Zstd, log_format::Compression::Zstd),
        ] {
            let mut bytes = theirs(&pairs, base, compression);
            assign(&mut bytes, Offset(7), Epoch(1));
            let batch = verify(&bytes).expect("the checksum covers the compressed bytes");
            prop_assert_eq!(batch.records() as usize, pairs.len());
            prop_assert_eq!(records(&batch).expect_err("opaque"), FormatError::Compressed(name));
            let set = RecordBatchDecoder::decode(&mut Bytes::from(bytes.clone())).expect("they read it still");
            prop_assert_eq!(set.records[0].offset, 7);
        }
    }
}
