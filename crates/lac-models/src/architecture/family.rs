//! What the file of a family states.

use super::fields::Fields;
use crate::decoder::DecoderConfig;

/// A family of checkpoints.
pub(super) struct Family {
    /// The name in `model_type`.
    pub(super) model_type: &'static str,
    /// The name in `architectures`.
    pub(super) class_name: &'static str,
    /// The class's end of a text, where the file names none.
    pub(super) eos_token_id: Option<u32>,
    /// Reads the sizes and the choices.
    pub(super) decoder_config: fn(&mut Fields<'_>) -> DecoderConfig,
}
