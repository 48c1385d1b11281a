//! The gate's kernels against the reference on the host, and against the tensor operations.

use burn::tensor::{DType, Device, Tensor, TensorData};
use lac_core::reference::{self, Reading};
use lac_core::{
    BoxError, Carry, Error, Gate, GateConfig, GateReading, GateRounding, Gating, LastActive,
    LayerPolicy, LayerStack, LayerStep, Pass, PassRecord, StateAt, Trace, run,
};
use proptest::prelude::*;

use crate::devices::devices;

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
struct States {
    dims: [usize; 3],
    values: Vec<Vec<f32>>,
}

impl States {
    /// Norms wander so that layers of every kind occur.
    fn random(dims: [usize; 3], n_layers: usize, scale: f32, seed: u64) -> Self {
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
    fn to_device(&mut self, dtype: DType, device: &Device) -> Vec<Tensor<3>> {
        self.values
            .iter_mut()
            .map(|values| {
                let data = TensorData::new(values.clone(), self.dims).convert_dtype(dtype);
                *values = data.clone().convert::<f32>().into_vec().unwrap();
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

fn host(tensor: Tensor<2>) -> Vec<f32> {
    tensor.into_data().into_vec().unwrap()
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
fn check_gate(device: &Device, dtype: DType, dims: [usize; 3], n_layers: usize, alpha: f32) {
    check_states(device, dtype, States::random(dims, n_layers, 4.0, 7), alpha);
}

fn check_states(device: &Device, dtype: DType, mut states: States, alpha: f32) {
    let tensors = states.to_device(dtype, device);
    check_tensors(&states, &tensors, alpha);
}

/// `tensors` hold `states`, in whatever layout.
fn check_tensors(states: &States, tensors: &[Tensor<3>], alpha: f32) {
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
        let seen: Vec<f32> = states_seen.into_data().convert::<f32>().into_vec().unwrap();
        let width = states.dims[2];
        for (token, source) in sources.into_iter().enumerate() {
            let seen = &seen[token * width..(token + 1) * width];
            assert_eq!(seen, states.row(source, token), "token {token} of {name}");
        }
    }
}

/// Whether the device holds tensors of the type at all.
fn supports(device: &Device, dtype: DType) -> bool {
    device.supports_dtype(dtype)
}

#[test]
fn kernels_agree_with_the_reference() {
    let small = [
        [1, 1, 1],
        [1, 1, 64],
        [2, 3, 96],
        [1, 5, 7],
        [3, 2, 1],
        [2, 1, 1030],
    ];
    let large = [[4, 129, 896], [1, 512, 2048], [2, 65, 4099]];
    for (name, device) in devices() {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            if !supports(&device, dtype) {
                continue;
            }
            for dims in small {
                check_gate(&device, dtype, dims, 6, 0.8);
            }
            if name == "flex" {
                for dims in large {
                    check_gate(&device, dtype, dims, 3, 0.8);
                }
            }
        }
    }
}

#[test]
fn the_largest_shape_agrees_with_the_reference() {
    for (name, device) in devices() {
        // Software rendering would take minutes.
        if name == "flex" {
            check_gate(&device, DType::F32, [4, 513, 8192], 2, 0.8);
        }
    }
}

#[test]
fn nothing_to_gate_is_gated() {
    for (_, device) in devices() {
        for dims in [[0, 3, 8], [2, 0, 8], [0, 0, 4]] {
            let empty = Tensor::<3>::zeros(dims, &device);
            let mut gate = Gate::start(GateConfig::new(0.8), &empty).unwrap();
            let reading = gate.measure(&empty);
            assert_eq!(reading.norm.dims(), [dims[0], dims[1]]);
            let (_, hidden) = gate.measure_bypass(empty.clone(), empty.clone());
            assert_eq!(hidden.dims(), dims);
        }
    }
}

#[test]
fn strided_states_are_gated_where_they_lie() {
    let dims = [2, 6, 40];
    for (_, device) in devices() {
        let mut states = States::random(dims, 3, 2.0, 11);
        let plain = states.to_device(DType::F32, &device);
        // A window into longer rows, a transposed sequence, transposed values, a flipped batch.
        let layouts: [fn(Tensor<3>) -> Tensor<3>; 4] = [
            |state| {
                let [batch, seq, width] = state.dims();
                let around = Tensor::zeros([batch, seq + 3, width + 9], &state.device());
                let around = around.slice_assign([0..batch, 2..seq + 2, 5..width + 5], state);
                around.slice([0..batch, 2..seq + 2, 5..width + 5])
            },
            |state| (state.swap_dims(0, 1) * 1.0).swap_dims(0, 1),
            |state| (state.swap_dims(1, 2) * 1.0).swap_dims(1, 2),
            |state| state.flip([0]).flip([0]),
        ];
        for layout in layouts {
            let strided: Vec<_> = plain.iter().cloned().map(layout).collect();
            check_tensors(&states, &strided, 0.8);
        }
        // A state spread over a batch without being copied.
        let spread: Vec<_> = plain
            .iter()
            .map(|state| state.clone().narrow(0, 0, 1).expand([2, 6, 40]))
            .collect();
        let values = states
            .values
            .iter()
            .map(|state| state[..6 * 40].repeat(2))
            .collect();
        check_tensors(&States { dims, values }, &spread, 0.8);
    }
}

#[test]
fn extreme_values_keep_their_norms() {
    for (name, device) in devices() {
        for scale in [1e4, 1e-3] {
            let states = States::random([1, 3, 515], 4, scale, 5);
            check_states(&device, DType::F32, states, 0.8);
        }
        if !supports(&device, DType::F16) {
            continue;
        }
        // Denormals of f16 are ordinary numbers in f32.
        if name == "flex" {
            check_states(
                &device,
                DType::F16,
                States::random([1, 3, 130], 4, 3e-6, 5),
                0.8,
            );
        }
        check_states(
            &device,
            DType::F16,
            States::random([1, 3, 130], 4, 1e4, 5),
            0.8,
        );
        // The squares of f32's denormals are zero in f32.
        let tiny = Tensor::<3>::full([1, 2, 9], 1e-40, &device);
        let mut gate = Gate::start(GateConfig::new(0.8), &tiny).unwrap();
        assert_eq!(host(gate.measure(&tiny).norm), [0.0, 0.0], "{name}");
    }
}

/// Layers whose outputs were fixed beforehand.
struct Outputs(Vec<Tensor<3>>);

impl LayerStack for Outputs {
    type Context = ();

    fn n_layers(&self) -> usize {
        self.0.len()
    }

    fn forward_layer(&self, layer_idx: usize, _: Tensor<3>, _: &mut ()) -> Tensor<3> {
        self.0[layer_idx].clone()
    }
}

/// Runs a policy over states; the first is the embedding.
fn run_over(tensors: &[Tensor<3>], policy: &mut dyn LayerPolicy) -> (Vec<f32>, PassRecord) {
    try_run_over(tensors, policy).unwrap()
}

fn try_run_over(
    tensors: &[Tensor<3>],
    policy: &mut dyn LayerPolicy,
) -> Result<(Vec<f32>, PassRecord), Error> {
    let [batch, seq, _] = tensors[0].dims();
    let pass = Pass::states(batch, seq);
    let stack = Outputs(tensors[1..].to_vec());
    let out = run(&stack, tensors[0].clone(), &mut (), &pass, policy)?;
    let record = out.readings.read(&pass)?;
    Ok((
        out.hidden.into_data().convert::<f32>().into_vec().unwrap(),
        record,
    ))
}

/// Asked after every layer, as a policy that knows nothing of the loop's shortcuts is.
struct Stepwise<P>(P);

impl<P: LayerPolicy> LayerPolicy for Stepwise<P> {
    fn name(&self) -> &str {
        self.0.name()
    }
    fn gate(&self) -> Option<GateConfig> {
        self.0.gate()
    }
    fn begin(&mut self, pass: &Pass, embedding: &Tensor<3>) -> Result<(), BoxError> {
        self.0.begin(pass, embedding)
    }
    fn after(&mut self, step: LayerStep<'_>) -> Result<Carry, BoxError> {
        self.0.after(step)
    }
    fn finish(&mut self, hidden: Tensor<3>) -> Tensor<3> {
        self.0.finish(hidden)
    }
}

#[test]
fn a_pass_gated_at_once_reads_as_one_gated_step_by_step() {
    let config = GateConfig::new(0.8);
    for (name, device) in devices() {
        for seq in [1, 4] {
            let mut states = States::random([2, seq, 48], 7, 3.0, 3);
            let tensors = states.to_device(DType::F32, &device);
            let policies: [(Box<dyn LayerPolicy>, Box<dyn LayerPolicy>, Gating); 3] = [
                (
                    Box::new(Trace::new(config)),
                    Box::new(Stepwise(Trace::new(config))),
                    Gating::Observe,
                ),
                (
                    Box::new(LastActive::new(config)),
                    Box::new(Stepwise(LastActive::new(config))),
                    Gating::LastActive,
                ),
                (
                    Box::new(lac_core::Bypass::new(config)),
                    Box::new(Stepwise(lac_core::Bypass::new(config))),
                    Gating::Bypass,
                ),
            ];
            for (mut fused, mut stepwise, gating) in policies {
                assert_eq!(
                    (fused.gating(), stepwise.gating()),
                    (gating, Gating::Stepwise)
                );
                let at = format!("{} over {seq} tokens on {name}", fused.name());
                // Twice, because a policy serves many passes.
                for _ in 0..2 {
                    let (hidden, record) = run_over(&tensors, &mut *fused);
                    let (expected_hidden, expected) = run_over(&tensors, &mut *stepwise);
                    assert_eq!(record, expected, "{at}");
                    assert_eq!(hidden, expected_hidden, "{at}");
                }
            }
        }
    }
}

#[test]
fn kernels_agree_with_tensor_operations() {
    for (name, device) in devices() {
        let mut states = States::random([2, 3, 200], 6, 3.0, 9);
        let tensors = states.to_device(DType::F32, &device);
        let config = GateConfig::new(0.8);
        let mut fused = Gate::start(config, &tensors[0]).unwrap();
        let mut portable = Gate::start_portable(config, &tensors[0]).unwrap();
        assert!(fused.is_fused() && !portable.is_fused());
        for output in &tensors[1..] {
            let close = |a: Tensor<2>, b: Tensor<2>| {
                for (a, b) in host(a).into_iter().zip(host(b)) {
                    assert!((a - b).abs() < 2e-4, "{a} for {b} on {name}");
                }
            };
            close(fused.next_threshold(), portable.next_threshold());
            let (a, b) = (fused.measure(output), portable.measure(output));
            close(a.norm, b.norm);
            close(a.delta, b.delta);
            close(a.threshold, b.threshold);
            assert_eq!(host(a.active.float()), host(b.active.float()), "{name}");
            close(fused.previous_norm(), portable.previous_norm());
        }
        close_all(
            &host(fused.embedding_norm()),
            &host(portable.embedding_norm()),
        );
    }
}

fn close_all(seen: &[f32], expected: &[f32]) {
    for (seen, expected) in seen.iter().zip(expected) {
        assert!((seen - expected).abs() < 1e-4, "{seen} for {expected}");
    }
}

#[test]
fn non_finite_states_are_reported_with_their_place() {
    for (name, device) in devices() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for (batch, seq) in [(2, 1), (2, 3)] {
                let mut states = States::random([batch, seq, 33], 4, 1.0, 3);
                states.values[2][(batch * seq - 1) * 33 + 17] = value;
                let tensors = states.to_device(DType::F32, &device);
                let config = GateConfig::new(0.8);
                for policy in [
                    &mut Trace::new(config) as &mut dyn LayerPolicy,
                    &mut LastActive::new(config),
                ] {
                    let error = try_run_over(&tensors, policy).unwrap_err();
                    let Error::NonFiniteNorm {
                        state,
                        row,
                        position,
                        ..
                    } = error
                    else {
                        panic!("{error} for {value} on {name}");
                    };
                    assert_eq!(
                        (state, row, position),
                        (StateAt::Layer(1), 1, seq - 1),
                        "{name}"
                    );
                }
            }
        }
        if supports(&device, DType::F16) {
            for value in [half_bits(0x7c00, &device), half_bits(0x7e00, &device)] {
                let gate = Gate::start(GateConfig::new(0.8), &value).unwrap();
                assert!(!host(gate.embedding_norm())[0].is_finite(), "{name}");
            }
        }
    }
}

/// One value of f16 from its bits.
fn half_bits(bits: u16, device: &Device) -> Tensor<3> {
    let value = burn::tensor::f16::from_bits(bits);
    Tensor::from_data(
        TensorData::new(vec![value], [1, 1, 1]),
        (device, DType::F16),
    )
}

#[test]
fn the_rounding_of_the_released_code_stays_in_tensor_operations() {
    for (_, device) in devices() {
        let config = GateConfig::new(0.8).with_rounding(GateRounding::Bf16);
        let embedding = Tensor::<3>::from_floats([[[1000.0, 3.0]]], &device);
        match Gate::start(config, &embedding) {
            Ok(gate) => {
                assert!(!gate.is_fused());
                // bf16 has steps of 4 between 512 and 1024.
                assert_eq!(host(gate.embedding_norm()), [1000.0]);
            }
            Err(error) => assert!(matches!(error, Error::UnsupportedDtype { .. }), "{error}"),
        }
    }
}

#[test]
fn data_types_without_a_kernel_are_gated_all_the_same() {
    for (_, device) in devices() {
        if supports(&device, DType::F64) {
            let state = Tensor::<3>::full([1, 1, 4], 2.0, (&device, DType::F64));
            let mut gate = Gate::start(GateConfig::new(0.8), &state).unwrap();
            assert!(!gate.is_fused());
            assert_eq!(host(gate.measure(&state).norm), [4.0]);
        }
    }
}

#[test]
fn many_launches_leave_nothing_behind() {
    for (name, device) in devices() {
        // The other tests of this process come and go with some hundred MiB.
        let n_launches = 8000;
        let mut states = States::random([1, 16, 4096], 2, 1.0, 3);
        let tensors = states.to_device(DType::F32, &device);
        let mut gate = Gate::start(GateConfig::new(0.8), &tensors[0]).unwrap();
        let mut hidden = tensors[0].clone();
        let mut launch = |n_launches: usize| {
            for idx in 0..n_launches {
                let output = tensors[1 + idx % 2].clone();
                hidden = gate.measure_bypass(output, hidden.clone()).1;
            }
            let _ = host(gate.previous_norm());
        };
        launch(n_launches / 10);
        let before = resident_bytes();
        launch(n_launches);
        let grown = resident_bytes().saturating_sub(before);
        // A launch that kept its output would have kept 256 KiB each time.
        let leaked = n_launches as u64 * 16 * 4096 * 4;
        assert!(
            grown < leaked / 2,
            "{name}: {grown} bytes after {n_launches} launches"
        );
    }
}

/// What the process holds in memory; 0 where the system does not say.
fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|statm| statm.split_whitespace().nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_shape_and_alpha_agree_with_the_reference(
        batch in 1usize..4,
        seq in 1usize..9,
        width in 1usize..300,
        n_layers in 1usize..9,
        alpha in 0.0f32..2.0,
        seed in any::<u64>(),
    ) {
        let states = States::random([batch, seq, width], n_layers, 3.0, seed);
        for (name, device) in devices() {
            // Every width is a kernel of its own, which a software renderer compiles slowly.
            if name == "flex" {
                let states = States { dims: states.dims, values: states.values.clone() };
                check_states(&device, DType::F32, states, alpha);
            }
        }
    }
}
