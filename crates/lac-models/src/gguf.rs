//! Models in GGUF, the files of llama.cpp: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.
//!
//! [`Gguf::open`] reads the header of a file, or of all files of a model that was split: versions 2 and 3, with
//! little-endian numbers. The files are not trusted: time and memory are bounded by their size, and errors name the
//! file and the key or the tensor at fault.

mod config;
mod config_fields;
mod container;
mod cursor;
mod error;
pub(crate) mod export;
mod families;
mod files;
mod header;
mod layout;
mod locate;
mod merges;
mod metadata;
mod model;
mod pre_tokenizer;
mod rope_factors;
mod sampling;
mod select;
mod tensor_info;
mod tokenizer;
mod values;
mod vocabulary;
mod weights;

pub use error::GgufError;
pub use export::{ExportError, ExportSummary, FORMATS};
pub use files::Gguf;
pub use lac_kernels::quantized::BlockFormat;
pub(crate) use layout::{Layout, pair_rows};
pub(crate) use locate::{find_in_folder, is_gguf};
pub use metadata::{Metadata, MetadataArray, MetadataValue};
pub(crate) use model::GgufModel;
pub(crate) use sampling::sampling_entries;
pub use select::{find_file, holds_files, missing_files, select_files};
pub use tensor_info::TensorInfo;
pub(crate) use tokenizer::gguf_tokenizer;
pub use weights::GgufWeights;
pub(crate) use weights::file_values;
