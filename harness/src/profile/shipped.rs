//! The profiles that come with the binary, so that their names work from anywhere.

/// A shipped profile as text.
#[derive(Clone, Copy, Debug)]
pub struct Shipped {
    /// Its name on the command line.
    pub name: &'static str,
    /// Its file in the repository, for messages.
    pub file: &'static str,
    /// Its text.
    pub text: &'static str,
}

macro_rules! shipped {
    ($($name:literal),* $(,)?) => {
        &[$(Shipped {
            name: $name,
            file: concat!("workloads/", $name, ".toml"),
            text: include_str!(concat!("../../../workloads/", $name, ".toml")),
        }),*]
    };
}

/// All shipped profiles: the festivals first, then what they are compared with.
#[must_use]
pub fn shipped() -> &'static [Shipped] {
    shipped![
        "double11",
        "double11-midnight",
        "618",
        "online-service",
        "streaming",
        "many-partitions",
        "steady",
        "catch-up",
        "worldcup98"
    ]
}

/// Traces that shipped profiles refer to, by their path relative to `workloads/`.
pub(super) fn shipped_trace(path: &str) -> Option<&'static str> {
    let traces =
        [("traces/worldcup98-1998-06-30.csv", include_str!("../../../workloads/traces/worldcup98-1998-06-30.csv"))];
    traces.into_iter().find_map(|(name, text)| (name == path).then_some(text))
}
