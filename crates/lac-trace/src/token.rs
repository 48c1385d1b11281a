//! Tokens and what was seen of them, many at a time.

use std::ops::Range;

use lac_core::Phase;

use crate::lens::{LensColumns, TokenLens};
use crate::measures::{MeasureColumns, TokenMeasures};
use crate::routing::{RoutingColumns, TokenRouting};

/// What was seen of one token in its pass. The slices are `[layers]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Token<'a> {
    /// Which prompt of the run the token belongs to, from 0.
    pub sequence: u32,
    /// Whether it is the prompt's or the response's.
    pub phase: Phase,
    /// Position in its sequence, from 0; the response goes on where the prompt ends.
    pub position: u32,
    /// Its id; `None` for states that are not tokens.
    pub token_id: Option<u32>,
    /// The vocabulary's spelling of it, when the recorder was told.
    pub piece: Option<&'a str>,
    /// Norm of the embedding output.
    pub embedding_norm: f32,
    /// `n_l`: norms after each layer.
    pub norms: &'a [f32],
    /// `Δ_l`: what each layer changed of the norm.
    pub deltas: &'a [f32],
    /// `λ_l`: the threshold each delta was held against.
    pub thresholds: &'a [f32],
    /// Whether the layer was active.
    pub active: &'a [bool],
    /// Whether the layer was run at all.
    pub executed: &'a [bool],
    /// What was measured beside the norm, if anything was.
    pub measures: Option<TokenMeasures<'a>>,
    /// What a lens saw, if there was one.
    pub lens: Option<TokenLens<'a>>,
    /// The experts that the token went through, in a model that has them.
    pub routing: Option<TokenRouting<'a>>,
}

impl Token<'_> {
    /// Returns the number of layers.
    pub fn n_layers(&self) -> usize {
        self.deltas.len()
    }

    /// Returns the number of layers that were active.
    pub fn n_active(&self) -> usize {
        self.active.iter().filter(|&&active| active).count()
    }

    /// Returns the token's text for people: its piece, else its id, else a dash.
    pub fn label(&self) -> String {
        match (self.piece, self.token_id) {
            (Some(piece), _) => piece.to_owned(),
            (None, Some(id)) => format!("#{id}"),
            (None, None) => "–".to_owned(),
        }
    }
}

/// Many tokens, column by column; the matrices are `[tokens][layers]`, flat.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct TokenBatch {
    pub(crate) n_layers: usize,
    pub(crate) sequences: Vec<u32>,
    pub(crate) phases: Vec<Phase>,
    pub(crate) positions: Vec<u32>,
    pub(crate) token_ids: Vec<Option<u32>>,
    pub(crate) pieces: Vec<Option<Box<str>>>,
    pub(crate) embedding_norms: Vec<f32>,
    pub(crate) norms: Vec<f32>,
    pub(crate) deltas: Vec<f32>,
    pub(crate) thresholds: Vec<f32>,
    pub(crate) active: Vec<bool>,
    pub(crate) executed: Vec<bool>,
    pub(crate) measures: Option<MeasureColumns>,
    pub(crate) lens: Option<LensColumns>,
    pub(crate) routing: Option<RoutingColumns>,
    pub(crate) hidden: Vec<HiddenStates>,
}

/// Whole hidden states of one layer, `[tokens][hidden]`, flat.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct HiddenStates {
    /// The layer whose output they are.
    pub layer_idx: usize,
    /// Values per token.
    pub width: usize,
    /// The values of all tokens.
    pub values: Vec<f32>,
}

impl TokenBatch {
    pub(crate) fn new(n_layers: usize) -> Self {
        Self {
            n_layers,
            ..Self::default()
        }
    }

    /// Returns the number of tokens.
    pub fn len(&self) -> usize {
        self.sequences.len()
    }

    /// Returns whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.sequences.is_empty()
    }

    /// Returns one token; `token_idx` counts from 0 and is below [`len`](Self::len).
    pub fn token(&self, token_idx: usize) -> Token<'_> {
        let layers = token_idx * self.n_layers..(token_idx + 1) * self.n_layers;
        Token {
            sequence: self.sequences[token_idx],
            phase: self.phases[token_idx],
            position: self.positions[token_idx],
            token_id: self.token_ids[token_idx],
            piece: self.pieces[token_idx].as_deref(),
            embedding_norm: self.embedding_norms[token_idx],
            norms: &self.norms[layers.clone()],
            deltas: &self.deltas[layers.clone()],
            thresholds: &self.thresholds[layers.clone()],
            active: &self.active[layers.clone()],
            executed: &self.executed[layers],
            measures: self
                .measures
                .as_ref()
                .map(|all| all.of_token(token_idx, self.n_layers)),
            lens: self
                .lens
                .as_ref()
                .map(|all| all.of_token(token_idx, self.n_layers)),
            routing: self
                .routing
                .as_ref()
                .map(|all| all.of_token(token_idx, self.n_layers)),
        }
    }

    /// Iterates over all tokens in their order.
    pub fn tokens(&self) -> impl Iterator<Item = Token<'_>> {
        (0..self.len()).map(|token_idx| self.token(token_idx))
    }

    /// Returns the hidden states of the layers that were probed for them.
    pub fn hidden(&self) -> &[HiddenStates] {
        &self.hidden
    }

    /// Returns the bytes that the columns take, roughly.
    pub(crate) fn n_bytes(&self) -> usize {
        let floats = self.norms.len() + self.deltas.len() + self.thresholds.len();
        let measured = self.measures.as_ref().map_or(0, MeasureColumns::n_values);
        let seen = self.lens.as_ref().map_or(0, LensColumns::n_values);
        let hidden: usize = self.hidden.iter().map(|states| states.values.len()).sum();
        let pieces: usize = self.pieces.iter().flatten().map(|piece| piece.len()).sum();
        let routing = self.routing.as_ref();
        let chosen = routing.map_or(0, |all| all.experts.len() + all.weights.len());
        4 * (floats + measured + seen + hidden + chosen)
            + 2 * self.active.len()
            + pieces
            + 48 * self.len()
    }

    /// Forgets the tokens and keeps the columns' room.
    pub(crate) fn clear(&mut self) {
        self.sequences.clear();
        self.phases.clear();
        self.positions.clear();
        self.token_ids.clear();
        self.pieces.clear();
        self.embedding_norms.clear();
        self.norms.clear();
        self.deltas.clear();
        self.thresholds.clear();
        self.active.clear();
        self.executed.clear();
        if let Some(measures) = &mut self.measures {
            measures.clear();
        }
        if let Some(lens) = &mut self.lens {
            lens.clear();
        }
        if let Some(routing) = &mut self.routing {
            routing.experts.clear();
            routing.weights.clear();
        }
        for states in &mut self.hidden {
            states.values.clear();
        }
    }

    /// Takes over all tokens of another batch with the same columns.
    pub(crate) fn append(&mut self, other: &Self) {
        self.append_range(other, 0..other.len());
    }

    /// Takes over the tokens of some sequences.
    pub(crate) fn append_where(&mut self, other: &Self, is_wanted: impl Fn(u32) -> bool) {
        let mut start = 0;
        for run in other
            .sequences
            .chunk_by(|&a, &b| is_wanted(a) == is_wanted(b))
        {
            let range = start..start + run.len();
            start = range.end;
            if is_wanted(run[0]) {
                self.append_range(other, range);
            }
        }
    }

    fn append_range(&mut self, other: &Self, tokens: Range<usize>) {
        let values = |width: usize| tokens.start * width..tokens.end * width;
        let layers = values(other.n_layers);
        self.sequences
            .extend_from_slice(&other.sequences[tokens.clone()]);
        self.phases.extend_from_slice(&other.phases[tokens.clone()]);
        self.positions
            .extend_from_slice(&other.positions[tokens.clone()]);
        self.token_ids
            .extend_from_slice(&other.token_ids[tokens.clone()]);
        self.pieces.extend_from_slice(&other.pieces[tokens.clone()]);
        self.embedding_norms
            .extend_from_slice(&other.embedding_norms[tokens.clone()]);
        self.norms.extend_from_slice(&other.norms[layers.clone()]);
        self.deltas.extend_from_slice(&other.deltas[layers.clone()]);
        self.thresholds
            .extend_from_slice(&other.thresholds[layers.clone()]);
        self.active.extend_from_slice(&other.active[layers.clone()]);
        self.executed
            .extend_from_slice(&other.executed[layers.clone()]);
        if let Some(more) = &other.measures {
            let measures = self
                .measures
                .get_or_insert_with(|| MeasureColumns::new(more.measures));
            measures.append(more, layers.clone());
        }
        if let Some(more) = &other.lens {
            let lens = self
                .lens
                .get_or_insert_with(|| LensColumns::new(more.n_top));
            lens.append(more, layers);
        }
        if let Some(more) = &other.routing {
            let routing = self
                .routing
                .get_or_insert_with(|| RoutingColumns::new(more.n_chosen));
            routing.append(more, tokens.clone(), other.n_layers);
        }
        if self.hidden.is_empty() {
            let empty = |states: &HiddenStates| HiddenStates {
                layer_idx: states.layer_idx,
                width: states.width,
                values: Vec::new(),
            };
            self.hidden = other.hidden.iter().map(empty).collect();
        }
        for (states, more) in self.hidden.iter_mut().zip(&other.hidden) {
            let values = &more.values[values(more.width)];
            states.values.extend_from_slice(values);
        }
    }
}
