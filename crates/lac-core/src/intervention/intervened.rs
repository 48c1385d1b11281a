//! The policy that intervenes.

use std::fmt;

use burn::tensor::{Bool, Int, Tensor, TensorData};

use super::tokens::{Selected, TokenSelection};
use crate::decision::Decision;
use crate::delegate;
use crate::error::{BoxError, Error, Result, StateAt};
use crate::gate::select_tokens;
use crate::pass::Pass;
use crate::policy::{LayerPolicy, PolicyEffect, SublayerStep};
use crate::stack::Sublayer;

/// What is ablated of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ablated {
    /// The whole layer.
    Layer,
    /// Its attention or its MLP, with the norm before it.
    Sublayer(Sublayer),
}

/// One intervention.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Intervention {
    /// Nothing is added to the residual stream by a layer or a sublayer. It is not run at all in passes whose tokens are all
    /// selected; in others its output is thrown away for the selected ones.
    ///
    /// The keys and values of selected tokens in an ablated attention are treated as those of a skipped layer where it is
    /// not run, and are the layer's own of the state that passes by where it is: the same ones, unless the inner policy
    /// leaves out keys.
    Ablate {
        /// Index of the layer, from 0.
        layer_idx: usize,
        /// What of the layer.
        what: Ablated,
        /// For which tokens.
        tokens: TokenSelection,
    },
    /// A vector is added to the residual stream.
    Add {
        /// The state that it is added to.
        at: StateAt,
        /// The vector, `[hidden]`, in the device's f32 or the model's data type.
        vector: Tensor<1>,
        /// For which tokens.
        tokens: TokenSelection,
    },
    /// States take the place of the run's own (activation patching), in every row of a batch.
    Replace {
        /// The state that is replaced.
        at: StateAt,
        /// The states of consecutive tokens, `[tokens, hidden]`.
        states: Tensor<2>,
        /// The position at which the first of them is put; the others follow.
        first_position: usize,
    },
}

/// Does what another policy does, with interventions.
///
/// An intervention counts as the layer's own doing: the gate measures the state that is passed on, and so `n_l` is the norm
/// of what the next layer receives. A layer that is not run in a pass is recorded as a skipped one, unless a vector or a
/// state is put there.
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::tensor::{Device, Tensor};
/// use lac_core::error::StateAt;
/// use lac_core::intervention::{Ablated, Intervened, Intervention, TokenSelection};
/// use lac_core::{LayerStack, Off, Pass, run_layers};
///
/// /// Layers that add a number to the hidden state.
/// struct Adds([f32; 3]);
///
/// impl LayerStack for Adds {
///     type Context = ();
///     fn n_layers(&self) -> usize {
///         3
///     }
///     fn forward_layer(&self, layer_idx: usize, hidden: Tensor<3>, _: &mut ()) -> Tensor<3> {
///         hidden + self.0[layer_idx]
///     }
///     fn skip_layer(&self, _: usize, _: &Tensor<3>, _: &mut ()) -> lac_core::Result<()> {
///         Ok(())
///     }
/// }
///
/// let device = Device::flex();
/// let interventions = vec![
///     Intervention::Ablate {
///         layer_idx: 1,
///         what: Ablated::Layer,
///         tokens: TokenSelection::all(),
///     },
///     Intervention::Add {
///         at: StateAt::Layer(2),
///         vector: Tensor::from_floats([100.0], &device),
///         tokens: TokenSelection::positions(1..2),
///     },
/// ];
/// let mut policy = Intervened::new(Off, interventions, 3)?;
/// let embedding = Tensor::<3>::from_floats([[[0.0], [1.0]]], &device);
/// let pass = Pass::states(1, 2);
/// let out = run_layers(&Adds([1.0, 20.0, 5.0]), embedding, &mut (), &pass, &mut policy)?;
/// assert_eq!(out.hidden.into_data().to_vec::<f32>().unwrap(), [6.0, 107.0]);
/// # }
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[derive(Debug)]
pub struct Intervened<P> {
    inner: P,
    interventions: Vec<Intervention>,
    /// Batch and sequence length of the pass.
    pass: [usize; 2],
    /// Which tokens of the pass each intervention concerns.
    selected: Vec<Selected>,
    /// Where the tokens of the pass are in the states that take their place, for each intervention.
    sources: Vec<Vec<Option<usize>>>,
    /// What the layer under way received, where it is ablated for some of the pass's tokens.
    input: Option<Tensor<3>>,
}

impl<P: LayerPolicy> Intervened<P> {
    /// Wraps a policy, for a model with `n_layers` layers; `P` may be a `&mut dyn LayerPolicy` or a box. Interventions at one
    /// place happen in the order in which they are given, and after those of the policy itself.
    ///
    /// # Errors
    /// [`Error::NoSuchLayer`] for an intervention at a layer that the model does not have.
    pub fn new(inner: P, interventions: Vec<Intervention>, n_layers: usize) -> Result<Self> {
        for intervention in &interventions {
            if let StateAt::Layer(layer_idx) = intervention.at()
                && layer_idx >= n_layers
            {
                return Err(Error::NoSuchLayer {
                    what: intervention.to_string(),
                    layer_idx,
                    n_layers,
                });
            }
        }
        Ok(Self {
            inner,
            interventions,
            pass: [0, 0],
            selected: Vec::new(),
            sources: Vec::new(),
            input: None,
        })
    }

    /// Iterates over what is ablated of a layer in this pass, and for which tokens.
    fn ablated(&self, layer_idx: usize) -> impl Iterator<Item = (Ablated, &Selected)> {
        let with_tokens = self.interventions.iter().zip(&self.selected);
        with_tokens.filter_map(move |(intervention, selected)| match intervention {
            Intervention::Ablate {
                layer_idx: at,
                what,
                ..
            } if *at == layer_idx && *selected != Selected::None => Some((*what, selected)),
            _ => None,
        })
    }

    /// Returns the mask of the tokens for which something of a layer is ablated though it is run, `[batch, seq]`; `None` if
    /// there is no such token.
    fn partly_ablated(
        &self,
        layer_idx: usize,
        ablated: Ablated,
        like: &Tensor<3>,
    ) -> Option<Tensor<2, Bool>> {
        let device = like.device();
        self.ablated(layer_idx)
            .filter(|(what, _)| *what == ablated)
            .filter_map(|(_, selected)| selected.mask(self.pass, &device))
            .reduce(Tensor::bool_or)
    }
}

impl Intervention {
    /// Returns the state that is changed; for an ablation, the output of its layer.
    fn at(&self) -> StateAt {
        match self {
            Intervention::Ablate { layer_idx, .. } => StateAt::Layer(*layer_idx),
            Intervention::Add { at, .. } | Intervention::Replace { at, .. } => *at,
        }
    }
}

/// Writes the intervention in words.
impl fmt::Display for Intervention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Intervention::Ablate {
                layer_idx,
                what,
                tokens,
            } => {
                let sublayer = match what {
                    Ablated::Layer => "",
                    Ablated::Sublayer(Sublayer::Attention) => "a",
                    Ablated::Sublayer(Sublayer::Mlp) => "m",
                };
                write!(f, "ablate {layer_idx}{sublayer}{tokens}")
            }
            Intervention::Add { at, tokens, .. } => write!(f, "add after {at}{tokens}"),
            Intervention::Replace {
                at,
                states,
                first_position,
            } => {
                let last = (first_position + states.dims()[0]).saturating_sub(1);
                write!(f, "replace after {at} at {first_position}-{last}")
            }
        }
    }
}

/// Returns the decision without what is ablated.
fn without(decision: Decision, ablated: Ablated) -> Decision {
    match (decision, ablated) {
        (Decision::Run, Ablated::Sublayer(Sublayer::Attention)) => Decision::SkipAttention,
        (Decision::Run, Ablated::Sublayer(Sublayer::Mlp)) => Decision::SkipMlp,
        (Decision::SkipAttention, Ablated::Sublayer(Sublayer::Attention))
        | (Decision::SkipMlp, Ablated::Sublayer(Sublayer::Mlp)) => decision,
        _ => Decision::Skip,
    }
}

impl<P: LayerPolicy> LayerPolicy for Intervened<P> {
    delegate! {
        self, self.inner;
        name gate_config fused_action measures lens is_per_token skipped_keys after finish
    }

    fn effect(&self) -> PolicyEffect {
        if self.interventions.is_empty() {
            self.inner.effect()
        } else {
            PolicyEffect::ChangedStates
        }
    }

    fn begin(&mut self, pass: &Pass, embedding: &Tensor<3>) -> Result<(), BoxError> {
        let [batch, seq, hidden] = embedding.dims();
        self.pass = [batch, seq];
        self.input = None;
        self.selected.clear();
        self.sources.clear();
        for intervention in &self.interventions {
            let (selected, sources) = match intervention {
                Intervention::Ablate { tokens, .. } => (tokens.of(pass), Vec::new()),
                Intervention::Add { tokens, vector, .. } => {
                    check_width(intervention, vector.dims()[0], hidden)?;
                    (tokens.of(pass), Vec::new())
                }
                Intervention::Replace {
                    states,
                    first_position,
                    ..
                } => {
                    let [n_states, width] = states.dims();
                    check_width(intervention, width, hidden)?;
                    let positions = *first_position..first_position + n_states;
                    let source = |(row, slot)| {
                        let at = pass.position(row, slot)?;
                        positions.contains(&at).then(|| at - first_position)
                    };
                    let slots = (0..batch).flat_map(|row| (0..seq).map(move |slot| (row, slot)));
                    let tokens = TokenSelection::positions(positions.clone());
                    (tokens.of(pass), slots.map(source).collect())
                }
            };
            self.selected.push(selected);
            self.sources.push(sources);
        }
        self.inner.begin(pass, embedding)
    }

    fn before(&mut self, layer_idx: usize, hidden: &Tensor<3>) -> Result<Decision, BoxError> {
        let mut decision = self.inner.before(layer_idx, hidden)?;
        let mut keeps_input = false;
        for (ablated, selected) in self.ablated(layer_idx) {
            match selected {
                Selected::All => decision = without(decision, ablated),
                _ => keeps_input |= ablated == Ablated::Layer,
            }
        }
        self.input = keeps_input.then(|| hidden.clone());
        Ok(decision)
    }

    fn runs_sublayers_apart(&self, layer_idx: usize) -> bool {
        let is_partly = |(ablated, selected): (Ablated, &Selected)| {
            ablated != Ablated::Layer && *selected != Selected::All
        };
        self.inner.runs_sublayers_apart(layer_idx) || self.ablated(layer_idx).any(is_partly)
    }

    fn after_sublayer(&mut self, step: SublayerStep<'_>) -> Result<Option<Tensor<3>>, BoxError> {
        let SublayerStep {
            layer_idx,
            sublayer,
            input,
            output,
        } = step;
        let changed = self.inner.after_sublayer(step)?;
        let ablated = Ablated::Sublayer(sublayer);
        let Some(mask) = self.partly_ablated(layer_idx, ablated, input) else {
            return Ok(changed);
        };
        let output = changed.unwrap_or_else(|| output.clone());
        Ok(Some(select_tokens(mask, input.clone(), output)))
    }

    fn change_state(
        &mut self,
        at: StateAt,
        state: &Tensor<3>,
    ) -> Result<Option<Tensor<3>>, BoxError> {
        let mut changed = self.inner.change_state(at, state)?;
        if let (StateAt::Layer(layer_idx), Some(input)) = (at, self.input.take())
            && let Some(mask) = self.partly_ablated(layer_idx, Ablated::Layer, state)
        {
            let output = changed.unwrap_or_else(|| state.clone());
            changed = Some(select_tokens(mask, input, output));
        }
        let here = self
            .interventions
            .iter()
            .zip(&self.selected)
            .zip(&self.sources)
            .filter(|((intervention, selected), _)| {
                intervention.at() == at && **selected != Selected::None
            });
        for ((intervention, selected), sources) in here {
            let before = changed.as_ref().unwrap_or(state).clone();
            let after = match intervention {
                Intervention::Ablate { .. } => continue,
                Intervention::Add { vector, .. } => {
                    let vector = vector.clone().cast(before.dtype());
                    before.clone() + vector.unsqueeze_dims::<3>(&[0, 1])
                }
                Intervention::Replace { states, .. } => {
                    let places = sources.iter().map(|source| source.unwrap_or(0) as i64);
                    let places = TensorData::new(places.collect::<Vec<_>>(), [sources.len()]);
                    let places = Tensor::<1, Int>::from_data(places, &before.device());
                    let states = states.clone().cast(before.dtype());
                    states.select(0, places).reshape(before.dims())
                }
            };
            changed = Some(match selected.mask(self.pass, &state.device()) {
                Some(mask) => select_tokens(mask, after, before),
                None => after,
            });
        }
        Ok(changed)
    }
}

/// Checks that what is put into states is as wide as they are.
fn check_width(intervention: &Intervention, width: usize, hidden: usize) -> Result<(), BoxError> {
    if width == hidden {
        return Ok(());
    }
    Err(format!(
        "{intervention}: what is put in has {width} values a token, the states have {hidden}"
    )
    .into())
}
