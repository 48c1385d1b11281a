//! What drafts do with the keys and values of layers that they do not run.

use crate::decision::SkippedKeys;
use crate::stack::LayerStack;

/// Returns what drafts do with the keys and values of layers whose attention they do not run. The full model's pass
/// overwrites them before any later pass runs the layer, so filling them would be wasted work where the model can
/// leave them out.
pub(super) fn draft_keys<S: LayerStack + ?Sized>(stack: &S) -> SkippedKeys {
    match stack.sublayers() {
        Some(_) => SkippedKeys::Omit,
        None => SkippedKeys::Fill,
    }
}
