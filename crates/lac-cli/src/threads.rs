//! The threads that compute on the CPU.

use crate::output::warn_user;

/// Starts rayon's pool with this thread as one of its own: an operation that is spread over the pool then
/// begins where it is asked for, and not on a thread that has to be woken first.
pub fn start(n_threads: Option<u16>) {
    let n_threads = match n_threads {
        Some(n_threads) => n_threads.into(),
        None => std::thread::available_parallelism().map_or(1, |n_threads| n_threads.get()),
    };
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(n_threads)
        .use_current_thread();
    if let Err(error) = pool.build_global() {
        warn_user!("the pool of {n_threads} threads was not started: {error}");
    }
}
