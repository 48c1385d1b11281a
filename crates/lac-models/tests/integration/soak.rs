//! Many generations take no more memory than few: `cargo run --release --example soak` is the long one.

use burn::tensor::Device;
use lac_core::{
    GateConfig, GenerateArgs, GenerationConfig, Halt, LastActive, LayerPolicy, Off, Usage, generate,
};
use lac_test_corruption::left_behind;
use lac_trace::Recorder;

use crate::demo::Demo;

const ROUNDS: usize = 4;
const GENERATIONS: usize = 75;

/// On one thread, whose allocations are counted: what another test allocates beside it does not matter.
#[test]
fn three_hundred_generations_leave_nothing_allocated() {
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    alone.unwrap().install(generations);
}

fn generations() {
    let demo = Demo::load(&Device::flex());
    let prompts = demo.prompts(GENERATIONS);
    let gate = GateConfig::new(0.4);
    let mut policies: [Box<dyn LayerPolicy>; 3] = [
        Box::new(Off),
        Box::new(LastActive::new(gate)),
        Box::new(Halt::new(gate)),
    ];
    let mut left = Vec::new();
    for _ in 0..ROUNDS {
        left.push(left_behind(|| {
            for (idx, prompt) in prompts.iter().enumerate() {
                let mut observer = (Recorder::new(0), Usage::default());
                let hooks = GenerateArgs::new(policies[idx % 3].as_mut());
                let hooks = match idx % 3 {
                    0 => hooks,
                    _ => hooks.observer(&mut observer),
                };
                let config = GenerationConfig::greedy(3);
                let output = generate(&demo.model, std::slice::from_ref(prompt), &config, hooks);
                assert_eq!(output.unwrap().rows[0].ids.len(), 3);
            }
        }));
    }
    // The first round fills what is allocated once: caches, buffers of the thread. After it, less than a byte a
    // generation: a single vector that is not freed would be more.
    let later: i64 = left[1..].iter().sum();
    assert!(later < ((ROUNDS - 1) * GENERATIONS) as i64, "{left:?}");
}
