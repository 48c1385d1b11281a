//! The most probable token on every CubeCL runtime: one cube for each row, whose units compare what they have found in
//! shared memory.

use burn::backend::cubecl::dtype_to_storage_type;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use cubecl::prelude::*;
use cubecl::tensor_vector_size_parallel;

use super::argmax_ops::{ArgmaxOps, ID_DTYPE};

/// The most units that share a row: a vocabulary is long, and each unit waits for the memory at every step.
const MAX_UNITS: u32 = 1024;

/// The bits of infinity. Bits are compared because a shader's compiler may take it that there is no NaN.
const INFINITY_BITS: u32 = 0x7f80_0000;
const SIGN_BIT: u32 = 0x8000_0000;

/// In the place of an index where there is none.
const NONE: u32 = u32::MAX;

#[cube(launch_unchecked, address_type = "dynamic")]
fn argmax_kernel<F: Float, N: Size>(
    logits: &Tensor<Vector<F, N>>,
    ids: &mut Tensor<i32>,
    #[comptime] n_units: u32,
    #[define(F)] _dtype: ElemType,
) {
    let row = CUBE_POS;
    if row >= logits.shape(0) {
        terminate!();
    }
    let n_vectors = logits.shape(1) / N::value();
    let start = row * n_vectors;

    let mut largest = f32::reinterpret(comptime!(SIGN_BIT | INFINITY_BITS));
    let mut chosen = 0xffff_ffffu32;
    let mut n_nan = 0u32;
    let mut idx = UNIT_POS as usize;
    while idx < n_vectors {
        let values = Vector::<f32, N>::cast_from(logits[start + idx]);
        #[unroll]
        for place in 0..N::value() {
            let value = values.extract(place);
            let magnitude = u32::reinterpret(value) & comptime!(!SIGN_BIT);
            if magnitude > INFINITY_BITS {
                n_nan += 1u32;
            }
            // A unit comes to its values in their order: an equal one later on is no larger.
            if magnitude < INFINITY_BITS && (chosen == NONE || value > largest) {
                largest = value;
                chosen = (idx * N::value() + place) as u32;
            }
        }
        idx += CUBE_DIM as usize;
    }

    let mut values = Shared::<[f32]>::new_slice(comptime!(n_units as usize));
    let mut places = Shared::<[u32]>::new_slice(comptime!(n_units as usize));
    let mut nans = Shared::<[u32]>::new_slice(comptime!(n_units as usize));
    values[UNIT_POS as usize] = largest;
    places[UNIT_POS as usize] = chosen;
    nans[UNIT_POS as usize] = n_nan;
    sync_cube();
    let mut half = CUBE_DIM / 2;
    while half > 0 {
        if UNIT_POS < half {
            let (own, other) = (UNIT_POS as usize, (UNIT_POS + half) as usize);
            let (value, place) = (values[other], places[other]);
            let (own_value, own_place) = (values[own], places[own]);
            let is_larger =
                own_place == NONE || value > own_value || (value == own_value && place < own_place);
            if place != NONE && is_larger {
                values[own] = value;
                places[own] = place;
            }
            let n_nan = nans[other];
            nans[own] += n_nan;
        }
        half /= 2;
        sync_cube();
    }
    if UNIT_POS == 0 {
        // NONE is −1.
        ids[row] = select(nans[0] > 0u32, NONE, places[0]) as i32;
    }
}

impl ArgmaxOps for CubeBackend {
    fn lac_argmax(logits: FloatTensor<Self>) -> IntTensor<Self> {
        let logits = into_contiguous(logits);
        let [n_rows, n_logits] = [0, 1].map(|dim| logits.meta.shape()[dim]);
        let ids = empty_device_contiguous_dtype(
            logits.client.clone(),
            logits.device.clone(),
            [n_rows].into(),
            ID_DTYPE,
        );
        let vector_size = tensor_vector_size_parallel(
            logits.client.io_optimized_vector_sizes(logits.dtype.size()),
            logits.meta.shape(),
            logits.meta.strides(),
            1,
        );
        // A power of two, for the tree of the comparison.
        let max_units = logits.client.properties().hardware.max_units_per_cube;
        let max_units = 1 << max_units.clamp(1, MAX_UNITS).ilog2();
        let n_vectors = (n_logits / vector_size).max(1);
        let n_units = (n_vectors.next_power_of_two() as u32).min(max_units);
        let address_type = logits
            .required_address_type()
            .max(ids.required_address_type());
        let dtype = dtype_to_storage_type(logits.dtype);
        // SAFETY: units read below the bounds of the row that their cube has, and cubes beyond the last row end at once.
        unsafe {
            argmax_kernel::launch_unchecked(
                &ids.client,
                cubecl::calculate_cube_count_elemwise(&ids.client, n_rows, CubeDim::new_single()),
                CubeDim::new_1d(n_units),
                address_type,
                vector_size,
                logits.into_tensor_arg(),
                ids.clone().into_tensor_arg(),
                n_units,
                dtype,
            );
        }
        ids
    }
}
