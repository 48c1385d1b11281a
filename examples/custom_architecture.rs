//! A model of your own, made traceable.
//!
//! The first half is a small GPT-style decoder written against burn alone: it knows nothing of
//! lac. The second half, between the two lines of `=`, is all it takes to gate, trace, skip and
//! generate with it. `main` then uses it.
//!
//! ```text
//! cargo run --release --example custom_architecture
//! ```
//!
//! Expect, at once, three continuations of "Once upon a time": token ids, the share of layers that
//! were active in each phase, and the layers executed, all eight under `trace` and `last-active`, as
//! many as moved the norm under `halt`; a picture of the prompt; and that drafting with six layers
//! changed no token. Weights are random, from a fixed seed: which layers work means nothing, and
//! skipping them changes the text.

use burn::module::Module;
use burn::nn::{
    Embedding, EmbeddingConfig, Gelu, LayerNorm, LayerNormConfig, Linear, LinearConfig,
};
use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Device, Int, Tensor};
use lac_core::{
    CausalLm, GateConfig, GenerateArgs, GenerationConfig, Halt, LastActive, LayerPolicy,
    LayerStack, Pass, Result, Trace, Usage, generate,
    plan::PhasePlan,
    speculation::{DraftLength, SpeculationConfig, Speculator, verify_speculation},
};
use lac_trace::{Recorder, Style, heat_map};

const VOCAB: usize = 256;
const HIDDEN: usize = 64;
const HEADS: usize = 4;
const LAYERS: usize = 8;
const CONTEXT: usize = 128;

/// Keys and values of the tokens so far, `[batch, heads, tokens, head_dim]` each.
type Cache = Option<(Tensor<4>, Tensor<4>)>;

/// A layer: attention and MLP, each behind a layer norm.
#[derive(Module, Debug)]
struct Block {
    norm_attention: LayerNorm,
    query_key_value: Linear,
    attention_out: Linear,
    norm_mlp: LayerNorm,
    mlp_in: Linear,
    gelu: Gelu,
    mlp_out: Linear,
}

impl Block {
    fn new(device: &Device) -> Self {
        let linear = |width_in, width_out| LinearConfig::new(width_in, width_out).init(device);
        Self {
            norm_attention: LayerNormConfig::new(HIDDEN).init(device),
            query_key_value: linear(HIDDEN, 3 * HIDDEN),
            attention_out: linear(HIDDEN, HIDDEN),
            norm_mlp: LayerNormConfig::new(HIDDEN).init(device),
            mlp_in: linear(HIDDEN, 4 * HIDDEN),
            gelu: Gelu::new(),
            mlp_out: linear(4 * HIDDEN, HIDDEN),
        }
    }

    /// Queries, keys and values of a state `[batch, seq, hidden]`, `[batch, heads, seq, head_dim]` each.
    fn project(&self, hidden: Tensor<3>) -> [Tensor<4>; 3] {
        let [batch, seq, _] = hidden.dims();
        let projected = self
            .query_key_value
            .forward(self.norm_attention.forward(hidden));
        [0, 1, 2].map(|part| {
            let part = projected.clone().narrow(2, part * HIDDEN, HIDDEN);
            part.reshape([batch, seq, HEADS, HIDDEN / HEADS])
                .swap_dims(1, 2)
        })
    }

    /// `hidden` is `[batch, seq, hidden]`; `key_mask` is `[batch, 1, seq, tokens]`.
    fn forward(
        &self,
        hidden: Tensor<3>,
        key_mask: Tensor<4, Bool>,
        cache: &mut Cache,
    ) -> Tensor<3> {
        let [batch, seq, _] = hidden.dims();
        let [queries, keys, values] = self.project(hidden.clone());
        let (keys, values) = append(cache, keys, values);
        let scores = queries.matmul(keys.swap_dims(2, 3)) * ((HIDDEN / HEADS) as f64).powf(-0.5);
        let shape = scores.dims();
        let weights = softmax(scores.mask_fill(key_mask.expand(shape), -1e30), 3);
        let attended = weights
            .matmul(values)
            .swap_dims(1, 2)
            .reshape([batch, seq, HIDDEN]);
        let hidden = hidden + self.attention_out.forward(attended);
        let inner = self
            .gelu
            .forward(self.mlp_in.forward(self.norm_mlp.forward(hidden.clone())));
        hidden + self.mlp_out.forward(inner)
    }
}

/// Adds keys and values of new tokens to a cache; returns those of all tokens.
fn append(cache: &mut Cache, keys: Tensor<4>, values: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
    let all = match cache.take() {
        None => (keys, values),
        Some((old_keys, old_values)) => (
            Tensor::cat(vec![old_keys, keys], 2),
            Tensor::cat(vec![old_values, values], 2),
        ),
    };
    cache.insert(all).clone()
}

/// Embeddings of tokens and positions, layers, a final norm and a head.
#[derive(Module, Debug)]
struct Gpt {
    tokens: Embedding,
    positions: Embedding,
    blocks: Vec<Block>,
    norm: LayerNorm,
    head: Linear,
}

impl Gpt {
    fn new(device: &Device) -> Self {
        Self {
            tokens: EmbeddingConfig::new(VOCAB, HIDDEN).init(device),
            positions: EmbeddingConfig::new(CONTEXT, HIDDEN).init(device),
            blocks: (0..LAYERS).map(|_| Block::new(device)).collect(),
            norm: LayerNormConfig::new(HIDDEN).init(device),
            head: LinearConfig::new(HIDDEN, VOCAB).init(device),
        }
    }
}

// ===== the glue: what lac needs to know ==========================================================

/// What the layers need besides the hidden state.
struct Context {
    caches: Vec<Cache>,
    positions: Tensor<2, Int>,
    /// Where a key is hidden from a query, `[batch, 1, seq, tokens]`.
    key_mask: Tensor<4, Bool>,
}

impl LayerStack for Gpt {
    type Context = Context;

    fn n_layers(&self) -> usize {
        self.blocks.len()
    }

    fn forward_layer(
        &self,
        layer_idx: usize,
        hidden: Tensor<3>,
        context: &mut Context,
    ) -> Tensor<3> {
        let cache = &mut context.caches[layer_idx];
        self.blocks[layer_idx].forward(hidden, context.key_mask.clone(), cache)
    }

    // Only policies that do not run every layer ask for this: later tokens find no gap.
    fn skip_layer(
        &self,
        layer_idx: usize,
        hidden: &Tensor<3>,
        context: &mut Context,
    ) -> Result<()> {
        let [_, keys, values] = self.blocks[layer_idx].project(hidden.clone());
        append(&mut context.caches[layer_idx], keys, values);
        Ok(())
    }
}

impl CausalLm for Gpt {
    fn vocab_size(&self) -> usize {
        VOCAB
    }

    fn max_context(&self) -> Option<usize> {
        Some(CONTEXT)
    }

    fn device(&self) -> Device {
        self.head.weight.val().device()
    }

    fn new_context(&self, batch: usize, _capacity: usize) -> Context {
        Context {
            caches: vec![None; self.blocks.len()],
            positions: Tensor::zeros([batch, 1], &self.device()),
            key_mask: Tensor::zeros([batch, 1, 1, 1], &self.device()),
        }
    }

    fn begin_pass(&self, pass: &Pass, context: &mut Context) {
        context.positions = pass.position_tensor(&self.device());
        context.key_mask = pass.key_mask(&self.device()).unsqueeze_dim(1);
        // What an earlier pass left beyond this one's beginning was rolled back.
        for (keys, values) in context.caches.iter_mut().flatten() {
            *keys = keys.clone().narrow(2, 0, pass.past());
            *values = values.clone().narrow(2, 0, pass.past());
        }
    }

    fn embed(&self, token_ids: Tensor<2, Int>, context: &Context) -> Tensor<3> {
        self.tokens.forward(token_ids) + self.positions.forward(context.positions.clone())
    }

    fn logits(&self, hidden: Tensor<3>) -> Tensor<3> {
        self.head.forward(self.norm.forward(hidden))
    }
}

// =================================================================================================

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let device = Device::flex();
    device.seed(1);
    let model = Gpt::new(&device);
    let prompt: Vec<u32> = "Once upon a time".bytes().map(u32::from).collect();
    let config = GenerationConfig::greedy(12);

    let gate = GateConfig::new(0.8);
    let mut policies: [Box<dyn LayerPolicy>; 3] = [
        Box::new(Trace::new(gate)),
        Box::new(LastActive::new(gate)),
        Box::new(Halt::new(gate)),
    ];
    for policy in &mut policies {
        let mut observer = (Recorder::new(0), Usage::default());
        let hooks = GenerateArgs::new(policy.as_mut()).observer(&mut observer);
        let output = generate(&model, std::slice::from_ref(&prompt), &config, hooks)?;
        let (recorder, usage) = observer;
        println!("{}: tokens {:?}", policy.name(), output.rows[0].ids);
        println!(
            "layers active: prompt {:.0} %, response {:.0} %; layers executed per pass: {:?}",
            100.0 * usage.prompt.mean().unwrap_or_default(),
            100.0 * usage.response.mean().unwrap_or_default(),
            usage.response.executed_per_pass(),
        );
        if policy.name() == "trace" {
            let pieces: Vec<String> = "Once upon a time".chars().map(String::from).collect();
            println!(
                "{}",
                heat_map(&recorder.phases.prompt, &pieces, Style::Plain)
            );
        }
    }

    // Six layers draft, all eight verify.
    let plan = PhasePlan::keeping(&[true, true, true, true, true, true, false, false]);
    let speculation = SpeculationConfig::default().with_draft_length(DraftLength::Fixed(3));
    let mut speculator = Speculator::new(plan, speculation)?;
    let verified = verify_speculation(&model, &[prompt], &config, &mut speculator)?;
    println!(
        "speculation: {} of {} drafted tokens accepted, the text is the full model's: {}",
        verified.stats.n_accepted,
        verified.stats.n_drafted,
        verified.divergence.is_none(),
    );
    Ok(())
}
