//! What stands in for the kernels where none was compiled in: a gate that nobody can make.

use burn::tensor::{Bool, Tensor};

use super::Record;
use super::portable::PortableGate;
use crate::kernel::Select;

#[derive(Clone, Debug)]
pub(super) enum FusedGate {}

pub(crate) struct GatedAtOnce {
    pub records: Tensor<4>,
    pub selected: Option<Tensor<3>>,
}

impl FusedGate {
    pub(super) fn start(_alpha: f32, _embedding: &Tensor<3>) -> Option<Self> {
        None
    }

    pub(super) fn record(&self) -> &Record {
        match *self {}
    }

    pub(super) fn takes(&self, _states: &[&Tensor<3>]) -> bool {
        match *self {}
    }

    pub(super) fn to_portable(&self) -> PortableGate {
        match *self {}
    }

    pub(super) fn measure(&mut self, _output: &Tensor<3>) -> Record {
        match *self {}
    }

    pub(super) fn measure_select(
        &mut self,
        _output: Tensor<3>,
        _fallback: Tensor<3>,
        _select: Select,
    ) -> (Record, Tensor<3>) {
        match *self {}
    }

    pub(super) fn next_threshold(&self) -> Tensor<2> {
        match *self {}
    }

    pub(super) fn kept(&mut self, _output_kept: Tensor<2, Bool>, _input_norm: Tensor<2>) {
        match *self {}
    }

    pub(super) fn replaced(&mut self, _state: &Tensor<3>) {
        match *self {}
    }
}

#[derive(Debug)]
pub(crate) enum WaitingGate {}

impl WaitingGate {
    pub(super) fn start(_alpha: f32, _embedding: &Tensor<3>) -> Option<Self> {
        None
    }

    pub(crate) fn takes(&self, _output: &Tensor<3>) -> bool {
        match *self {}
    }

    pub(crate) fn push(&mut self, _output: Tensor<3>) {
        match *self {}
    }

    pub(crate) fn states(&self) -> &[Tensor<3>] {
        match *self {}
    }

    pub(crate) fn finish(self, _select: Option<Select>) -> GatedAtOnce {
        match self {}
    }
}
