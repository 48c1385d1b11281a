//! Random states, and how a gate that has seen them is held against the reference.

use burn::tensor::{DType, Device, Tensor, TensorData};
use lac_core::reference::{self, Reading};
use lac_core::{Gate, GateConfig, gate::GateReading};

/// Reproducible values, whatever the backend.
struct Values(u64);

impl Values {
    /// Evenly spread over [-1, 1).
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// The embedding and the outputs of some layers on the host, each `[batch, seq, hidden]`.
pub struct States {
    pub dims: [usize; 3],
    pub values: Vec<Vec<f32>>,
}

impl States {
    /// Norms wander so that layers of every kind occur.
    pub fn random(dims: [usize; 3], n_layers: usize, scale: f32, seed: u64) -> Self {
        let mut random = Values(seed | 1);
        let [batch, seq, width] = dims;
        let values = (0..=n_layers)
            .map(|_| {
                let mut values = Vec::with_capacity(batch * seq * width);
                for _ in 0..batch * seq {
                    let size = scale * (1.0 + 0.5 * random.next());
                    values.extend((0..width).map(|_| size * random.next()));
                }
                values
            })
            .collect();
        Self { dims, values }
    }

    /// On the device in a data type; what the host holds is rounded to it as well.
    pub fn put_on(&mut self, dtype: DType, device: &Device) -> Vec<Tensor<3>> {
        self.values
            .iter_mut()
            .map(|values| {
                let data = TensorData::new(values.clone(), self.dims).convert_dtype(dtype);
                *values = data.clone().convert::<f32>().try_into_vec().unwrap();
                Tensor::from_data(data, (device, dtype))
            })
            .collect()
    }

    fn n_tokens(&self) -> usize {
        self.dims[0] * self.dims[1]
    }

    /// A token's values in a state.
    fn row(&self, state: usize, token: usize) -> &[f32] {
        let width = self.dims[2];
        &self.values[state][token * width..(token + 1) * width]
    }
}

pub fn host(tensor: Tensor<2>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

/// A layer's reading of all tokens on the host.
struct OnHost {
    norm: Vec<f32>,
    delta: Vec<f32>,
    threshold: Vec<f32>,
    active: Vec<bool>,
}

impl From<GateReading> for OnHost {
    fn from(reading: GateReading) -> Self {
        let flags = host(reading.active.float());
        Self {
            norm: host(reading.norm),
            delta: host(reading.delta),
            threshold: host(reading.threshold),
            active: flags.into_iter().map(|flag| flag == 1.0).collect(),
        }
    }
}

/// f32 sums of up to 8192 squares in many lanes stay within this of the exact norm, relatively.
const NORM_TOLERANCE: f64 = 2e-6;

/// Compares a token's reading; `largest` is the largest norm so far, on which the rounding of
/// differences depends. Returns whether the flag was told apart from a tie.
fn check(seen: &OnHost, token: usize, expected: Reading, largest: f64, at: &str) -> bool {
    let tolerance = NORM_TOLERANCE * largest + 1e-30;
    let close = |seen: f32, expected: f64, tolerance: f64, what: &str| {
        assert!(
            (f64::from(seen) - expected).abs() <= tolerance,
            "{what} of token {token} {at}: {seen} for {expected}"
        );
    };
    close(seen.norm[token], expected.norm, tolerance, "norm");
    close(seen.delta[token], expected.delta, 2.0 * tolerance, "delta");
    close(
        seen.threshold[token],
        expected.threshold,
        8.0 * tolerance,
        "threshold",
    );
    let is_clear = (expected.delta - expected.threshold).abs() > 12.0 * tolerance;
    if is_clear {
        assert_eq!(
            seen.active[token], expected.active,
            "flag of token {token} {at}"
        );
    }
    is_clear
}

/// Runs the gate in its three ways over random states and compares each with the reference.
pub fn check_gate(device: &Device, dtype: DType, dims: [usize; 3], n_layers: usize, alpha: f32) {
    check_states(device, dtype, States::random(dims, n_layers, 4.0, 7), alpha);
}

pub fn check_states(device: &Device, dtype: DType, mut states: States, alpha: f32) {
    let tensors = states.put_on(dtype, device);
    check_tensors(&states, &tensors, alpha);
}

/// `tensors` hold `states`, in whatever layout.
pub fn check_tensors(states: &States, tensors: &[Tensor<3>], alpha: f32) {
    let config = GateConfig::new(alpha);
    let name = format!("{:?} {:?}", states.dims, tensors[0].dtype());
    let n_tokens = states.n_tokens();
    let mut observing = Gate::start(config, &tensors[0]).unwrap();
    let mut selecting = observing.clone();
    let mut bypassing = observing.clone();
    assert!(observing.is_fused(), "no kernel for {name}");

    let start: Vec<f64> = (0..n_tokens)
        .map(|token| reference::norm(states.row(0, token)))
        .collect();
    let alpha = f64::from(alpha);
    let gate = |&norm: &f64| reference::TokenGate::new(alpha, norm);
    let mut expected: Vec<_> = start.iter().map(gate).collect();
    let mut expected_bypass = expected.clone();
    let mut largest = start.clone();
    // Which state each token's last active and bypassed output come from.
    let mut last_active = vec![0; n_tokens];
    let mut bypassed = vec![0; n_tokens];
    let mut selected = tensors[0].clone();
    let mut hidden = tensors[0].clone();

    for (layer, output) in tensors.iter().enumerate().skip(1) {
        let seen = OnHost::from(observing.measure(output));
        let (reading, state) = selecting.measure_last_active(output.clone(), selected);
        let seen_selecting = OnHost::from(reading);
        selected = state;
        let (reading, state) = bypassing.measure_bypass(output.clone(), hidden);
        let seen_bypassing = OnHost::from(reading);
        hidden = state;
        for token in 0..n_tokens {
            let at = format!("after layer {layer} of {name}");
            let norm = reference::norm(states.row(layer, token));
            largest[token] = largest[token].max(norm);
            let reading = expected[token].step(norm);
            check(&seen, token, reading, largest[token], &at);
            check(&seen_selecting, token, reading, largest[token], &at);
            if seen_selecting.active[token] {
                last_active[token] = layer;
            }
            // A tie that rounding decides the other way would lead the two apart.
            let reading = expected_bypass[token].step_bypassing(norm);
            check(&seen_bypassing, token, reading, largest[token], &at);
            if seen_bypassing.active[token] {
                bypassed[token] = layer;
            }
            assert_eq!(seen_bypassing.active[token], reading.active, "{at}");
        }
    }

    for (states_seen, sources) in [(selected, last_active), (hidden, bypassed)] {
        let seen: Vec<f32> = states_seen
            .into_data()
            .convert::<f32>()
            .try_into_vec()
            .unwrap();
        let width = states.dims[2];
        for (token, source) in sources.into_iter().enumerate() {
            let seen = &seen[token * width..(token + 1) * width];
            assert_eq!(seen, states.row(source, token), "token {token} of {name}");
        }
    }
}

/// Whether the device holds tensors of the type at all.
pub fn supports(device: &Device, dtype: DType) -> bool {
    device.supports_dtype(dtype)
}
