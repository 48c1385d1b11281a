//! Experts in traces: recorded, read back, counted, shown.

use lac_core::{Observer, PassRecord, Phase};
use lac_trace::report::{ReportConfig, TerminalConfig};
use lac_trace::statistics::ExpertSummary;
use lac_trace::{Recorder, Statistics, Style, TraceReader, TraceReport, TraceWriter};
use tempfile::TempDir;

use super::support::{EXPERTS, Noise, generation, info, routed, routed_info, write};

const LAYERS: usize = 4;

fn records(seed: u64) -> Vec<PassRecord> {
    let mut noise = Noise::new(seed);
    let records = generation(&[30, 7], 12, LAYERS, &mut noise);
    let records = records.into_iter();
    records.map(|record| routed(record, &mut noise)).collect()
}

fn trace(folder: &TempDir) -> TraceReader {
    let path = folder.path().join("trace.parquet");
    write(&path, routed_info(LAYERS), &records(1));
    TraceReader::open(&path).unwrap()
}

/// What a layer chose for a token, as it was recorded.
type Choices = Option<(Vec<u32>, Vec<f32>)>;

#[test]
fn every_choice_comes_back() {
    let folder = TempDir::new().unwrap();
    let mut expected: Vec<Vec<Choices>> = Vec::new();
    for record in records(1) {
        for (row, slot) in record.counted() {
            let token = row * record.pass.seq() + slot;
            let of_layer = |layer: &Option<lac_core::routing::RoutingRecord>| {
                let (experts, weights) = layer.as_ref()?.of_token(token);
                Some((experts.to_vec(), weights.to_vec()))
            };
            expected.push(record.routing.iter().map(of_layer).collect());
        }
    }
    let trace = trace(&folder);
    assert_eq!(trace.info(), &routed_info(LAYERS));
    // Joined once more, they are the same.
    let copy = folder.path().join("copy.parquet");
    trace.write_parquet(&copy).unwrap();
    for trace in [trace, TraceReader::open(&copy).unwrap()] {
        let mut found = Vec::new();
        trace
            .for_each(|token| {
                let routing = token.routing.unwrap();
                let layers = (0..LAYERS).map(|layer_idx| {
                    let (experts, weights) = routing.of_layer(layer_idx)?;
                    Some((experts.to_vec(), weights.to_vec()))
                });
                found.push(layers.collect::<Vec<Choices>>());
            })
            .unwrap();
        assert_eq!(found, expected);
        assert_eq!(found[0][0], None, "the first layer is dense");
    }
}

#[test]
fn exports_have_the_experts() {
    let folder = TempDir::new().unwrap();
    let trace = trace(&folder);
    let json = trace.sequence(0).unwrap();
    let mut recorder = Recorder::new(0);
    for record in records(1) {
        recorder.pass(&record).unwrap();
    }
    let (prompt, response) = (&recorder.phases.prompt, &recorder.phases.response);
    assert_eq!((json.experts.len(), json.experts[1].len()), (LAYERS, 30));
    assert_eq!(json.experts, prompt.experts);
    assert_eq!(json.expert_weights, prompt.expert_weights);
    assert_eq!(json.rg_experts, response.experts);
    assert_eq!(json.rg_expert_weights, response.expert_weights);
    assert!(json.experts[0].iter().all(Vec::is_empty));

    let csv = folder.path().join("trace.csv");
    trace.write_csv(&csv).unwrap();
    let text = std::fs::read_to_string(csv).unwrap();
    let (header, rest) = text.split_once('\n').unwrap();
    let first = rest.lines().next().unwrap();
    let column = |name: &str| {
        let idx = header.split(',').position(|column| column == name).unwrap();
        // The first token's piece has no comma.
        first.split(',').nth(idx).unwrap().to_owned()
    };
    assert_eq!(column("expert_0_1"), "");
    assert_eq!(column("expert_3_0"), json.experts[3][0][0].to_string());
    assert_eq!(
        column("expert_weight_3_1"),
        json.expert_weights[3][0][1].to_string()
    );

    // Without experts nothing is said of them.
    let plain = folder.path().join("plain.parquet");
    let records = generation(&[3], 2, LAYERS, &mut Noise::new(2));
    write(&plain, info(LAYERS), &records);
    let plain = TraceReader::open(&plain).unwrap().sequence(0).unwrap();
    let plain = serde_json::to_value(plain).unwrap();
    assert!(plain.get("experts").is_none(), "{plain}");
}

#[test]
fn a_pass_of_other_experts_is_refused() {
    let folder = TempDir::new().unwrap();
    let mut writer =
        TraceWriter::create(&folder.path().join("trace.parquet"), routed_info(LAYERS)).unwrap();
    let mut record = records(3).remove(0);
    record.routing[2].as_mut().unwrap().n_experts = 8;
    let error = writer.pass(&record).unwrap_err().to_string();
    assert!(error.contains("experts") && error.contains('8'), "{error}");
}

/// The statistics of one layer by plain loops over the tokens.
fn by_hand(trace: &TraceReader, phase: Phase, layer_idx: usize) -> (Vec<f64>, [f64; 3], f64) {
    let mut uses = vec![0.0; EXPERTS[0]];
    let (mut active, mut voids, mut pairs) = (Vec::new(), Vec::new(), Vec::new());
    trace
        .for_each(|token| {
            if token.phase != phase {
                return;
            }
            let (experts, weights) = token.routing.unwrap().of_layer(layer_idx).unwrap();
            experts.iter().for_each(|&idx| uses[idx as usize] += 1.0);
            let top = f64::from(weights[0].max(weights[1]));
            let side = if token.active[layer_idx] {
                &mut active
            } else {
                &mut voids
            };
            side.push(top);
            pairs.push((top, f64::from(token.deltas[layer_idx])));
        })
        .unwrap();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let share = active.len() as f64 / pairs.len() as f64;
    let (tops, deltas): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
    let centred = |values: &[f64]| -> Vec<f64> {
        let mean = mean(values);
        values.iter().map(|value| value - mean).collect()
    };
    let (a, b) = (centred(&tops), centred(&deltas));
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let correlation = product(&a, &b) / (product(&a, &a) * product(&b, &b)).sqrt();
    (uses, [share, mean(&active), mean(&voids)], correlation)
}

#[test]
fn statistics_are_those_of_plain_loops() {
    let folder = TempDir::new().unwrap();
    let trace = trace(&folder);
    let summary = Statistics::of(&trace).unwrap().summary();
    for (phase, layers) in [
        (
            Phase::Prompt,
            &summary.phases.prompt.as_ref().unwrap().experts,
        ),
        (
            Phase::Response,
            &summary.phases.response.as_ref().unwrap().experts,
        ),
    ] {
        assert_eq!(layers.len(), LAYERS);
        assert_eq!(layers[0], None);
        for (layer_idx, layer) in layers.iter().enumerate().skip(1) {
            let layer: &ExpertSummary = layer.as_ref().unwrap();
            let (uses, [share, active, voids], correlation) = by_hand(&trace, phase, layer_idx);
            let total: f64 = uses.iter().sum();
            let entropy: f64 = uses
                .iter()
                .filter(|&&n| n > 0.0)
                .map(|n| -n / total * (n / total).ln())
                .sum();
            let most = uses.iter().copied().fold(0.0, f64::max);
            for (found, expected) in [
                (layer.active.share, share),
                (layer.entropy, entropy / (EXPERTS[0] as f64).ln()),
                (layer.top_expert_share, most / total),
                (layer.top_weight_active.unwrap(), active),
                (layer.top_weight_void.unwrap(), voids),
                (layer.correlation.unwrap(), correlation),
            ] {
                assert!((found - expected).abs() < 1e-9, "{layer_idx}: {layer:?}");
            }
            let interval = layer.correlation_interval.unwrap();
            assert!(interval.low < correlation && correlation < interval.high);
        }
    }
}

#[test]
fn reports_have_a_table_of_experts() {
    let folder = TempDir::new().unwrap();
    let traces = [trace(&folder)];
    let report = TraceReport::read(&traces, &ReportConfig::default()).unwrap();
    let text = report.to_terminal(&TerminalConfig {
        style: Style::Plain,
        ..TerminalConfig::default()
    });
    let n_rows = text
        .lines()
        .filter(|line| line.starts_with("layer "))
        .count();
    assert_eq!(n_rows, 2 * (LAYERS - 1), "{text}");
    let summaries: Vec<_> = report.summaries().collect();
    let experts = &summaries[0].1.phases.prompt.as_ref().unwrap().experts;
    let share = 100.0 * experts[1].as_ref().unwrap().active.share;
    assert!(
        text.contains(&format!("layer  1{:>7.1} %", share)),
        "{text}"
    );
}
