//! The choices in which decoders differ and which a kernel heeds.

/// The function that gates an MLP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Activation {
    /// `x · sigmoid(x)` (SiLU, also called swish).
    #[default]
    Silu,
    /// `x / 2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`, an approximation of GELU (Hendrycks and Gimpel 2016,
    /// arXiv 1606.08415).
    GeluTanh,
}

/// How the weight of a norm acts on a normed state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NormForm {
    /// The state is multiplied by the weight, after it was rounded to its data type.
    #[default]
    Weight,
    /// The state is multiplied by the weight in f32, and the product is rounded.
    WeightInF32,
    /// The state is multiplied by one plus the weight in f32, and the product is rounded.
    OnePlusWeight,
}

/// How products of queries and keys are changed before the softmax.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    /// The products are multiplied by this number.
    pub scale: f32,
    /// Bounds the scaled products softly: `cap · tanh(score / cap)` (Gemma 2, arXiv 2408.00118). `None` leaves them as
    /// they are.
    pub soft_cap: Option<f32>,
}

impl Scores {
    /// Returns the scaling of Vaswani et al. (2017, arXiv 1706.03762): `1 / √head_dim`, and no bound.
    ///
    /// ```
    /// assert_eq!(lac_kernels::Scores::of_head_dim(64).scale, 0.125);
    /// ```
    pub fn of_head_dim(head_dim: usize) -> Self {
        Self {
            scale: (head_dim as f64).powf(-0.5) as f32,
            soft_cap: None,
        }
    }
}
