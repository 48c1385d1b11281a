//! lac-models
