//! The `highwater` command. Everything lives in the library beside it.

fn main() {}
