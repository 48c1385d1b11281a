//! What is counted, and that shards add up.

use lac_core::{
    GateConfig, GenerateArgs, GenerationConfig, LayerPolicy, PolicyEffect, Trace, generate,
};
use lac_trace::statistics::{Moments, agreement};
use lac_trace::{Statistics, TraceReader, TraceWriter};
use proptest::prelude::*;
use tempfile::TempDir;

use super::support::{Noise, Small, generation, info, info_of, write};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Shards merged in any order count what the whole counts.
    #[test]
    fn shards_add_up(seed in any::<u64>(), n_layers in 1usize..7, cut in 0usize..12) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("trace.parquet");
        let records = generation(&[4, 2, 3], 5, n_layers, &mut Noise::new(seed));
        write(&path, info(n_layers), &records);
        let trace = TraceReader::open(&path).unwrap();
        let whole = Statistics::of(&trace).unwrap();

        let mut shards = [Statistics::new(trace.info()), Statistics::new(trace.info())];
        let mut idx = 0;
        trace.for_each(|token| {
            shards[usize::from(idx >= cut)].push(&token);
            idx += 1;
        }).unwrap();
        let [first, mut merged] = shards;
        merged.merge(&first).unwrap();
        // A shard may have been on another machine meanwhile.
        let text = serde_json::to_string(&merged).unwrap();
        let merged: Statistics = serde_json::from_str(&text).unwrap();

        for (merged, whole) in [(&merged.phases.prompt, &whole.phases.prompt), (&merged.phases.response, &whole.phases.response)] {
            prop_assert_eq!(merged.n_tokens, whole.n_tokens);
            prop_assert_eq!(&merged.active, &whole.active);
            prop_assert_eq!(&merged.executed, &whole.executed);
            prop_assert_eq!(&merged.voids, &whole.voids);
            prop_assert_eq!(&merged.runs, &whole.runs);
            prop_assert_eq!(&merged.longest_run, &whole.longest_run);
            prop_assert_eq!(&merged.transitions, &whole.transitions);
            prop_assert_eq!(&merged.positions, &whole.positions);
            prop_assert_eq!(merged.tokens.ranking(1), whole.tokens.ranking(1));
            for (merged, whole) in merged.norms.iter().zip(&whole.norms) {
                assert_close(merged, whole);
            }
        }
        prop_assert_eq!(&merged.sweep, &whole.sweep);
    }
}

fn assert_close(left: &Moments, right: &Moments) {
    assert_eq!(left.n, right.n);
    for (left, right) in [
        (left.min, right.min),
        (left.max, right.max),
        (left.mean, right.mean),
        (left.deviation(), right.deviation()),
    ] {
        assert!((left - right).abs() < 1e-9);
    }
}

#[test]
fn shards_of_different_runs_are_refused() {
    let mut statistics = Statistics::new(&info(3));
    let mut other = info(3);
    other.gate = GateConfig::new(0.9);
    let error = statistics.merge(&Statistics::new(&other)).unwrap_err();
    assert!(
        error.to_string().contains("alpha is 0.5 in one and 0.9"),
        "{error}"
    );
}

fn trace_at(alpha: f32, folder: &TempDir) -> TraceReader {
    let path = folder.path().join(format!("{alpha}.parquet"));
    let mut policy = Trace::new(GateConfig::new(alpha));
    let policy: &mut dyn LayerPolicy = &mut policy;
    let mut writer = TraceWriter::create(&path, info_of(policy)).unwrap();
    let prompts = [vec![1, 2, 3, 4, 5, 6], vec![7, 8]];
    let hooks = GenerateArgs::new(policy).observer(&mut writer);
    generate(
        &Small::new(),
        &prompts,
        &GenerationConfig::greedy(12),
        hooks,
    )
    .unwrap();
    writer.finish().unwrap();
    TraceReader::open(&path).unwrap()
}

/// One trace says what the gate would have said under any other α.
#[test]
fn a_sweep_counts_what_the_gate_flags() {
    let folder = TempDir::new().unwrap();
    let alphas = [0.0, 0.1, 0.35, 0.5, 0.8, 1.0, 1.7];
    let recorded = trace_at(0.8, &folder);
    let mut statistics = Statistics::new(recorded.info()).with_alphas(alphas.to_vec());
    recorded.for_each(|token| statistics.push(&token)).unwrap();
    let sweep = statistics.sweep.unwrap();
    let mut usages = Vec::new();
    for (idx, &alpha) in alphas.iter().enumerate() {
        let gated = trace_at(alpha, &folder);
        let counted = Statistics::of(&gated).unwrap();
        assert_eq!(
            sweep.phases.prompt[idx].active, counted.phases.prompt.active,
            "{alpha}"
        );
        assert_eq!(
            sweep.phases.response[idx].active, counted.phases.response.active,
            "{alpha}"
        );
        usages.push(sweep.phases.response[idx].mean_usage().unwrap());

        // The flags that agree with the recording are counted by both.
        let agreed = agreement(&recorded, &gated).unwrap();
        assert_eq!(
            agreed.phases.prompt.flags(),
            sweep.phases.prompt[idx].agreement()
        );
        assert_eq!(
            agreed.phases.response.flags(),
            sweep.phases.response[idx].agreement()
        );
        assert_eq!((agreed.left_only, agreed.right_only), (0, 0));
        assert_eq!(agreed.phases.prompt.delta_distance.max, 0.0);
    }
    assert!(
        usages[0] > usages[6],
        "the α were to make a difference: {usages:?}"
    );
}

#[test]
fn texts_are_compared_up_to_where_they_part() {
    let folder = TempDir::new().unwrap();
    let records = generation(&[5], 6, 2, &mut Noise::new(9));
    let left = folder.path().join("left.parquet");
    write(&left, info(2), &records);
    // The third fed token is another one from here on.
    let mut others = records.clone();
    let [first, ..] = &records[..] else {
        panic!("there is a pass over the prompt");
    };
    let mut pass = first.pass.clone();
    for (idx, record) in others.iter_mut().enumerate().skip(1) {
        let id = records[idx].pass.token_ids()[0] + u32::from(idx == 3);
        pass = pass.next(vec![id], vec![idx > 6]);
        record.pass = pass.clone();
    }
    let right = folder.path().join("right.parquet");
    write(&right, info(2), &others);
    let (left, right) = (
        TraceReader::open(&left).unwrap(),
        TraceReader::open(&right).unwrap(),
    );
    let agreed = agreement(&left, &right).unwrap();
    assert_eq!(agreed.phases.prompt.n_tokens, 5);
    assert_eq!(agreed.phases.response.n_tokens, 2);
    assert_eq!((agreed.left_only, agreed.right_only), (4, 4));
    assert_eq!(agreed.phases.response.masks(), Some(1.0));

    let deeper = folder.path().join("deeper.parquet");
    write(
        &deeper,
        info(3),
        &generation(&[5], 1, 3, &mut Noise::new(9)),
    );
    let error = agreement(&left, &TraceReader::open(&deeper).unwrap()).unwrap_err();
    assert!(
        error.to_string().contains("one has 2 layers, the other 3"),
        "{error}"
    );
}

/// A policy of a user, with a name of its own choice.
struct Own(&'static str, PolicyEffect);

impl LayerPolicy for Own {
    fn name(&self) -> &str {
        self.0
    }

    fn gate_config(&self) -> Option<GateConfig> {
        Some(GateConfig::new(0.5))
    }

    fn effect(&self) -> PolicyEffect {
        self.1
    }
}

/// What a policy does decides whether masks follow from its deltas, not what it is called; files keep that.
#[test]
fn a_policy_is_known_by_its_effect() {
    let folder = tempfile::tempdir().unwrap();
    for (name, effect, can_sweep) in [
        ("trace", PolicyEffect::FullModel, true),
        ("trace", PolicyEffect::ChangedStates, false),
        ("last-active", PolicyEffect::ChangedStates, false),
        ("mine", PolicyEffect::FullStates, true),
        ("mine", PolicyEffect::ChangedStates, false),
    ] {
        let info = lac_trace::TraceInfo::new("noise", 3, &Own(name, effect)).unwrap();
        assert_eq!(info.can_sweep_alpha(), can_sweep, "{name}, {effect:?}");
        let path = folder.path().join(format!("{name}-{effect:?}.parquet"));
        let records = generation(&[4], 2, 3, &mut Noise::new(1));
        write(&path, info.clone(), &records);
        let trace = TraceReader::open(&path).unwrap();
        assert_eq!(trace.info(), &info);
        let statistics = Statistics::of(&trace).unwrap();
        assert_eq!(statistics.sweep.is_some(), can_sweep);
        let json = serde_json::to_string(&statistics).unwrap();
        let back: Statistics = serde_json::from_str(&json).unwrap();
        assert_eq!(back.info.can_sweep_alpha(), can_sweep);
    }
}
