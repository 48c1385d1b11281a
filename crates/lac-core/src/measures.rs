//! Measures of a layer beside the norm: how far it turns and moves a token's state, and which of its sublayers does it.
//!
//! Block influence is that of ShortGPT (arXiv 2403.03853), `1 − cos(input, output)`; angular distance that of Gromov et al.
//! (arXiv 2403.17887), `arccos(cos(input, output)) / π`; the relative contribution is `‖output − input‖ / ‖input‖`
//! (after Csordás et al., arXiv 2505.13898).

use burn::tensor::{DType, FloatDType, Tensor, TensorData};

use crate::error::{Error, Result};
use crate::pass::first_of_each;

/// What is measured of each layer beside the norm. Nothing by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Measures {
    /// Nothing.
    #[default]
    Off,
    /// Cosine and contribution of every layer.
    Layers,
    /// The same of every layer and of its attention and MLP, and the attention's share of what the layer adds. Layers are
    /// run sublayer by sublayer for it: [`LayerStack::sublayers`](crate::LayerStack::sublayers) has to be implemented.
    Sublayers,
}

/// One measure of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Measure {
    /// The cosine of the angle between the layer's input and output: 0 where one of them is zero.
    Cosine,
    /// `‖output − input‖ / ‖input‖` of the layer.
    Contribution,
    /// The cosine of the attention's input and output, its residual connection included.
    AttentionCosine,
    /// The contribution of the attention.
    AttentionContribution,
    /// The cosine of the MLP's input and output, its residual connection included.
    MlpCosine,
    /// The contribution of the MLP.
    MlpContribution,
    /// The share of the layer's step that the attention has in it: with `a` what the attention adds and `d` what the
    /// layer adds, `⟨a, d⟩ / ⟨d, d⟩`. The MLP's share is the rest. It may be negative or above 1 where the two pull against
    /// each other, and is 0 where the layer adds nothing.
    AttentionShare,
}

impl Measure {
    /// All measures, in the order in which they are kept. The first two are those of [`Measures::Layers`].
    pub const ALL: [Measure; 7] = [
        Measure::Cosine,
        Measure::Contribution,
        Measure::AttentionCosine,
        Measure::AttentionContribution,
        Measure::MlpCosine,
        Measure::MlpContribution,
        Measure::AttentionShare,
    ];

    /// Returns the measure's name in files.
    pub fn name(self) -> &'static str {
        match self {
            Measure::Cosine => "cosine",
            Measure::Contribution => "contribution",
            Measure::AttentionCosine => "attention_cosine",
            Measure::AttentionContribution => "attention_contribution",
            Measure::MlpCosine => "mlp_cosine",
            Measure::MlpContribution => "mlp_contribution",
            Measure::AttentionShare => "attention_share",
        }
    }

    /// Returns the value that a layer which leaves its input as it is has.
    fn at_rest(self) -> f32 {
        match self {
            Measure::Cosine | Measure::AttentionCosine | Measure::MlpCosine => 1.0,
            _ => 0.0,
        }
    }
}

impl Measures {
    /// Returns what is measured, in the order in which it is kept.
    pub fn list(self) -> &'static [Measure] {
        match self {
            Measures::Off => &[],
            Measures::Layers => &Measure::ALL[..2],
            Measures::Sublayers => &Measure::ALL,
        }
    }
}

/// Returns the block influence of a layer with this [cosine](Measure::Cosine), from 0 to 2.
pub fn block_influence(cosine: f32) -> f32 {
    1.0 - cosine
}

/// Returns the angular distance that belongs to a [cosine](Measure::Cosine), from 0 to 1.
pub fn angular_distance(cosine: f32) -> f32 {
    cosine.clamp(-1.0, 1.0).acos() / std::f32::consts::PI
}

/// The measures of one pass, read back to the host.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasureRecord {
    measures: Measures,
    /// `[measure][layer][row][slot]`.
    values: Vec<Vec<f32>>,
}

impl MeasureRecord {
    /// Makes a record of values laid out `[layer][row][slot]`, a list for each of [`Measures::list`]; `None` if there is
    /// another number of lists, or they are not equally long.
    pub fn new(measures: Measures, values: Vec<Vec<f32>>) -> Option<Self> {
        let is_whole = values.len() == measures.list().len()
            && values.windows(2).all(|pair| pair[0].len() == pair[1].len());
        is_whole.then_some(Self { measures, values })
    }

    /// Returns what was measured.
    pub fn measures(&self) -> Measures {
        self.measures
    }

    /// Returns one measure's values, laid out `[layer][row][slot]` as those of [`GateRecord`](crate::GateRecord); `None` if
    /// it was not measured.
    pub fn get(&self, measure: Measure) -> Option<&[f32]> {
        self.values.get(measure as usize).map(Vec::as_slice)
    }

    /// Iterates over the measures with their values.
    pub fn iter(&self) -> impl Iterator<Item = (Measure, &[f32])> {
        let values = self.values.iter().map(Vec::as_slice);
        self.measures.list().iter().copied().zip(values)
    }

    /// Keeps the first `n_slots` of every row's `seq` slots.
    pub(crate) fn keep_first_slots(&mut self, seq: usize, n_slots: usize) {
        for values in &mut self.values {
            *values = first_of_each(values, seq, n_slots);
        }
    }
}

/// The measures of one pass, on the device.
#[derive(Debug)]
pub(crate) struct MeasureReadings {
    measures: Measures,
    /// What was measured of each layer, `[measures, batch, seq]`.
    layers: Vec<Tensor<3>>,
}

/// A layer that was run: its input, its output, and the state between attention and MLP, if there was one, each
/// `[batch, seq, hidden]`.
pub(crate) struct MeasuredLayer<'a> {
    pub(crate) input: &'a Tensor<3>,
    pub(crate) between: Option<&'a Tensor<3>>,
    pub(crate) output: &'a Tensor<3>,
}

impl MeasureReadings {
    /// Starts a pass; `None` if nothing is measured.
    pub(crate) fn start(measures: Measures) -> Option<Self> {
        (measures != Measures::Off).then(|| Self {
            measures,
            layers: Vec::new(),
        })
    }

    /// Measures a layer.
    pub(crate) fn layer(&mut self, layer: MeasuredLayer<'_>) {
        let wide = |state: &Tensor<3>| state.clone().cast(FloatDType::F32);
        let (input, output) = (wide(layer.input), wide(layer.output));
        let whole = Moved::new(input.clone(), output.clone());
        let [cosine, contribution] = [whole.cosine(), whole.contribution()];
        let rows = match self.measures {
            Measures::Off => return,
            Measures::Layers => vec![cosine, contribution],
            Measures::Sublayers => {
                // A layer of which one sublayer was run says itself which state stands between the two.
                let between = wide(layer.between.unwrap_or(layer.output));
                let attention = Moved::new(input.clone(), between.clone());
                let mlp = Moved::new(between.clone(), output.clone());
                let step = output - input.clone();
                let positive = |values: Tensor<2>| values.clamp_min(f32::MIN_POSITIVE);
                let share = dot(between - input, step.clone()) / positive(dot(step.clone(), step));
                vec![
                    cosine,
                    contribution,
                    attention.cosine(),
                    attention.contribution(),
                    mlp.cosine(),
                    mlp.contribution(),
                    share,
                ]
            }
        };
        self.layers.push(Tensor::stack::<3>(rows, 0));
    }

    /// Notes a layer that left its input `[batch, seq, hidden]` as it is.
    pub(crate) fn at_rest(&mut self, input: &Tensor<3>) {
        let [batch, seq, _] = input.dims();
        let options = (&input.device(), DType::F32);
        let rows = self.measures.list().iter();
        let rows = rows.map(|measure| Tensor::<2>::full([batch, seq], measure.at_rest(), options));
        self.layers.push(Tensor::stack::<3>(rows.collect(), 0));
    }

    /// Returns everything as one tensor, `[layers, measures, batch, seq]`; `None` without a layer.
    pub(crate) fn tensor(&self) -> Option<Tensor<4>> {
        let layers = self.layers.clone();
        (!layers.is_empty()).then(|| Tensor::stack::<4>(layers, 0))
    }

    /// Makes a record of what was read of [`tensor`](Self::tensor).
    pub(crate) fn record(&self, data: Option<TensorData>) -> Result<MeasureRecord> {
        let n_measures = self.measures.list().len();
        let mut values = vec![Vec::new(); n_measures];
        if let Some(data) = data {
            let read = data
                .try_into_vec::<f32>()
                .map_err(|error| Error::device("reading measures of layers", error))?;
            let n_tokens = read.len() / (self.layers.len() * n_measures).max(1);
            for (idx, row) in read.chunks(n_tokens.max(1)).enumerate() {
                values[idx % n_measures].extend_from_slice(row);
            }
        }
        Ok(MeasureRecord {
            measures: self.measures,
            values,
        })
    }
}

/// A state that went through a layer or a sublayer, in f32.
struct Moved {
    input: Tensor<3>,
    output: Tensor<3>,
    /// `[batch, seq]`.
    input_norm: Tensor<2>,
}

impl Moved {
    fn new(input: Tensor<3>, output: Tensor<3>) -> Self {
        let input_norm = length(input.clone());
        Self {
            input,
            output,
            input_norm,
        }
    }

    fn contribution(&self) -> Tensor<2> {
        let step = length(self.output.clone() - self.input.clone());
        step / self.input_norm.clone().clamp_min(f32::MIN_POSITIVE)
    }

    /// Takes the cosine from the distance of the two directions, `1 − ½ ‖u − v‖²`: a small angle is lost in the rounding of
    /// a dot product.
    fn cosine(&self) -> Tensor<2> {
        let output_norm = length(self.output.clone());
        let direction = |state: &Tensor<3>, norm: &Tensor<2>| {
            let norm = norm.clone().clamp_min(f32::MIN_POSITIVE);
            state.clone() / norm.unsqueeze_dim::<3>(2)
        };
        let apart =
            direction(&self.input, &self.input_norm) - direction(&self.output, &output_norm);
        let cosine = dot(apart.clone(), apart) * -0.5 + 1.0;
        // A state of zeros has no direction.
        let is_zero = self
            .input_norm
            .clone()
            .min_pair(output_norm)
            .equal_elem(0.0);
        cosine.mask_fill(is_zero, 0.0)
    }
}

/// Returns the dot products of states `[batch, seq, hidden]`, `[batch, seq]`.
fn dot(a: Tensor<3>, b: Tensor<3>) -> Tensor<2> {
    (a * b).sum_dim(2).squeeze_dim::<2>(2)
}

fn length(state: Tensor<3>) -> Tensor<2> {
    dot(state.clone(), state).sqrt()
}
