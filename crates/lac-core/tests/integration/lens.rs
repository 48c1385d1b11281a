//! The lens, against probabilities that are known exactly.

use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use lac_core::{
    Error, GenerateArgs, GenerationConfig, LayerPolicy, Observed, Observer, Off, PassRecord, Phase,
    generate,
    generation::prompt_pass,
    lens::{AffineMap, Lens, TunedLens},
};

use crate::chain::Chain;
use crate::devices::devices;

const N_LAYERS: usize = 4;
const VOCAB: usize = 6;

/// Log-probabilities after a state of a token: those of the sums of the first layers' shares.
fn logprobs(chain: &Chain, n_layers: usize, token: usize) -> Vec<f64> {
    let logits: Vec<f64> = (0..VOCAB)
        .map(|next| {
            let sum: f32 = chain.layers[..n_layers]
                .iter()
                .map(|layer| layer[token][next])
                .sum();
            f64::from(sum)
        })
        .collect();
    let total: f64 = logits.iter().map(|logit| logit.exp()).sum();
    logits.iter().map(|logit| logit - total.ln()).collect()
}

fn check(chain: &Chain, record: &PassRecord, n_top: usize) {
    let lens = record.lens.as_ref().unwrap();
    assert_eq!((lens.n_top, lens.n_states()), (n_top, N_LAYERS + 1));
    let n_tokens = record.pass.seq() * record.pass.batch();
    for slot in 0..n_tokens {
        let token = record.pass.token_ids()[slot] as usize;
        let last = logprobs(chain, N_LAYERS, token);
        let mut answers = Vec::new();
        for state_idx in 0..=N_LAYERS {
            let seen = lens.at(state_idx, slot);
            let expected = logprobs(chain, state_idx, token);
            let mut order: Vec<usize> = (0..VOCAB).collect();
            order.sort_by(|&a, &b| expected[b].total_cmp(&expected[a]));
            let near = |found: f32, expected: f64| {
                assert!(
                    (f64::from(found) - expected).abs() < 1e-5,
                    "{found} {expected}"
                );
            };
            for (rank, &id) in seen.ids.iter().enumerate() {
                // After the embedding all tokens are equally probable, and the lowest ids come first.
                assert_eq!(id as usize, order[rank], "state {state_idx}, rank {rank}");
                near(seen.logprobs[rank], expected[order[rank]]);
            }
            near(
                seen.entropy,
                -expected.iter().map(|l| l.exp() * l).sum::<f64>(),
            );
            let terms = last
                .iter()
                .zip(&expected)
                .map(|(last, here)| last.exp() * (last - here));
            near(seen.kl, terms.sum::<f64>());
            answers.push(seen.ids[0]);
        }
        // The embedding's answer is no layer's.
        let decided = (0..N_LAYERS).find(|&layer_idx| {
            let later = &answers[layer_idx + 1..];
            later.iter().all(|answer| *answer == answers[N_LAYERS])
        });
        assert_eq!(Some(lens.decided_at(slot)), decided);
    }
}

#[derive(Default)]
struct Records(Vec<PassRecord>);

impl Observer for Records {
    fn pass(&mut self, record: &PassRecord) -> Result<(), lac_core::BoxError> {
        self.0.push(record.clone());
        Ok(())
    }
}

#[test]
fn a_lens_sees_the_distribution_after_every_layer() {
    for (backend, device) in devices() {
        let chain = Chain::new(N_LAYERS, VOCAB, &device);
        for n_top in [1, 3, VOCAB] {
            let lens = Lens::new(n_top).unwrap();
            let mut policy = Observed::new(Off).with_lens(Some(lens));
            let mut records = Records::default();
            let args = GenerateArgs::new(&mut policy).observer(&mut records);
            let config = GenerationConfig::greedy(3);
            let prompts = [vec![1, 2], vec![3, 4]];
            let output = generate(&chain, &prompts, &config, args).unwrap();
            assert_eq!(records.0.len(), 3, "{backend}");
            for record in &records.0 {
                check(&chain, record, n_top);
            }
            // The answer after the last layer is the token that is chosen.
            let response = &records.0[1];
            assert_eq!(response.pass.phase(), Phase::Response);
            let answer = response.lens.as_ref().unwrap().at(N_LAYERS, 1).ids[0];
            assert_eq!(answer, output.rows[1].ids[1]);
        }
    }
}

#[test]
fn a_vocabulary_smaller_than_asked_for_is_named_whole() {
    let chain = Chain::new(N_LAYERS, VOCAB, &Device::flex());
    let mut policy = Observed::new(Off).with_lens(Some(Lens::new(50).unwrap()));
    let (_, record) = prompt_pass(&chain, &[vec![1, 2]], 0, &mut policy).unwrap();
    assert_eq!(record.lens.unwrap().n_top, VOCAB);
}

/// Maps that add a logit to one token's.
fn tuned(n_layers: usize, device: &Device) -> TunedLens {
    let map = |layer_idx: usize| {
        let mut bias = [0.0; VOCAB];
        bias[layer_idx] = 50.0;
        AffineMap {
            weight: Tensor::zeros([VOCAB, VOCAB], device),
            bias: Tensor::from_floats(bias, device),
        }
    };
    TunedLens::new((0..n_layers).map(map).collect())
}

#[test]
fn a_tuned_lens_maps_every_state_but_the_last() {
    for (backend, device) in devices() {
        let chain = Chain::new(N_LAYERS, VOCAB, &device);
        let lens = Lens::new(1)
            .unwrap()
            .with_maps(Arc::new(tuned(N_LAYERS, &device)));
        let mut policy = Observed::new(Off).with_lens(Some(lens));
        let (_, record) = prompt_pass(&chain, &[vec![5]], 0, &mut policy).unwrap();
        let lens = record.lens.unwrap();
        let answers: Vec<u32> = (0..N_LAYERS)
            .map(|state| lens.at(state, 0).ids[0])
            .collect();
        assert_eq!(answers, [0, 1, 2, 3], "{backend}");
        let last = logprobs(&chain, N_LAYERS, 5);
        let best = (0..VOCAB)
            .max_by(|&a, &b| last[a].total_cmp(&last[b]))
            .unwrap();
        assert_eq!(lens.at(N_LAYERS, 0).ids[0] as usize, best);
        assert_eq!(lens.at(N_LAYERS, 0).kl, 0.0);
    }
}

#[test]
fn impossible_lenses_are_named() {
    for n_top in [0, 101] {
        assert!(matches!(Lens::new(n_top), Err(Error::InvalidConfig { .. })));
    }
    let device = Device::flex();
    let chain = Chain::new(N_LAYERS, VOCAB, &device);
    let lens = Lens::new(1).unwrap().with_maps(Arc::new(tuned(3, &device)));
    let mut policy: Box<dyn LayerPolicy> = Box::new(Observed::new(Off).with_lens(Some(lens)));
    let error = prompt_pass(&chain, &[vec![5]], 0, &mut policy).unwrap_err();
    let expected =
        "the number of maps of the tuned lens is 3, expected one for each layer of the model";
    assert_eq!(error.to_string(), expected);
}
