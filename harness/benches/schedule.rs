//! What an arrival costs to draw: the generator draws each one on its core while it sends.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use harness::profile::{ArrivalLaw, Profile, Resolved, Settings, Shape, SizeLaw, Skew};
use harness::schedule::{Schedule, Split};
use std::hint::black_box;

/// Arrivals of one measurement.
const ARRIVALS: usize = 10_000;

/// Settings of a run with a peak of 200,000 messages a second.
fn double11() -> Resolved {
    let profile = Profile::load("double11").expect("a shipped profile");
    profile.resolve(&Settings { peak: Some(2e5), ..Settings::default() }).expect("a peak is all it needs")
}

/// The same run with one piece of this form for an hour, so that nothing but it is measured.
fn only(shape: Shape) -> Resolved {
    let mut resolved = double11();
    resolved.pieces.truncate(1);
    resolved.phases.truncate(1);
    resolved.duration_ns = 3_600_000_000_000;
    resolved.phases[0].end_ns = resolved.duration_ns;
    resolved.pieces[0].duration_s = 3_600.0;
    resolved.pieces[0].shape = shape;
    resolved
}

fn arrivals(c: &mut Criterion) {
    let constant = only(Shape::Constant { rate: 1e6 });
    let zipf = Resolved { partitions: 200, skew: Skew::Zipf { s: 1.0 }, ..constant.clone() };
    let sizes = SizeLaw::Lognormal { median: 600.0, sigma: 1.1, min: 24, max: 1 << 20 };
    let lognormal =
        Resolved { messages: harness::profile::Messages { bytes: sizes, ..constant.messages }, ..constant.clone() };
    let mmpp = ArrivalLaw::Mmpp { burst: 4.0, share: 0.2, length_s: 0.01 };
    let cases = [
        ("double11", double11()),
        ("constant", constant.clone()),
        ("ramp", only(Shape::Ramp { from: 1e5, to: 1e6 })),
        ("decay", only(Shape::Decay { floor: 1e5, above: 1e6, tau_s: 600.0 })),
        ("sine", only(Shape::Sine { mean: 1e6, swing: 5e5, period_s: 60.0 })),
        ("zipf over 200", zipf),
        ("log-normal sizes", lognormal),
        ("mmpp", Resolved { arrivals: mmpp, ..constant }),
    ];
    let mut group = c.benchmark_group("schedule/arrival");
    group.throughput(Throughput::Elements(ARRIVALS as u64));
    for (name, resolved) in cases {
        let fresh = Schedule::new(&resolved, Split::WHOLE);
        group.bench_with_input(BenchmarkId::from_parameter(name), &fresh, |b, fresh| {
            b.iter_batched(
                || fresh.clone(),
                |schedule| {
                    for arrival in schedule.take(ARRIVALS) {
                        black_box(arrival);
                    }
                },
                criterion::BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, arrivals);
criterion_main!(benches);
