//! The table's exact text, case by case. A change here is a change of what users see: read it before accepting it.

mod common;

use common::night;
use harness::{summary::*, table};
use std::path::Path;

fn measured<'a>(summary: &'a mut Summary, engine: &str) -> &'a mut Measurement {
    let result = summary.engines.iter_mut().find(|result| result.name == engine);
    result.and_then(|result| result.measurement.as_mut()).expect("the night measures all three engines")
}

#[track_caller]
fn assert_text(summary: &Summary, expected: &str) {
    let report = Path::new("results/local/latest/report.html");
    let text = table::render(summary, Some(report));
    assert!(text == expected.trim_start_matches('\n'), "the table reads\n{text}\ninstead of\n{expected}");
}

#[test]
fn two_stay_dry_and_one_goes_under() {
    assert_text(
        &night(),
        r#"
double11 · 60× speed · durable · commit inflight
plateau 180k msg/s = 1.5 × pagecache's durable wall · messages of 1.02 kB · seed 11
ext4 on vda (virtio) · bare flush 1.10 ms · 2 cores: 0 generator; 1 shard · one run each, no verdict

                   ─ wall msg/s ─    calm ─────── plateau ─────── queue     dry     e2e CPU-s calls
engine    send     durable   none     p99     p50     p99   p99.9  peak   after     p99   /GB /1000
mmap      sendfile    212k  1.24M 3.01 ms 1.90 ms 3.52 ms 4.43 ms   318  always 4.01 ms  0.47  21.4
direct    copy        246k   402k 2.11 ms 1.28 ms 2.42 ms 3.05 ms   212  always 2.75 ms  0.51  9.60
pagecache sendfile    120k   931k 3.75 ms  405 ms  757 ms  758 ms  209k +10.3 s  2.00 s  0.75  33.0
          └ under for 10.0 s; fluid model at speed 1: queue 12.5M, delay 104 s, dry +11 min

valid: 11 gates passed
- objective 99.6 % within 20.0 ms: mmap 99.93 %, direct 99.93 %, pagecache 31.2 % (missed)
- each engine sends by its natural path; `--send copy` holds it equal
- under: a queue of over 100 ms of the peak's arrivals; dry: the end of that, after midnight

repeat:
  highwater run double11 --engine mmap,direct,pagecache --durability durable --commit inflight \
    --peak 180k --speed 60 --seed 11
report:
results/local/latest/report.html
"#,
    );
}

#[test]
fn an_unavailable_engine_keeps_its_place_and_says_why() {
    let mut summary = night();
    summary.engines[1] = EngineResult {
        name: "direct".to_owned(),
        status: Status::Unavailable {
            why: "O_DIRECT is refused on tmpfs (EINVAL when opening a file in the data directory); choose a directory \
                  on a disk with --dir"
                .to_owned(),
        },
        send: String::new(),
        order: 0,
        measurement: None,
    };
    assert_text(
        &summary,
        r#"
double11 · 60× speed · durable · commit inflight
plateau 180k msg/s = 1.5 × pagecache's durable wall · messages of 1.02 kB · seed 11
ext4 on vda (virtio) · bare flush 1.10 ms · 2 cores: 0 generator; 1 shard · one run each, no verdict

                   ─ wall msg/s ─    calm ─────── plateau ─────── queue     dry     e2e CPU-s calls
engine    send     durable   none     p99     p50     p99   p99.9  peak   after     p99   /GB /1000
mmap      sendfile    212k  1.24M 3.01 ms 1.90 ms 3.52 ms 4.43 ms   318  always 4.01 ms  0.47  21.4
direct    unavailable: O_DIRECT is refused on tmpfs (EINVAL when opening a file in the data
          directory); choose a directory on a disk with --dir
pagecache sendfile    120k   931k 3.75 ms  405 ms  757 ms  758 ms  209k +10.3 s  2.00 s  0.75  33.0
          └ under for 10.0 s; fluid model at speed 1: queue 12.5M, delay 104 s, dry +11 min

valid: 8 gates passed
- objective 99.6 % within 20.0 ms: mmap 99.93 %, pagecache 31.2 % (missed)
- under: a queue of over 100 ms of the peak's arrivals; dry: the end of that, after midnight

repeat:
  highwater run double11 --engine mmap,direct,pagecache --durability durable --commit inflight \
    --peak 180k --speed 60 --seed 11
report:
results/local/latest/report.html
"#,
    );
}

#[test]
fn an_interrupted_run_says_what_is_partial() {
    let mut summary = night();
    summary.run.state = RunState::Interrupted;
    summary.engines[0].status = Status::Partial { why: "interrupted 12.3 s into its 35 s".to_owned() };
    summary.engines[1].status = Status::Partial { why: "interrupted before it began".to_owned() };
    summary.engines[1].measurement = None;
    assert_text(
        &summary,
        r#"
INTERRUPTED: partial results
double11 · 60× speed · durable · commit inflight
plateau 180k msg/s = 1.5 × pagecache's durable wall · messages of 1.02 kB · seed 11
ext4 on vda (virtio) · bare flush 1.10 ms · 2 cores: 0 generator; 1 shard · one run each, no verdict

                   ─ wall msg/s ─    calm ─────── plateau ─────── queue     dry     e2e CPU-s calls
engine    send     durable   none     p99     p50     p99   p99.9  peak   after     p99   /GB /1000
mmap      sendfile    212k  1.24M 3.01 ms 1.90 ms 3.52 ms 4.43 ms   318  always 4.01 ms  0.47  21.4
          └ partial: interrupted 12.3 s into its 35 s
direct    nothing measured: interrupted before it began
pagecache sendfile    120k   931k 3.75 ms  405 ms  757 ms  758 ms  209k +10.3 s  2.00 s  0.75  33.0
          └ under for 10.0 s; fluid model at speed 1: queue 12.5M, delay 104 s, dry +11 min

valid: 8 gates passed
- objective 99.6 % within 20.0 ms: mmap 99.93 %, pagecache 31.2 % (missed)
- under: a queue of over 100 ms of the peak's arrivals; dry: the end of that, after midnight

repeat:
  highwater run double11 --engine mmap,direct,pagecache --durability durable --commit inflight \
    --peak 180k --speed 60 --seed 11
report:
results/local/latest/report.html
"#,
    );
}

#[test]
fn a_harness_bound_row_is_marked_and_its_wall_is_a_lower_bound() {
    let mut summary = night();
    measured(&mut summary, "mmap").generator =
        GeneratorLoad { busy_share_peak: 0.967, busy_share_plateau: None, harness_bound: true, taken: None };
    for wall in summary.walls.iter_mut().filter(|wall| wall.engine == "mmap") {
        wall.harness_bound = true;
    }
    let text = table::render(&summary, None);
    let row = text.lines().position(|line| line.starts_with("mmap ")).expect("mmap's row");
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[row].contains(" ≥212k ≥1.24M "), "{}", lines[row]);
    assert_eq!(
        lines[row + 1].trim(),
        "└ harness-bound: generator's core 96.7 % busy at the peak; the engine may stand higher"
    );
    assert!(lines[row + 2].starts_with("direct "), "{}", lines[row + 2]);
}

#[test]
fn all_dry_under_none_shows_what_the_device_had_taken() {
    let mut summary = night();
    summary.run.durability = "none".to_owned();
    summary.run.plateau = Some(Plateau { messages_per_s: 180_000.0, of: None });
    summary.objectives.clear();
    for (engine, share) in [("mmap", 0.25), ("direct", 1.07), ("pagecache", 0.613)] {
        let measured = measured(&mut summary, engine);
        measured.dry = Dry::Always;
        measured.backlog.peak_messages = 317;
        measured.costs.device_bytes = Some((measured.costs.payload_bytes as f64 * share) as u64);
    }
    assert_text(
        &summary,
        r#"
double11 · 60× speed · none · commit inflight · plateau 180k msg/s as given · messages of 1.02 kB
seed 11
ext4 on vda (virtio) · bare flush 1.10 ms · 2 cores: 0 generator; 1 shard · one run each, no verdict

                   ─ wall msg/s ─    calm ─────── plateau ─────── queue     dry     e2e CPU-s calls
engine    send     durable   none     p99     p50     p99   p99.9  peak   after     p99   /GB /1000
mmap      sendfile    212k  1.24M 3.01 ms 1.90 ms 3.52 ms 4.43 ms   317  always 4.01 ms  0.47  21.4
          └ device had taken 25.0 % of the payload's bytes when the run ended
direct    copy        246k   402k 2.11 ms 1.28 ms 2.42 ms 3.05 ms   317  always 2.75 ms  0.51  9.60
          └ device had taken 107 % of the payload's bytes when the run ended
pagecache sendfile    120k   931k 3.75 ms  405 ms  757 ms  758 ms   317  always  2.00 s  0.75  33.0
          └ device had taken 61.3 % of the payload's bytes when the run ended

valid: 11 gates passed
- each engine sends by its natural path; `--send copy` holds it equal

repeat:
  highwater run double11 --engine mmap,direct,pagecache --durability durable --commit inflight \
    --peak 180k --speed 60 --seed 11
report:
results/local/latest/report.html
"#,
    );
}

#[test]
fn none_dry_and_one_not_dry_even_after_the_drain() {
    let mut summary = night();
    for (engine, at_s) in [("mmap", 9.0), ("direct", 131.0)] {
        measured(&mut summary, engine).dry = Dry::Again { under_at_s: 5.2, at_s };
    }
    let pagecache = measured(&mut summary, "pagecache");
    pagecache.dry = Dry::Not { under_at_s: 5.1, left_messages: 1_234_567 };
    pagecache.notes.push("drained for 30 s, then given up".to_owned());
    assert_text(
        &summary,
        r#"
double11 · 60× speed · durable · commit inflight
plateau 180k msg/s = 1.5 × pagecache's durable wall · messages of 1.02 kB · seed 11
ext4 on vda (virtio) · bare flush 1.10 ms · 2 cores: 0 generator; 1 shard · one run each, no verdict

                   ─ wall msg/s ─    calm ─────── plateau ─────── queue     dry     e2e CPU-s calls
engine    send     durable   none     p99     p50     p99   p99.9  peak   after     p99   /GB /1000
mmap      sendfile    212k  1.24M 3.01 ms 1.90 ms 3.52 ms 4.43 ms   318  +4.0 s 4.01 ms  0.47  21.4
          └ under for 3.80 s, though the fluid model sees no queue at 212k msg/s
direct    copy        246k   402k 2.11 ms 1.28 ms 2.42 ms 3.05 ms   212  +126 s 2.75 ms  0.51  9.60
          └ under for 126 s, though the fluid model sees no queue at 246k msg/s
pagecache sendfile    120k   931k 3.75 ms  405 ms  757 ms  758 ms  209k not dry  2.00 s  0.75  33.0
          └ not dry, 1,234,567 left
          └ under to the end; fluid model at speed 1: queue 12.5M, delay 104 s, dry +11 min
          └ drained for 30 s, then given up

valid: 11 gates passed
- objective 99.6 % within 20.0 ms: mmap 99.93 %, direct 99.93 %, pagecache 31.2 % (missed)
- each engine sends by its natural path; `--send copy` holds it equal
- under: a queue of over 100 ms of the peak's arrivals; dry: the end of that, after midnight

repeat:
  highwater run double11 --engine mmap,direct,pagecache --durability durable --commit inflight \
    --peak 180k --speed 60 --seed 11
report:
results/local/latest/report.html
"#,
    );
}

#[test]
fn the_widest_numbers_still_fit() {
    let mut summary = night();
    summary.engines[2].name = "pagecache-with-a-long-name".to_owned();
    for wall in &mut summary.walls {
        *wall = Wall { messages_per_s: 99_950.0, harness_bound: true, ..wall.clone() };
        if wall.engine == "pagecache" {
            wall.engine = summary.engines[2].name.clone();
        }
    }
    for engine in &mut summary.engines {
        let measured = engine.measurement.as_mut().expect("the night measures all three engines");
        let wide = LatencySet::from_histogram(2_000_000, 1, |_| 12_345_678, 99_999_999);
        for phase in measured.phases.iter_mut().chain([&mut measured.total]) {
            phase.response = wide;
            phase.end_to_end = Some(wide);
        }
        measured.backlog.peak_messages = 12_345_678_901;
        measured.dry = Dry::Again { under_at_s: 5.0, at_s: 104.9 };
        measured.costs.cpu_shard_s_per_gb = Some(12_345.0);
        measured.costs.system_calls_per_1000 = Some(12_345.0);
    }
    assert_text(
        &summary,
        r#"
double11 · 60× speed · durable · commit inflight
plateau 180k msg/s = 1.5 × pagecache's durable wall · messages of 1.02 kB · seed 11
ext4 on vda (virtio) · bare flush 1.10 ms · 2 cores: 0 generator; 1 shard · one run each, no verdict

                   ─ wall msg/s ─    calm ─────── plateau ─────── queue     dry     e2e CPU-s calls
engine    send     durable   none     p99     p50     p99   p99.9  peak   after     p99   /GB /1000
mmap      sendfile   ≥100k  ≥100k 12.3 ms 12.3 ms 12.3 ms 12.3 ms 12.3G +99.9 s 12.3 ms 12.3k 12.3k
          └ under for 99.9 s; fluid model at speed 1: queue 19.0M, delay 190 s, dry +15 min
direct    copy       ≥100k  ≥100k 12.3 ms 12.3 ms 12.3 ms 12.3 ms 12.3G +99.9 s 12.3 ms 12.3k 12.3k
          └ under for 99.9 s; fluid model at speed 1: queue 19.0M, delay 190 s, dry +15 min
pagecach… sendfile   ≥100k  ≥100k 12.3 ms 12.3 ms 12.3 ms 12.3 ms 12.3G +99.9 s 12.3 ms 12.3k 12.3k
          └ under for 99.9 s; fluid model at speed 1: queue 12.5M, delay 104 s, dry +11 min

valid: 11 gates passed
- objective 99.6 % within 20.0 ms: mmap 99.93 %, direct 99.93 %, pagecache-with-a-long-name 31.2 %
  (missed)
- each engine sends by its natural path; `--send copy` holds it equal
- under: a queue of over 100 ms of the peak's arrivals; dry: the end of that, after midnight

repeat:
  highwater run double11 --engine mmap,direct,pagecache --durability durable --commit inflight \
    --peak 180k --speed 60 --seed 11
report:
results/local/latest/report.html
"#,
    );
}

#[test]
fn failed_gates_come_before_everything_else_below_the_rows() {
    let mut summary = night();
    summary.validity[0] =
        Verdict { gate: "release build".to_owned(), passed: false, detail: "built without optimisation".to_owned() };
    measured(&mut summary, "mmap").validity[0] =
        Verdict { gate: "lateness".to_owned(), passed: false, detail: "p99.9 3.12 ms, bound 1 ms".to_owned() };
    let text = table::render(&summary, None);
    let expected = "\nNOT VALID: 2 gates failed\n- release build: built without optimisation\n- lateness (mmap): p99.9 \
                    3.12 ms, bound 1 ms\n- objective";
    assert!(text.contains(expected), "{text}");
    assert!(!text.contains("valid: "), "{text}");
}

#[test]
fn without_walls_there_are_no_wall_columns() {
    let mut summary = night();
    summary.walls.clear();
    let text = table::render(&summary, None);
    let names = text.lines().find(|line| line.starts_with("engine")).expect("the line of names");
    assert_eq!(
        names.split_whitespace().collect::<Vec<_>>().join(" "),
        "engine send p99 p50 p99 p99.9 peak after p99 /GB /1000"
    );
}

#[test]
fn the_last_line_is_the_reports_path_and_the_command_stays_one_command() {
    let mut summary = night();
    summary.run.command = format!("highwater run double11 --dir {} --seed 1", "/a/long/path".repeat(8));
    let text = table::render(&summary, Some(Path::new("somewhere/report.html")));
    assert!(text.ends_with("\nreport:\nsomewhere/report.html\n"), "{text}");
    let pasted = text.split_once("repeat:\n").expect("the command").1.split_once("report:").expect("the report").0;
    let joined = pasted.replace("\\\n", " ");
    assert_eq!(joined.split_whitespace().collect::<Vec<_>>().join(" "), summary.run.command);
}

#[test]
fn nothing_in_a_summary_can_steer_the_terminal() {
    let mut summary = night();
    summary.run.profile = "evil\u{1b}[2J".to_owned();
    summary.engines[0].name = "mm\u{7}ap".to_owned();
    summary.notes.push("a\nb\u{9b}31m".to_owned());
    let text = table::render(&summary, None);
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
}
