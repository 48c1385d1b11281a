//! Threads that stay awake between operations.
//!
//! A token's pass is a hundred operations of some hundred microseconds each, one after another. A thread that
//! goes to sleep between two of them costs a tenth of that to be woken; rayon's go to sleep after some
//! microseconds. These wait for the next operation for as long as a pass may do other things, and sleep then.

use std::fmt::Debug;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// How long a thread stays awake without work, unless [`ThreadConfig::awake`] says otherwise.
const AWAKE: Duration = Duration::from_micros(500);

/// Looks at the state between two looks at the clock.
const LOOKS: u32 = 256;

/// How the operations of this crate use threads.
///
/// The default starts one thread fewer than rayon's pool has, at the first operation that is worth spreading.
///
/// ```no_run
/// use std::time::Duration;
///
/// use lac_kernels::threads::{ThreadConfig, configure};
///
/// // Threads that go to sleep at once: no core is kept busy between two tokens.
/// configure(ThreadConfig::default().awake(Duration::ZERO))?;
/// # Ok::<(), lac_kernels::threads::AlreadyStarted>(())
/// ```
#[derive(Clone, Debug)]
pub struct ThreadConfig {
    n_threads: Option<NonZeroUsize>,
    awake: Duration,
    host: Option<Arc<dyn HostThreads>>,
}

impl Default for ThreadConfig {
    fn default() -> Self {
        Self {
            n_threads: None,
            awake: AWAKE,
            host: None,
        }
    }
}

impl ThreadConfig {
    /// Sets the number of threads that compute, the caller's included. One thread starts no other.
    pub fn n_threads(self, n_threads: NonZeroUsize) -> Self {
        Self {
            n_threads: Some(n_threads),
            ..self
        }
    }

    /// Sets how long a thread stays awake after an operation before it goes to sleep. Zero keeps no core busy, and
    /// every operation then waits for its threads to wake up.
    pub fn awake(self, awake: Duration) -> Self {
        Self { awake, ..self }
    }

    /// Sets the host program's threads, which then do all work: none is started.
    pub fn host(self, host: Arc<dyn HostThreads>) -> Self {
        Self {
            host: Some(host),
            ..self
        }
    }
}

/// Threads that the host program lends.
pub trait HostThreads: Send + Sync + Debug {
    /// Returns the number of threads that work on a call of [`run`](Self::run). Called before every operation, which is
    /// cut into tasks for that many threads; zero counts as one.
    fn n_threads(&self) -> usize;

    /// Calls `work` once with every index below `n_tasks`, on any threads and in any order, and returns when all calls have
    /// returned.
    ///
    /// Called for every operation that is worth spreading, on the thread that asks for the operation. If an index is left
    /// out, the operation panics or has zeros in its output. If `work` panics, the panic should reach the caller of
    /// `run`, as [`std::thread::scope`] passes it on.
    fn run(&self, n_tasks: usize, work: &(dyn Fn(usize) + Sync));
}

/// Returned by [`configure`] if the threads were configured or started before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the threads of lac-kernels are configured already: call configure once, before the first operation"
)]
pub struct AlreadyStarted;

/// Sets how all operations of this process use threads.
///
/// # Errors
/// [`AlreadyStarted`] after the first operation or an earlier call: threads that compute are not replaced.
pub fn configure(config: ThreadConfig) -> Result<(), AlreadyStarted> {
    CONFIG.set(config).map_err(|_| AlreadyStarted)
}

/// Calls `work` for every chunk of `chunk_len` values, with its index; as [`for_each`].
pub(crate) fn for_each_chunk<T: Send>(
    values: &mut [T],
    chunk_len: usize,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    let chunks = values.chunks_mut(chunk_len).enumerate().collect();
    for_each_part(chunks, |(idx, chunk)| work(idx, chunk));
}

/// Calls `work` for every part; as [`for_each`].
pub(crate) fn for_each_part<T: Send>(parts: Vec<T>, work: impl Fn(T) + Sync) {
    let parts: Vec<Mutex<Option<T>>> = parts
        .into_iter()
        .map(|part| Mutex::new(Some(part)))
        .collect();
    for_each(parts.len(), |idx| {
        // Each part is taken once, so it is there, and its lock is free and not poisoned.
        let part = parts[idx].lock().ok().and_then(|mut part| part.take());
        if let Some(part) = part {
            work(part);
        }
    });
}

/// Calls `work` for every index below `n_tasks` and returns its results in order; as [`for_each`].
pub(crate) fn map<T: Send + Sync>(n_tasks: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let results: Vec<OnceLock<T>> = (0..n_tasks).map(|_| OnceLock::new()).collect();
    for_each(n_tasks, |task| {
        // Each index is taken once, so the place is empty.
        let _ = results[task].set(work(task));
    });
    let result = |place: OnceLock<T>| place.into_inner().expect("for_each has called all of them");
    results.into_iter().map(result).collect()
}

/// Calls `work` for every index below `n_tasks`, on as many threads as [`n_threads`] says, and returns when all
/// calls have returned. While another thread's work is under way, the caller does its own alone.
pub(crate) fn for_each(n_tasks: usize, work: impl Fn(usize) + Sync) {
    if n_tasks > 1 {
        let settings = settings();
        if let Some(host) = &settings.host {
            return host.run(n_tasks, &work);
        }
        let n_threads = n_threads();
        // A pool of one thread asks for one thread, however many there are elsewhere.
        if n_threads > 1
            && let Some(pool) = POOL.get_or_init(|| Pool::start(n_threads - 1, settings.awake))
            && let Ok(_only_user) = pool.user.try_lock()
        {
            return pool.run(n_tasks, &work);
        }
    }
    (0..n_tasks).for_each(work);
}

/// Number of threads that an operation is cut for.
pub(crate) fn n_threads() -> usize {
    let settings = settings();
    match (&settings.host, settings.n_threads) {
        (Some(host), _) => host.n_threads().max(1),
        (None, Some(n_threads)) => n_threads.get(),
        (None, None) => rayon::current_num_threads(),
    }
}

fn settings() -> &'static ThreadConfig {
    CONFIG.get_or_init(ThreadConfig::default)
}

static CONFIG: OnceLock<ThreadConfig> = OnceLock::new();
static POOL: OnceLock<Option<Pool>> = OnceLock::new();

struct Pool {
    shared: &'static Shared,
    threads: Vec<Thread>,
    /// Held while work is under way.
    user: Mutex<()>,
}

/// A set bit while a job may be joined; the number of threads inside below it; above it a number that tells
/// jobs apart.
const OPEN: u64 = 1 << 31;
const ONE_JOB: u64 = 1 << 32;
const INSIDE: u64 = OPEN - 1;

struct Shared {
    state: AtomicU64,
    /// The next index that no thread has taken.
    next: AtomicUsize,
    n_tasks: AtomicUsize,
    /// Where a [`Work`] stands: good while the state is open, or a thread inside.
    work: AtomicPtr<()>,
    panicked: AtomicBool,
    n_asleep: AtomicUsize,
}

/// What is called for every index.
type Work<'a> = &'a (dyn Fn(usize) + Sync);

impl Pool {
    /// Starts threads that last as long as the program; `None` if the system refuses one.
    fn start(n_threads: usize, awake: Duration) -> Option<Self> {
        let shared: &'static Shared = Box::leak(Box::new(Shared {
            state: AtomicU64::new(0),
            next: AtomicUsize::new(0),
            n_tasks: AtomicUsize::new(0),
            work: AtomicPtr::new(std::ptr::null_mut()),
            panicked: AtomicBool::new(false),
            n_asleep: AtomicUsize::new(0),
        }));
        let threads = (0..n_threads)
            .map(|idx| {
                let thread = std::thread::Builder::new().name(format!("lac-kernels {idx}"));
                let handle = thread.spawn(move || shared.serve(awake))?;
                Ok(handle.thread().clone())
            })
            .collect::<std::io::Result<Vec<_>>>();
        Some(Self {
            shared,
            threads: threads.ok()?,
            user: Mutex::new(()),
        })
    }

    /// Runs a job. Only the thread that holds `user` may call this.
    fn run(&self, n_tasks: usize, work: Work<'_>) {
        let shared = self.shared;
        let place = (&raw const work).cast_mut().cast::<()>();
        shared.work.store(place, Ordering::Relaxed);
        shared.n_tasks.store(n_tasks, Ordering::Relaxed);
        shared.next.store(0, Ordering::Relaxed);
        let job = (shared.state.load(Ordering::Relaxed) & !(OPEN | INSIDE)) + ONE_JOB;
        shared.state.store(job | OPEN, Ordering::SeqCst);
        if shared.n_asleep.load(Ordering::SeqCst) > 0 {
            self.threads.iter().for_each(Thread::unpark);
        }

        // A panic goes on only when no thread holds the work any more.
        let own = catch_unwind(AssertUnwindSafe(|| shared.take_tasks(n_tasks, work)));
        shared.state.fetch_and(!OPEN, Ordering::AcqRel);
        while shared.state.load(Ordering::Acquire) & INSIDE > 0 {
            std::hint::spin_loop();
        }
        if let Err(panic) = own {
            resume_unwind(panic);
        }
        if shared.panicked.swap(false, Ordering::Relaxed) {
            panic!("a thread of an operation panicked; its message stands above");
        }
    }
}

impl Shared {
    fn take_tasks(&self, n_tasks: usize, work: Work<'_>) {
        loop {
            let task = self.next.fetch_add(1, Ordering::Relaxed);
            if task >= n_tasks {
                return;
            }
            work(task);
        }
    }

    /// Works on one job after another, for as long as the program runs.
    fn serve(&self, awake: Duration) {
        let mut last_job = 0;
        loop {
            let state = self.wait_for_job(last_job, awake);
            let is_in = self
                .state
                .compare_exchange(state, state + 1, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok();
            if !is_in {
                continue;
            }
            last_job = state / ONE_JOB;
            // SAFETY: this thread is inside a job, so that is where the job's work stands, and `run` does not
            // return, and the work does not go away, before this thread has left.
            let work = unsafe { *self.work.load(Ordering::Relaxed).cast::<Work<'_>>() };
            let n_tasks = self.n_tasks.load(Ordering::Relaxed);
            let result = catch_unwind(AssertUnwindSafe(|| self.take_tasks(n_tasks, work)));
            if result.is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
            self.state.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Returns the state once it is open for another job than the last one.
    fn wait_for_job(&self, last_job: u64, awake: Duration) -> u64 {
        let mut since = Instant::now();
        loop {
            for _ in 0..LOOKS {
                let state = self.state.load(Ordering::Acquire);
                if state & OPEN > 0 && state / ONE_JOB != last_job {
                    return state;
                }
                std::hint::spin_loop();
            }
            if since.elapsed() < awake {
                continue;
            }
            // In this order, so that either this thread sees the job or whoever opens it sees this thread.
            self.n_asleep.fetch_add(1, Ordering::SeqCst);
            let state = self.state.load(Ordering::SeqCst);
            if !(state & OPEN > 0 && state / ONE_JOB != last_job) {
                std::thread::park();
            }
            self.n_asleep.fetch_sub(1, Ordering::SeqCst);
            since = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_is_done_once_however_many_ask() {
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    for round in 0..300 {
                        let n_tasks = (round + thread) % 40;
                        let counts: Vec<AtomicUsize> =
                            (0..n_tasks).map(|_| AtomicUsize::new(0)).collect();
                        for_each(n_tasks, |task| {
                            counts[task].fetch_add(1, Ordering::Relaxed);
                        });
                        assert!(counts.iter().all(|n| n.load(Ordering::Relaxed) == 1));
                        if round % 100 == 0 {
                            // Long enough for the threads to go to sleep.
                            std::thread::sleep(2 * AWAKE);
                        }
                    }
                });
            }
        });
    }

    #[test]
    fn a_panic_reaches_who_asked_and_leaves_the_pool_usable() {
        let result = catch_unwind(|| {
            for_each(64, |task| assert_ne!(task, 13, "unlucky"));
        });
        assert!(result.is_err());
        let n_done = AtomicUsize::new(0);
        for_each(64, |_| {
            n_done.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(n_done.into_inner(), 64);
    }
}
