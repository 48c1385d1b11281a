//! The kernel for every CubeCL runtime: CUDA, ROCm, Metal, Vulkan and WebGPU.
//!
//! One cube gates one token: its units read the token's row with vectorised loads, reduce the
//! squares, and then all of them know the verdict, so that selecting states needs no second
//! launch and finds the row in the cache.

use burn::backend::cubecl::dtype_to_storage_type;
use burn::backend::tensor::FloatTensor;
use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::features::Plane;
use cubecl::prelude::*;
use cubecl::tensor_vector_size_parallel;

use super::layout::{Field, N_FIELDS, Select, records_shape};
use super::ops::{GateSelected, LacOps};

/// The most units that share a row; more would only leave units idle at usual widths.
const MAX_UNITS: u32 = 256;

/// What a kernel is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Plan {
    /// Units per cube, a power of two.
    n_units: u32,
    /// Whether units reduce within their plane before they meet in shared memory.
    planes: bool,
    /// Whether a void's output is discarded, so that its norm does not go on.
    bypass: bool,
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn gate_kernel<F: Float, N: Size>(
    states: &Tensor<Vector<F, N>>,
    before: &Tensor<f32>,
    records: &mut Tensor<f32>,
    alpha: f32,
    #[comptime] plan: Plan,
    #[define(F)] _dtype: ElemType,
) {
    if CUBE_POS >= states.shape(1) * states.shape(2) {
        terminate!();
    }
    gate_token::<F, N>(states, before, records, alpha, plan);
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn gate_select_kernel<F: Float, N: Size>(
    states: &Tensor<Vector<F, N>>,
    before: &Tensor<f32>,
    fallback: &Tensor<Vector<F, N>>,
    records: &mut Tensor<f32>,
    selected: &mut Tensor<Vector<F, N>>,
    alpha: f32,
    #[comptime] plan: Plan,
    #[define(F)] _dtype: ElemType,
) {
    if CUBE_POS >= states.shape(1) * states.shape(2) {
        terminate!();
    }
    let chosen = gate_token::<F, N>(states, before, records, alpha, plan);

    let token = CUBE_POS;
    let (row, slot) = (token / states.shape(2), token % states.shape(2));
    let n_vectors = states.shape(3) / N::value();
    let to = token * n_vectors;
    let mut idx = UNIT_POS as usize;
    if chosen < states.shape(0) {
        let from = (chosen * states.stride(0) + row * states.stride(1) + slot * states.stride(2))
            / N::value();
        while idx < n_vectors {
            selected[to + idx] = states[from + idx];
            idx += CUBE_DIM as usize;
        }
    } else {
        let from = (row * fallback.stride(0) + slot * fallback.stride(1)) / N::value();
        while idx < n_vectors {
            selected[to + idx] = fallback[from + idx];
            idx += CUBE_DIM as usize;
        }
    }
}

/// Gates the cube's token over all states; returns the index of the last active one, or the
/// number of states when none is active.
#[cube]
fn gate_token<F: Float, N: Size>(
    states: &Tensor<Vector<F, N>>,
    before: &Tensor<f32>,
    records: &mut Tensor<f32>,
    alpha: f32,
    #[comptime] plan: Plan,
) -> usize {
    let token = CUBE_POS;
    let n_tokens = states.shape(1) * states.shape(2);
    let (row, slot) = (token / states.shape(2), token % states.shape(2));
    let n_vectors = states.shape(3) / N::value();

    let mut carried = before[comptime!(Field::Carried as usize) * n_tokens + token];
    let mut max = before[comptime!(Field::Max as usize) * n_tokens + token];
    let mut min = before[comptime!(Field::Min as usize) * n_tokens + token];
    let mut seen = before[comptime!(Field::Seen as usize) * n_tokens + token];
    let mut chosen = states.shape(0);

    for state in 0..states.shape(0) {
        let start = (state * states.stride(0) + row * states.stride(1) + slot * states.stride(2))
            / N::value();
        let mut squares = Vector::<f32, N>::empty().fill(0.0f32);
        let mut idx = UNIT_POS as usize;
        while idx < n_vectors {
            let value = Vector::<f32, N>::cast_from(states[start + idx]);
            squares += value * value;
            idx += CUBE_DIM as usize;
        }
        let norm = cube_sum(Vector::vector_sum(squares), plan).sqrt();

        let delta = select(seen > 0.0f32, norm - carried, 0.0f32);
        let threshold = select(seen > 1.0f32, (max - min) * alpha, 0.0f32);
        let is_active = seen > 0.0f32 && delta >= threshold;
        max = select(seen > 1.0f32, max.max(delta), delta);
        min = select(seen > 1.0f32, min.min(delta), delta);
        seen += 1.0f32;
        if is_active {
            chosen = state;
        }
        if comptime!(plan.bypass) {
            // The embedding is never active, yet it is what the first layer receives.
            carried = select(is_active || seen == 1.0f32, norm, carried);
        } else {
            carried = norm;
        }

        if UNIT_POS == 0 {
            let to = state * comptime!(N_FIELDS) * n_tokens + token;
            records[to + comptime!(Field::Norm as usize) * n_tokens] = norm;
            records[to + comptime!(Field::Delta as usize) * n_tokens] = delta;
            records[to + comptime!(Field::Threshold as usize) * n_tokens] = threshold;
            records[to + comptime!(Field::Active as usize) * n_tokens] =
                select(is_active, 1.0f32, 0.0f32);
            records[to + comptime!(Field::Carried as usize) * n_tokens] = carried;
            records[to + comptime!(Field::Max as usize) * n_tokens] = max;
            records[to + comptime!(Field::Min as usize) * n_tokens] = min;
            records[to + comptime!(Field::Seen as usize) * n_tokens] = seen;
        }
    }
    chosen
}

/// The sum of every unit's value, known to all units.
#[cube]
fn cube_sum(value: f32, #[comptime] plan: Plan) -> f32 {
    let mut shared = Shared::<[f32]>::new_slice(comptime!(plan.n_units as usize));
    if comptime!(plan.planes) {
        let in_plane = plane_sum(value);
        if UNIT_POS_PLANE == 0 {
            shared[PLANE_POS as usize] = in_plane;
        }
        sync_cube();
        let mut total = shared[0];
        let n_planes = CUBE_DIM.div_ceil(PLANE_DIM);
        for plane in 1..n_planes {
            total += shared[plane as usize];
        }
        // The next state's sum goes through the same memory.
        sync_cube();
        total
    } else {
        shared[UNIT_POS as usize] = value;
        sync_cube();
        let mut half = CUBE_DIM / 2;
        while half > 0 {
            if UNIT_POS < half {
                let other = shared[(UNIT_POS + half) as usize];
                shared[UNIT_POS as usize] += other;
            }
            half /= 2;
            sync_cube();
        }
        let total = shared[0];
        sync_cube();
        total
    }
}

impl LacOps for CubeBackend {
    fn lac_gate(
        states: FloatTensor<Self>,
        before: FloatTensor<Self>,
        alpha: f32,
    ) -> FloatTensor<Self> {
        let launch = Launch::new(states, before);
        let records = launch.empty_records();
        if launch.n_tokens() > 0 {
            let vector_size = vector_size(&launch.states);
            let plan = launch.plan(vector_size, Select::KeepOutput);
            // SAFETY: units read and write below the bounds of the shapes they are given, and
            // cubes beyond the last token end at once.
            unsafe {
                gate_kernel::launch_unchecked(
                    &records.client,
                    launch.cube_count(),
                    CubeDim::new_1d(plan.n_units),
                    launch.address_type(&[&records]),
                    vector_size,
                    launch.states.clone().into_tensor_arg(),
                    launch.before.clone().into_tensor_arg(),
                    records.clone().into_tensor_arg(),
                    alpha,
                    plan,
                    dtype_to_storage_type(launch.states.dtype),
                );
            }
        }
        records
    }

    fn lac_gate_select(
        states: FloatTensor<Self>,
        before: FloatTensor<Self>,
        fallback: FloatTensor<Self>,
        alpha: f32,
        select: Select,
    ) -> GateSelected<Self> {
        let launch = Launch::new(states, before);
        let fallback = rows_contiguous(fallback);
        let records = launch.empty_records();
        let selected = empty_device_contiguous_dtype(
            fallback.client.clone(),
            fallback.device.clone(),
            fallback.meta.shape().clone(),
            fallback.dtype,
        );
        if launch.n_tokens() > 0 {
            let vector_size = vector_size(&launch.states).min(vector_size(&fallback));
            let plan = launch.plan(vector_size, select);
            // SAFETY: as above; `selected` has the shape of one of the states.
            unsafe {
                gate_select_kernel::launch_unchecked(
                    &records.client,
                    launch.cube_count(),
                    CubeDim::new_1d(plan.n_units),
                    launch.address_type(&[&records, &fallback, &selected]),
                    vector_size,
                    launch.states.clone().into_tensor_arg(),
                    launch.before.clone().into_tensor_arg(),
                    fallback.into_tensor_arg(),
                    records.clone().into_tensor_arg(),
                    selected.clone().into_tensor_arg(),
                    alpha,
                    plan,
                    dtype_to_storage_type(launch.states.dtype),
                );
            }
        }
        GateSelected { records, selected }
    }
}

/// The inputs of a launch in the layouts the kernel takes.
struct Launch {
    states: CubeTensor,
    before: CubeTensor,
}

impl Launch {
    fn new(states: CubeTensor, before: CubeTensor) -> Self {
        Self {
            states: rows_contiguous(states),
            before: into_contiguous(before),
        }
    }

    fn n_tokens(&self) -> usize {
        self.states.meta.shape()[1] * self.states.meta.shape()[2]
    }

    fn empty_records(&self) -> CubeTensor {
        empty_device_contiguous_dtype(
            self.states.client.clone(),
            self.states.device.clone(),
            records_shape(self.states.meta.shape()),
            DType::F32,
        )
    }

    fn plan(&self, vector_size: usize, select: Select) -> Plan {
        let properties = self.states.client.properties();
        let hardware = &properties.hardware;
        let n_vectors = self.states.meta.shape()[3].div_ceil(vector_size).max(1) as u32;
        // A power of two, for the tree of the reduction in shared memory.
        let max_units = 1 << hardware.max_units_per_cube.clamp(1, MAX_UNITS).ilog2();
        let n_units = n_vectors
            .next_power_of_two()
            .max(hardware.plane_size_max)
            .min(max_units);
        Plan {
            n_units,
            planes: properties.features.plane.contains(Plane::Ops),
            bypass: select == Select::KeepInput,
        }
    }

    fn cube_count(&self) -> CubeCount {
        cubecl::calculate_cube_count_elemwise(
            &self.states.client,
            self.n_tokens(),
            CubeDim::new_single(),
        )
    }

    fn address_type(&self, others: &[&CubeTensor]) -> AddressType {
        others
            .iter()
            .copied()
            .chain([&self.states, &self.before])
            .map(CubeTensor::required_address_type)
            .max()
            .unwrap_or_default()
    }
}

/// Any strides will do as long as a token's own values lie side by side.
fn rows_contiguous(tensor: CubeTensor) -> CubeTensor {
    let last = tensor.meta.shape().num_dims() - 1;
    if tensor.meta.is_tiled() || (tensor.meta.shape()[last] > 1 && tensor.meta.strides()[last] != 1)
    {
        return into_contiguous(tensor);
    }
    tensor
}

fn vector_size(tensor: &CubeTensor) -> usize {
    tensor_vector_size_parallel(
        tensor.client.io_optimized_vector_sizes(tensor.dtype.size()),
        tensor.meta.shape(),
        tensor.meta.strides(),
        tensor.meta.shape().num_dims() - 1,
    )
}
