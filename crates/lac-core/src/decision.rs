//! What a policy decides about a layer before the layer is run.

use serde::{Deserialize, Serialize};

/// Returned by [`LayerPolicy::before`](crate::LayerPolicy::before): what of a layer is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// The whole layer is run.
    Run,
    /// The layer is not run: [`LayerStack::skip_layer`](crate::LayerStack::skip_layer) is called
    /// in its place, and the hidden state is passed on unchanged.
    Skip,
    /// The layer's MLP is run and its attention is not. The layer's keys and values are treated as those of a skipped
    /// layer. Needs [`LayerStack::sublayers`](crate::LayerStack::sublayers).
    SkipAttention,
    /// The layer's attention is run and its MLP is not. Needs
    /// [`LayerStack::sublayers`](crate::LayerStack::sublayers).
    SkipMlp,
}

impl Decision {
    /// Returns the share of the layer that is run, in `[0, 1]`; attention and MLP count as halves.
    pub fn executed(self) -> f64 {
        f64::from(self.executed_parts()) / f64::from(Decision::Run.executed_parts())
    }

    /// Returns how many of the layer's two sublayers are run.
    pub(crate) fn executed_parts(self) -> u8 {
        match self {
            Decision::Run => 2,
            Decision::SkipAttention | Decision::SkipMlp => 1,
            Decision::Skip => 0,
        }
    }
}

/// Returned by [`LayerPolicy::skipped_keys`](crate::LayerPolicy::skipped_keys): what happens to the keys and values of a
/// layer whose attention is not run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkippedKeys {
    /// They are computed from the state that the layer would have received
    /// ([`LayerStack::skip_layer`](crate::LayerStack::skip_layer)), so that a later token that runs the layer finds them.
    #[default]
    Fill,
    /// They are left out, and a later token that runs the layer does not attend to these slots
    /// ([`Sublayers::omit_kv`](crate::stack::Sublayers::omit_kv)).
    #[serde(rename = "leave_out")]
    Omit,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_keep_their_words() {
        for (keys, word) in [
            (SkippedKeys::Fill, "\"fill\""),
            (SkippedKeys::Omit, "\"leave_out\""),
        ] {
            assert_eq!(serde_json::to_string(&keys).unwrap(), word);
            assert_eq!(serde_json::from_str::<SkippedKeys>(word).unwrap(), keys);
        }
    }
}
