//! One pass of tokens through a language model, without a loop around it.

use burn::tensor::Tensor;

use super::sampling::read_rows;
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

/// Runs one pass up to the logits of the last slot, `[batch, vocab]`.
pub(super) fn forward_pass<M: CausalLm + ?Sized>(
    model: &M,
    pass: &Pass,
    context: &mut M::Context,
    policy: &mut dyn LayerPolicy,
    observer: &mut dyn Observer,
) -> Result<Tensor<2>> {
    let out = forward_hidden(model, pass, context, policy)?;
    // The head is by far the widest matrix of a model: only the newest token goes through it.
    let last = out.hidden.narrow(1, pass.seq() - 1, 1);
    let logits = model.logits(last).squeeze_dim::<2>(1);
    if observer.wants_records() || out.readings.is_gated() {
        let record = out.readings.read(pass)?;
        observer.pass(&record).map_err(Error::Observer)?;
    }
    Ok(logits)
}

/// Returns the logits of the newest token of a pass over one row, without an observer.
pub(crate) fn last_logits<M: CausalLm + ?Sized>(
    model: &M,
    pass: &Pass,
    context: &mut M::Context,
    policy: &mut dyn LayerPolicy,
) -> Result<Vec<f32>> {
    let logits = forward_pass(model, pass, context, policy, &mut ())?;
    Ok(read_rows(logits)?.swap_remove(0))
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
