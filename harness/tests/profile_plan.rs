//! The dry run's arithmetic, against numbers that a person can check.

use broker::Layout;
use harness::profile::{PartitionCount, Partitions, Plan, Profile, Resolved, Settings, Storage};

/// 35 s at 20,000/s of 1 KiB, each message its own batch of 61 + 9 + 1024 bytes.
fn steady(partitions: u32, storage: Storage) -> Resolved {
    let base = Profile::load("steady").expect("a shipped profile");
    let partitions = Partitions { count: PartitionCount::InAll(partitions), ..base.partitions };
    Profile { partitions, storage, ..base }.resolve(&Settings::default()).expect("settings that fit")
}

const MIB: u64 = 1 << 20;

#[test]
fn messages_and_bytes_are_rates_times_lengths() {
    let plan = Plan::new(&steady(1, Storage::default()), None, None);
    assert_eq!(plan.messages, 700_000.0);
    assert_eq!(plan.value_bytes, 700_000.0 * 1_024.0);
    assert_eq!(plan.log_bytes, 700_000.0 * 1_094.0);
    assert_eq!((plan.duration_s, plan.plateau_per_s, plan.highest_per_s), (35.0, 20_000.0, 20_000.0));
    let phases: Vec<(f64, f64, f64)> = plan.phases.iter().map(|p| (p.start_s, p.duration_s, p.messages)).collect();
    assert_eq!(phases, [(0.0, 5.0, 100_000.0), (5.0, 30.0, 600_000.0)]);
}

#[test]
fn disk_is_what_is_kept_and_two_segments_a_log() {
    let everything = 700_000 * 1_094;
    let hints = |retention: Option<u64>| Storage { segment_bytes: Some(16 * MIB), retention_bytes: retention };
    let disk = |partitions, storage, own| Plan::new(&steady(partitions, storage), None, own).disk_bytes;
    assert_eq!(disk(1, hints(None), None), everything + 32 * MIB);
    assert_eq!(disk(4, hints(None), None), everything + 128 * MIB);
    // A bound on all logs together, by the profile; twice that while a consumer is behind.
    assert_eq!(disk(4, hints(Some(100 * MIB)), None), 200 * MIB + 128 * MIB);
    // The run's own bound goes before the profile's.
    assert_eq!(disk(4, hints(Some(100 * MIB)), Some(40 * MIB)), 80 * MIB + 128 * MIB);
    assert_eq!(disk(4, hints(Some(1 << 50)), None), everything + 128 * MIB);
    let segment = Plan::new(&steady(1, hints(None)), Some(MIB), None).disk_bytes;
    assert_eq!(segment, everything + 2 * MIB);
}

#[test]
fn partitions_that_share_a_log_need_the_segments_of_one() {
    let storage = Storage { segment_bytes: Some(16 * MIB), retention_bytes: Some(100 * MIB) };
    let base = Profile::load("steady").expect("a shipped profile");
    let profile = |layout| {
        let partitions = Partitions { count: PartitionCount::InAll(200), layout, ..base.partitions };
        Profile { partitions, storage, ..base.clone() }
    };
    let disk = |layout, flag| {
        let settings = Settings { layout: flag, ..Settings::default() };
        Plan::new(&profile(layout).resolve(&settings).expect("settings that fit"), None, None).disk_bytes
    };
    let (own, one, eight) = (Layout::Partition, Layout::Group(None), Layout::Group(Some(25)));
    assert_eq!(disk(own, None), 200 * MIB + 200 * 32 * MIB);
    assert_eq!(disk(one, None), 200 * MIB + 32 * MIB);
    assert_eq!(disk(eight, None), 200 * MIB + 8 * 32 * MIB);
    assert_eq!(disk(one, Some(own)), disk(own, None), "the flag stands over the profile");
    assert_eq!(disk(own, Some(one)), disk(one, None));
}

#[test]
fn history_for_cold_readers_needs_its_place() {
    let profile = Profile::load("catch-up").expect("a shipped profile");
    let resolved = profile.resolve(&Settings { peak: Some(1e3), ..Settings::default() }).expect("settings that fit");
    let plan = Plan::new(&resolved, None, None);
    assert_eq!(plan.disk_bytes, (1 << 30) + 20_000 * 1_094 + 256 * MIB);
}

#[test]
fn what_does_not_fit_says_what_is_needed_and_what_is_there() {
    let plan = Plan::new(&steady(1, Storage::default()), None, None);
    assert_eq!(plan.fits(plan.disk_bytes), Ok(()));
    let error = plan.fits(100 * MIB).expect_err("too small").to_string();
    assert_eq!(
        error,
        "986 MiB needed for one engine and 100 MiB free: lower --peak, --rate or the retention, or give --dir a larger disk"
    );
}

#[test]
fn a_plan_reads_as_a_table() {
    let plan = Plan::new(&steady(2, Storage::default()), None, None).to_string();
    let rows: Vec<&str> = plan.lines().collect();
    assert_eq!(rows[0], "steady at speed 1: 700k messages, 684 MiB of values, 730 MiB of log in 35.0 s");
    assert_eq!(rows[1], "plateau 20.0k/s, highest 20.0k/s; 2 partitions; 1.2 GiB of disk for one engine at a time");
    assert_eq!(rows[3], "phase      from s   length s     mean/s  highest/s   messages        log");
    assert_eq!(rows[5], "steady       5.00      30.00      20.0k      20.0k       600k    626 MiB");
}
