//! How fast the CPU's memory can be read, which bounds decoding: every token reads every weight.

use rayon::prelude::*;

/// Reads the values once on all threads of rayon's pool, as fast as memory allows, and returns their sum.
pub fn parallel_read(values: &[f32]) -> f32 {
    // Some tasks for each thread, so that one that is held up leaves some of its share to the others, and
    // none too small to be worth handing out.
    let per_task = values.len().div_ceil(8 * rayon::current_num_threads());
    values
        .par_chunks(per_task.max(1 << 14))
        .map(crate::cpu::sum)
        .sum()
}
