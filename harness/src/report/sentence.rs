//! The two sentences at the top: what happened, and whether to believe it.

use crate::summary::{Dry, EngineResult, RunState, Status, Summary, format};

/// Who stayed dry, who went under, for how long, and at what price.
pub fn outcome(summary: &Summary) -> String {
    let measured: Vec<&EngineResult> = summary.engines.iter().filter(|engine| engine.measurement.is_some()).collect();
    let mut text = String::new();
    if summary.run.state == RunState::Interrupted {
        text.push_str("Interrupted: what follows is partial. ");
    }
    let flood = flood(summary);
    let (dry, under): (Vec<&EngineResult>, Vec<&EngineResult>) =
        measured.iter().partition(|engine| engine.measurement.as_ref().is_some_and(|m| m.dry == Dry::Always));
    match (dry.len(), under.len()) {
        (0, 0) => text.push_str("No engine was measured"),
        (_, 0) => text.push_str(&format!("{flood}, {} stayed dry", all(&names(&dry)))),
        (0, _) => text.push_str(&format!("{flood}, {}", enumerate(&fates(&under)))),
        _ => text.push_str(&format!("{flood}, {} stayed dry; {}", enumerate(&names(&dry)), enumerate(&fates(&under)))),
    }
    let prices: Vec<String> = measured
        .iter()
        .filter_map(|engine| {
            let price = engine.measurement.as_ref()?.costs.cpu_s_per_gb()?;
            Some(format!("{} {}", engine.name, format::ratio(price)))
        })
        .collect();
    if !prices.is_empty() {
        text.push_str(&format!(". Price in CPU seconds a GB: {}", prices.join(", ")));
    }
    text.push('.');
    for engine in &summary.engines {
        if engine.measurement.is_none() {
            text.push_str(&match &engine.status {
                Status::Unavailable { .. } => format!(" {} could not run here.", engine.name),
                Status::Failed { .. } => format!(" {} failed.", engine.name),
                Status::Partial { .. } | Status::Ok => format!(" {} was not reached.", engine.name),
            });
        }
    }
    text
}

/// Whether to believe it, in words, and whether all gates passed.
pub fn verdict(summary: &Summary) -> (bool, String) {
    let failed: Vec<_> = summary.failed_gates().collect();
    let gates: usize = summary.validity.len()
        + summary.engines.iter().filter_map(|e| e.measurement.as_ref()).map(|m| m.validity.len()).sum::<usize>();
    let mut text = if gates == 0 {
        return (false, "Not to be believed: no validity gate was reached.".to_owned());
    } else if failed.is_empty() {
        format!(
            "To be believed as far as one run each goes: all {gates} validity gates passed. Close figures are no verdict."
        )
    } else {
        let reasons: Vec<String> = failed
            .iter()
            .map(|(engine, verdict)| {
                let of = engine.map(|engine| format!(" of {engine}")).unwrap_or_default();
                format!("{}{of} ({})", verdict.gate, verdict.detail)
            })
            .collect();
        format!("Not to be believed: {} of {gates} gates failed: {}.", failed.len(), reasons.join("; "))
    };
    let bound: Vec<&str> = summary
        .engines
        .iter()
        .filter(|engine| engine.measurement.as_ref().is_some_and(|m| m.generator.harness_bound))
        .map(|engine| engine.name.as_str())
        .collect();
    if !bound.is_empty() {
        text.push_str(&format!(" Harness-bound, so a lower bound only: {}.", bound.join(", ")));
    }
    (failed.is_empty(), text)
}

/// "At 180k messages a second, durable".
fn flood(summary: &Summary) -> String {
    let peak = summary.offered_per_s.iter().copied().fold(0.0, f64::max);
    let rate = summary.run.plateau.as_ref().map_or(peak, |plateau| plateau.messages_per_s);
    let durability = match summary.run.durability.as_str() {
        "durable" => "each durable before it is acknowledged".to_owned(),
        "none" => "none flushed before it is acknowledged".to_owned(),
        other => format!("acknowledged before flushes ({other})"),
    };
    format!("At {} messages a second, {durability}", format::count(rate))
}

fn fates(under: &[&EngineResult]) -> Vec<String> {
    let fate = |engine: &&EngineResult| {
        let measured = engine.measurement.as_ref().expect("engines that went under were measured");
        let deep = format::count(measured.backlog.peak_messages as f64);
        match measured.dry {
            Dry::Again { under_at_s, at_s } => format!(
                "{} went under for {}, up to {deep} messages deep",
                engine.name,
                format::duration(at_s - under_at_s)
            ),
            Dry::Not { left_messages, .. } => format!(
                "{} went under, up to {deep} messages deep, and was not dry at the end, {} left",
                engine.name,
                format::count(left_messages as f64)
            ),
            Dry::Always => unreachable!("engines that stayed dry are told apart before"),
        }
    };
    under.iter().map(fate).collect()
}

fn names(engines: &[&EngineResult]) -> Vec<String> {
    engines.iter().map(|engine| engine.name.clone()).collect()
}

fn all(names: &[String]) -> String {
    match names.len() {
        0 | 1 => enumerate(names),
        2 => format!("both {}", enumerate(names)),
        _ => format!("all of {}", enumerate(names)),
    }
}

fn enumerate(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
