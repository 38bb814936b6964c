//! A segment that we close is a file of Kafka record batches and nothing else.

use crate::common::Log;
use bytes::Bytes;
use kafka_protocol::records::RecordBatchDecoder;
use std::fs;

/// On the disk, not in memory: this log is read and cleared with O_DIRECT.
#[test]
fn an_independent_decoder_accepts_every_byte() {
    for durable in [true, false] {
        let mut log = Log::new(tempfile::tempdir().unwrap(), durable);
        log.fill_segments(2);
        log.reopen();
        log.fill_segments(4);
        let recovered = log.reopen();
        let mut offset = 0;
        assert_eq!(recovered.sealed.len(), 3);
        for segment in &recovered.sealed {
            let mut bytes = Bytes::from(fs::read(&segment.path).unwrap());
            for set in RecordBatchDecoder::decode_all(&mut bytes).unwrap() {
                for record in set.records {
                    assert_eq!(record.offset, offset);
                    offset += 1;
                }
            }
            assert!(bytes.is_empty(), "no byte is left over");
            assert_eq!(offset as u64, segment.end.0);
        }
    }
}
