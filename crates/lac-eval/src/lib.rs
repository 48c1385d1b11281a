//! lac-eval
