//! The tokens that a report shows one by one, column by column.

use std::collections::HashMap;

use lac_core::{Phase, measures::Measure, released_code::GateRounding};

use crate::display::Spelling;
use crate::info::TraceInfo;
use crate::token::Token;

/// The tokens that a page shows one by one.
#[derive(Debug)]
pub(super) struct TokenColumns {
    pub(super) info: TraceInfo,
    pub(super) spelling: Spelling,
    pub(super) sequences: Vec<u32>,
    pub(super) phases: Vec<u8>,
    pub(super) positions: Vec<u32>,
    pub(super) ids: Vec<u32>,
    pub(super) has_ids: bool,
    pub(super) piece_idx: Vec<u32>,
    pub(super) pieces: Vec<(String, String)>,
    pub(super) known: HashMap<String, u32>,
    pub(super) embedding_norms: Vec<f32>,
    pub(super) deltas: Vec<f32>,
    pub(super) active: Vec<bool>,
    pub(super) executed: Vec<bool>,
    pub(super) thresholds: Vec<f32>,
    pub(super) norms: Vec<f32>,
    pub(super) cosines: Vec<f32>,
    pub(super) contributions: Vec<f32>,
}

/// A token as pictures show it.
pub(super) struct ShownToken<'a> {
    pub text: String,
    pub active: &'a [bool],
    pub executed: &'a [bool],
}

impl TokenColumns {
    /// Returns the tokens of a phase of the first sequence.
    pub(super) fn first_sequence(&self, phase: Phase) -> Vec<ShownToken<'_>> {
        let wanted = u8::from(phase == Phase::Response);
        let n_layers = self.info.n_layers;
        (0..self.len())
            .filter(|&idx| self.sequences[idx] == self.sequences[0] && self.phases[idx] == wanted)
            .map(|idx| ShownToken {
                text: self.pieces[self.piece_idx[idx] as usize].1.clone(),
                active: &self.active[idx * n_layers..(idx + 1) * n_layers],
                executed: &self.executed[idx * n_layers..(idx + 1) * n_layers],
            })
            .collect()
    }

    pub(super) fn new(info: &TraceInfo) -> Self {
        Self {
            info: info.clone(),
            spelling: Spelling::Plain,
            sequences: Vec::new(),
            phases: Vec::new(),
            positions: Vec::new(),
            ids: Vec::new(),
            has_ids: false,
            piece_idx: Vec::new(),
            pieces: Vec::new(),
            known: HashMap::new(),
            embedding_norms: Vec::new(),
            deltas: Vec::new(),
            active: Vec::new(),
            executed: Vec::new(),
            thresholds: Vec::new(),
            norms: Vec::new(),
            cosines: Vec::new(),
            contributions: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.sequences.len()
    }

    /// Returns whether thresholds and norms follow from deltas alone, as the page computes them.
    pub(super) fn can_recompute(&self) -> bool {
        self.info.can_sweep_alpha() && self.info.gate.rounding == GateRounding::F32
    }

    pub(super) fn push(&mut self, token: &Token<'_>) {
        self.sequences.push(token.sequence);
        self.phases.push(match token.phase {
            Phase::Prompt => 0,
            Phase::Response => 1,
        });
        self.positions.push(token.position);
        self.ids.push(token.token_id.unwrap_or_default());
        self.has_ids |= token.token_id.is_some();
        let label = token.label();
        let next = self.pieces.len() as u32;
        let idx = *self.known.entry(label.clone()).or_insert(next);
        if idx == next {
            self.pieces.push((label, String::new()));
        }
        self.piece_idx.push(idx);
        self.embedding_norms.push(token.embedding_norm);
        self.deltas.extend_from_slice(token.deltas);
        self.active.extend_from_slice(token.active);
        self.executed.extend_from_slice(token.executed);
        if !self.can_recompute() {
            self.thresholds.extend_from_slice(token.thresholds);
            self.norms.extend_from_slice(token.norms);
        }
        let measure = |measure| {
            let measures = token.measures.as_ref();
            measures.and_then(|measures| measures.get(measure))
        };
        self.cosines
            .extend(measure(Measure::Cosine).into_iter().flatten());
        self.contributions
            .extend(measure(Measure::Contribution).into_iter().flatten());
    }

    /// Ends the columns; called when all tokens are there, because how pieces are spelled shows in all of them
    /// together.
    pub(super) fn finish(&mut self) {
        self.spelling = Spelling::of(self.pieces.iter().map(|(piece, _)| piece.as_str()));
        for (piece, text) in &mut self.pieces {
            *text = self.spelling.read(piece);
        }
    }
}
