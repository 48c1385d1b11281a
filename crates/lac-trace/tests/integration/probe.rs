//! What is read beside the gate, and that looking changes nothing.

use lac_core::{
    Bypass, GateConfig, GenerateArgs, GenerationConfig, Halt, LastActive, LayerPolicy, Observed,
    Planned, SkippedKeys, Trace, generate,
    measures::{Measure, Measures},
    plan::PhasePlan,
};
use lac_trace::probe::ProbeConfig;
use lac_trace::{Probed, Token, TraceReader, TraceWriter};
use tempfile::TempDir;

use super::support::{HIDDEN, LAYERS, Owned, Small, info_of, tokens};

/// Runs a policy, looked at or not; returns the new tokens and the trace.
fn run(
    policy: &mut dyn LayerPolicy,
    measures: Measures,
    probe: ProbeConfig,
) -> (Vec<Vec<u32>>, TraceReader, TempDir) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("trace.parquet");
    let writer = TraceWriter::create(&path, info_of(policy)).unwrap();
    let mut observed = Observed::new(policy).with_measures(measures);
    let (mut probed, probe_handle) = Probed::new(&mut observed, probe);
    let mut writer = writer.with_probe(probe_handle);
    let prompts = [vec![1, 2, 3], vec![4]];
    let config = GenerationConfig::greedy(4);
    let hooks = GenerateArgs::new(&mut probed).observer(&mut writer);
    let output = generate(&Small::new(), &prompts, &config, hooks).unwrap();
    writer.finish().unwrap();
    let rows = output.rows.into_iter().map(|row| row.ids).collect();
    (rows, TraceReader::open(&path).unwrap(), folder)
}

fn measure<'a>(token: &Token<'a>, measure: Measure) -> &'a [f32] {
    token.measures.unwrap().get(measure).unwrap()
}

fn policies() -> Vec<Box<dyn LayerPolicy>> {
    let gate = GateConfig::new(0.7);
    vec![
        Box::new(Trace::new(gate)),
        Box::new(LastActive::new(gate)),
        Box::new(Bypass::new(gate)),
        Box::new(Halt::new(gate)),
    ]
}

/// A policy that is looked at is asked everything that it would be asked alone.
#[test]
fn what_becomes_of_skipped_keys_is_the_policys_to_say() {
    for keys in [SkippedKeys::Fill, SkippedKeys::Omit] {
        let full = PhasePlan::full(LAYERS);
        let mut planned = Planned::from_phases(full.clone(), full, keys);
        let (probed, _probe) = Probed::new(&mut planned, ProbeConfig::default());
        assert_eq!(probed.skipped_keys(), keys);
    }
}

#[test]
fn looking_changes_nothing() {
    for mut policy in policies() {
        let everything = ProbeConfig {
            hidden_layers: vec![0, 9],
        };
        let (ids, plain, _plain) = run(policy.as_mut(), Measures::Off, ProbeConfig::default());
        let (probed_ids, probed, _probed) = run(policy.as_mut(), Measures::Layers, everything);
        assert_eq!(ids, probed_ids, "{}", policy.name());
        let (plain, probed): (Vec<Owned>, Vec<Owned>) = (tokens(&plain), tokens(&probed));
        assert_eq!(plain.len(), probed.len());
        for (plain, probed) in plain.iter().zip(&probed) {
            assert_eq!(
                (plain.place, plain.id, &plain.active, &plain.executed),
                (probed.place, probed.id, &probed.active, &probed.executed),
                "{}",
                policy.name()
            );
            for (norm, other) in plain.norms.iter().zip(&probed.norms) {
                assert!((norm - other).abs() <= 1e-5 * norm, "{}", policy.name());
            }
        }
    }
}

#[test]
fn cosines_and_contributions_are_those_of_the_states() {
    let probe = ProbeConfig {
        hidden_layers: (0..LAYERS).collect(),
    };
    let mut policy = Trace::new(GateConfig::new(0.7));
    let (_, trace, _folder) = run(&mut policy, Measures::Layers, probe);
    let mut n_seen = 0;
    for batch in trace.batches() {
        let batch = batch.unwrap();
        assert_eq!(batch.hidden().len(), LAYERS);
        for (idx, token) in batch.tokens().enumerate() {
            let state = |layer: usize| {
                let states = &batch.hidden()[layer];
                assert_eq!((states.layer_idx, states.width), (layer, HIDDEN));
                &states.values[idx * HIDDEN..(idx + 1) * HIDDEN]
            };
            let dot = |a: &[f32], b: &[f32]| -> f64 {
                a.iter()
                    .zip(b)
                    .map(|(&a, &b)| f64::from(a) * f64::from(b))
                    .sum()
            };
            for layer in 0..LAYERS {
                let norm = dot(state(layer), state(layer)).sqrt();
                assert!((norm - f64::from(token.norms[layer])).abs() < 1e-4 * norm);
            }
            for layer in 1..LAYERS {
                let (input, output) = (state(layer - 1), state(layer));
                let added: Vec<f32> = output.iter().zip(input).map(|(o, i)| o - i).collect();
                let length = dot(input, input).sqrt();
                let cosine = dot(input, output) / length / dot(output, output).sqrt();
                let contribution = dot(&added, &added).sqrt() / length;
                let found = f64::from(measure(&token, Measure::Cosine)[layer]);
                assert!((found - cosine).abs() < 1e-5, "{found} {cosine}");
                let found = f64::from(measure(&token, Measure::Contribution)[layer]);
                assert!((found - contribution).abs() < 1e-4 * contribution);
                n_seen += 1;
            }
        }
    }
    // Four prompt tokens and three fed ones in each of two rows.
    assert_eq!(n_seen, 10 * (LAYERS - 1));
}

/// A layer that was not run passes its input on.
#[test]
fn layers_that_were_not_run_are_marked() {
    let probe = ProbeConfig {
        hidden_layers: vec![8, 9],
    };
    let mut policy = Halt::new(GateConfig::new(5.0));
    let (_, trace, _folder) = run(&mut policy, Measures::Layers, probe);
    let mut n_not_run = 0;
    for batch in trace.batches() {
        let batch = batch.unwrap();
        for (idx, token) in batch.tokens().enumerate() {
            for layer in 0..LAYERS {
                if !token.executed[layer] {
                    assert_eq!(measure(&token, Measure::Cosine)[layer], 1.0);
                    assert_eq!(measure(&token, Measure::Contribution)[layer], 0.0);
                    assert!(!token.active[layer]);
                    n_not_run += 1;
                }
            }
            if !token.executed[9] {
                let [before, after] = batch.hidden() else {
                    panic!("two layers were asked for");
                };
                let own = idx * HIDDEN..(idx + 1) * HIDDEN;
                assert_eq!(before.values[own.clone()], after.values[own]);
            }
        }
    }
    assert!(n_not_run > 0, "nothing halted: the test tests nothing");
}

#[test]
fn a_layer_that_is_not_there_is_refused() {
    let folder = TempDir::new().unwrap();
    let mut policy = Trace::new(GateConfig::new(0.7));
    let writer = TraceWriter::create(&folder.path().join("t"), info_of(&policy)).unwrap();
    let probe = ProbeConfig {
        hidden_layers: vec![10],
    };
    let (mut probed, handle) = Probed::new(&mut policy, probe);
    let mut writer = writer.with_probe(handle);
    let hooks = GenerateArgs::new(&mut probed).observer(&mut writer);
    let config = GenerationConfig::greedy(1);
    let error = generate(&Small::new(), &[vec![1]], &config, hooks).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("no layer 10"), "{source}");
}
