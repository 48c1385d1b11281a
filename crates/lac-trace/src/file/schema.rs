//! The columns of a trace's file.

use std::sync::Arc;

use lac_core::measures::Measures;
use parquet::basic::{Compression, Encoding};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::{ColumnPath, Type};

use crate::error::{Error, Result};
use crate::info::TraceInfo;
use crate::token::TokenBatch;

/// Columns with one value for a token.
pub(super) const SCALARS: [&str; 6] = [
    "sequence",
    "phase",
    "position",
    "token_id",
    "piece",
    "embedding_norm",
];
/// Columns whose rows are lists with one value per layer.
pub(super) const FLOAT_LISTS: [&str; 3] = ["norm", "delta", "threshold"];
pub(super) const FLAG_LISTS: [&str; 2] = ["active", "executed"];
/// The same with so many values per layer as tokens are named, in traces of a run with a lens only.
pub(super) const LENS_ID: &str = "lens_id";
pub(super) const LENS_LOGPROB: &str = "lens_logprob";
/// One value per layer, in the same traces.
pub(super) const LENS_ENTROPY: &str = "lens_entropy";
pub(super) const LENS_KL: &str = "lens_kl";
/// The same with `chosen` values per layer, in traces of models with experts only.
pub(super) const EXPERT: &str = "expert";
pub(super) const EXPERT_WEIGHT: &str = "expert_weight";
/// Columns `hidden_0`, `hidden_1`, …: whole hidden states, in traces of a probed run only.
pub(super) const HIDDEN_PREFIX: &str = "hidden_";

/// Which of the optional columns a file has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Columns {
    /// What was measured beside the norm: a column each, by the names of the measures.
    pub measures: Measures,
    pub has_lens: bool,
    /// Layers whose hidden states are kept.
    pub hidden: Vec<usize>,
    pub has_routing: bool,
}

impl Columns {
    pub(super) fn of(batch: &TokenBatch) -> Self {
        Self {
            measures: batch
                .measures
                .as_ref()
                .map_or(Measures::Off, |columns| columns.measures),
            has_lens: batch.lens.is_some(),
            hidden: batch.hidden.iter().map(|states| states.layer_idx).collect(),
            has_routing: batch.routing.is_some(),
        }
    }

    /// Returns the names of the columns that hold lists of floats, in their order.
    fn float_lists(&self) -> Vec<String> {
        let measured = self.measures.list().iter().map(|measure| measure.name());
        let lens: &[&str] = if self.has_lens {
            &[LENS_LOGPROB, LENS_ENTROPY, LENS_KL]
        } else {
            &[]
        };
        let lists = FLOAT_LISTS.iter().copied().chain(measured);
        let lists = lists.chain(lens.iter().copied()).map(str::to_owned);
        let hidden = self
            .hidden
            .iter()
            .map(|layer_idx| format!("{HIDDEN_PREFIX}{layer_idx}"));
        let routing = self.has_routing.then(|| EXPERT_WEIGHT.to_owned());
        lists.chain(hidden).chain(routing).collect()
    }

    /// Returns the schema. Columns are written in its order.
    pub(super) fn schema(&self) -> Result<Arc<Type>> {
        let mut text = String::from(
            "message trace {
                required int32 sequence (INTEGER(32, false));
                required binary phase (STRING);
                required int32 position (INTEGER(32, false));
                optional int32 token_id (INTEGER(32, false));
                optional binary piece (STRING);
                required float embedding_norm;
            ",
        );
        let list = |name: &str, kind: &str| {
            format!(
                "required group {name} (LIST) {{ repeated group list {{ required {kind} element; }} }}\n"
            )
        };
        for name in FLAG_LISTS {
            text.push_str(&list(name, "boolean"));
        }
        for name in self.float_lists() {
            text.push_str(&list(&name, "float"));
        }
        if self.has_routing {
            text.push_str(&list(EXPERT, "int32"));
        }
        if self.has_lens {
            text.push_str(&list(LENS_ID, "int32"));
        }
        text.push('}');
        // The text above is ours; what is inserted are fixed names and numbers.
        parse_message_type(&text)
            .map(Arc::new)
            .map_err(|error| Error::damaged("the schema".as_ref(), error))
    }

    pub(super) fn properties(&self, info: &TraceInfo) -> Arc<WriterProperties> {
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(format!("lac version {}", info.lac_version))
            .set_key_value_metadata(Some(info.to_metadata()))
            .set_statistics_enabled(EnabledStatistics::Chunk);
        for name in self.float_lists() {
            let path = ColumnPath::new(vec![name, "list".to_owned(), "element".to_owned()]);
            // Bytes of equal significance side by side: that is what makes floats compressible.
            properties = properties
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::BYTE_STREAM_SPLIT);
        }
        Arc::new(properties.build())
    }
}
