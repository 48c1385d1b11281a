//! What is found in a folder.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Error;
use lac_models::{
    DecoderConfig, ModelConfig, ModelFolder, Tokenizer,
    architecture::ConfigReport,
    checkpoint::Checkpoint,
    decoder::{HeadKind, ProjectionBias, RopeScaling},
    gguf::Gguf,
    tokenizer::TokenizerError,
};
use serde::Serialize;

/// A folder, as far as its files can be read.
#[derive(Serialize)]
pub struct Report {
    /// `None` for a family that cannot be loaded.
    pub architecture: Option<&'static str>,
    #[serde(flatten)]
    pub shape: Shape,
    /// The data type that config.json names.
    pub dtype: Option<String>,
    #[serde(flatten)]
    pub weights: Weights,
    /// `None` where there is no tokenizer, or where it cannot be read.
    pub tokenizer: Option<TokenizerReport>,
    #[serde(skip)]
    pub has_tokenizer: bool,
    /// Fields of config.json that decide nothing, the unknown ones among them.
    pub ignored_fields: Vec<String>,
    /// Those of them that nothing is known of.
    pub unknown_fields: Vec<String>,
    /// Why the model cannot be used, or not as it is.
    pub problems: Vec<String>,
    /// What may be wrong.
    pub warnings: Vec<String>,
}

/// Sizes and choices of config.json; `None` where it cannot be told what they are. In place of a field with a problem
/// stands the default of the model's class.
#[derive(Default, Serialize)]
pub struct Shape {
    pub parameters: Option<u64>,
    /// Without those of experts that a token does not choose; `None` without experts.
    pub parameters_per_token: Option<u64>,
    pub experts: Option<usize>,
    pub experts_per_token: Option<usize>,
    pub expert_intermediate: Option<usize>,
    pub shared_expert_intermediate: Option<usize>,
    /// Layers with experts in place of a dense MLP.
    pub expert_layers: Option<Vec<usize>>,
    /// Layers with a dense MLP in place of experts.
    pub dense_layers: Option<Vec<usize>>,
    pub layers: Option<usize>,
    pub hidden: Option<usize>,
    pub intermediate: Option<usize>,
    pub heads: Option<usize>,
    pub kv_heads: Option<usize>,
    pub head_dim: Option<usize>,
    pub vocabulary: Option<usize>,
    pub context: Option<usize>,
    pub rope: Option<String>,
    /// Layers without rotary positions.
    pub unrotated_layers: Option<Vec<usize>>,
    pub sliding_window: Option<usize>,
    /// Layers that the window slides in.
    pub sliding_layers: Option<Vec<usize>>,
    pub tied_head: Option<bool>,
    pub biases: Option<String>,
}

/// The weights' files; empty where they cannot be read.
#[derive(Default, Serialize)]
pub struct Weights {
    pub files: Option<usize>,
    pub tensors: Option<usize>,
    /// The number of tensors of each type.
    pub weights: BTreeMap<String, usize>,
    pub bytes: Option<u64>,
}

#[derive(Serialize)]
pub struct TokenizerReport {
    pub tokens: usize,
    pub bos: Option<String>,
    pub stop: Vec<String>,
    pub chat_template: bool,
}

impl Report {
    /// Reads a folder's files, one after the other, whatever is wrong with those before.
    pub fn of_folder(folder: &Path) -> Self {
        let ConfigReport {
            config, problems, ..
        } = ConfigReport::of_file(&folder.join("config.json"));
        let mut problems: Vec<String> = problems.into_iter().map(describe).collect();
        let weights = match Checkpoint::open(folder) {
            Ok(checkpoint) => Weights::new(&checkpoint),
            Err(error) => {
                problems.push(describe(error));
                Weights::default()
            }
        };
        let mut has_tokenizer = true;
        let tokenizer = match Tokenizer::from_folder(folder) {
            Ok(tokenizer) => Some(tokenizer),
            // A folder without a tokenizer can still be run by token ids.
            Err(TokenizerError::Read { .. }) if !has_entry(&folder.join("tokenizer.json")) => {
                has_tokenizer = false;
                None
            }
            Err(error) => {
                problems.push(describe(error));
                None
            }
        };
        Self::new(config, weights, tokenizer, has_tokenizer, problems)
    }

    /// Reads a GGUF file, or all files of a model that was split.
    pub fn of_gguf(path: &Path) -> Self {
        let mut problems = Vec::new();
        let config = match ModelFolder::open(path) {
            Ok(folder) => Some(folder.config().clone()),
            Err(error) => {
                problems.push(describe(error));
                None
            }
        };
        let Ok(gguf) = Gguf::open(path) else {
            // The model's error says why, too.
            return Self::new(config, Weights::default(), None, false, problems);
        };
        let weights = Weights {
            files: Some(gguf.paths().count()),
            tensors: Some(gguf.tensors().count()),
            weights: gguf.types(),
            bytes: Some(gguf.n_bytes()),
        };
        let has_tokenizer = gguf.metadata().get("tokenizer.ggml.model").is_some();
        let tokenizer = match ModelFolder::tokenizer_of(path) {
            Ok(tokenizer) => Some(tokenizer),
            Err(_) if !has_tokenizer => None,
            Err(error) => {
                problems.push(describe(error));
                None
            }
        };
        Self::new(config, weights, tokenizer, has_tokenizer, problems)
    }

    fn new(
        config: Option<ModelConfig>,
        weights: Weights,
        tokenizer: Option<Tokenizer>,
        has_tokenizer: bool,
        problems: Vec<String>,
    ) -> Self {
        let mut warnings = Vec::new();
        if let Some(tokenizer) = &tokenizer {
            let name = |id| tokenizer.id_to_piece(id).unwrap_or_else(|| "?".to_owned());
            warnings.extend(tokenizer.stop_tokens().disagreement(name));
        }
        if let (Some(tokenizer), Some(config)) = (&tokenizer, &config) {
            warnings.extend(beyond_embedding(tokenizer, config.decoder.vocab_size));
        }
        let tokenizer = tokenizer.map(|tokenizer| TokenizerReport {
            tokens: tokenizer.vocab_size(),
            bos: tokenizer.bos_id().and_then(|id| tokenizer.id_to_piece(id)),
            stop: tokenizer.pieces(tokenizer.stop_ids()),
            chat_template: tokenizer.has_chat_template(),
        });
        let Some(config) = config else {
            return Self {
                architecture: None,
                shape: Shape::default(),
                dtype: None,
                weights,
                tokenizer,
                has_tokenizer,
                ignored_fields: Vec::new(),
                unknown_fields: Vec::new(),
                problems,
                warnings,
            };
        };
        warnings.extend(config.warning());
        Self {
            architecture: Some(config.architecture.model_type()),
            shape: Shape::new(&config.decoder),
            dtype: config.saved_dtype,
            weights,
            tokenizer,
            has_tokenizer,
            ignored_fields: config.ignored_fields,
            unknown_fields: config.unknown_fields,
            problems,
            warnings,
        }
    }

    /// Returns whether a command with --strict takes the model.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty() && self.unknown_fields.is_empty()
    }
}

impl Shape {
    fn new(config: &DecoderConfig) -> Self {
        let experts = config.experts.as_ref();
        let layers_with = |has: &dyn Fn(usize) -> bool| -> Vec<usize> {
            (0..config.n_layers).filter(|&idx| has(idx)).collect()
        };
        Self {
            parameters: Some(config.n_parameters()),
            parameters_per_token: experts.map(|_| config.n_parameters_per_token()),
            experts: experts.map(|experts| experts.n_experts),
            experts_per_token: experts.map(|experts| experts.n_chosen),
            expert_intermediate: experts.map(|experts| experts.intermediate_size),
            shared_expert_intermediate: experts
                .and_then(|experts| experts.shared_intermediate_size),
            expert_layers: experts.map(|_| layers_with(&|idx| config.experts_of(idx).is_some())),
            dense_layers: experts.map(|experts| experts.dense_layers.clone()),
            layers: Some(config.n_layers),
            hidden: Some(config.hidden_size),
            intermediate: Some(config.intermediate_size),
            heads: Some(config.n_heads),
            kv_heads: Some(config.n_kv_heads),
            head_dim: Some(config.head_dim),
            vocabulary: Some(config.vocab_size),
            context: Some(config.max_context()),
            rope: Some(rope(config)),
            unrotated_layers: Some(config.unrotated_layers.clone()),
            sliding_window: config.sliding_window,
            sliding_layers: Some(layers_with(&|idx| config.window_of(idx).is_some())),
            tied_head: Some(config.head == HeadKind::Tied),
            biases: Some(biases(config)),
        }
    }
}

impl Weights {
    fn new(checkpoint: &Checkpoint) -> Self {
        Self {
            files: Some(checkpoint.n_shards()),
            tensors: Some(checkpoint.n_tensors()),
            weights: checkpoint.dtypes(),
            bytes: Some(checkpoint.n_bytes()),
        }
    }
}

/// Returns an error with its causes in one line.
fn describe(error: impl Into<Error>) -> String {
    format!("{:#}", error.into())
}

/// Returns whether there is a file or a link, even one that leads nowhere.
fn has_entry(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

/// Tokens that the model has no vector for: a text that holds one is refused.
fn beyond_embedding(tokenizer: &Tokenizer, n_rows: usize) -> Option<String> {
    let largest = tokenizer.largest_id()?;
    if (largest as usize) < n_rows {
        return None;
    }
    let piece = tokenizer.id_to_piece(largest).unwrap_or_default();
    Some(format!(
        "the tokenizer's ids reach to {largest} ({piece}), beyond the {n_rows} rows of the embedding (vocab_size of \
         config.json): a text with such a token cannot be computed; do both belong to one model?"
    ))
}

fn rope(config: &DecoderConfig) -> String {
    let theta = config.rope.theta;
    let mut text = format!("rotary, theta {theta}{}", scaling(&config.rope.scaling));
    if let Some(rope) = &config.sliding_rope {
        let scaling = scaling(&rope.scaling);
        text.push_str(&format!("; with a window theta {}{scaling}", rope.theta));
    }
    text
}

/// Says how rotary positions are stretched, behind a comma.
fn scaling(scaling: &RopeScaling) -> String {
    match scaling {
        RopeScaling::None => String::new(),
        RopeScaling::Linear { factor } => format!(", linear by {factor}"),
        RopeScaling::Llama3 { factor, .. } => format!(", llama3 by {factor}"),
        RopeScaling::Yarn { factor, .. } => format!(", yarn by {factor}"),
        RopeScaling::Dynamic {
            factor,
            original_max_position_embeddings: context,
        } => format!(", dynamic by {factor} beyond {context}"),
        RopeScaling::LongRope {
            original_max_position_embeddings: context,
            ..
        } => format!(", longrope, otherwise beyond {context}"),
        RopeScaling::Factors { .. } => ", each pair by a factor of its own".to_owned(),
        other => format!(", {other:?}"),
    }
}

fn biases(config: &DecoderConfig) -> String {
    let parts = [
        (config.qkv_bias, "q k v"),
        (config.o_bias, "o"),
        (config.mlp_bias, "mlp"),
    ];
    let present: Vec<&str> = parts
        .into_iter()
        .filter(|(bias, _)| *bias == ProjectionBias::Present)
        .map(|(_, name)| name)
        .collect();
    if present.is_empty() {
        "none".to_owned()
    } else {
        present.join(" ")
    }
}
