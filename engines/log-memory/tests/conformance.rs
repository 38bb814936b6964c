//! The reference model runs the suite that it is the measure of. It keeps nothing, so what asks for that is skipped aloud.

log_testkit::conformance!(log_memory::Memory);
