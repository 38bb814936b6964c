//! Writing for longer than memory lasts, without flushes, against fio by the same mechanism on the same directory.

use crate::{Mmap, PageCache, batches, engine::Setup, idle, setup};
use log_api::Level;
use log_testkit::{EngineUnderTest, directory};
use std::{process::Command, time::Duration};

/// How long each side writes: several times as long as the kernel's dirty limit takes to fill.
const LASTS: Duration = Duration::from_secs(20);

/// What fio writes over and over: larger than what may be dirty.
const FIO_BYTES: u64 = 8 << 30;

pub(crate) fn run() {
    sustained::<PageCache>("psync");
    sustained::<Mmap>("mmap");
}

fn sustained<E: EngineUnderTest>(ioengine: &str) {
    let setup: Setup = setup(batches(100, 1000), 100, Level::Placed);
    idle();
    let ran = setup.sustained::<E>(LASTS);
    idle();
    let Some(fio) = fio(ioengine) else {
        println!("{} sustained: {:.0} MB/s (no fio here)", E::NAME, crate::rate((ran.bytes, ran.took)));
        return;
    };
    let ours = crate::rate((ran.bytes, ran.took));
    println!(
        "{:<44} {ours:>7.0} MB/s  fio {ioengine} {fio:.0}  {:.2} (goal 0.90)  [{}]",
        format!("{} sustained {} s", E::NAME, LASTS.as_secs()),
        ours / fio,
        crate::figure(&ran).1
    );
}

/// MB/s that fio writes in order into one file, 100 KiB a call.
fn fio(ioengine: &str) -> Option<f64> {
    let dir = directory();
    let output = Command::new("fio")
        .args(["--name=sustained", "--rw=write", "--bs=100k", "--fallocate=posix", "--cpus_allowed=0"])
        .args(["--time_based", "--output-format=terse", "--terse-version=3"])
        .arg(format!("--ioengine={ioengine}"))
        .arg(format!("--size={FIO_BYTES}"))
        .arg(format!("--runtime={}", LASTS.as_secs()))
        .arg(format!("--directory={}", dir.path().display()))
        .output()
        .ok()?;
    // Field 48 of terse version 3: write bandwidth in KiB/s (fio's HOWTO, "Terse output").
    let text = String::from_utf8(output.stdout).ok()?;
    let kib: f64 = text.lines().find(|line| line.starts_with("3;"))?.split(';').nth(47)?.parse().ok()?;
    Some(kib * 1024.0 / 1e6)
}
