//! The page: self-contained, escaped, and answering on its first screen.

mod common;

use common::night;
use harness::{report, summary::*};

/// What stands between the first `from` and the `to` after it.
#[track_caller]
fn between<'a>(page: &'a str, from: &str, to: &str) -> &'a str {
    let start = page.find(from).unwrap_or_else(|| panic!("no {from}")) + from.len();
    let length = page[start..].find(to).unwrap_or_else(|| panic!("no {to} after {from}"));
    &page[start..start + length]
}

/// Every element is closed in the order in which it was opened. Text of scripts and styles is skipped.
fn assert_well_formed(page: &str) {
    const VOID: [&str; 2] = ["meta", "!doctype"];
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page;
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        let end = rest.find('>').expect("a tag ends");
        let tag = &rest[..end];
        rest = &rest[end + 1..];
        assert!(!tag.contains('<'), "a tag inside a tag: <{tag}>");
        let name = tag.trim_start_matches('/').split(|c: char| c.is_whitespace() || c == '/').next().unwrap_or("");
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "closed in order");
        } else if !tag.ends_with('/') && !VOID.contains(&name) {
            open.push(name);
            if ["script", "style"].contains(&name) {
                rest = &rest[rest.find(&format!("</{name}>")).expect("scripts and styles end")..];
            }
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
}

#[test]
fn the_page_needs_nothing_from_outside() {
    let page = report::render(&night(), None);
    for outside in ["http:", "https:", "//cdn", " src=", "@import", "url(", "<link", "@font-face", "fetch(", "<iframe"]
    {
        assert!(!page.contains(outside), "{outside}");
    }
    assert_well_formed(&page);
}

#[test]
fn the_first_screen_comes_first_and_in_order() {
    let page = report::render(&night(), None);
    let parts = [
        "<h1>",
        "class=\"verdict valid\"",
        "id=\"night\"",
        "id=\"rows\"",
        "<section id=\"percentiles\"",
        "id=\"repeat\"",
    ];
    let places: Vec<usize> = parts.iter().map(|part| page.find(part).unwrap_or_else(|| panic!("no {part}"))).collect();
    assert!(places.is_sorted(), "{places:?}");
    assert!(between(&page, "<title>", "</title>").contains("60× speed"), "the speed stands in the title");
}

#[test]
fn all_three_strips_share_one_clock() {
    let page = report::render(&night(), None);
    let night = between(&page, "<svg id=\"night\"", "</svg>");
    for title in ["Offered (grey) and achieved, messages a second", "Queue: due", "p99.9 of the response"] {
        assert!(night.contains(title), "{title}");
    }
    // A line an engine and strip, the model of the one that went under, and thin p99 lines.
    assert_eq!(night.matches("class=\"line e-").count(), 9);
    assert_eq!(night.matches("class=\"line model e-pagecache\"").count(), 1);
    assert!(night.contains("dry 10.3 s after midnight"));
    assert!(!night.contains("NaN") && !night.contains("inf"));
}

#[test]
fn the_sentence_says_who_stayed_dry_and_who_did_not() {
    assert_eq!(
        report::outcome(&night()),
        "At 180k messages a second, each durable before it is acknowledged, mmap and direct stayed dry; pagecache went under \
         for 10.0 s, up to 209k messages deep. Price in CPU seconds a GB: mmap 0.47, direct 0.51, pagecache 0.75."
    );
}

#[test]
fn the_sentence_covers_all_dry_none_dry_unavailable_and_interrupted() {
    let mut summary = night();
    summary.run.durability = "none".to_owned();
    for engine in &mut summary.engines {
        engine.measurement.as_mut().expect("measured").dry = Dry::Always;
    }
    let text = report::outcome(&summary);
    assert!(text.starts_with("At 180k messages a second, none flushed before it is acknowledged, all of mmap, direct and pagecache stayed dry. Price"), "{text}");

    for (n, engine) in summary.engines.iter_mut().enumerate() {
        let measured = engine.measurement.as_mut().expect("measured");
        measured.backlog.peak_messages = 50_000;
        measured.dry = match n {
            0 => Dry::Not { under_at_s: 5.0, left_messages: 1_200 },
            n => Dry::Again { under_at_s: 5.0, at_s: 6.0 + n as f64 },
        };
    }
    let text = report::outcome(&summary);
    assert!(
        text.contains(
            ", mmap went under, up to 50.0k messages deep, and was not dry at the end, 1.20k left, direct went under for 2.00 s, \
             up to 50.0k messages deep and pagecache went under for 3.00 s, up to 50.0k messages deep. Price"
        ),
        "{text}"
    );

    summary.run.state = RunState::Interrupted;
    summary.engines[1].status = Status::Unavailable { why: "no".to_owned() };
    summary.engines[2].status = Status::Partial { why: "interrupted".to_owned() };
    for engine in &mut summary.engines[1..] {
        engine.measurement = None;
    }
    let text = report::outcome(&summary);
    assert!(text.starts_with("Interrupted: what follows is partial. At"), "{text}");
    assert!(text.ends_with("direct could not run here. pagecache was not reached."), "{text}");

    summary.engines[0].measurement = None;
    summary.engines[0].status = Status::Failed { why: "out of room".to_owned() };
    assert!(report::outcome(&summary).contains("No engine was measured. mmap failed."));
    assert_well_formed(&report::render(&summary, None));
}

#[test]
fn a_failed_gate_turns_the_verdict() {
    let mut summary = night();
    assert_eq!(
        report::verdict(&summary),
        (
            true,
            "To be believed as far as one run each goes: all 11 validity gates passed. Close figures are no verdict."
                .to_owned()
        )
    );
    let measured = summary.engines[0].measurement.as_mut().expect("measured");
    measured.validity[0] =
        Verdict { gate: "lateness".to_owned(), passed: false, detail: "p99.9 3.12 ms, bound 1 ms".to_owned() };
    measured.generator.harness_bound = true;
    let (valid, text) = report::verdict(&summary);
    assert!(!valid);
    assert_eq!(
        text,
        "Not to be believed: 1 of 11 gates failed: lateness of mmap (p99.9 3.12 ms, bound 1 ms). Harness-bound, so a lower \
         bound only: mmap."
    );
    assert!(report::render(&summary, None).contains("class=\"verdict invalid\""));
}

#[test]
fn nothing_in_a_summary_can_leave_its_element() {
    let evil = "</script><script>alert(1)</script><b a='\"&";
    let mut summary = night();
    for text in [
        &mut summary.run.profile,
        &mut summary.run.title,
        &mut summary.run.durability,
        &mut summary.run.commit,
        &mut summary.run.command,
        &mut summary.run.build,
        &mut summary.machine.file_system,
        &mut summary.machine.device,
        &mut summary.machine.cpu,
        &mut summary.clock.mark,
        &mut summary.engines[0].name,
        &mut summary.phases[1].name,
        &mut summary.walls[0].engine,
        &mut summary.validity[0].gate,
    ] {
        *text = evil.to_owned();
    }
    summary.notes.push(evil.to_owned());
    summary.validity[1].detail = evil.to_owned();
    summary.engines[1].send = evil.to_owned();
    summary.engines[1].status = Status::Failed { why: evil.to_owned() };
    let measured = summary.engines[2].measurement.as_mut().expect("measured");
    measured.notes.push(format!("`{evil}`"));
    measured.attestation[0].evidence = evil.to_owned();
    measured.phases[1].phase = evil.to_owned();
    let page = report::render(&summary, None);
    assert!(!page.contains("<script>alert") && !page.contains("<b a="), "unescaped");
    assert_well_formed(&page);
    assert!(serde_json::from_str::<serde_json::Value>(between(&page, "id=\"night-data\">", "</script>")).is_ok());
}

#[test]
fn what_is_absent_is_said_to_be_absent() {
    let mut summary = night();
    let costs = &mut summary.engines[0].measurement.as_mut().expect("measured").costs;
    *costs = Costs { payload_bytes: costs.payload_bytes, ..Costs::default() };
    let page = report::render(&summary, None);
    assert!(between(&page, "bytes that reached the device</th>", "</td>").ends_with("absent"));
    assert!(!page.contains("NaN"));
}

#[test]
fn a_phase_too_short_for_a_curve_keeps_its_numbers() {
    let mut summary = night();
    for engine in &mut summary.engines {
        let phase = &mut engine.measurement.as_mut().expect("measured").phases[1];
        phase.response = LatencySet { count: 12, max_ns: Some(1_000_000), ..LatencySet::default() };
    }
    let page = report::render(&summary, None);
    assert!(!page.contains("<figcaption>flood</figcaption>") && page.contains("<figcaption>lull</figcaption>"));
    assert!(between(&page, "<summary>flood</summary>", "</details>").contains("<td>12</td>"));
}

#[test]
fn an_empty_series_and_thin_traffic_are_drawn_as_far_as_they_go() {
    let mut summary = night();
    summary.engines[0].measurement.as_mut().expect("measured").series = Series::default();
    for engine in &mut summary.engines[1..] {
        let series = &mut engine.measurement.as_mut().expect("measured").series;
        series.p99_ns.fill(None);
        series.p999_ns.fill(None);
    }
    let page = report::render(&summary, None);
    assert!(page.contains("no interval has enough messages"));
    assert_well_formed(&page);
}
