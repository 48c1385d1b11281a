//! Errors of a pass, of generation and of plans.

use std::fmt;

/// An error of the user's own code (a policy, an observer, a token sink).
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A hidden state of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StateAt {
    /// The embedding, before any layer.
    Embedding,
    /// The output of the layer with this index, counted from 0.
    Layer(usize),
}

impl fmt::Display for StateAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StateAt::Embedding => write!(f, "the embedding"),
            StateAt::Layer(layer_idx) => write!(f, "layer {layer_idx}"),
        }
    }
}

/// An error of a pass or of generation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A hidden state holds NaN or infinity, or its square overflows in f32.
    #[error(
        "the norm after {state} is {norm} at position {position} of row {row}: \
         the weights or the input hold non-finite or far too large values, or the data type is too narrow"
    )]
    NonFiniteNorm {
        /// The state whose norm it is.
        state: StateAt,
        /// Row of the batch.
        row: usize,
        /// Position of the token in its row, padding not counted.
        position: usize,
        /// The norm as computed.
        norm: f32,
    },

    /// The logits of a row hold NaN, or no finite value at all.
    #[error(
        "the logits of row {row} at position {position} are not finite: no token can be chosen"
    )]
    NonFiniteLogits {
        /// Row of the batch.
        row: usize,
        /// Position of the token whose successor was to be chosen.
        position: usize,
    },

    /// A setting lies outside its range.
    #[error("{field} is {value}, expected {expected}")]
    InvalidConfig {
        /// Name of the setting.
        field: &'static str,
        /// The value as given.
        value: String,
        /// What is allowed.
        expected: &'static str,
    },

    /// There is no prompt, or a prompt without a token.
    #[error("the prompt of row {row} is empty: at least one token is needed")]
    EmptyPrompt {
        /// Row of the batch.
        row: usize,
    },

    /// A prompt holds a token id that the model has no embedding for.
    #[error(
        "token id {id} at position {position} of row {row} is outside the vocabulary of {vocab_size} tokens"
    )]
    TokenOutOfVocabulary {
        /// The id.
        id: u32,
        /// Row of the batch.
        row: usize,
        /// Position in the row.
        position: usize,
        /// Number of tokens of the vocabulary.
        vocab_size: usize,
    },

    /// A prompt is longer than the model's context. A prompt that exactly fills the context is allowed: it yields one
    /// token.
    #[error("the prompt of row {row} has {length} tokens, the model's context holds {max_context}")]
    ContextTooLong {
        /// Row of the batch.
        row: usize,
        /// Number of tokens of the prompt.
        length: usize,
        /// Number of positions that the model was made for.
        max_context: usize,
    },

    /// The device does not have a data type that a setting needs.
    #[error("the device does not support {dtype}, which {needed_by} needs")]
    UnsupportedDtype {
        /// Name of the data type.
        dtype: &'static str,
        /// The setting that needs it.
        needed_by: &'static str,
    },

    /// A computation failed on the device. burn reports this when data is read.
    #[error("the device failed while {doing}: {reason}")]
    Device {
        /// What was being done.
        doing: &'static str,
        /// The device's own words.
        reason: String,
    },

    /// A layer policy failed.
    #[error("the layer policy failed at layer {layer_idx}")]
    Policy {
        /// The layer that the policy was asked about.
        layer_idx: usize,
        /// The policy's own error.
        #[source]
        source: BoxError,
    },

    /// A policy runs a sublayer alone, or leaves the keys of a skipped layer out, and the model does not offer that.
    #[error(
        "the policy wants attention and MLP of layer {layer_idx} apart or its keys left out, \
         and this model offers neither: LayerStack::sublayers is not implemented"
    )]
    SublayersNotOffered {
        /// The layer.
        layer_idx: usize,
    },

    /// A policy skips a layer, and the model does not say what happens to its cache.
    #[error(
        "layer {layer_idx} is to be skipped, and this model does not implement LayerStack::skip_layer: \
         compute the layer's keys and values there, or return Ok(()) if the model keeps no cache"
    )]
    SkipNotOffered {
        /// The layer.
        layer_idx: usize,
    },

    /// The pass is for another batch or sequence length than the states have.
    #[error(
        "the pass is for {expected:?} (batch, seq), the states have the shape {found:?} (batch, seq, hidden): \
         make the pass for the tensor that goes through the layers"
    )]
    PassShape {
        /// Batch and sequence length of the pass.
        expected: [usize; 2],
        /// Shape of the states.
        found: [usize; 3],
    },

    /// A layer returned a state of another shape than it received.
    #[error(
        "layer {layer_idx} received a state of the shape {received:?} and returned {returned:?}: \
         a layer has to keep batch, seq and hidden"
    )]
    LayerShape {
        /// The layer.
        layer_idx: usize,
        /// Shape of the state that it received, `[batch, seq, hidden]`.
        received: [usize; 3],
        /// Shape of the state that it returned.
        returned: [usize; 3],
    },

    /// An intervention is to happen at a layer that the model does not have.
    #[error("{what}: the model's layers count from 0 to {}", n_layers.saturating_sub(1))]
    NoSuchLayer {
        /// The intervention, which names the layer.
        what: String,
        /// The layer.
        layer_idx: usize,
        /// Number of layers of the model.
        n_layers: usize,
    },

    /// A layer's routing does not fit its model or the pass.
    #[error(
        "the routing of layer {layer_idx} has the shape {found:?} (batch, seq, chosen) in a pass of {expected:?} (batch, \
         seq) through {n_layers} layers"
    )]
    RoutingShape {
        /// The layer.
        layer_idx: usize,
        /// Number of layers of the model.
        n_layers: usize,
        /// Batch and sequence length of the pass.
        expected: [usize; 2],
        /// Shape of the routing.
        found: [usize; 3],
    },

    /// A plan is not valid, or not for this model.
    #[error(transparent)]
    Plan(#[from] PlanError),

    /// Speculation was given no prompt, or more than one.
    #[error("speculation continues one prompt at a time, {n_prompts} were given")]
    SpeculationBatch {
        /// Number of prompts.
        n_prompts: usize,
    },

    /// A drafter has proposed a token that the model does not have.
    #[error("a drafter has proposed token id {id}, outside the vocabulary of {vocab_size} tokens")]
    DraftedBeyondVocabulary {
        /// The id.
        id: u32,
        /// Number of tokens of the vocabulary.
        vocab_size: usize,
    },

    /// A drafting pass asked for second weights, and the model has none.
    #[error(
        "a drafter asks for second weights, and CausalLm::second_weights of this model returns none"
    )]
    NoSecondWeights,

    /// A drafter failed.
    #[error("the drafter {name:?} failed")]
    Drafter {
        /// The drafter's name.
        name: String,
        /// The drafter's own error.
        #[source]
        source: BoxError,
    },

    /// An observer failed.
    #[error("the observer failed")]
    Observer(#[source] BoxError),

    /// A token sink failed.
    #[error("the receiver of generated tokens failed")]
    Sink(#[source] BoxError),
}

impl Error {
    /// Wraps a device error with what was being done.
    pub(crate) fn device(doing: &'static str, reason: impl fmt::Display) -> Self {
        Error::Device {
            doing,
            reason: reason.to_string(),
        }
    }
}

/// Why a plan cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The plan was made on another model.
    #[error(
        "the plan was made on another model: its {field} is {plan}, this model's is {model}; \
         make a plan on this model"
    )]
    OtherModel {
        /// The part of the fingerprint that differs.
        field: &'static str,
        /// Its value in the plan.
        plan: String,
        /// Its value in the model.
        model: String,
    },
    /// The plan was made by an earlier version, which knew a model by a sample of its weights.
    #[error(
        "the plan knows its model by a sample of the weights, which does not see every change; make the plan \
         again on this model"
    )]
    SampledWeights,
    /// The plan was made by a later version.
    #[error("the plan is of format {format}, this version reads format {supported}")]
    Format {
        /// The plan's format.
        format: u32,
        /// The format that this version reads.
        supported: u32,
    },
    /// The plan is for another number of layers than the model has.
    #[error("the plan of the {phase} phase is for {plan} layers, the model has {model}")]
    OtherDepth {
        /// The phase.
        phase: &'static str,
        /// Number of layers in the plan.
        plan: usize,
        /// Number of layers of the model.
        model: usize,
    },
    /// A list names a layer that the model does not have.
    #[error("{list} names layer {layer_idx}, expected one of 0 to {}", n_layers.saturating_sub(1))]
    NoSuchLayer {
        /// The list.
        list: &'static str,
        /// The layer that it names.
        layer_idx: usize,
        /// Number of layers.
        n_layers: usize,
    },
    /// A layer is named twice.
    #[error("layer {layer_idx} is named twice: once in {list}, and before")]
    NamedTwice {
        /// The list that names it again.
        list: &'static str,
        /// The layer.
        layer_idx: usize,
    },
    /// A selection of layers is impossible.
    #[error("{what} is {value}, expected {expected}")]
    Selection {
        /// The setting.
        what: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// The plan's provenance is not valid.
    #[error("provenance.{field} is {value}, expected {expected}")]
    Provenance {
        /// The field.
        field: String,
        /// Its value.
        value: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// What layers are to be ranked by was not measured.
    #[error("layers are to be ranked by {what}, which was not measured in these passes")]
    NotMeasured {
        /// What they are to be ranked by.
        what: &'static str,
    },
    /// No token of a phase was traced, so that there is nothing to choose layers by.
    #[error("no token of the {phase} phase was traced: there is nothing to choose layers by")]
    NoEvidence {
        /// The phase.
        phase: &'static str,
    },
}
