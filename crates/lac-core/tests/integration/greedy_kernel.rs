//! The most probable token, chosen on the device, is the one that the host would choose.

use burn::tensor::{Device, Int, Tensor, TensorData};
use lac_core::{
    CausalLm, Error, GenerateArgs, GenerationConfig, LayerStack, Off, Pass, Trace, generate,
};

use crate::devices::devices;

/// A model without layers, whose rows have given logits.
struct Given {
    logits: Vec<Vec<f32>>,
    device: Device,
}

impl LayerStack for Given {
    type Context = ();

    fn n_layers(&self) -> usize {
        0
    }

    fn forward_layer(&self, _: usize, hidden: Tensor<3>, _: &mut ()) -> Tensor<3> {
        hidden
    }
}

impl CausalLm for Given {
    fn vocab_size(&self) -> usize {
        self.logits[0].len()
    }

    fn max_context(&self) -> Option<usize> {
        None
    }

    fn device(&self) -> Device {
        self.device.clone()
    }

    fn new_context(&self, _: usize, _: usize) {}

    fn begin_pass(&self, _: &Pass, _: &mut ()) {}

    fn embed(&self, token_ids: Tensor<2, Int>, _: &()) -> Tensor<3> {
        token_ids.float().unsqueeze_dim::<3>(2)
    }

    fn logits(&self, _: Tensor<3>) -> Tensor<3> {
        let shape = [self.logits.len(), 1, self.vocab_size()];
        Tensor::from_data(TensorData::new(self.logits.concat(), shape), &self.device)
    }
}

fn chosen(logits: &[Vec<f32>], device: &Device) -> Result<Vec<u32>, Error> {
    let model = Given {
        logits: logits.to_vec(),
        device: device.clone(),
    };
    let prompts = vec![vec![0]; logits.len()];
    let config = GenerationConfig::greedy(1);
    let output = generate(&model, &prompts, &config, GenerateArgs::new(&mut Off))?;
    // The same where the gate's numbers are read with it.
    let mut trace = Trace::default();
    let traced = generate(&model, &prompts, &config, GenerateArgs::new(&mut trace))?;
    assert_eq!(traced.rows, output.rows);
    Ok(output.rows.into_iter().map(|row| row.ids[0]).collect())
}

#[test]
fn the_largest_logit_is_chosen_the_first_of_equals() {
    for (name, device) in devices() {
        for n_logits in [1, 2, 3, 7, 8, 1000, 4096, 5003] {
            // No order, and every value several times.
            let row = |factor: usize| -> Vec<f32> {
                let value = |idx: usize| ((idx * factor + 11) % 97) as f32 - 100.0;
                (0..n_logits).map(value).collect()
            };
            let mut rows = [row(31), row(57), row(83)];
            rows[1][n_logits / 2] = f32::INFINITY;
            rows[2][0] = f32::NEG_INFINITY;
            rows[2][n_logits - 1] = if n_logits > 1 { 3.5 } else { -f32::MAX };
            if n_logits < 3 {
                rows[1][0] = f32::MIN_POSITIVE;
            }
            let expected = |row: &Vec<f32>| {
                let finite = row
                    .iter()
                    .enumerate()
                    .filter(|(_, logit)| logit.is_finite());
                let largest = finite.reduce(|best, next| if next.1 > best.1 { next } else { best });
                largest.unwrap().0 as u32
            };
            let expected: Vec<u32> = rows.iter().map(expected).collect();
            assert_eq!(
                chosen(&rows, &device).unwrap(),
                expected,
                "{name}, {n_logits}"
            );
        }
    }
}

#[test]
fn logits_that_allow_no_choice_are_named_with_their_row() {
    for (name, device) in devices() {
        for wrong in [
            [0.0, f32::NAN, 1.0],
            [f32::INFINITY; 3],
            [f32::NEG_INFINITY; 3],
        ] {
            let error = chosen(&[vec![1.0, 2.0, 3.0], wrong.to_vec()], &device).unwrap_err();
            let Error::NonFiniteLogits { row, position } = error else {
                panic!("{name}: {error}");
            };
            assert_eq!((row, position), (1, 0), "{name}");
        }
    }
}
