//! The generator: producers, consumers and recorders in one loop on one core.
