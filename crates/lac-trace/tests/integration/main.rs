//! Traces from the pass to the page: what is written, what is read, what is counted, what is shown.

#![allow(clippy::unwrap_used)]

mod browser;
mod corruption;
mod damaged;
mod experts;
mod files;
mod fixture;
mod interrupted;
mod observed;
mod probe;
mod recorder;
mod report;
mod snippet;
mod statistics;
mod support;
