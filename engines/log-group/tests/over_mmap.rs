//! What every engine must do, done by partitions that share logs of `log_mmap`.

mod over;

over!(Over: log_mmap::Mmap);

#[global_allocator]
static ALLOCATOR: log_testkit::CountingAllocator = log_testkit::CountingAllocator;

log_testkit::conformance_of!(Over);
