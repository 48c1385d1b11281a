//! A model of one's own, gated, trained through the gate, and gated again, on the CPU and on a GPU.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Device, DeviceType, Distribution, Tensor};
use lac_core::{Bypass, GateConfig, LastActive, LayerStack, Observer, Pass, Usage, run_layers};

const WIDTH: usize = 16;
const LAYERS: usize = 6;
const ROWS: usize = 8;
const TOKENS: usize = 5;

/// Residual layers over a state `[batch, seq, WIDTH]`.
#[derive(Module, Debug)]
struct Tower {
    layers: Vec<Linear>,
}

impl Tower {
    fn new(device: &Device) -> Self {
        let layer = |_| LinearConfig::new(WIDTH, WIDTH).init(device);
        Self {
            layers: (0..LAYERS).map(layer).collect(),
        }
    }
}

impl LayerStack for Tower {
    type Context = ();

    fn n_layers(&self) -> usize {
        self.layers.len()
    }

    fn forward_layer(&self, layer_idx: usize, hidden: Tensor<3>, _: &mut ()) -> Tensor<3> {
        hidden.clone() + self.layers[layer_idx].forward(hidden).tanh()
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The share of layers that worked, over all tokens.
fn usage(model: &Tower, input: Tensor<3>) -> Result<f64, Failure> {
    let pass = Pass::states(ROWS, TOKENS);
    let mut policy = Bypass::new(GateConfig::new(0.8));
    let out = run_layers(model, input, &mut (), &pass, &mut policy)?;
    let record = out.readings.read(&pass)?;
    assert_eq!(record.executed(), [true; LAYERS]);
    let gate = record.gate.as_ref().ok_or("Bypass gates")?;
    assert!(gate.norms.iter().all(|norm| norm.is_finite()));
    let mut usage = Usage::default();
    usage.pass(&record)?;
    Ok(usage.prompt.mean().ok_or("there were tokens")?)
}

fn check(name: &str, device: &Device) -> Result<(), Failure> {
    device.seed(1);
    let training = device.clone().autodiff();
    let input = Tensor::<3>::random([ROWS, TOKENS, WIDTH], Distribution::Default, device);
    let mut model = Tower::new(&training);
    let mut optimizer = AdamConfig::new().init();
    let before = usage(&model.valid(), input.clone())?;
    // The gate's choice is part of what is trained: each token's last active layer is to give the
    // input, turned around.
    let pass = Pass::states(ROWS, TOKENS);
    let target = (-input.clone()).autodiff();
    let mut losses = Vec::new();
    for _ in 0..30 {
        let mut policy = LastActive::new(GateConfig::new(0.2));
        let state = input.clone().autodiff();
        let out = run_layers(&model, state, &mut (), &pass, &mut policy)?;
        let loss = (out.hidden - target.clone()).powi_scalar(2).mean();
        losses.push(loss.clone().into_scalar::<f32>());
        let grads = GradientsParams::from_grads(loss.backward(), &model);
        model = optimizer.step(0.01, model, grads);
    }
    let after = usage(&model.valid(), input)?;
    println!(
        "{name}: loss {:.3} to {:.3}, active {before:.2} to {after:.2}",
        losses[0], losses[29]
    );
    assert!(
        losses[29] < 0.7 * losses[0],
        "{name} does not learn: {losses:?}"
    );
    assert!(after < before, "{name}: {before} to {after}");
    Ok(())
}

fn main() -> Result<(), Failure> {
    check("flex", &Device::flex())?;
    let gpus = Device::enumerate(DeviceType::Wgpu).into_vec();
    check(
        "wgpu",
        gpus.first()
            .ok_or("there is no adapter, not even a software one")?,
    )
}
