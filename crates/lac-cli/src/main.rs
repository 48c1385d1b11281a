//! lac
fn main() {}
