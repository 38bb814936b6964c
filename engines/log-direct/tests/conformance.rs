//! What every engine must do.
log_testkit::conformance!(log_direct::Direct);
