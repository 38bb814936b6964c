//! What a run costs, read from /proc and /sys.
