//! Checkpoints, tokenizers and templates against the libraries that users compare with.

#![allow(clippy::unwrap_used)]

mod batching;
mod burn_module;
mod chat_parity;
mod configs;
mod corruption;
mod demo;
mod devices;
mod drafting;
mod expected;
mod families;
mod fingerprint;
mod foreign_folders;
mod generation_defaults;
mod gguf;
mod gguf_builder;
mod gguf_experts;
mod gguf_export;
mod gguf_families;
mod gguf_tokens;
mod interventions;
mod lens_parity;
mod loading;
mod parity;
mod pruned;
mod quantized;
mod scoring;
mod skipping;
mod soak;
mod template_parity;
mod tensor_names;
mod tokens;
