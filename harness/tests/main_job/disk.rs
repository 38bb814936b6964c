//! The main job on the engines with files: what they keep, what they share, what they refuse.

use crate::place::{Place, err, out};
use harness::summary::Status;
use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::Stdio,
};

/// The entries of a folder, sorted.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let listed = fs::read_dir(folder).expect("a folder");
    let mut entries: Vec<PathBuf> = listed.map(|entry| entry.expect("an entry").path()).collect();
    entries.sort();
    entries
}

/// The segments of all logs of a data directory.
fn segments(data: &Path) -> Vec<PathBuf> {
    let files = entries(data).into_iter().filter(|path| path.is_dir()).flat_map(|folder| entries(&folder));
    files.filter(|path| path.extension().is_some_and(|extension| extension == "log")).collect()
}

#[test]
fn all_disk_engines_are_compared_by_default_and_leave_no_data() {
    let place = Place::new(1.0);
    let output = place.run(&["run", "short.toml"]);
    assert_eq!(output.status.code(), Some(0), "{}\n{}", out(&output), err(&output));
    let summary = place.summary();
    assert_eq!(summary.run.durability, "durable");
    let names: Vec<&str> = summary.engines.iter().map(|engine| engine.name.as_str()).collect();
    assert_eq!(names, ["mmap", "direct", "pagecache"]);
    for engine in &summary.engines {
        assert_eq!(engine.status, Status::Ok, "{}", engine.name);
        let measured = engine.measurement.as_ref().unwrap();
        assert_eq!(measured.total.acknowledged_messages, measured.total.offered_messages, "{}", engine.name);
        assert_eq!(measured.content.verified_messages, measured.total.offered_messages, "{}", engine.name);
        assert!(measured.attestation.iter().all(|proof| proof.holds), "{}: {:?}", engine.name, measured.attestation);
        assert!(measured.costs.flushes > 0, "{}: durable without a flush", engine.name);
        assert!(measured.costs.cpu_shard_s_per_gb.is_some_and(|cpu| cpu > 0.0), "{}", engine.name);
        let written = measured.costs.written_bytes.unwrap();
        assert!(written >= measured.costs.payload_bytes, "{}: {written} written", engine.name);
    }
    assert!(!place.latest().join(".data").exists());
}

#[test]
fn a_data_directory_is_kept_and_continued_by_another_engine() {
    let place = Place::new(0.5);
    let mut messages = 0;
    for engine in ["pagecache", "mmap", "direct"] {
        let output = place.run(&["run", "short.toml", "--engine", engine, "--dir", "data"]);
        assert_eq!(output.status.code(), Some(0), "{engine}: {}\n{}", out(&output), err(&output));
        let measured = place.summary().engines[0].measurement.clone().unwrap();
        assert_eq!(measured.content.verified_messages, measured.total.offered_messages, "{engine}");
        messages += measured.total.acknowledged_messages;
        let verified = place.run(&["log", "verify", "data"]);
        let text = out(&verified);
        assert_eq!(verified.status.code(), Some(0), "{engine}: {text}");
        let records = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let at = words.iter().position(|word| *word == "records,").unwrap();
            words[at - 1].parse::<u64>().unwrap()
        };
        assert_eq!(text.lines().count(), 2, "two partitions: {text}");
        assert_eq!(text.lines().map(records).sum::<u64>(), messages, "{engine}: {text}");
        assert!(text.lines().all(|line| line.ends_with("whole")), "{text}");
    }
}

#[test]
fn partitions_that_share_a_log_are_continued_by_another_engine_and_by_no_other_layout() {
    let place = Place::new(0.5);
    let by_log = fs::read_to_string(place.path().join("short.toml")).unwrap().replace("per partition", "per log");
    fs::write(place.path().join("by-log.toml"), by_log).unwrap();
    let mut messages = 0;
    for (engine, profile, consumers) in
        [("direct", "short.toml", 2), ("pagecache", "by-log.toml", 1), ("mmap", "by-log.toml", 1)]
    {
        let output = place.run(&["run", profile, "--engine", engine, "--dir", "data", "--layout", "group"]);
        assert_eq!(output.status.code(), Some(0), "{engine}: {}\n{}", out(&output), err(&output));
        let summary = place.summary();
        assert_eq!(summary.run.layout, "group");
        let measured = summary.engines[0].measurement.clone().unwrap();
        assert_eq!(measured.content.verified_messages, measured.total.offered_messages, "{engine}");
        assert_eq!(measured.content.tail_consumers, consumers, "{engine}");
        let proof = measured.attestation.iter().find(|proof| proof.claim == "partitions share logs").unwrap();
        assert!(proof.holds && proof.evidence == "2 partitions in 1 shared logs", "{proof:?}");
        messages += measured.total.acknowledged_messages;
        let verified = place.run(&["log", "verify", "data"]);
        assert_eq!(verified.status.code(), Some(0), "{engine}: {}", out(&verified));
        assert_eq!(out(&verified).lines().count(), 1, "one log: {}", out(&verified));
        assert!(out(&verified).contains(&format!("{messages} records")), "{messages}: {}", out(&verified));
    }
    let before: Vec<Vec<u8>> =
        segments(&place.path().join("data")).iter().map(|path| fs::read(path).unwrap()).collect();
    let refused = place.run(&["run", "short.toml", "--engine", "mmap", "--dir", "data"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = err(&refused);
    assert!(said.contains("was made with --layout group, not with --layout partition"), "{said}");
    let after: Vec<Vec<u8>> = segments(&place.path().join("data")).iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(before == after, "nothing is harmed");
}

#[test]
fn a_directory_that_another_process_holds_is_refused() {
    let place = Place::new(600.0);
    let arguments = ["run", "short.toml", "--engine", "pagecache", "--dir", "data"];
    let mut first = place.command(&arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(first.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("opened") {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "the first run ended by itself");
    }
    let second = place.run(&arguments);
    assert_eq!(second.status.code(), Some(1), "{}", err(&second));
    let message = err(&second);
    let last = message.trim().lines().last().unwrap();
    assert!(last.contains("error") && last.contains("in use by another process"), "{message}");
    let pid = rustix::process::Pid::from_child(&first);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(first.wait().unwrap().code(), Some(130));
    let verified = place.run(&["log", "verify", "data"]);
    assert_eq!(verified.status.code(), Some(0), "{}", out(&verified));
}

#[test]
fn a_corrupt_log_is_refused_with_segment_and_position_and_left_as_it_is() {
    let place = Place::new(0.5);
    let arguments = ["run", "short.toml", "--engine", "direct", "--dir", "data"];
    assert_eq!(place.run(&arguments).status.code(), Some(0));
    let segment = segments(&place.path().join("data")).remove(0);
    let mut bytes = fs::read(&segment).unwrap();
    bytes[100] ^= 1;
    fs::write(&segment, &bytes).unwrap();
    let refused = place.run(&arguments);
    assert_eq!(refused.status.code(), Some(1), "{}", err(&refused));
    let message = err(&refused);
    let name = segment.file_name().unwrap().to_str().unwrap();
    assert!(message.contains("damage") && message.contains(name) && message.contains("byte 0"), "{message}");
    assert_eq!(fs::read(&segment).unwrap(), bytes);
}

#[test]
fn catch_up_consumers_read_the_history_and_what_they_read_is_checked() {
    let place = Place::new(1.0);
    let profile = fs::read_to_string(place.path().join("short.toml")).unwrap();
    let catch_up = r#"
[consumers.catch_up]
readers = { value = 3, unit = "in all", source = "assumed" }
history = { value = 8, unit = "MiB", source = "assumed" }
during = "flood"
"#;
    fs::write(place.path().join("short.toml"), format!("{profile}{catch_up}")).unwrap();
    let output = place.run(&["run", "short.toml", "--engine", "pagecache,direct,memory"]);
    assert_eq!(output.status.code(), Some(0), "{}\n{}", out(&output), err(&output));
    for engine in &place.summary().engines {
        let measured = engine.measurement.as_ref().unwrap();
        let (content, total) = (measured.content, &measured.total);
        assert_eq!((content.tail_consumers, content.catch_up_consumers), (2, 3), "{}", engine.name);
        assert_eq!(total.acknowledged_messages, total.offered_messages, "history is not counted: {}", engine.name);
        assert!(content.verified_messages > total.offered_messages, "{}: {content:?}", engine.name);
        let gate = measured.validity.iter().find(|verdict| verdict.gate == "content").unwrap();
        assert!(gate.passed, "{}: {}", engine.name, gate.detail);
    }
}

#[test]
fn a_file_system_in_memory_is_told_and_makes_a_run_invalid() {
    let memory = Path::new("/dev/shm");
    let Ok(folder) = tempfile::tempdir_in(memory) else { return }; // a machine without it has nothing to tell
    let place = Place::new(0.2);
    let dir = folder.path().to_str().unwrap();
    let output = place.run(&["run", "short.toml", "--engine", "pagecache", "--dir", dir, "--strict"]);
    assert_eq!(output.status.code(), Some(3), "{}\n{}", out(&output), err(&output));
    let verdict = place.summary().validity.iter().find(|verdict| verdict.gate == "tmpfs").cloned().unwrap();
    assert!(!verdict.passed && verdict.detail.contains("no disk to measure"), "{verdict:?}");
    let named = place.run(&["run", "short.toml", "--engine", "direct", "--dir", dir]);
    assert_eq!(named.status.code(), Some(1), "an engine that was named and cannot run");
    assert!(err(&named).contains("engine direct is unavailable"), "{}", err(&named));
}
