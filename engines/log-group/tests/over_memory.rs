//! What every engine must do, done by partitions that share logs of `log_memory`.

mod over;

over!(Over: log_memory::Memory);

#[global_allocator]
static ALLOCATOR: log_testkit::CountingAllocator = log_testkit::CountingAllocator;

log_testkit::conformance_of!(Over);
