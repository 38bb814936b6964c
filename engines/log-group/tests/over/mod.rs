//! How the suite makes a group over an engine: `over!(OverMmap: log_mmap::Mmap)`.

/// Declares a type that is an engine under test.
#[macro_export]
macro_rules! over {
    ($name:ident: $engine:ty) => {
        struct $name;

        impl log_testkit::EngineUnderTest for $name {
            type Engine = log_group::LogGroup<$engine>;
            const NAME: &'static str = concat!("a group over ", stringify!($engine));

            async fn start(
                ring: &shard_ring::Ring,
                config: log_api::EngineConfig,
            ) -> Result<Self::Engine, log_api::OpenError> {
                let inner = <$engine>::new(
                    ring,
                    log_group::inner_config(&config, &<$engine as log_api::LogEngine>::CAPABILITIES),
                )
                .await?;
                log_group::LogGroup::new(ring, inner, config, log_group::Grouping::all())
            }

            fn availability(dir: &std::path::Path) -> log_api::Availability {
                <$engine>::availability(dir)
            }
        }
    };
}
