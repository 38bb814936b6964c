//! The settings of a run: command line over configuration file over defaults.
