//! Measures and lenses in traces: what was seen comes back, in every form.

use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use lac_core::{
    GateConfig, GenerateArgs, GenerationConfig, Observed, Observer, PassRecord, Trace, generate,
    lens::{AffineMap, Lens, TunedLens},
    measures::{Measure, Measures},
};
use lac_trace::statistics::LayerRelation;
use lac_trace::{Recorder, Statistics, TraceInfo, TraceReader, TraceWriter};
use serde_json::Value;
use tempfile::TempDir;

use super::support::{HIDDEN, LAYERS, Small, info_of};

const TOP: usize = 3;

#[derive(Default)]
struct Records(Vec<PassRecord>);

impl Observer for Records {
    fn pass(&mut self, record: &PassRecord) -> Result<(), lac_core::BoxError> {
        self.0.push(record.clone());
        Ok(())
    }
}

struct Run {
    records: Vec<PassRecord>,
    recorders: [Recorder; 2],
    folder: TempDir,
}

impl Run {
    fn trace(&self) -> TraceReader {
        TraceReader::open(&self.folder.path().join("trace.parquet")).unwrap()
    }

    /// The trace with the folder that it lies in.
    fn trace_kept(self) -> (TraceReader, TempDir) {
        (self.trace(), self.folder)
    }
}

fn observed(measures: Measures) -> Observed<Trace> {
    let lens = Lens::new(TOP).unwrap();
    Observed::new(Trace::new(GateConfig::new(0.7)))
        .with_measures(measures)
        .with_lens(Some(lens))
}

/// Two prompts of different lengths, recorded in every way.
fn run(measures: Measures) -> Run {
    let folder = TempDir::new().unwrap();
    let mut policy = observed(measures);
    let info = info_of(&policy).with_lens(Some(TOP));
    let path = folder.path().join("trace.parquet");
    let mut writer = TraceWriter::create(&path, info).unwrap();
    let mut observer = (
        (Records::default(), &mut writer),
        (Recorder::new(0), Recorder::new(1)),
    );
    let args = GenerateArgs::new(&mut policy).observer(&mut observer);
    let prompts = [vec![1, 2, 3], vec![4]];
    generate(&Small::new(), &prompts, &GenerationConfig::greedy(4), args).unwrap();
    let ((records, _), (first, second)) = observer;
    writer.finish().unwrap();
    Run {
        records: records.0,
        recorders: [first, second],
        folder,
    }
}

#[test]
fn what_was_measured_and_seen_comes_back() {
    for measures in [Measures::Off, Measures::Layers] {
        let run = run(measures);
        let trace = run.trace();
        assert_eq!(trace.info().lens_top, Some(TOP));
        let mut records = run
            .records
            .iter()
            .flat_map(|record| record.counted().map(move |(row, slot)| (record, row, slot)));
        let mut n_tokens = 0;
        trace
            .for_each(|token| {
                let (record, row, slot) = records.next().unwrap();
                let at = |layer_idx| record.at(layer_idx, row, slot);
                let seen = record.measures.as_ref();
                assert_eq!(token.measures.is_some(), seen.is_some());
                for (measure, values) in token.measures.iter().flat_map(|seen| seen.iter()) {
                    let expected = seen.unwrap().get(measure).unwrap();
                    for (layer_idx, value) in values.iter().enumerate() {
                        assert_eq!(*value, expected[at(layer_idx)]);
                    }
                    assert_eq!(values.len(), LAYERS);
                }
                let (lens, slot) = (
                    record.lens.as_ref().unwrap(),
                    row * record.pass.seq() + slot,
                );
                let found = token.lens.unwrap();
                for layer_idx in 0..LAYERS {
                    let expected = lens.at(layer_idx + 1, slot);
                    assert_eq!(found.top(layer_idx), (expected.ids, expected.logprobs));
                    assert_eq!(found.entropy()[layer_idx], expected.entropy);
                    assert_eq!(found.kl()[layer_idx], expected.kl);
                }
                assert_eq!(found.decided_at(), lens.decided_at(slot));
                n_tokens += 1;
            })
            .unwrap();
        assert_eq!(n_tokens, 10);
    }
}

/// What is kept in memory, exported as JSON and written as CSV is the same.
#[test]
fn every_form_says_the_same() {
    let run = run(Measures::Layers);
    let trace = run.trace();
    for (sequence, recorder) in run.recorders.iter().enumerate() {
        let json = serde_json::to_value(trace.sequence(sequence as u32).unwrap()).unwrap();
        let (prompt, response) = (&recorder.phases.prompt, &recorder.phases.response);
        for (field, expected) in [
            ("measures", serde_json::to_value(&prompt.measures)),
            ("rg_measures", serde_json::to_value(&response.measures)),
            ("lens", serde_json::to_value(&prompt.lens.layers)),
            ("rg_lens", serde_json::to_value(&response.lens.layers)),
            ("decided_at", serde_json::to_value(&prompt.lens.decided_at)),
            (
                "rg_decided_at",
                serde_json::to_value(&response.lens.decided_at),
            ),
        ] {
            assert_eq!(json[field], expected.unwrap(), "{field}");
        }
        let n_tokens = prompt.n_tokens();
        assert_eq!(
            json["measures"]["cosine"][LAYERS - 1]
                .as_array()
                .unwrap()
                .len(),
            n_tokens
        );
        assert_eq!(json["lens"][0][0]["ids"].as_array().unwrap().len(), TOP);
        // The last layer is no distance from itself.
        assert_eq!(json["lens"][LAYERS - 1][0]["kl"], 0.0);
    }

    let path = run.folder.path().join("trace.csv");
    trace.write_csv(&path).unwrap();
    let mut csv = csv::Reader::from_path(&path).unwrap();
    let header = csv.headers().unwrap().clone();
    let column = |name: &str| header.iter().position(|column| column == name).unwrap();
    let row = csv.records().next().unwrap().unwrap();
    let first = trace.sequence(0).unwrap();
    let first: Value = serde_json::to_value(first).unwrap();
    let number = |name: &str| row[column(name)].parse::<f32>().unwrap();
    assert_eq!(
        f64::from(number("contribution_4")),
        first["measures"]["contribution"][4][0]
    );
    assert_eq!(f64::from(number("lens_kl_2")), first["lens"][2][0]["kl"]);
    assert_eq!(
        f64::from(number("lens_logprob_2_1")),
        first["lens"][2][0]["logprobs"][1]
    );
    assert_eq!(
        row[column("lens_id_9_0")],
        first["lens"][9][0]["ids"][0].to_string()
    );
}

#[test]
fn passes_that_were_not_observed_alike_are_refused() {
    let folder = TempDir::new().unwrap();
    let config = GenerationConfig::greedy(1);
    let refused = |name: &str, info: TraceInfo, second: &mut dyn lac_core::LayerPolicy| {
        let mut writer = TraceWriter::create(&folder.path().join(name), info).unwrap();
        let mut first = observed(Measures::Layers);
        let args = GenerateArgs::new(&mut first).observer(&mut writer);
        let is_first_well = generate(&Small::new(), &[vec![1]], &config, args).is_ok();
        let args = GenerateArgs::new(second).observer(&mut writer);
        let error = generate(&Small::new(), &[vec![1]], &config, args).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        (is_first_well, source)
    };
    let info = || info_of(&observed(Measures::Layers));
    let mut plain = Trace::new(GateConfig::new(0.7));
    let (is_first_well, error) = refused("a", info(), &mut plain);
    assert!(is_first_well && error.contains("measures"), "{error}");
    let (_, error) = refused(
        "b",
        info().with_lens(Some(7)),
        &mut observed(Measures::Layers),
    );
    assert!(error.contains("tokens of a lens"), "{error}");
}

/// A lens whose maps are zero is the logit lens.
#[test]
fn maps_of_zeros_change_nothing() {
    let device = Device::flex();
    let map = || AffineMap {
        weight: Tensor::zeros([HIDDEN, HIDDEN], &device),
        bias: Tensor::zeros([HIDDEN], &device),
    };
    let maps = TunedLens::new((0..LAYERS).map(|_| map()).collect());
    let lens = Lens::new(TOP).unwrap();
    let seen = |lens: Lens| {
        let mut policy = observed(Measures::Off).with_lens(Some(lens));
        let mut records = Records::default();
        let args = GenerateArgs::new(&mut policy).observer(&mut records);
        generate(
            &Small::new(),
            &[vec![1, 2]],
            &GenerationConfig::greedy(2),
            args,
        )
        .unwrap();
        records
            .0
            .into_iter()
            .map(|record| record.lens.unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(seen(lens.clone()), seen(lens.with_maps(Arc::new(maps))));
    assert_eq!(Measure::ALL.len(), Measures::Sublayers.list().len());
}

/// Correlation of pairs, by its definition.
fn correlation(pairs: &[(f64, f64)]) -> f64 {
    let n = pairs.len() as f64;
    let mean = |f: &dyn Fn(&(f64, f64)) -> f64| pairs.iter().map(f).sum::<f64>() / n;
    let (a, b) = (mean(&|pair| pair.0), mean(&|pair| pair.1));
    let product = mean(&|pair| (pair.0 - a) * (pair.1 - b));
    let squares = mean(&|pair| (pair.0 - a).powi(2)) * mean(&|pair| (pair.1 - b).powi(2));
    product / squares.sqrt()
}

#[test]
fn masks_influence_and_lens_are_related_token_by_token() {
    let run = run(Measures::Layers);
    let trace = run.trace();
    let summary = Statistics::of(&trace).unwrap().summary();
    for (phase, found) in summary.phases.iter() {
        let found = found.as_ref().unwrap().relations.as_ref().unwrap();
        let mut cells = [0u64; 8];
        let mut influence_and_delta = vec![Vec::new(); LAYERS];
        let mut gain_of_voids = vec![Vec::new(); LAYERS];
        let mut decided = Vec::new();
        trace
            .for_each(|token| {
                if token.phase != phase {
                    return;
                }
                let cosines = token.measures.unwrap().get(Measure::Cosine).unwrap();
                let influence: Vec<f64> = cosines.iter().map(|&cos| f64::from(1.0 - cos)).collect();
                let n_voids = LAYERS - token.n_active();
                let lens = token.lens.unwrap();
                decided.push(lens.decided_at() as f64);
                for layer in 0..LAYERS {
                    // Those of less influence, and equal ones before.
                    let n_less = (0..LAYERS)
                        .filter(|&other| (influence[other], other) < (influence[layer], layer))
                        .count();
                    let is_void = !token.active[layer];
                    let is_least = n_less < n_voids;
                    let is_decided = lens.decided_at() < layer;
                    let cell = 4 * usize::from(is_void)
                        + 2 * usize::from(is_least)
                        + usize::from(is_decided);
                    cells[cell] += 1;
                    let delta = f64::from(token.deltas[layer]);
                    influence_and_delta[layer].push((influence[layer], delta));
                    if is_void && layer > 0 {
                        gain_of_voids[layer]
                            .push(f64::from(lens.kl()[layer - 1] - lens.kl()[layer]));
                    }
                }
            })
            .unwrap();
        assert_eq!(found.cells, cells);
        let mean = decided.iter().sum::<f64>() / decided.len() as f64;
        assert!((found.decided_at.unwrap() - mean).abs() < 1e-12);
        for (layer, seen) in found.layers.iter().enumerate() {
            let expected = correlation(&influence_and_delta[layer]);
            let found = seen.influence_and_delta.correlation.unwrap();
            assert!(
                (found - expected).abs() < 1e-6,
                "layer {layer}: {found} {expected}"
            );
            assert_eq!(seen.gain_void.is_some(), !gain_of_voids[layer].is_empty());
            if let Some(found) = seen.gain_void {
                let n = gain_of_voids[layer].len() as f64;
                let expected = gain_of_voids[layer].iter().sum::<f64>() / n;
                assert!((found - expected).abs() < 1e-6);
            }
        }
        // As many are void by influence as by the norm.
        assert_eq!(cells[2] + cells[3], cells[4] + cells[5]);
        let table = found.norm_and_influence.unwrap();
        let (both, norm) = (cells[6] + cells[7], cells[4..].iter().sum::<u64>());
        assert!((table.given.share - both as f64 / norm as f64).abs() < 1e-12);
    }
}

#[test]
fn shards_give_the_relations_of_the_whole() {
    let trace = run(Measures::Layers).trace_kept();
    let whole = Statistics::of(&trace.0).unwrap();
    let mut shards = [
        Statistics::new(trace.0.info()),
        Statistics::new(trace.0.info()),
    ];
    let mut idx = 0;
    trace
        .0
        .for_each(|token| {
            shards[idx % 2].push(&token);
            idx += 1;
        })
        .unwrap();
    let [mut merged, other] = shards;
    merged.merge(&other).unwrap();
    for (phase, whole) in whole.phases.iter() {
        let merged = merged.phases.get(phase);
        assert_eq!(merged.classes, whole.classes);
        for (merged, whole) in merged.relations.layers.iter().zip(&whole.relations.layers) {
            assert_eq!(merged.cells, whole.cells);
            let of = |layer: &LayerRelation| layer.influence_and_delta.correlation().unwrap();
            assert!((of(merged) - of(whole)).abs() < 1e-9);
        }
    }
}
