//! What every engine must do, done by partitions that share logs of `log_direct`.

mod over;

over!(Over: log_direct::Direct);

#[global_allocator]
static ALLOCATOR: log_testkit::CountingAllocator = log_testkit::CountingAllocator;

log_testkit::conformance_of!(Over);
