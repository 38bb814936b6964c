//! The reference model and the null engine run the suite that they are the measure of; what cannot hold for them is skipped aloud.

mod memory {
    log_testkit::conformance!(log_memory::Memory);
}
