//! The parent of a run: probes the walls, draws the order, starts a child an engine, collects what they leave.
