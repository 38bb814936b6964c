//! One engine in one fresh process: reads a job, runs it, writes its files.
