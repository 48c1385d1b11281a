//! The operation on the CPU: lac-kernels computes it.

use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use lac_kernels::gate;

use super::layout::{Field, N_FIELDS, Select};
use super::ops::{GateSelected, LacOps};

// The records of the CPU and of the GPU kernels have one layout.
const _: () = {
    assert!(N_FIELDS == gate::N_FIELDS);
    assert!(Field::Norm as usize == gate::Field::Norm as usize);
    assert!(Field::Delta as usize == gate::Field::Delta as usize);
    assert!(Field::Threshold as usize == gate::Field::Threshold as usize);
    assert!(Field::Active as usize == gate::Field::Active as usize);
    assert!(Field::Carried as usize == gate::Field::Carried as usize);
    assert!(Field::Max as usize == gate::Field::Max as usize);
    assert!(Field::Min as usize == gate::Field::Min as usize);
    assert!(Field::Seen as usize == gate::Field::Seen as usize);
};

impl LacOps for Flex {
    fn lac_gate(
        states: FloatTensor<Self>,
        before: FloatTensor<Self>,
        alpha: f32,
    ) -> FloatTensor<Self> {
        gate::gate(states, before, alpha)
    }

    fn lac_gate_select(
        states: FloatTensor<Self>,
        before: FloatTensor<Self>,
        fallback: FloatTensor<Self>,
        alpha: f32,
        select: Select,
    ) -> GateSelected<Self> {
        let select = match select {
            Select::KeepOutput => gate::Select::KeepOutput,
            Select::KeepInput => gate::Select::KeepInput,
        };
        let [records, selected] = gate::gate_select(states, before, fallback, alpha, select);
        GateSelected { records, selected }
    }
}
