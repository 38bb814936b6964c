//! What preparing costs, in counts, and that a segment used again ends as cleanly as a new one.

use log_api::{EngineConfig, Level, LogEngine, LogId};
use log_mmap::Mmap;
use log_testkit::{Pen, config, directory, in_shard, shape};
use shard_ring::Ring;

const LOG: LogId = LogId(3);

async fn start(ring: &Ring, config: EngineConfig) -> (Mmap, Pen) {
    let engine = Mmap::new(ring, config).await.expect("an engine in a fresh directory");
    let recovery = engine.open(LOG).await.expect("a log");
    assert_eq!(recovery.cut, None, "nothing was torn");
    (engine, Pen::new(11, LOG, recovery.epoch))
}

async fn roll(engine: &Mmap, pen: &mut Pen, rolls: u64) {
    while engine.counters().rolls.get() < rolls {
        pen.append(engine, &[shape(1, 60_000)]).await;
        pen.commit(engine, Level::Durable).await;
        engine.trim(LOG, engine.marks(LOG).durable).await.expect("a trim");
    }
}

#[test]
fn segments_given_up_are_the_next_ones_with_their_mappings() {
    for durable in [true, false] {
        let dir = directory();
        let config = EngineConfig { durable, ..config(dir.path()) };
        in_shard(move |ring| async move {
            let (engine, mut pen) = start(&ring, config).await;
            roll(&engine, &mut pen, 20).await;
            let spent = engine.counters().snapshot();
            assert!(spent.segments_recycled >= 8, "{} segments were recycled", spent.segments_recycled);
            assert!(spent.segments_zeroed <= 12, "{} segments were made", spent.segments_zeroed);
            pen.check(&engine).await;
            engine.close().await.unwrap();
        });
    }
}

#[test]
fn an_end_inside_a_page_of_a_segment_used_again_is_not_taken_for_a_torn_one() {
    let dir = directory();
    let config = config(dir.path());
    let again = config.clone();
    let end = in_shard(move |ring| async move {
        let (engine, mut pen) = start(&ring, config).await;
        roll(&engine, &mut pen, 20).await;
        assert!(engine.counters().segments_recycled.get() > 0);
        // The first ends inside a page, the second inside the same one, the third further on.
        for bytes in [1000, 20, 9000] {
            pen.append(&engine, &[shape(1, bytes)]).await;
            pen.commit(&engine, Level::Durable).await;
        }
        engine.marks(LOG).end
    });
    // Not closed. The end of the shard is the end of what the engine still had on its way (seals), and with it of its hold on the directory.
    in_shard(move |ring| async move {
        let (engine, _) = start(&ring, again).await;
        assert_eq!(engine.marks(LOG).end, end);
        engine.close().await.unwrap();
    });
}
