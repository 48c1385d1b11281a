//! Many generations take no more memory than few: `cargo run --release --example soak` is the long one.

use std::alloc::{GlobalAlloc, Layout, System};
use std::process::Command;
use std::sync::atomic::{AtomicIsize, Ordering};

use burn::tensor::Device;
use lac_core::{
    GateConfig, GenerationConfig, Halt, Hooks, LastActive, LayerPolicy, Off, Usage, generate,
};
use lac_trace::Recorder;

use crate::demo::Demo;

/// Bytes that are allocated and not freed.
static LIVE: AtomicIsize = AtomicIsize::new(0);

struct Counting;

// SAFETY: every call is handed to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Set for the child alone: other tests allocate as they please.
const CHILD: &str = "LAC_TEST_SOAK";

const ROUNDS: usize = 4;
const GENERATIONS: usize = 75;

/// Not a test by itself: what the child does.
#[test]
fn child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let demo = Demo::load(&Device::flex());
    let prompts = demo.prompts(GENERATIONS);
    let gate = GateConfig::new(0.4);
    let mut policies: [Box<dyn LayerPolicy>; 3] = [
        Box::new(Off),
        Box::new(LastActive::new(gate)),
        Box::new(Halt::new(gate)),
    ];
    let mut live = Vec::new();
    for _ in 0..ROUNDS {
        for (idx, prompt) in prompts.iter().enumerate() {
            let mut observer = (Recorder::new(0), Usage::default());
            let hooks = Hooks::new(policies[idx % 3].as_mut());
            let hooks = match idx % 3 {
                0 => hooks,
                _ => hooks.observer(&mut observer),
            };
            let config = GenerationConfig::greedy(3);
            let output = generate(&demo.model, std::slice::from_ref(prompt), &config, hooks);
            assert_eq!(output.unwrap().rows[0].ids.len(), 3);
        }
        live.push(LIVE.load(Ordering::Relaxed));
    }
    println!("live bytes after each round: {live:?}");
    // The first round fills what is allocated once: pools, caches, buffers of threads.
    let (first, last) = (live[1], live[ROUNDS - 1]);
    let n_generations = ((ROUNDS - 2) * GENERATIONS) as isize;
    assert!(first > 5 << 20, "the model itself is live");
    // Less than a byte a generation: a single leaked vector would be more.
    assert!(last - first < n_generations, "{live:?}");
}

#[test]
fn three_hundred_generations_leave_nothing_allocated() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "soak::child",
            "--nocapture",
            "--test-threads",
            "1",
        ])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{stderr}");
    assert!(said.contains("live bytes after each round"), "{said}");
}
