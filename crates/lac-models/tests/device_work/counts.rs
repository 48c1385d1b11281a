//! What lines of cubecl's log say.

use std::fmt;
use std::ops::{Div, Sub};

/// How a line begins that names a compiled kernel.
pub const COMPILING: &str = "[Compiling kernel]";

/// What a device was asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Kernels launched.
    pub launches: f64,
    /// Pieces of the device's memory asked for, most of them from a pool.
    pub allocations: f64,
    /// Tensors read back to the host.
    pub reads: f64,
    /// How often the host waited: reads with no launch between them are one.
    pub waits: f64,
    /// Kernels compiled.
    pub compiled: f64,
}

/// Returns whether a line is of a tensor that is read back: it goes through memory that host and device share.
pub fn is_read(line: &str) -> bool {
    line.starts_with("[Staging CPU Memory] Reserved memory")
}

/// Counts lines; those of a mark are left out.
pub fn of(log: &str, mark: &str) -> Counts {
    let mut counts = Counts::default();
    let mut is_waiting = false;
    for line in log.lines().filter(|line| !line.contains(mark)) {
        if line.starts_with("Executing ") {
            counts.launches += 1.0;
            is_waiting = false;
        } else if line.starts_with(COMPILING) {
            counts.compiled += 1.0;
        } else if line.starts_with("[Main GPU Memory] Reserved memory") {
            counts.allocations += 1.0;
        } else if is_read(line) {
            counts.reads += 1.0;
            counts.waits += f64::from(u8::from(!is_waiting));
            is_waiting = true;
        }
    }
    counts
}

impl Sub for Counts {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            launches: self.launches - other.launches,
            allocations: self.allocations - other.allocations,
            reads: self.reads - other.reads,
            waits: self.waits - other.waits,
            compiled: self.compiled - other.compiled,
        }
    }
}

impl Div<usize> for Counts {
    type Output = Self;

    fn div(self, n: usize) -> Self {
        let n = n as f64;
        Self {
            launches: self.launches / n,
            allocations: self.allocations / n,
            reads: self.reads / n,
            waits: self.waits / n,
            compiled: self.compiled / n,
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            launches,
            allocations,
            reads,
            waits,
            ..
        } = self;
        write!(
            f,
            "{launches:.1} | {allocations:.1} | {reads:.1} | {waits:.1}"
        )
    }
}
