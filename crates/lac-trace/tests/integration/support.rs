//! Passes out of nowhere, and a small model.

use std::path::Path;

use burn::tensor::module::embedding;
use burn::tensor::{Device, Int, Tensor, TensorData};
use lac_core::{
    CausalLm, Decision, GateConfig, GateRecord, LayerPolicy, LayerStack, Observer, Pass,
    PassRecord, Phase, Trace, routing::RoutingRecord,
};
use lac_trace::routing::ExpertCounts;
use lac_trace::statistics::regate;
use lac_trace::{Token, TraceInfo, TraceReader, TraceWriter};

pub const ALPHA: f32 = 0.5;

/// Numbers that look random and are the same in every run.
pub struct Noise(u64);

impl Noise {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number in `[0, 1)`.
    pub fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1u64 << 24) as f32
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() * n as f32) as usize
    }
}

pub fn info(n_layers: usize) -> TraceInfo {
    TraceInfo::new("noise", n_layers, &Trace::new(GateConfig::new(ALPHA))).unwrap()
}

/// A pass with norms out of nowhere, gated as the gate would.
pub fn record(pass: Pass, n_layers: usize, noise: &mut Noise) -> PassRecord {
    let n_tokens = pass.batch() * pass.seq();
    let n = n_layers * n_tokens;
    let mut gate = GateRecord {
        embedding_norms: (0..n_tokens).map(|_| 1.0 + noise.next()).collect(),
        norms: vec![0.0; n],
        deltas: vec![0.0; n],
        thresholds: vec![0.0; n],
        active: vec![false; n],
    };
    for token in 0..n_tokens {
        let mut norm = gate.embedding_norms[token];
        let mut deltas = Vec::new();
        for layer in 0..n_layers {
            let next = norm + 3.0 * noise.next() - 0.8;
            let at = layer * n_tokens + token;
            gate.norms[at] = next;
            gate.deltas[at] = next - norm;
            deltas.push(next - norm);
            norm = next;
        }
        for (layer, (threshold, active)) in regate(GateConfig::new(ALPHA), &deltas).enumerate() {
            gate.thresholds[layer * n_tokens + token] = threshold;
            gate.active[layer * n_tokens + token] = active;
        }
    }
    PassRecord {
        pass,
        decisions: vec![Decision::Run; n_layers],
        gate: Some(gate),
        routing: Vec::new(),
        measures: None,
        lens: None,
    }
}

/// Experts of a layer, and those of a token.
pub const EXPERTS: [usize; 2] = [5, 2];

/// Adds choices out of nowhere to a pass, in every layer but the first.
pub fn routed(mut record: PassRecord, noise: &mut Noise) -> PassRecord {
    let n_tokens = record.pass.batch() * record.pass.seq();
    let [n_experts, n_chosen] = EXPERTS;
    record.routing = vec![None; record.n_layers()];
    for layer in record.routing.iter_mut().skip(1) {
        let mut routing = RoutingRecord {
            n_experts,
            n_chosen,
            experts: Vec::new(),
            weights: Vec::new(),
        };
        for _ in 0..n_tokens {
            let first = noise.below(n_experts);
            let second = (first + 1 + noise.below(n_experts - 1)) % n_experts;
            routing.experts.extend([first as u32, second as u32]);
            let top = 0.5 + 0.5 * noise.next().abs().min(1.0);
            routing.weights.extend([top, 1.0 - top]);
        }
        *layer = Some(routing);
    }
    record
}

/// What a trace of a model with these experts says of itself.
pub fn routed_info(n_layers: usize) -> TraceInfo {
    let [n_experts, n_chosen] = EXPERTS;
    info(n_layers).with_experts(Some(ExpertCounts::new(n_experts, n_chosen)))
}

/// A generation: a pass over prompts of these lengths, then `n_new` passes of one token. Row `i`
/// ends after `i` fewer of them.
pub fn generation(
    lengths: &[usize],
    n_new: usize,
    n_layers: usize,
    noise: &mut Noise,
) -> Vec<PassRecord> {
    // The first row counts the ids up, so that a long enough one has every hostile piece.
    let prompts: Vec<Vec<u32>> = lengths
        .iter()
        .enumerate()
        .map(|(row, &length)| match row {
            0 => (0..length as u32).map(|id| id % 50).collect(),
            _ => (0..length).map(|_| noise.below(50) as u32).collect(),
        })
        .collect();
    let mut pass = Pass::prompt(&prompts, 0).unwrap();
    let mut records = vec![record(pass.clone(), n_layers, noise)];
    for step in 0..n_new {
        let ids = lengths.iter().map(|_| noise.below(50) as u32).collect();
        let finished = (0..lengths.len()).map(|row| step + row >= n_new).collect();
        pass = pass.next(ids, finished);
        records.push(record(pass.clone(), n_layers, noise));
    }
    records
}

/// Pieces that try to break out of what they are put into.
pub const HOSTILE: [&str; 8] = [
    "</script><script>window.pwned=1</script>",
    "<!--",
    "\"'&amp;",
    "a\u{2028}b\u{2029}c",
    "<img src=x onerror=window.pwned=1>",
    "\u{0}\u{1b}[31m",
    "]]>{{data}}{{script}}",
    "Ġthe",
];

pub fn hostile(id: u32) -> Option<String> {
    Some(match HOSTILE.get(id as usize) {
        Some(piece) => (*piece).to_owned(),
        None => format!("Ġw{id}"),
    })
}

pub fn write(path: &Path, info: TraceInfo, records: &[PassRecord]) {
    let mut writer = TraceWriter::create(path, info)
        .unwrap()
        .with_pieces(hostile);
    for record in records {
        writer.pass(record).unwrap();
    }
    writer.finish().unwrap();
}

/// A token with its own copy of everything, for comparing.
#[derive(Clone, Debug, PartialEq)]
pub struct Owned {
    pub place: (u32, Phase, u32),
    pub id: Option<u32>,
    pub piece: Option<String>,
    pub embedding_norm: f32,
    pub norms: Vec<f32>,
    pub deltas: Vec<f32>,
    pub thresholds: Vec<f32>,
    pub active: Vec<bool>,
    pub executed: Vec<bool>,
}

impl Owned {
    pub fn of(token: &Token<'_>) -> Self {
        Self {
            place: (token.sequence, token.phase, token.position),
            id: token.token_id,
            piece: token.piece.map(str::to_owned),
            embedding_norm: token.embedding_norm,
            norms: token.norms.to_vec(),
            deltas: token.deltas.to_vec(),
            thresholds: token.thresholds.to_vec(),
            active: token.active.to_vec(),
            executed: token.executed.to_vec(),
        }
    }
}

pub fn tokens(trace: &TraceReader) -> Vec<Owned> {
    let mut tokens = Vec::new();
    trace
        .for_each(|token| tokens.push(Owned::of(&token)))
        .unwrap();
    tokens
}

/// Ten layers of `h + tanh(h W)` between an embedding and its transpose. No token sees another.
pub struct Small {
    table: Tensor<2>,
    layers: Vec<Tensor<2>>,
}

pub const HIDDEN: usize = 16;
pub const LAYERS: usize = 10;
const VOCAB: usize = 40;

impl Small {
    pub fn new() -> Self {
        let mut noise = Noise::new(7);
        let mut matrix = |rows: usize, scale: f32| {
            let values: Vec<f32> = (0..rows * HIDDEN)
                .map(|_| scale * (noise.next() - 0.5))
                .collect();
            Tensor::from_data(TensorData::new(values, [rows, HIDDEN]), &Device::flex())
        };
        Self {
            table: matrix(VOCAB, 4.0),
            layers: (0..LAYERS)
                .map(|layer| matrix(HIDDEN, 0.2 + 0.15 * layer as f32))
                .collect(),
        }
    }
}

impl LayerStack for Small {
    type Context = ();

    fn n_layers(&self) -> usize {
        LAYERS
    }

    fn forward_layer(&self, layer_idx: usize, hidden: Tensor<3>, _: &mut ()) -> Tensor<3> {
        let weights = self.layers[layer_idx].clone().unsqueeze::<3>();
        hidden.clone() + hidden.matmul(weights).tanh()
    }

    fn skip_layer(&self, _: usize, _: &Tensor<3>, _: &mut ()) -> lac_core::Result<()> {
        Ok(())
    }
}

impl CausalLm for Small {
    fn vocab_size(&self) -> usize {
        VOCAB
    }

    fn max_context(&self) -> Option<usize> {
        None
    }

    fn device(&self) -> Device {
        self.table.device()
    }

    fn new_context(&self, _batch: usize, _capacity: usize) {}

    fn begin_pass(&self, _pass: &Pass, _context: &mut ()) {}

    fn embed(&self, token_ids: Tensor<2, Int>, _context: &()) -> Tensor<3> {
        embedding(self.table.clone(), token_ids)
    }

    fn logits(&self, hidden: Tensor<3>) -> Tensor<3> {
        hidden.matmul(self.table.clone().transpose().unsqueeze::<3>())
    }
}

pub fn info_of(policy: &dyn LayerPolicy) -> TraceInfo {
    TraceInfo::new("small", LAYERS, policy).unwrap()
}
