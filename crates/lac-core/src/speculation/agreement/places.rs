//! Places in texts at which drafts are tried.

use burn::tensor::Tensor;

use super::calibration_text::CalibrationText;
use super::layer_range::LayerRange;
use crate::error::Result;
use crate::generation::forward_hidden;
use crate::generation::sampling::{argmax, read_rows};
use crate::pass::Pass;
use crate::plan::{PhasePlan, Planned};
use crate::policy::Off;
use crate::run::run_layers;
use crate::speculation::draft_keys::draft_keys;
use crate::stack::CausalLm;

/// The same place in the continuations of some texts, side by side as rows of one pass.
pub(super) struct Place<M: CausalLm + ?Sized> {
    /// Feeds each row's token in this place.
    pass: Pass,
    /// The full model's keys and values of all tokens before.
    context: M::Context,
    /// The tokens that follow; `None` for texts that are over by then.
    next: Vec<Option<u32>>,
    /// The states before each layer, and after the last, under the plan that was run: `[rows, 1, hidden]`.
    states: Vec<Tensor<3>>,
}

/// Texts that are side by side in a pass.
const ROWS: usize = 8;

/// Runs the full model over the texts and returns the places.
pub(super) fn places<M: CausalLm + ?Sized>(
    model: &M,
    texts: &[CalibrationText],
    positions_per_text: usize,
) -> Result<Vec<Place<M>>> {
    // Two tokens at least: one to draft after, and one to agree on.
    let mut texts: Vec<&CalibrationText> = texts
        .iter()
        .filter(|text| text.n_prompt > 0 && text.ids.len() >= text.n_prompt + 2)
        .collect();
    // Texts of similar length leave little padding.
    texts.sort_by_key(|text| (text.n_prompt, text.ids.len()));
    let mut places = Vec::new();
    for rows in texts.chunks(ROWS) {
        places.extend(places_of(model, rows, positions_per_text)?);
    }
    Ok(places)
}

fn places_of<M: CausalLm + ?Sized>(
    model: &M,
    texts: &[&CalibrationText],
    positions_per_text: usize,
) -> Result<Vec<Place<M>>> {
    let prompts: Vec<&[u32]> = texts
        .iter()
        .map(|text| &text.ids[..text.n_prompt])
        .collect();
    let responses: Vec<&[u32]> = texts
        .iter()
        .map(|text| &text.ids[text.n_prompt..])
        .collect();
    let n_prompt = prompts.iter().map(|ids| ids.len()).max().unwrap_or(0);
    let n_response = responses.iter().map(|ids| ids.len()).max().unwrap_or(0);
    let prompt = Pass::prompt(&prompts, 0)?;
    let mut full = model.new_context(texts.len(), n_prompt + n_response);
    forward_hidden(model, &prompt, &mut full, &mut Off)?;
    let rows: Vec<usize> = (0..texts.len()).collect();
    let response = prompt.scored_after(&rows, &responses, 0)?;
    forward_hidden(model, &response, &mut full, &mut Off)?;

    // The last token has no successor to agree on.
    let range = n_response - 1;
    let n_places = positions_per_text.min(range);
    let place = |idx: usize| {
        let offset = idx * range / n_places;
        let token = |text: &&CalibrationText| text.ids.get(text.n_prompt + offset).copied();
        let next: Vec<Option<u32>> = texts
            .iter()
            .map(|text| text.ids.get(text.n_prompt + offset + 1).copied())
            .collect();
        let ids = texts.iter().map(|text| token(text).unwrap_or(0)).collect();
        let before: Vec<Vec<u32>> = texts
            .iter()
            .map(|text| {
                let n_before = text.n_prompt + offset;
                let mut ids = text.ids[..n_before.min(text.ids.len())].to_vec();
                ids.resize(n_before, 0);
                ids
            })
            .collect();
        let before = Pass::prompt(&before, 0)?;
        let n_slots = before.seq();
        let context = match model.repeat_context(&full, &rows, n_slots, n_slots + 1) {
            Some(context) => context,
            None => {
                let mut context = model.new_context(texts.len(), n_slots + 1);
                forward_hidden(model, &before, &mut context, &mut Off)?;
                context
            }
        };
        Ok(Place {
            pass: before.next(ids, next.iter().map(Option::is_none).collect()),
            context,
            next,
            states: Vec::new(),
        })
    };
    (0..n_places).map(place).collect()
}

/// States that meet the head in one product.
const HEAD_ROWS: usize = 64;

/// Returns, for each place with its state after the last layer, for how many texts the most probable token is the text's
/// next one. The head multiplies the states of several places together.
pub(super) fn agreed<M: CausalLm + ?Sized>(
    model: &M,
    states: &[(&Place<M>, Tensor<3>)],
) -> Result<Vec<usize>> {
    let mut agreed = Vec::with_capacity(states.len());
    for some in states.chunks(HEAD_ROWS / ROWS) {
        let rows = some.iter().map(|(_, state)| state.clone()).collect();
        let logits = read_rows(model.logits(Tensor::cat(rows, 0)).squeeze_dim::<2>(1))?;
        let mut logits = logits.iter();
        for (place, _) in some {
            let agrees = place.next.iter().zip(logits.by_ref());
            let agrees = agrees
                .filter(|(next, logits)| next.is_some_and(|next| argmax(logits) == Some(next)));
            agreed.push(agrees.count());
        }
    }
    Ok(agreed)
}

impl<M: CausalLm + ?Sized> Place<M> {
    /// Returns the number of texts that are not over.
    pub(super) fn n_tried(&self) -> usize {
        self.next.iter().flatten().count()
    }

    /// Runs the layers that a plan keeps, and keeps the states before each layer for [`run_from`](Self::run_from).
    pub(super) fn run(&mut self, model: &M, plan: &PhasePlan) -> Result<()> {
        model.begin_pass(&self.pass, &mut self.context);
        let ids = self.pass.token_tensor(&model.device());
        self.states = vec![model.embed(ids, &self.context)];
        for layer_idx in 0..plan.n_layers() {
            let state = self.states[layer_idx].clone();
            let state = self.run_layers(model, plan, layer_idx..layer_idx + 1, state)?;
            self.states.push(state);
        }
        Ok(())
    }

    /// Returns the state after the last layer of a plan that is the last one that was [run](Self::run) up to the layer
    /// `first`.
    pub(super) fn run_from(
        &mut self,
        model: &M,
        plan: &PhasePlan,
        first: usize,
    ) -> Result<Tensor<3>> {
        model.begin_pass(&self.pass, &mut self.context);
        let state = self.states[first].clone();
        self.run_layers(model, plan, first..plan.n_layers(), state)
    }

    /// Returns the state after the last layer of the plan that was [run](Self::run).
    pub(super) fn last_state(&self) -> Tensor<3> {
        self.states[self.states.len() - 1].clone()
    }

    fn run_layers(
        &mut self,
        model: &M,
        plan: &PhasePlan,
        layers: std::ops::Range<usize>,
        state: Tensor<3>,
    ) -> Result<Tensor<3>> {
        let part = PhasePlan::new(plan.decisions()[layers.clone()].to_vec());
        let mut policy = Planned::from_phases(part.clone(), part, draft_keys(model));
        let stack = LayerRange::new(model, layers);
        let out = run_layers(&stack, state, &mut self.context, &self.pass, &mut policy)?;
        Ok(out.hidden)
    }
}
