//! The operation on the CPU: lac-kernels computes it.

use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use lac_kernels::gate::{self, Field};

use super::ops::{GateSelected, LacOps};
use super::{ROWS, Row, Select};

// The records of the CPU and of the GPU kernels have one layout.
const _: () = {
    assert!(ROWS == gate::N_FIELDS);
    assert!(Row::Norm as usize == Field::Norm as usize);
    assert!(Row::Delta as usize == Field::Delta as usize);
    assert!(Row::Threshold as usize == Field::Threshold as usize);
    assert!(Row::Active as usize == Field::Active as usize);
    assert!(Row::Carried as usize == Field::Carried as usize);
    assert!(Row::Max as usize == Field::Max as usize);
    assert!(Row::Min as usize == Field::Min as usize);
    assert!(Row::Seen as usize == Field::Seen as usize);
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
