//! Samples in interleaved rounds: what else the machine does falls on all cases alike.

use super::{
    case::Case,
    ceilings::{Figure, Sample},
};
use crate::run::{interrupt::Interrupts, screen::Screen};
use crate::summary::format;
use anyhow::Context;

/// Measures each case `rounds` times, every other round backwards. `None`: interrupted.
///
/// # Errors
/// A case fails: which, and why.
pub fn measure(
    cases: &[Case],
    rounds: u32,
    mut sample: impl FnMut(Case) -> anyhow::Result<Sample>,
    screen: &mut Screen,
    interrupts: &Interrupts,
) -> anyhow::Result<Option<Vec<Figure>>> {
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); cases.len()];
    for round in 0..rounds {
        let backwards = round % 2 == 1;
        for place in 0..cases.len() {
            if interrupts.any() {
                return Ok(None);
            }
            let number = if backwards { cases.len() - 1 - place } else { place };
            let case = cases[number];
            let found = sample(case).with_context(|| format!("measure {case}"))?;
            samples[number].push(found);
            let topic = format!("round {} of {rounds}", round + 1);
            let value = format!("{}{}", format::count(found.per_s), case.unit().short());
            screen.moving(&topic, &format!("{topic}, {} of {}: {case}: {value}", place + 1, cases.len()));
        }
    }
    screen.clear();
    Ok(Some(cases.iter().zip(&samples).filter_map(|(case, samples)| Figure::of(*case, samples)).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_other_round_goes_backwards() {
        let cases = [Case::Flush, Case::Echo { connections: 1 }];
        let mut order = Vec::new();
        let sample = |case| {
            order.push(case);
            Ok(Sample { per_s: order.len() as f64, p50_ns: None })
        };
        let figures = measure(&cases, 3, sample, &mut Screen::default(), &Interrupts::default()).unwrap().unwrap();
        assert_eq!(order, [cases[0], cases[1], cases[1], cases[0], cases[0], cases[1]]);
        assert_eq!((figures[0].median, figures[0].samples), (4.0, 3));
    }

    #[test]
    fn a_failure_names_its_case() {
        let fails = |_| anyhow::bail!("no space left");
        let error = measure(&[Case::Flush], 1, fails, &mut Screen::default(), &Interrupts::default()).unwrap_err();
        assert_eq!(format!("{error:#}"), "measure bare flush, 4 KiB: no space left");
    }
}
