//! The experts of a decoder's sparse layers.

pub use lac_kernels::RouterWeights;

/// The experts of a decoder, of which each token goes through a few in every sparse layer (Shazeer et al. 2017,
/// arXiv 1701.06538).
///
/// ```
/// use lac_models::DecoderConfig;
/// use lac_models::decoder::ExpertsConfig;
///
/// // Eight experts, two of them for each token, in every layer but the first.
/// let experts = ExpertsConfig::new(8, 2, 20).with_dense_layers(vec![0]);
/// let config = DecoderConfig::new(64, 16, 2, 4).with_experts(Some(experts));
/// assert!(config.experts_of(0).is_none() && config.experts_of(1).is_some());
/// assert_eq!((config.n_parameters(), config.n_parameters_per_token()), (15_056, 9_296));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExpertsConfig {
    /// Number of experts of a layer.
    pub n_experts: usize,
    /// Number of experts that a token goes through.
    pub n_chosen: usize,
    /// Width inside an expert.
    pub intermediate_size: usize,
    /// Width inside the expert that every token goes through, in addition to the chosen ones and weighted by the sigmoid of
    /// a gate of its own; `None` where there is no such expert.
    pub shared_intermediate_size: Option<usize>,
    /// How the weights of the chosen experts follow from the router's softmax.
    pub weights: RouterWeights,
    /// Indices of the layers that have a dense MLP in place of experts.
    pub dense_layers: Vec<usize>,
}

impl ExpertsConfig {
    /// Describes experts in every layer, `n_chosen` of them for each token, whose weights are divided by their sum; no
    /// shared expert.
    pub fn new(n_experts: usize, n_chosen: usize, intermediate_size: usize) -> Self {
        Self {
            n_experts,
            n_chosen,
            intermediate_size,
            shared_intermediate_size: None,
            weights: RouterWeights::Renormalised,
            dense_layers: Vec::new(),
        }
    }

    /// Sets the width of the expert that every token goes through; `None` for no such expert.
    #[must_use]
    pub fn with_shared_intermediate_size(mut self, size: Option<usize>) -> Self {
        self.shared_intermediate_size = size;
        self
    }

    /// Sets how the weights of the chosen experts follow from the router's softmax.
    #[must_use]
    pub fn with_weights(mut self, weights: RouterWeights) -> Self {
        self.weights = weights;
        self
    }

    /// Sets the layers that have a dense MLP in place of experts.
    #[must_use]
    pub fn with_dense_layers(mut self, dense_layers: Vec<usize>) -> Self {
        self.dense_layers = dense_layers;
        self
    }

    /// Returns why no layer can have these experts.
    pub(super) fn contradiction(&self) -> Option<&'static str> {
        let sizes = [
            self.n_experts,
            self.n_chosen,
            self.intermediate_size,
            self.shared_intermediate_size.unwrap_or(1),
        ];
        if sizes.contains(&0) {
            Some("a number of experts, or a width of theirs, is 0")
        } else if self.n_chosen > self.n_experts {
            Some("a token goes through more experts than there are")
        } else {
            None
        }
    }

    /// Returns the number of parameters of a layer's router and experts, where `n_read` of the experts count.
    pub(super) fn n_parameters(&self, hidden_size: usize, n_read: usize) -> u128 {
        let size = |n: usize| n as u128;
        let hidden = size(hidden_size);
        let experts = 3 * hidden * size(self.intermediate_size) * size(n_read);
        let shared = match self.shared_intermediate_size {
            None => 0,
            Some(width) => 3 * hidden * size(width) + hidden,
        };
        size(self.n_experts) * hidden + experts + shared
    }
}
