//! Row groups of a trace's file.

use std::path::Path;

use lac_core::Phase;
use lac_core::measures::Measures;
use lac_files::parquet::{CheckedPages, ParquetFile};
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, FloatType, Int32Type};
use parquet::errors::ParquetError;

use super::pages::at_most;
use super::schema::{
    EXPERT, EXPERT_WEIGHT, HIDDEN_PREFIX, LENS_ENTROPY, LENS_ID, LENS_KL, LENS_LOGPROB,
};
use crate::error::{Error, Result};
use crate::info::TraceInfo;
use crate::lens::LensColumns;
use crate::measures::MeasureColumns;
use crate::routing::{ExpertCounts, RoutingColumns};
use crate::token::{HiddenStates, TokenBatch};

/// Returns the place of a column among the leaves of the schema; those of lists have longer paths.
pub(super) fn column_idx(file: &ParquetFile, name: &str) -> Option<usize> {
    let schema = file.metadata().file_metadata().schema_descr();
    schema.columns().iter().position(|column| {
        column
            .path()
            .parts()
            .first()
            .is_some_and(|root| root == name)
    })
}

/// One row group being read.
struct Group<'a> {
    file: &'a ParquetFile,
    group_idx: usize,
    n_rows: usize,
    path: &'a Path,
}

/// What a column of a row group holds: values that are there, and the levels that say where.
struct Column<T> {
    values: Vec<T>,
    /// For each place, whether there is a value; empty when there always is.
    definition: Vec<i16>,
    max_definition: i16,
    repetition: Vec<i16>,
}

/// Reads a row group.
pub(super) fn read_row_group(
    file: &ParquetFile,
    group_idx: usize,
    info: &TraceInfo,
    path: &Path,
) -> Result<TokenBatch> {
    let n_layers = info.n_layers;
    let groups = file.metadata().row_groups();
    let group = groups
        .get(group_idx)
        .ok_or_else(|| Error::damaged(path, format!("it has no row group {group_idx}")))?;
    let n_rows = usize::try_from(group.num_rows())
        .map_err(|_| Error::damaged(path, "a row group has a negative number of rows"))?;
    let budget = file.budget();
    // Three numbers and two flags per layer, two numbers per expert, and what a token takes by itself.
    let n_chosen = info.experts.map_or(0, |experts| experts.n_chosen as u64);
    // Two numbers per token that a lens names, and two of its own.
    let n_top = info.lens_top.map_or(0, |n_top| n_top as u64 + 1);
    let per_row = (14 + 8 * (n_chosen + n_top)) * n_layers as u64 + 64;
    if per_row.saturating_mul(n_rows as u64) > budget {
        return Err(Error::damaged(
            path,
            format!(
                "a row group announces {n_rows} tokens of {n_layers} layers, which a file of this \
                 size does not hold"
            ),
        ));
    }
    let group = Group {
        file,
        group_idx,
        n_rows,
        path,
    };
    let unsigned = |values: Vec<i32>| values.into_iter().map(|value| value as u32).collect();
    let mut batch = TokenBatch::new(n_layers);
    batch.sequences = unsigned(group.required::<Int32Type>("sequence")?);
    batch.positions = unsigned(group.required::<Int32Type>("position")?);
    batch.phases = group
        .required::<ByteArrayType>("phase")?
        .iter()
        .map(|name| group.phase(name))
        .collect::<Result<_>>()?;
    batch.token_ids = group
        .optional::<Int32Type>("token_id")?
        .into_iter()
        .map(|id| id.map(|id| id as u32))
        .collect();
    let pieces = group.optional::<ByteArrayType>("piece")?;
    // In the file they share their bytes.
    let n_bytes: u64 = pieces
        .iter()
        .flatten()
        .map(|piece| piece.len() as u64)
        .sum();
    if n_bytes > budget {
        return Err(group.error("piece", "holds more text than a file of this size does"));
    }
    batch.pieces = pieces
        .into_iter()
        .map(|piece| piece.map(|piece| group.text(&piece)).transpose())
        .collect::<Result<_>>()?;
    batch.embedding_norms = group.floats("embedding_norm")?;
    batch.norms = group.float_lists("norm", n_layers)?;
    batch.deltas = group.float_lists("delta", n_layers)?;
    batch.thresholds = group.float_lists("threshold", n_layers)?;
    batch.active = group.lists::<BoolType>("active", n_layers)?;
    batch.executed = group.lists::<BoolType>("executed", n_layers)?;
    batch.measures = group.measures(n_layers)?;
    if let Some(n_top) = info.lens_top {
        batch.lens = Some(group.lens(n_layers, n_top)?);
    }
    if let Some(experts) = info.experts {
        batch.routing = Some(group.routing(n_layers, experts)?);
    }
    for layer_idx in hidden_layers(file, n_layers) {
        let name = format!("{HIDDEN_PREFIX}{layer_idx}");
        batch.hidden.push(group.hidden(&name, layer_idx)?);
    }
    Ok(batch)
}

/// Returns the layers whose hidden states a file has, from the first on.
fn hidden_layers(file: &ParquetFile, n_layers: usize) -> Vec<usize> {
    let schema = file.metadata().file_metadata().schema_descr();
    let layer_of = |name: &str| {
        let layer_idx: usize = name.strip_prefix(HIDDEN_PREFIX)?.parse().ok()?;
        (layer_idx < n_layers && name == format!("{HIDDEN_PREFIX}{layer_idx}")).then_some(layer_idx)
    };
    let mut layers: Vec<usize> = schema
        .columns()
        .iter()
        .filter_map(|column| layer_of(column.path().parts().first()?))
        .collect();
    layers.sort_unstable();
    layers.dedup();
    layers
}

impl Group<'_> {
    fn has(&self, name: &str) -> bool {
        column_idx(self.file, name).is_some()
    }

    fn error(&self, name: &str, problem: impl Into<String>) -> Error {
        Error::column(self.path, name, problem)
    }

    fn column<T: DataType>(&self, name: &str, max_values: u64) -> Result<Column<T::T>> {
        let idx = column_idx(self.file, name).ok_or_else(|| self.error(name, "is missing"))?;
        let schema = self.file.metadata().file_metadata().schema_descr();
        let found = schema.column(idx).physical_type();
        let expected = T::get_physical_type();
        if found != expected {
            return Err(self.error(name, format!("holds {found}, expected {expected}")));
        }
        let read = || -> Result<Column<T::T>, ParquetError> {
            let pages = self.file.pages(self.group_idx, idx)?;
            let pages = CheckedPages::new(pages, at_most(max_values));
            let mut reader = ColumnReaderImpl::<T>::new(schema.column(idx), Box::new(pages));
            let mut column = Column {
                values: Vec::new(),
                definition: Vec::new(),
                max_definition: schema.column(idx).max_def_level(),
                repetition: Vec::new(),
            };
            let mut n_rows = 0;
            while n_rows < self.n_rows {
                let (n_read, _, _) = reader.read_records(
                    self.n_rows - n_rows,
                    Some(&mut column.definition),
                    Some(&mut column.repetition),
                    &mut column.values,
                )?;
                if n_read == 0 {
                    return Err(ParquetError::EOF(format!(
                        "{n_rows} rows where {} are announced",
                        self.n_rows
                    )));
                }
                n_rows += n_read;
            }
            Ok(column)
        };
        read().map_err(|error| self.error(name, format!("cannot be read: {error}")))
    }

    /// Reads a column with a value in every row.
    fn required<T: DataType>(&self, name: &str) -> Result<Vec<T::T>> {
        let column = self.column::<T>(name, self.n_rows as u64)?;
        if column.values.len() != self.n_rows {
            return Err(self.error(name, "does not have one value per row"));
        }
        Ok(column.values)
    }

    fn optional<T: DataType>(&self, name: &str) -> Result<Vec<Option<T::T>>> {
        let column = self.column::<T>(name, self.n_rows as u64)?;
        if column.max_definition == 0 {
            return Ok(column.values.into_iter().map(Some).collect());
        }
        if column.definition.len() != self.n_rows {
            return Err(self.error(name, "does not have one place per row"));
        }
        let mut values = column.values.into_iter();
        Ok(column
            .definition
            .iter()
            .map(|&level| (level == column.max_definition).then(|| values.next())?)
            .collect())
    }

    /// Reads a column of lists, all of the same length; returns their values, flat.
    fn lists<T: DataType>(&self, name: &str, length: usize) -> Result<Vec<T::T>> {
        // As many as there are rows when the lists are empty or missing, which is found below.
        let max_values = (self.n_rows * length.max(1)) as u64;
        let column = self.column::<T>(name, max_values)?;
        let is_list = |list: &[i16]| list[0] == 0 && list[1..].iter().all(|&level| level != 0);
        let is_whole = column.repetition.len() == column.values.len()
            && column.values.len() == self.n_rows * length
            && column.repetition.chunks(length.max(1)).all(is_list);
        if !is_whole {
            return Err(self.error(
                name,
                format!("does not have a list of {length} values in every row"),
            ));
        }
        Ok(column.values)
    }

    fn floats(&self, name: &str) -> Result<Vec<f32>> {
        let values = self.required::<FloatType>(name)?;
        self.finite(name, &values, 1)?;
        Ok(values)
    }

    fn float_lists(&self, name: &str, length: usize) -> Result<Vec<f32>> {
        let values = self.lists::<FloatType>(name, length)?;
        self.finite(name, &values, length)?;
        Ok(values)
    }

    /// Reads the measures that the file has all columns of.
    fn measures(&self, n_layers: usize) -> Result<Option<MeasureColumns>> {
        let is_there = |measures: &Measures| {
            let mut names = measures.list().iter().map(|measure| measure.name());
            names.all(|name| self.has(name))
        };
        let found = [Measures::Sublayers, Measures::Layers]
            .into_iter()
            .find(is_there);
        let Some(measures) = found else {
            return Ok(None);
        };
        let mut columns = MeasureColumns::new(measures);
        for (column, measure) in columns.values.iter_mut().zip(measures.list()) {
            // A state without length has no direction: these need not be finite.
            *column = self.lists::<FloatType>(measure.name(), n_layers)?;
        }
        Ok(Some(columns))
    }

    /// Reads what a lens saw, `[rows][layers][n_top]`.
    fn lens(&self, n_layers: usize, n_top: usize) -> Result<LensColumns> {
        let ids = self.lists::<Int32Type>(LENS_ID, n_layers * n_top)?;
        Ok(LensColumns {
            n_top,
            ids: ids.into_iter().map(|id| id as u32).collect(),
            // Of a token that cannot come next, the logarithm of the probability is infinite.
            logprobs: self.lists::<FloatType>(LENS_LOGPROB, n_layers * n_top)?,
            entropy: self.float_lists(LENS_ENTROPY, n_layers)?,
            kl: self.float_lists(LENS_KL, n_layers)?,
        })
    }

    /// Reads what routers chose, `[rows][layers][chosen]`.
    fn routing(&self, n_layers: usize, experts: ExpertCounts) -> Result<RoutingColumns> {
        let n_chosen = experts.n_chosen;
        let indices = self.lists::<Int32Type>(EXPERT, n_layers * n_chosen)?;
        let routing = RoutingColumns {
            n_chosen,
            experts: indices.into_iter().map(|idx| idx as u32).collect(),
            weights: self.float_lists(EXPERT_WEIGHT, n_layers * n_chosen)?,
        };
        match routing.fault(experts.n_experts) {
            None => Ok(routing),
            Some(fault) => Err(self.error(EXPERT, fault)),
        }
    }

    fn finite(&self, name: &str, values: &[f32], length: usize) -> Result<()> {
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(()),
            Some(idx) => Err(self.error(
                name,
                format!(
                    "holds {} in row {} of a row group; the gate's numbers are finite",
                    values[idx],
                    idx / length
                ),
            )),
        }
    }

    fn hidden(&self, name: &str, layer_idx: usize) -> Result<HiddenStates> {
        let column = self.column::<FloatType>(name, self.file.budget() / 8)?;
        let width = column.values.len() / self.n_rows.max(1);
        if width == 0 || width * self.n_rows != column.values.len() {
            return Err(self.error(name, "does not have lists of one length"));
        }
        Ok(HiddenStates {
            layer_idx,
            width,
            values: column.values,
        })
    }

    fn phase(&self, name: &ByteArray) -> Result<Phase> {
        [Phase::Prompt, Phase::Response]
            .into_iter()
            .find(|phase| phase.name().as_bytes() == name.data())
            .ok_or_else(|| {
                let found = String::from_utf8_lossy(name.data()).into_owned();
                self.error(
                    "phase",
                    format!("holds {found:?}, expected prompt or response"),
                )
            })
    }

    fn text(&self, bytes: &ByteArray) -> Result<Box<str>> {
        match std::str::from_utf8(bytes.data()) {
            Ok(text) => Ok(text.into()),
            Err(error) => {
                Err(self.error("piece", format!("holds bytes that are not UTF-8: {error}")))
            }
        }
    }
}
