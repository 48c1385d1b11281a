//! What a GGUF file says of a tensor.

use lac_kernels::quantized::BlockFormat;

/// A tensor of a GGUF file, as its header describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TensorInfo {
    /// The shape, outermost dimension first, as safetensors have it: `[out, in]`. The file has the reverse.
    pub shape: Vec<usize>,
    /// How the values lie in the file.
    pub format: BlockFormat,
    /// Where the bytes begin, counted from the beginning of the file.
    pub start: u64,
    /// How many bytes there are.
    pub n_bytes: u64,
}

/// Returns whether values of a format lie in blocks with a scale, and not one by one.
pub(crate) fn is_quantised(format: BlockFormat) -> bool {
    format.block_len() > 1
}

/// Returns the names of all formats that are read, for errors.
pub(super) fn format_names() -> String {
    format!(
        "one of {}",
        BlockFormat::ALL.map(BlockFormat::name).join(", ")
    )
}

/// Returns what ggml calls a type of tensors that is not read, for errors.
pub(super) fn type_name(number: u32) -> String {
    const OTHERS: &[(u32, &str)] = &[
        (4, "Q4_2"),
        (5, "Q4_3"),
        (9, "Q8_1"),
        (15, "Q8_K"),
        (16, "IQ2_XXS"),
        (17, "IQ2_XS"),
        (18, "IQ3_XXS"),
        (19, "IQ1_S"),
        (21, "IQ3_S"),
        (22, "IQ2_S"),
        (24, "I8"),
        (25, "I16"),
        (26, "I32"),
        (27, "I64"),
        (28, "F64"),
        (29, "IQ1_M"),
        (34, "TQ1_0"),
        (35, "TQ2_0"),
        (40, "NVFP4"),
    ];
    match OTHERS.iter().find(|(other, _)| *other == number) {
        Some((_, name)) => (*name).to_owned(),
        None => format!("number {number}"),
    }
}
