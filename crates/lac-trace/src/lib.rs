//! lac-trace
