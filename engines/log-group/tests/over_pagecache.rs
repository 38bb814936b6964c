//! What every engine must do, done by partitions that share logs of `log_pagecache`.

mod over;

over!(Over: log_pagecache::PageCache);

#[global_allocator]
static ALLOCATOR: log_testkit::CountingAllocator = log_testkit::CountingAllocator;

log_testkit::conformance_of!(Over);
