//! Llama, Mistral, Mixtral, Qwen, Gemma, SmolLM3, Granite, OLMo and Phi in burn, loaded from Hugging Face folders or GGUF
//! files and ready for lac-core.
//!
//! [`ModelFolder`] opens a folder with `config.json`, safetensors files and `tokenizer.json`, or a GGUF file;
//! [`ModelFolder::load`] gives a [`Decoder`], which implements [`lac_core::CausalLm`], so that
//! [`lac_core::generate`], every policy and every observer work with it. [`Tokenizer`] turns
//! text and chats into token ids as Hugging Face transformers does.
//!
//! A setting that would change the result and is not supported is an error that names it: a field of the
//! configuration, a missing, unexpected or mis-shaped tensor. Fields that nothing is known of are listed in
//! [`ModelConfig::unknown_fields`].
//!
//! The modules have the rest: [`decoder`] the burn module and its parts, [`architecture`] and
//! [`checkpoint`] the files that it is made of, [`gguf`] those of llama.cpp, [`tokenizer`] and [`chat_template`] texts, and
//! [`shape`] and [`bandwidth`] what measurements need.
//!
//! ```
//! # #[cfg(feature = "flex")] {
//! use burn::tensor::Device;
//! use lac_core::{GateConfig, GenerationConfig, GenerateArgs, LastActive, Usage, generate};
//! use lac_models::{ModelConfig, WeightDtype, dummy_model};
//!
//! // A shape without weights; `ModelFolder::open(path)?.load(…)` reads real ones.
//! let config = ModelConfig::from_json(
//!     r#"{"model_type": "qwen2", "vocab_size": 64, "hidden_size": 16, "intermediate_size": 32,
//!         "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2}"#,
//!     "config.json".as_ref(),
//! )?;
//! let model = dummy_model(&config.decoder, WeightDtype::F32, &Device::flex(), 1)?;
//!
//! let mut policy = LastActive::new(GateConfig::new(0.8));
//! let mut usage = Usage::default();
//! let hooks = GenerateArgs::new(&mut policy).observer(&mut usage);
//! let output = generate(&model, &[vec![1, 2, 3]], &GenerationConfig::greedy(5), hooks)?;
//!
//! assert_eq!(output.rows[0].ids.len(), 5);
//! assert_eq!(usage.prompt.n_tokens(), 3);
//! // The last token is sampled and not fed, and masking runs every layer.
//! assert_eq!(usage.response.n_tokens(), 4);
//! assert_eq!(usage.response.executed_per_pass(), Some(4.0));
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(missing_debug_implementations, missing_docs, unreachable_pub)]
#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

pub use architecture::ModelConfig;
pub use chat_template::{ChatMessage, ChatOptions};
pub use checkpoint::{LoadConfig, Quantization, WeightDtype};
pub use decoder::{Decoder, DecoderConfig};
pub use dummy::{dummy_model, quantized_dummy_model};
pub use folder::{ModelError, ModelFolder, PruneError, PruneSummary};
pub use memory::MemoryFolder;
pub use shape::ModelShape;
pub use tokenizer::{AddSpecialTokens, DecodedSpecialTokens, Tokenizer};
pub use weights_summary::WeightsSummary;

pub mod architecture;
pub mod bandwidth;
pub mod chat_template;
pub mod checkpoint;
pub mod decoder;
pub mod generation_defaults;
pub mod gguf;
pub mod model_files;
pub mod shape;
pub mod tokenizer;
pub mod tuned_lens;

mod dummy;
mod file;
mod fingerprint;
mod folder;
mod hash;
mod memory;
mod stamps;
mod text;
mod weights_summary;
