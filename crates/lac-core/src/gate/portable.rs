//! The gate in tensor operations: it runs on every backend, and the kernels are held against it.

use burn::tensor::{Bool, FloatDType, Tensor};

use super::{FirstThreshold, GateConfig, GateReading, GateRounding, l2_norm};
use crate::kernel::Select;

/// The running state over the layers of one pass, per token.
#[derive(Clone, Debug)]
pub(super) struct PortableGate {
    config: GateConfig,
    previous_norm: Tensor<2>,
    delta_range: Option<DeltaRange>,
}

/// The largest and the smallest delta so far, `[batch, seq]` each.
#[derive(Clone, Debug)]
struct DeltaRange {
    max: Tensor<2>,
    min: Tensor<2>,
}

impl PortableGate {
    pub(super) fn start(config: GateConfig, embedding: &Tensor<3>) -> Self {
        Self {
            config,
            previous_norm: round(l2_norm(embedding), config.rounding),
            delta_range: None,
        }
    }

    /// Goes on where another engine stopped: `carried` is the norm that the next layer's is held
    /// against, `extremes` the largest and the smallest delta so far, if there was a layer.
    #[cfg_attr(not(any(feature = "flex", feature = "cube")), allow(dead_code))]
    pub(super) fn resume(
        config: GateConfig,
        carried: Tensor<2>,
        extremes: Option<(Tensor<2>, Tensor<2>)>,
    ) -> Self {
        Self {
            config,
            previous_norm: carried,
            delta_range: extremes.map(|(max, min)| DeltaRange { max, min }),
        }
    }

    pub(super) fn previous_norm(&self) -> &Tensor<2> {
        &self.previous_norm
    }

    pub(super) fn measure(&mut self, output: &Tensor<3>) -> GateReading {
        let rounding = self.config.rounding;
        let norm = round(l2_norm(output), rounding);
        let delta = round(norm.clone() - self.previous_norm.clone(), rounding);
        let threshold = match (&self.delta_range, self.config.first_threshold) {
            (None, FirstThreshold::BatchRange) => self.over_batch(&delta),
            _ => self.next_threshold(),
        };
        self.delta_range = Some(match self.delta_range.take() {
            None => DeltaRange {
                max: delta.clone(),
                min: delta.clone(),
            },
            Some(DeltaRange { max, min }) => DeltaRange {
                max: max.max_pair(delta.clone()),
                min: min.min_pair(delta.clone()),
            },
        });
        self.previous_norm = norm.clone();
        GateReading {
            active: delta.clone().greater_equal(threshold.clone()),
            norm,
            delta,
            threshold,
        }
    }

    pub(super) fn measure_select(
        &mut self,
        output: &Tensor<3>,
        fallback: Tensor<3>,
        select: Select,
    ) -> (GateReading, Tensor<3>) {
        let input_norm = self.previous_norm.clone();
        let reading = self.measure(output);
        if select == Select::KeepInput {
            self.kept(reading.active.clone(), input_norm);
        }
        let selected =
            crate::policy::select_tokens(reading.active.clone(), output.clone(), fallback);
        (reading, selected)
    }

    pub(super) fn next_threshold(&self) -> Tensor<2> {
        match &self.delta_range {
            None => self.previous_norm.zeros_like(),
            Some(DeltaRange { max, min }) => self.threshold(max.clone() - min.clone()),
        }
    }

    /// The same threshold for all rows: of the range that their deltas `[batch, seq]` span.
    fn over_batch(&self, delta: &Tensor<2>) -> Tensor<2> {
        if delta.dims().contains(&0) {
            // There is nothing to take a range of.
            return self.next_threshold();
        }
        let range = delta.clone().max_dim(0) - delta.clone().min_dim(0);
        self.threshold(range).expand(delta.dims())
    }

    fn threshold(&self, range: Tensor<2>) -> Tensor<2> {
        let rounding = self.config.rounding;
        round(round(range, rounding) * self.config.alpha, rounding)
    }

    pub(super) fn kept(&mut self, output_kept: Tensor<2, Bool>, input_norm: Tensor<2>) {
        let measured = self.previous_norm.clone();
        self.previous_norm = input_norm.mask_where(output_kept, measured);
    }

    pub(super) fn replaced(&mut self, state: &Tensor<3>) {
        self.previous_norm = round(l2_norm(state), self.config.rounding);
    }
}

fn round(values: Tensor<2>, rounding: GateRounding) -> Tensor<2> {
    match rounding {
        GateRounding::F32 => values,
        GateRounding::Bf16 => values.cast(FloatDType::BF16).cast(FloatDType::F32),
    }
}
