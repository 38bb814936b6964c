//! Who runs on which core.

/// Who runs on which core.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// The generator's core; `None` where a single core must do for everything.
    pub generator: Option<usize>,
    /// The shards' cores, in order.
    pub shards: Vec<usize>,
    /// The helper threads' cores.
    pub helpers: Vec<usize>,
}

impl Placement {
    /// Places `shards` on `cpus` (the first is the generator's), which must be among `allowed`.
    ///
    /// # Errors
    /// A core that is not allowed or named twice.
    pub fn new(
        cpus: Option<&[usize]>,
        helpers: Option<&[usize]>,
        allowed: &[usize],
        shards: u32,
    ) -> Result<Self, String> {
        for named in [cpus, helpers].into_iter().flatten() {
            if let Some(other) = named.iter().find(|cpu| !allowed.contains(cpu)) {
                return Err(format!("core {other} is not among those that this process may use: {}", list(allowed)));
            }
            if let Some(twice) = named.iter().enumerate().find(|(at, cpu)| named[..*at].contains(cpu)) {
                return Err(format!("core {} is named twice", twice.1));
            }
        }
        let [generator, rest @ ..] = cpus.unwrap_or(allowed) else { return Ok(Self::default()) };
        if rest.is_empty() {
            return Ok(Self { helpers: helpers.unwrap_or(allowed).to_vec(), ..Self::default() });
        }
        let shards: Vec<usize> = rest.iter().copied().take(shards as usize).collect();
        let free: Vec<usize> =
            allowed.iter().copied().filter(|cpu| cpu != generator && !shards.contains(cpu)).collect();
        let helpers = match helpers {
            Some(helpers) => helpers.to_vec(),
            // The generator's core is nobody else's: what a helper takes there would be lateness. An engine has its shard's.
            None if free.is_empty() => shards.clone(),
            None => free,
        };
        Ok(Self { generator: Some(*generator), shards, helpers })
    }
}

fn list(cpus: &[usize]) -> String {
    cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_core_is_the_generators_and_the_others_are_the_shards() {
        let placed = |cpus: Option<&[usize]>, shards| Placement::new(cpus, None, &[0, 1, 2, 3], shards);
        let two = placed(None, 2).unwrap();
        assert_eq!((two.generator, two.shards, two.helpers), (Some(0), vec![1, 2], vec![3]));
        let full = placed(None, 3).unwrap();
        assert_eq!((full.shards, full.helpers), (vec![1, 2, 3], vec![1, 2, 3]), "never the generator's core");
        let named = placed(Some(&[3, 1]), 1).unwrap();
        assert_eq!((named.generator, named.shards), (Some(3), vec![1]));
        let alone = placed(Some(&[2]), 1).unwrap();
        assert_eq!((alone.generator, alone.shards), (None, vec![]));
        assert!(placed(Some(&[0, 7]), 1).unwrap_err().contains("core 7"));
        assert!(placed(Some(&[1, 1]), 1).unwrap_err().contains("twice"));
    }
}
