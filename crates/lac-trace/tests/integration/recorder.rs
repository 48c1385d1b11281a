//! Recorded generations of a model.

use lac_core::{GateConfig, GenerateArgs, GenerationConfig, Phase, Trace, generate};
use lac_trace::{Recorder, TraceReader, TraceWriter};
use tempfile::TempDir;

use super::support::{ALPHA, LAYERS, Owned, Small, info_of, tokens};

fn trace_of(prompts: &[&[Vec<u32>]], n_new: usize) -> (Vec<Owned>, Recorder) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("trace.parquet");
    let model = Small::new();
    let mut policy = Trace::new(GateConfig::new(ALPHA));
    let writer = TraceWriter::create(&path, info_of(&policy)).unwrap();
    let mut observer = (writer, Recorder::new(0));
    for batch in prompts {
        let hooks = GenerateArgs::new(&mut policy).observer(&mut observer);
        generate(&model, batch, &GenerationConfig::greedy(n_new), hooks).unwrap();
    }
    let (writer, recorder) = observer;
    writer.finish().unwrap();
    (tokens(&TraceReader::open(&path).unwrap()), recorder)
}

fn sequence(tokens: &[Owned], sequence: u32) -> Vec<&Owned> {
    tokens
        .iter()
        .filter(|token| token.place.0 == sequence)
        .collect()
}

#[test]
fn a_row_of_a_batch_is_recorded_as_the_row_alone() {
    let prompts = [vec![5, 6, 7, 8], vec![9], vec![3, 4]];
    let (batched, _) = trace_of(&[&prompts[..2], &prompts[2..]], 5);
    for (idx, prompt) in prompts.iter().enumerate() {
        let (alone, recorder) = trace_of(&[std::slice::from_ref(prompt)], 5);
        let (row, alone) = (sequence(&batched, idx as u32), sequence(&alone, 0));
        assert_eq!(row.len(), prompt.len() + 4);
        assert_eq!(row.len(), alone.len());
        for (column, (token, other)) in row.iter().zip(&alone).enumerate() {
            let phase = if column < prompt.len() {
                Phase::Prompt
            } else {
                Phase::Response
            };
            assert_eq!(token.place, (idx as u32, phase, column as u32));
            assert_eq!((token.id, &token.active), (other.id, &other.active));
            for (norm, other) in token.norms.iter().zip(&other.norms) {
                assert!((norm - other).abs() < 1e-4 * other);
            }
        }
        // The recorder in memory saw the same.
        for (column, token) in alone.iter().enumerate() {
            let (trace, column) = match column.checked_sub(prompt.len()) {
                None => (&recorder.phases.prompt, column),
                Some(column) => (&recorder.phases.response, column),
            };
            assert_eq!(token.id, Some(trace.token_ids[column]));
            for layer in 0..LAYERS {
                assert_eq!(token.deltas[layer], trace.deltas[layer][column]);
            }
        }
    }
}
