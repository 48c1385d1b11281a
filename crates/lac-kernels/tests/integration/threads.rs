//! The settings of a process's threads. They are made once in a process, so each test runs its body in a process of its
//! own: this binary again, with that test alone.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroUsize;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::Duration;

use burn::tensor::{DType, Device, Tensor, TensorData};
use lac_kernels::quantized::{self, Activations, BlockFormat, QuantizedMatrix};
use lac_kernels::threads::{AlreadyStarted, HostThreads, ThreadConfig, configure};
use lac_kernels::{Activation, AttendedSlots, Scores, attend, gated_linear, linear};

/// Names the test whose body this process is to run.
const TEST: &str = "LAC_KERNELS_TEST";

/// Threads of rayon's pool in a process of its own, on a machine of any number of cores.
const RAYON_THREADS: usize = 3;

/// Runs a test's body in a process of its own and returns what it computed. There it prints that and ends.
fn in_own_process(test: &str, body: fn() -> u64) -> u64 {
    const MARK: &str = "computed ";
    if std::env::var(TEST).is_ok_and(|name| name == test) {
        println!("{MARK}{};", body());
        std::process::exit(0);
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .arg(format!("threads::{test}"))
        .args(["--exact", "--nocapture"])
        .env(TEST, test)
        .env("RAYON_NUM_THREADS", RAYON_THREADS.to_string())
        .output()
        .unwrap();
    let (stdout, stderr) = (
        String::from_utf8_lossy(&child.stdout),
        String::from_utf8_lossy(&child.stderr),
    );
    assert!(child.status.success(), "{test}: {stdout}{stderr}");
    let (_, rest) = stdout.split_once(MARK).expect("the body has run");
    let (value, _) = rest.split_once(';').expect("the body has returned");
    value.parse().unwrap()
}

/// A hash of the bits of some operations, all of them large enough to be spread over threads.
fn compute() -> u64 {
    let tensor = |shape: [usize; 2], seed: usize, dtype| {
        let value = |idx: usize| ((idx * 37 + seed * 11) % 129) as f32 / 64.0 - 1.0;
        let values: Vec<f32> = (0..shape[0] * shape[1]).map(value).collect();
        Tensor::<2>::from_data(TensorData::new(values, shape), (&Device::flex(), dtype))
    };
    let mut hasher = DefaultHasher::new();
    let mut hash = |outputs: Tensor<2>| {
        let outputs = outputs.into_data().convert::<f32>();
        let bits = outputs
            .try_to_vec::<f32>()
            .unwrap()
            .into_iter()
            .map(f32::to_bits);
        bits.collect::<Vec<u32>>().hash(&mut hasher);
    };
    for dtype in [DType::F32, DType::BF16] {
        // Many inputs past weights that stay in a cache, and weights from memory past few inputs.
        for (n_rows, n_in, n_out) in [(64, 256, 300), (2, 1024, 700)] {
            let input = tensor([n_rows, n_in], 1, dtype);
            let weight = tensor([n_out, n_in], 2, dtype);
            let [output] = linear(input.clone(), [weight.clone()], [None]);
            hash(output);
            let up = tensor([n_out, n_in], 3, dtype);
            hash(gated_linear(input.clone(), weight, up, Activation::Silu));
            let matrix = quantized(n_out, n_in);
            for activations in [Activations::Exact, Activations::Int8] {
                let [output] = quantized::linear(input.clone(), [&matrix], [None], activations);
                hash(output);
                let input = input.clone();
                let silu = Activation::Silu;
                hash(quantized::gated_linear(
                    input,
                    &matrix,
                    &matrix,
                    silu,
                    activations,
                ));
            }
        }
        let heads = |n_heads, seed| {
            let states = tensor([n_heads, 40 * 16], seed, dtype);
            states.reshape([1, n_heads, 40, 16])
        };
        let slots = AttendedSlots {
            past: 0,
            window: None,
            padding: vec![0],
            ends: Vec::new(),
        };
        let scores = Scores::of_head_dim(16);
        let attended = attend(heads(6, 4), heads(2, 5), heads(2, 6), &slots, scores);
        hash(attended.reshape([40, 6 * 16]));
    }
    hasher.finish()
}

/// A matrix of `[n_out, n_in]` in Q4_0.
fn quantized(n_out: usize, n_in: usize) -> QuantizedMatrix {
    let value = |idx: usize| ((idx * 41) % 131) as f32 / 64.0 - 1.0;
    let values: Vec<f32> = (0..n_out * n_in).map(value).collect();
    QuantizedMatrix::quantize(BlockFormat::Q4_0, [n_out, n_in], &values).unwrap()
}

/// What one thread computes, the caller's, without any setting but their number.
fn computed_alone() -> u64 {
    in_own_process("one_thread_starts_no_other", || {
        let one = NonZeroUsize::MIN;
        configure(ThreadConfig::default().n_threads(one)).unwrap();
        let computed = compute();
        own_threads::assert_number(0);
        computed
    })
}

#[test]
fn one_thread_starts_no_other() {
    computed_alone();
}

#[test]
fn the_default_is_a_thread_for_each_of_rayons() {
    let computed = in_own_process("the_default_is_a_thread_for_each_of_rayons", || {
        own_threads::assert_number(0);
        let computed = compute();
        // The caller is the one that is not started.
        own_threads::assert_number(RAYON_THREADS - 1);
        assert_eq!(compute(), computed);
        own_threads::assert_number(RAYON_THREADS - 1);
        computed
    });
    assert_eq!(computed, computed_alone());
}

#[test]
fn the_number_of_threads_is_the_one_that_was_set() {
    let computed = in_own_process("the_number_of_threads_is_the_one_that_was_set", || {
        let five = NonZeroUsize::new(5).unwrap();
        configure(ThreadConfig::default().n_threads(five)).unwrap();
        let computed = compute();
        own_threads::assert_number(4);
        computed
    });
    assert_eq!(computed, computed_alone());
}

#[test]
fn without_time_awake_threads_sleep_between_operations() {
    let computed = in_own_process(
        "without_time_awake_threads_sleep_between_operations",
        || {
            configure(ThreadConfig::default().awake(Duration::ZERO)).unwrap();
            let computed = compute();
            own_threads::assert_number(RAYON_THREADS - 1);
            own_threads::assert_asleep();
            // They wake up for the next operation, and go to sleep again.
            assert_eq!(compute(), computed);
            own_threads::assert_asleep();
            computed
        },
    );
    assert_eq!(computed, computed_alone());
}

#[test]
fn with_time_awake_threads_spin_between_operations() {
    let computed = in_own_process("with_time_awake_threads_spin_between_operations", || {
        configure(ThreadConfig::default().awake(Duration::from_secs(600))).unwrap();
        let computed = compute();
        own_threads::assert_number(RAYON_THREADS - 1);
        own_threads::assert_awake();
        computed
    });
    assert_eq!(computed, computed_alone());
}

/// A pool of the host program: threads of one operation each.
#[derive(Debug, Default)]
struct Lent {
    n_operations: AtomicUsize,
    n_tasks: AtomicUsize,
    n_calls: AtomicUsize,
    workers: Mutex<BTreeSet<usize>>,
    callers: Mutex<Vec<ThreadId>>,
}

impl HostThreads for Lent {
    fn n_threads(&self) -> usize {
        4
    }

    fn run(&self, n_tasks: usize, work: &(dyn Fn(usize) + Sync)) {
        self.n_operations.fetch_add(1, Ordering::Relaxed);
        self.n_tasks.fetch_add(n_tasks, Ordering::Relaxed);
        self.callers
            .lock()
            .unwrap()
            .push(std::thread::current().id());
        let taken: Vec<AtomicBool> = (0..n_tasks).map(|_| AtomicBool::new(false)).collect();
        std::thread::scope(|scope| {
            for worker in 0..self.n_threads() {
                let taken = &taken;
                scope.spawn(move || {
                    // In another order than the operations' own.
                    for task in (0..n_tasks).rev() {
                        if !taken[task].swap(true, Ordering::Relaxed) {
                            work(task);
                            self.n_calls.fetch_add(1, Ordering::Relaxed);
                            self.workers.lock().unwrap().insert(worker);
                        }
                    }
                });
            }
        });
    }
}

#[test]
fn operations_run_on_the_hosts_threads_alone() {
    let computed = in_own_process("operations_run_on_the_hosts_threads_alone", || {
        let lent = Arc::new(Lent::default());
        configure(ThreadConfig::default().host(lent.clone())).unwrap();
        let computed = compute();
        own_threads::assert_number(0);
        let n_operations = lent.n_operations.load(Ordering::Relaxed);
        assert!(n_operations >= 10, "{n_operations} of ten operations");
        let n_tasks = lent.n_tasks.load(Ordering::Relaxed);
        assert!(n_tasks >= 2 * n_operations, "{n_tasks} tasks");
        assert_eq!(lent.n_calls.load(Ordering::Relaxed), n_tasks);
        assert!(!lent.workers.lock().unwrap().is_empty());
        let caller = std::thread::current().id();
        assert!(lent.callers.lock().unwrap().iter().all(|&id| id == caller));
        computed
    });
    assert_eq!(computed, computed_alone());
}

#[test]
fn settings_are_made_once() {
    let computed = in_own_process("settings_are_made_once", || {
        let lent = Arc::new(Lent::default());
        let five = NonZeroUsize::new(5).unwrap();
        assert_eq!(configure(ThreadConfig::default().n_threads(five)), Ok(()));
        let late = ThreadConfig::default().host(lent.clone());
        assert_eq!(configure(late), Err(AlreadyStarted));
        // The first call's settings hold.
        let computed = compute();
        own_threads::assert_number(4);
        assert_eq!(lent.n_operations.load(Ordering::Relaxed), 0);
        computed
    });
    assert_eq!(computed, computed_alone());
}

#[test]
fn after_the_first_operation_settings_are_refused() {
    let computed = in_own_process("after_the_first_operation_settings_are_refused", || {
        let computed = compute();
        let one = ThreadConfig::default().n_threads(NonZeroUsize::MIN);
        let error = configure(one).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("before the first operation"), "{message}");
        // What has been started goes on.
        assert_eq!(compute(), computed);
        own_threads::assert_number(RAYON_THREADS - 1);
        computed
    });
    assert_eq!(computed, computed_alone());
}

/// The process's threads that lac-kernels has started, as the operating system sees them.
#[cfg(target_os = "linux")]
mod own_threads {
    use std::fs;
    use std::path::PathBuf;
    use std::time::{Duration, Instant};

    /// Long enough for what has to happen to happen on a busy machine.
    const DEADLINE: Duration = Duration::from_secs(20);

    fn folders() -> Vec<PathBuf> {
        let tasks = fs::read_dir("/proc/self/task").unwrap();
        let is_own = |folder: &PathBuf| {
            fs::read_to_string(folder.join("comm"))
                .is_ok_and(|name| name.starts_with("lac-kernels"))
        };
        let folders = tasks.filter_map(|task| Some(task.ok()?.path()));
        folders.filter(is_own).collect()
    }

    /// The letter of each thread's state: S asleep, R running or ready to.
    fn states() -> String {
        let state = |folder: PathBuf| {
            let status = fs::read_to_string(folder.join("status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("State:"));
            line.and_then(|state| state.trim().chars().next())
        };
        folders().into_iter().filter_map(state).collect()
    }

    fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
        let start = Instant::now();
        while !holds() {
            assert!(start.elapsed() < DEADLINE, "{what}: states {}", states());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// A thread has its name only once it runs.
    pub(super) fn assert_number(expected: usize) {
        wait_until("the number of threads", || folders().len() >= expected);
        assert_eq!(folders().len(), expected);
    }

    /// All threads go to sleep, and stay so.
    pub(super) fn assert_asleep() {
        wait_until("sleep", || states().chars().all(|state| state == 'S'));
        for _ in 0..50 {
            let states = states();
            assert!(states.chars().all(|state| state == 'S'), "{states}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// All threads stay awake.
    pub(super) fn assert_awake() {
        for _ in 0..50 {
            let states = states();
            assert!(states.chars().all(|state| state == 'R'), "{states}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Elsewhere results are compared, and threads are not counted.
#[cfg(not(target_os = "linux"))]
mod own_threads {
    pub(super) fn assert_number(_expected: usize) {}

    pub(super) fn assert_asleep() {}

    pub(super) fn assert_awake() {}
}
