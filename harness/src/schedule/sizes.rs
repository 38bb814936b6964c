//! Sizes of messages.

use super::random::Stream;
use crate::profile::SizeLaw;

/// Draws sizes; a fixed size draws nothing.
#[derive(Clone, Debug)]
pub(super) struct Sizes {
    law: SizeLaw,
    stream: Stream,
    /// The second number of a pair of normal draws.
    spare: Option<f64>,
    log_median: f64,
}

impl Sizes {
    pub(super) fn new(law: SizeLaw, stream: Stream) -> Self {
        let log_median = match law {
            SizeLaw::Fixed { .. } => 0.0,
            SizeLaw::Lognormal { median, .. } => libm::log(median),
        };
        Self { law, stream, spare: None, log_median }
    }

    pub(super) fn draw(&mut self) -> u32 {
        match self.law {
            SizeLaw::Fixed { bytes } => bytes,
            SizeLaw::Lognormal { sigma, min, max, .. } => {
                let normal = self.spare.take().unwrap_or_else(|| {
                    let (first, second) = self.stream.normal_pair();
                    self.spare = Some(second);
                    first
                });
                let bytes = libm::exp(self.log_median + sigma * normal);
                (bytes.round() as u32).clamp(min, max)
            }
        }
    }
}
