//! Benchmarks read, asked, scored, interrupted and reported, on the model and the sets that the
//! project carries.

#![allow(clippy::unwrap_used)]

mod corruption;
mod data;
mod harness;
mod perplexity;
mod recorded;
mod resuming;
mod scoring;

use std::path::Path;

use burn::tensor::{Device, Int, Tensor};
use lac_core::{BoxError, CausalLm, LayerPolicy, LayerStack, Off, Pass, PolicyEffect};
use lac_eval::data::Split;
use lac_eval::run::StoredTexts;
use lac_eval::{
    Benchmark, DataSet, Evaluation, ItemSelection, ModelId, PolicyRun, PromptSettings, RunConfig,
    Settings,
};
use lac_models::{Decoder, ModelFolder, Tokenizer, WeightDtype, decoder::DecoderContext};
use tempfile::TempDir;

/// The embedded sets, unpacked.
fn sets() -> TempDir {
    let folder = TempDir::new().unwrap();
    lac_demo::unpack(lac_demo::set_files(), folder.path()).unwrap();
    folder
}

fn load(benchmark: Benchmark) -> DataSet {
    let folder = sets();
    let place = folder.path().join(benchmark.name());
    DataSet::load(benchmark, &place, Split::Test).unwrap()
}

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

/// The embedded model.
fn model() -> (Decoder, Tokenizer) {
    let folder = TempDir::new().unwrap();
    lac_demo::unpack(lac_demo::model_files(), folder.path()).unwrap();
    let folder = ModelFolder::open(folder.path()).unwrap();
    let model = folder.load(WeightDtype::F32, &Device::flex(), &mut |_| {});
    (model.unwrap(), folder.tokenizer().unwrap())
}

fn policy_run(policy: impl LayerPolicy + 'static) -> PolicyRun {
    PolicyRun::new(Box::new(policy))
}

fn settings(data: &DataSet, prompt: &PromptSettings, runs: &[PolicyRun]) -> Vec<Settings> {
    let model = ModelId {
        name: "demo".into(),
        fingerprint: "demo".into(),
        dtype: "f32".into(),
    };
    Settings::of_runs(data, prompt, &model, runs)
}

fn limit(n: usize) -> ItemSelection {
    ItemSelection {
        limit: Some(n),
        ..ItemSelection::default()
    }
}

fn evaluation<'a>(
    requests: &'a [lac_eval::Request],
    prompt: &'a PromptSettings,
    tokenizer: &'a Tokenizer,
    batch_size: usize,
) -> Evaluation<'a> {
    Evaluation {
        requests,
        prompt,
        text: tokenizer,
        config: RunConfig {
            batch_size,
            texts: StoredTexts::Answers,
        },
    }
}

/// A model that cannot repeat a context, as most models of users' own.
struct Plain(Decoder);

impl LayerStack for Plain {
    type Context = DecoderContext;

    fn n_layers(&self) -> usize {
        self.0.n_layers()
    }

    fn forward_layer(
        &self,
        layer_idx: usize,
        hidden: Tensor<3>,
        context: &mut DecoderContext,
    ) -> Tensor<3> {
        self.0.forward_layer(layer_idx, hidden, context)
    }

    fn skip_layer(
        &self,
        layer_idx: usize,
        hidden: &Tensor<3>,
        context: &mut DecoderContext,
    ) -> lac_core::Result<()> {
        self.0.skip_layer(layer_idx, hidden, context)
    }
}

impl CausalLm for Plain {
    fn vocab_size(&self) -> usize {
        self.0.vocab_size()
    }

    fn max_context(&self) -> Option<usize> {
        self.0.max_context()
    }

    fn device(&self) -> Device {
        self.0.device()
    }

    fn new_context(&self, batch: usize, capacity: usize) -> DecoderContext {
        self.0.new_context(batch, capacity)
    }

    fn begin_pass(&self, pass: &Pass, context: &mut DecoderContext) {
        self.0.begin_pass(pass, context);
    }

    fn embed(&self, token_ids: Tensor<2, Int>, context: &DecoderContext) -> Tensor<3> {
        self.0.embed(token_ids, context)
    }

    fn logits(&self, hidden: Tensor<3>) -> Tensor<3> {
        self.0.logits(hidden)
    }
}

/// Fails at its n-th pass: an interruption that a test can foresee.
struct FailsAt {
    passes_left: usize,
}

impl LayerPolicy for FailsAt {
    fn name(&self) -> &str {
        Off.name()
    }

    fn effect(&self) -> PolicyEffect {
        Off.effect()
    }

    fn begin(&mut self, _: &Pass, _: &Tensor<3>) -> Result<(), BoxError> {
        match self.passes_left.checked_sub(1) {
            Some(left) => self.passes_left = left,
            None => return Err("the power went out".into()),
        }
        Ok(())
    }
}
