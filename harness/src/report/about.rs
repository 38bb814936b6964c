//! What to trust and how to repeat it: gates, attestation, machine, manifest, command, words.

use super::{
    html::{escape, section, table},
    night::class,
};
use crate::summary::{Manifest, Summary, UNDER_QUEUE_MS, format};

/// Gates of the run and of each engine.
pub(super) fn gates(summary: &Summary) -> String {
    let own = summary.validity.iter().map(|verdict| (None, verdict));
    let engines = summary.engines.iter().filter_map(|engine| {
        let measured = engine.measurement.as_ref()?;
        Some(measured.validity.iter().map(|verdict| (Some(engine.name.as_str()), verdict)))
    });
    let rows: Vec<Vec<String>> = own
        .chain(engines.flatten())
        .map(|(engine, verdict)| {
            vec![escape(&verdict.gate), who(engine), mark(verdict.passed), escape(&verdict.detail)]
        })
        .collect();
    table("words", &["gate", "of", "", "measured"].map(str::to_owned), &rows)
}

/// Claims and their evidence, and what consumers found.
pub(super) fn attestation(summary: &Summary) -> String {
    let mut rows = Vec::new();
    for engine in &summary.engines {
        let Some(measured) = &engine.measurement else { continue };
        for line in &measured.attestation {
            rows.push(vec![escape(&line.claim), who(Some(&engine.name)), mark(line.holds), escape(&line.evidence)]);
        }
        let content = measured.content;
        if content.tail_consumers + content.catch_up_consumers > 0 {
            let wrong = content.lost + content.doubled + content.reordered + content.damaged;
            let evidence = format!(
                "{} received; {} lost, {} doubled, {} reordered, {} damaged",
                format::grouped(content.verified_messages),
                format::grouped(content.lost),
                format::grouped(content.doubled),
                format::grouped(content.reordered),
                format::grouped(content.damaged)
            );
            let claim = "every message once, in order, checksummed".to_owned();
            rows.push(vec![claim, who(Some(&engine.name)), mark(wrong == 0), evidence]);
        }
    }
    table("words", &["claim", "of", "", "seen"].map(str::to_owned), &rows)
}

fn who(engine: Option<&str>) -> String {
    engine
        .map_or_else(|| "the run".to_owned(), |name| format!("<span class=\"{}\">{}</span>", class(name), escape(name)))
}

fn mark(holds: bool) -> String {
    if holds { "<span class=\"yes\">holds</span>" } else { "<span class=\"no\">fails</span>" }.to_owned()
}

fn facts(rows: &[(&str, String)]) -> String {
    let items: Vec<String> =
        rows.iter().map(|(name, value)| format!("<dt>{name}</dt><dd>{}</dd>", escape(value))).collect();
    format!("<dl>{}</dl>\n", items.concat())
}

/// Machine and manifest.
pub(super) fn machine(summary: &Summary, manifest: Option<&Manifest>) -> String {
    let machine = &summary.machine;
    let absent = || "absent".to_owned();
    let mut rows = vec![
        ("data directory", format!("{} on {}", machine.file_system, machine.device)),
        ("bare flush, median", machine.flush_ns.map_or_else(absent, format::latency)),
        ("cores", cores(summary)),
        ("processor", machine.cpu.clone()),
        ("memory", format::bytes(machine.memory_bytes as f64)),
        ("kernel", machine.kernel.clone()),
        ("build", summary.run.build.clone()),
        ("started", summary.run.started.clone()),
    ];
    let Some(manifest) = manifest else { return facts(&rows) };
    rows.push(("toolchain", format!("{}, {}", manifest.toolchain, manifest.build)));
    rows.push(("mount options", manifest.mount_options.clone().unwrap_or_else(absent)));
    rows.push(("I/O scheduler", manifest.scheduler.clone().unwrap_or_else(absent)));
    rows.push(("write cache", manifest.write_cache.clone().unwrap_or_else(absent)));
    rows.push(("governor", manifest.governor.clone().unwrap_or_else(absent)));
    rows.push(("clock source", manifest.clock_source.clone().unwrap_or_else(absent)));
    let named = |map: &std::collections::BTreeMap<String, String>| {
        let items: Vec<String> = map.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        if items.is_empty() { absent() } else { items.join("; ") }
    };
    rows.push(("limits", named(&manifest.limits)));
    rows.push(("sysctls", named(&manifest.sysctls)));
    rows.push(("mitigations", named(&manifest.mitigations)));
    rows.push(("profile, SHA-256", manifest.profile_sha256.clone()));
    rows.push(("schedule, SHA-256", manifest.schedule_sha256.clone()));
    let config = serde_json::to_string_pretty(&manifest.config).unwrap_or_default();
    format!(
        "{}<details><summary>resolved configuration</summary><pre>{}</pre></details>\n",
        facts(&rows),
        escape(config)
    )
}

fn cores(summary: &Summary) -> String {
    let parts = crate::table::machine_parts(summary);
    parts.into_iter().find(|part| part.contains(" cores: ")).unwrap_or_default()
}

/// The command, and how much of a repeat it promises.
pub(super) fn repeat(summary: &Summary) -> String {
    section(
        "repeat",
        "Repeat it",
        "The same profile and seed give the same arrivals, sizes and bytes, and the same order of engines.",
        &format!("<pre>{}</pre>\n", escape(&summary.run.command)),
    )
}

/// Words that the page uses.
pub(super) fn words(summary: &Summary) -> String {
    let under = format!(
        "its queue was longer than what arrives in {UNDER_QUEUE_MS:.0} ms at the plateau; <b>dry</b> is the end of the last such interval"
    );
    let speed = format::factor(summary.run.speed);
    let rows = [
        ("under", under),
        ("queue", "messages whose intended arrival has passed and that are not acknowledged".to_owned()),
        (
            "response",
            "from the <em>intended</em> arrival to the acknowledgement: queued + lateness + service".to_owned(),
        ),
        ("queued", "there was no room at the engine".to_owned()),
        ("lateness", "there was room, and the generator had not sent: a fault of the harness, hence a gate".to_owned()),
        ("end to end", "from the intended arrival to a tail consumer, through the send path".to_owned()),
        ("wall", "messages a second that an engine sustained in a probe of three seconds, consumers on".to_owned()),
        (
            "fluid model",
            "a reservoir with a fixed outlet: capacity is what the engine sustained while it was under, or its wall"
                .to_owned(),
        ),
        (
            "speed",
            format!(
                "the curve was played {speed} times faster at unchanged rates: queue and delay in life are {speed} times as large, as far as capacity does not change with the length of the flood"
            ),
        ),
        ("calls", "system calls of the shards' threads; helpers, generator and consumers are not counted".to_owned()),
    ];
    let items: Vec<String> = rows.iter().map(|(word, text)| format!("<dt>{word}</dt><dd>{text}</dd>")).collect();
    format!("<dl>{}</dl>\n", items.concat())
}
