//! One pass of tokens through a language model, without a loop around it.

use burn::tensor::{Int, Tensor};

use super::sampling::{read_ids, read_rows};
use crate::error::{Error, Result};
use crate::lens::{MOST_LOGITS, look};
use crate::observer::Observer;
use crate::pass::Pass;
use crate::policy::LayerPolicy;
use crate::record::PassRecord;
use crate::run::{PassOutput, run_layers};
use crate::stack::CausalLm;

/// Runs one pass over prompts without generating, for log-likelihoods, probes and traces of given texts.
///
/// Returns the state for [`CausalLm::logits`], `[batch, seq, hidden]`, and the record of the pass.
///
/// # Errors
/// As [`generate`](crate::generate).
pub fn prompt_pass<M: CausalLm + ?Sized>(
    model: &M,
    prompts: &[Vec<u32>],
    pad_token: u32,
    policy: &mut dyn LayerPolicy,
) -> Result<(Tensor<3>, PassRecord)> {
    check_prompts(model, prompts)?;
    let pass = Pass::prompt(prompts, pad_token)?;
    let mut context = model.new_context(pass.batch(), pass.seq());
    let out = forward_hidden(model, &pass, &mut context, policy)?;
    let record = out.readings.read(&pass)?;
    Ok((out.hidden, record))
}

/// What a pass leaves for the choice of the next tokens.
pub(super) struct Passed {
    /// Of the last slot, `[batch, vocab]`, on the device.
    pub(super) logits: Tensor<2>,
    /// A token for each row where they were chosen on the device; −1 where the logits do not allow it.
    pub(super) ids: Option<Vec<i32>>,
}

/// Runs one pass up to the logits of the last slot. `choose` may choose tokens from them on the device: these are read
/// together with the pass's record, so that the host waits once.
pub(super) fn forward_pass<M: CausalLm + ?Sized>(
    model: &M,
    pass: &Pass,
    context: &mut M::Context,
    policy: &mut dyn LayerPolicy,
    observer: &mut dyn Observer,
    choose: impl FnOnce(&Tensor<2>) -> Option<Tensor<1, Int>>,
) -> Result<Passed> {
    let out = forward_hidden(model, pass, context, policy)?;
    // The head is by far the widest matrix of a model: only the newest token goes through it.
    let last = out.hidden.narrow(1, pass.seq() - 1, 1);
    let logits = model.logits(last).squeeze_dim::<2>(1);
    let mut ids = choose(&logits);
    let mut read = None;
    if observer.wants_records() || out.readings.is_gated() {
        let (record, data) = out.readings.read_with(pass, ids.take())?;
        observer.pass(&record).map_err(Error::Observer)?;
        read = data.map(|data| data.iter::<i32>().collect());
    }
    if let Some(ids) = ids {
        read = Some(read_ids(ids)?);
    }
    Ok(Passed { logits, ids: read })
}

/// Returns the logits of the newest token of a pass over one row, without an observer.
pub(crate) fn last_logits<M: CausalLm + ?Sized>(
    model: &M,
    pass: &Pass,
    context: &mut M::Context,
    policy: &mut dyn LayerPolicy,
) -> Result<Vec<f32>> {
    let passed = forward_pass(model, pass, context, policy, &mut (), |_| None)?;
    Ok(read_rows(passed.logits)?.swap_remove(0))
}

/// Runs one pass from its token ids through the layers, for passes that [`generate`](crate::generate) does not make, such
/// as those over texts that are scored. Nothing is read back from the device.
///
/// # Errors
/// As [`run_layers`](crate::run_layers).
pub fn forward_hidden<M: CausalLm + ?Sized>(
    model: &M,
    pass: &Pass,
    context: &mut M::Context,
    policy: &mut dyn LayerPolicy,
) -> Result<PassOutput> {
    model.begin_pass(pass, context);
    let embedding = model.embed(pass.token_tensor(&model.device()), context);
    let mut out = run_layers(model, embedding, context, pass, policy)?;
    if let Some(lens) = policy.lens() {
        let seen = look(model, &out.states, lens, MOST_LOGITS)?;
        out.readings = out.readings.with_lens(seen);
    }
    Ok(out)
}

pub(crate) fn check_prompts<M: CausalLm + ?Sized>(model: &M, prompts: &[Vec<u32>]) -> Result<()> {
    let vocab_size = model.vocab_size();
    let max_context = model.max_context().unwrap_or(usize::MAX);
    for (row, ids) in prompts.iter().enumerate() {
        if ids.len() > max_context {
            return Err(Error::ContextTooLong {
                row,
                length: ids.len(),
                max_context,
            });
        }
        if let Some(position) = ids.iter().position(|&id| id as usize >= vocab_size) {
            return Err(Error::TokenOutOfVocabulary {
                id: ids[position],
                row,
                position,
                vocab_size,
            });
        }
    }
    Ok(())
}
