//! Bytes that change on the device while the log is open are met by a read, and named.

use log_api::{EngineConfig, Level, LogEngine, LogId, Read, ReadError, ReadKind};
use log_direct::Direct;
use log_testkit::{Pen, config, directory, in_shard, shape};
use std::{fs::File, os::unix::fs::FileExt};

const LOG: LogId = LogId(0);

#[test]
fn a_flipped_bit_is_damage_with_segment_and_position_and_the_rest_is_still_read() {
    let dir = directory();
    let config = EngineConfig { tail_cache_bytes: 0, ..config(dir.path()) };
    let segment = dir.path().join("00000/00000000000000000000.log");
    in_shard(|ring| async move {
        let engine = Direct::new(&ring, config).await.unwrap();
        let recovery = engine.open(LOG).await.unwrap();
        let mut pen = Pen::new(17, LOG, recovery.epoch);
        for _ in 0..50 {
            pen.append(&engine, &[shape(2, 5000)]).await;
        }
        pen.commit(&engine, Level::Durable).await;
        pen.check(&engine).await;

        let rotten = 20;
        let position: usize = pen.batches[..rotten].iter().map(|batch| batch.bytes.len()).sum();
        let file = File::options().read(true).write(true).open(&segment).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, position as u64 + 700).unwrap();
        file.write_all_at(&[byte[0] ^ 4], position as u64 + 700).unwrap();
        file.sync_all().unwrap();

        let (until, bytes_max) = (engine.marks(LOG).placed, 1);
        for kind in [ReadKind::Hot, ReadKind::Scan] {
            let from = pen.batches[rotten].base;
            match engine.read(LOG, Read { from, until, bytes_max, kind }).await {
                Err(ReadError::Damaged(damage)) => {
                    assert_eq!((&damage.segment, damage.position), (&segment, position as u64), "{damage}");
                    assert!(damage.what.contains("checksum"), "{damage}");
                }
                other => panic!("a rotten batch was read as {other:?}"),
            }
        }
        let from = pen.batches[rotten + 1].base;
        let chunk = engine.read(LOG, Read { from, until, bytes_max, kind: ReadKind::Hot }).await.unwrap();
        assert_eq!(chunk.base, from, "what lies behind it is whole");
        engine.close().await.unwrap();
    });
}
