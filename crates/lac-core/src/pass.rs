//! One pass of tokens through the layers: which token stands in which slot.

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

use crate::error::{Error, Result};
use crate::phase::Phase;

/// One pass: which token stands in which slot of a `[batch, seq]` block.
///
/// Rows that are shorter than the block are padded **on the left**, so that the last slot holds the newest token of every
/// row. Texts that are only scored are padded on the right. Padding has no position, is not attended to and never
/// counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    phase: Phase,
    batch: usize,
    seq: usize,
    past: usize,
    padding: Vec<usize>,
    /// Padding slots at the right of each row in this pass; empty when there are none.
    trailing: Vec<usize>,
    /// Slots at the right of each row whose keys this pass masks for all queries; empty when there are none.
    masked_tail: Vec<usize>,
    token_ids: Vec<u32>,
    finished: Vec<bool>,
}

impl Pass {
    /// Makes a pass over prompts of different lengths, padded on the left with `pad_id` to the longest.
    ///
    /// # Errors
    /// [`Error::EmptyPrompt`] when there is no row or a row without a token.
    pub fn prompt<R: AsRef<[u32]>>(rows: &[R], pad_id: u32) -> Result<Self> {
        if let Some(row) = rows.iter().position(|ids| ids.as_ref().is_empty()) {
            return Err(Error::EmptyPrompt { row });
        }
        let seq = rows
            .iter()
            .map(|ids| ids.as_ref().len())
            .max()
            .ok_or(Error::EmptyPrompt { row: 0 })?;
        let padding: Vec<usize> = rows.iter().map(|ids| seq - ids.as_ref().len()).collect();
        let mut token_ids = Vec::with_capacity(rows.len() * seq);
        for (ids, &n_padding) in rows.iter().zip(&padding) {
            token_ids.extend(std::iter::repeat_n(pad_id, n_padding));
            token_ids.extend_from_slice(ids.as_ref());
        }
        Ok(Self {
            phase: Phase::Prompt,
            batch: rows.len(),
            seq,
            past: 0,
            padding,
            trailing: Vec::new(),
            masked_tail: Vec::new(),
            token_ids,
            finished: vec![false; rows.len()],
        })
    }

    /// Makes a pass over states that have no token ids, such as an encoder's or a vision model's.
    pub fn states(batch: usize, seq: usize) -> Self {
        Self {
            phase: Phase::Prompt,
            batch,
            seq,
            past: 0,
            padding: vec![0; batch],
            trailing: Vec::new(),
            masked_tail: Vec::new(),
            token_ids: Vec::new(),
            finished: vec![false; batch],
        }
    }

    /// Makes the pass after this one, which feeds one token per row.
    ///
    /// A row that `finished` marks stays in the batch with whatever id it is given; its token does not count.
    pub fn next(&self, token_ids: Vec<u32>, finished: Vec<bool>) -> Self {
        debug_assert_eq!(token_ids.len(), self.batch, "one token per row");
        debug_assert_eq!(finished.len(), self.batch, "one flag per row");
        debug_assert!(
            self.trailing.is_empty(),
            "a gap would stay before the token"
        );
        Self {
            phase: Phase::Response,
            batch: self.batch,
            seq: 1,
            past: self.past + self.seq,
            padding: self.padding.clone(),
            trailing: Vec::new(),
            masked_tail: Vec::new(),
            token_ids,
            finished,
        }
    }

    /// Makes a pass that feeds the next tokens of one row, `past` tokens after its start: the last token of a response,
    /// which has not been fed yet, and tokens that were drafted after it.
    pub fn response(past: usize, token_ids: Vec<u32>) -> Self {
        Self {
            phase: Phase::Response,
            batch: 1,
            seq: token_ids.len(),
            past,
            padding: vec![0],
            trailing: Vec::new(),
            masked_tail: Vec::new(),
            token_ids,
            finished: vec![false],
        }
    }

    /// Makes a pass over texts that are scored and not continued. They are padded **on the right**, so that no row needs a
    /// mask: the tokens of a causal model do not see what stands after them.
    ///
    /// # Errors
    /// [`Error::EmptyPrompt`] when there is no row or a row without a token.
    pub fn scored<R: AsRef<[u32]>>(rows: &[R], pad_id: u32) -> Result<Self> {
        Self::trailed(rows, pad_id, 0, vec![0; rows.len()])
    }

    /// Makes the pass after this one in which many rows continue few, for scoring: row `i` feeds `rows[i]` after what row
    /// `sources[i]` has fed so far, padded on the right. The context has to be the one that
    /// [`CausalLm::repeat_context`](crate::CausalLm::repeat_context) returns for the same sources. The tokens count as the
    /// prompt's.
    ///
    /// # Errors
    /// [`Error::EmptyPrompt`] when there is no row or a row without a token.
    ///
    /// # Panics
    /// If this pass is itself padded on the right, or a source is not one of its rows.
    pub fn scored_after<R: AsRef<[u32]>>(
        &self,
        sources: &[usize],
        rows: &[R],
        pad_id: u32,
    ) -> Result<Self> {
        assert!(self.trailing.is_empty(), "a gap would stay before the rows");
        let padding = sources.iter().map(|&row| self.padding[row]).collect();
        Self::trailed(rows, pad_id, self.past + self.seq, padding)
    }

    /// Returns the same pass with its padding at the right read as tokens whose keys this pass masks.
    pub(crate) fn with_trailing_as_masked_tail(mut self) -> Self {
        self.masked_tail = std::mem::take(&mut self.trailing);
        self
    }

    /// Returns the pass with its first slots alone, for a pass whose later tokens were rejected.
    pub(crate) fn first_slots(mut self, n_slots: usize) -> Self {
        if n_slots < self.seq {
            self.token_ids = first_of_each(&self.token_ids, self.seq, n_slots);
            self.seq = n_slots;
        }
        self
    }

    fn trailed<R: AsRef<[u32]>>(
        rows: &[R],
        pad_id: u32,
        past: usize,
        padding: Vec<usize>,
    ) -> Result<Self> {
        let lengths: Vec<usize> = rows.iter().map(|ids| ids.as_ref().len()).collect();
        let seq = lengths.iter().copied().max().unwrap_or(0);
        if let Some(row) = lengths.iter().position(|&length| length == 0) {
            return Err(Error::EmptyPrompt { row });
        }
        if seq == 0 {
            return Err(Error::EmptyPrompt { row: 0 });
        }
        let mut token_ids = Vec::with_capacity(rows.len() * seq);
        for ids in rows {
            token_ids.extend_from_slice(ids.as_ref());
            token_ids.resize(token_ids.len() + seq - ids.as_ref().len(), pad_id);
        }
        Ok(Self {
            phase: Phase::Prompt,
            batch: rows.len(),
            seq,
            past,
            padding,
            trailing: lengths.iter().map(|length| seq - length).collect(),
            masked_tail: Vec::new(),
            token_ids,
            finished: vec![false; rows.len()],
        })
    }

    /// Returns the phase that this pass belongs to.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Returns the number of rows.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Returns the number of slots per row in this pass, padding included.
    pub fn seq(&self) -> usize {
        self.seq
    }

    /// Returns the number of slots that earlier passes have filled, which is where this pass starts in the cache.
    pub fn past(&self) -> usize {
        self.past
    }

    /// Returns, for each row, the number of padding slots at the left of its first pass.
    pub fn padding(&self) -> &[usize] {
        &self.padding
    }

    /// Returns whether any row is padded, on either side.
    pub fn is_padded(&self) -> bool {
        self.is_padded_left() || self.trailing.iter().any(|&n_padding| n_padding > 0)
    }

    /// Returns whether any row is padded on the left. Only then do keys have to be masked for later queries, and do
    /// positions differ from slots.
    pub fn is_padded_left(&self) -> bool {
        self.padding.iter().any(|&n_padding| n_padding > 0)
    }

    /// Returns, for each row, the number of slots at its right end whose keys are masked for all queries of this pass, their
    /// own included, but not for those of later passes. Empty unless the pass was made by
    /// [`prompt_with_padding_as_tokens`](Self::prompt_with_padding_as_tokens).
    pub fn masked_tail(&self) -> &[usize] {
        &self.masked_tail
    }

    /// Returns the `batch * seq` token ids, row after row; empty for [`Pass::states`].
    pub fn token_ids(&self) -> &[u32] {
        &self.token_ids
    }

    /// Returns the position of a slot's token in its own row, padding not counted; `None` for padding.
    pub fn position(&self, row: usize, slot: usize) -> Option<usize> {
        if slot + self.trailing.get(row).copied().unwrap_or(0) >= self.seq {
            return None;
        }
        (self.past + slot).checked_sub(self.padding[row])
    }

    /// Returns whether a row has ended before the others and only stays in the batch.
    pub fn is_finished(&self, row: usize) -> bool {
        self.finished[row]
    }

    /// Returns where the slots are padding, `[batch, seq]`.
    pub fn padding_mask(&self, device: &Device) -> Tensor<2, Bool> {
        let padding = (0..self.batch)
            .flat_map(|row| (0..self.seq).map(move |slot| self.position(row, slot).is_none()))
            .collect::<Vec<bool>>();
        Tensor::from_data(TensorData::new(padding, [self.batch, self.seq]), device)
    }

    /// Returns the token ids on a device, `[batch, seq]`.
    pub fn token_tensor(&self, device: &Device) -> Tensor<2, Int> {
        let ids = self
            .token_ids
            .iter()
            .map(|&id| i64::from(id))
            .collect::<Vec<_>>();
        Tensor::from_data(TensorData::new(ids, [self.batch, self.seq]), device)
    }

    /// Returns the positions of the slots' tokens in their rows, `[batch, seq]`; 0 for padding.
    pub fn position_tensor(&self, device: &Device) -> Tensor<2, Int> {
        let position = |row, slot| self.position(row, slot).unwrap_or(0) as i64;
        let positions = (0..self.batch)
            .flat_map(|row| (0..self.seq).map(move |slot| position(row, slot)))
            .collect::<Vec<_>>();
        Tensor::from_data(TensorData::new(positions, [self.batch, self.seq]), device)
    }

    /// Returns where a key is masked for a query, `[batch, seq, past + seq]`: the key is newer than the query, or padding,
    /// or in the [`masked_tail`](Self::masked_tail). This is the whole mask of a decoder that attends to every earlier
    /// token.
    pub fn key_mask(&self, device: &Device) -> Tensor<3, Bool> {
        let n_keys = self.past + self.seq;
        let tail = |row: usize| n_keys - self.masked_tail.get(row).copied().unwrap_or(0);
        let is_hidden = |row: usize, slot, key| {
            key > self.past + slot || key < self.padding[row] || key >= tail(row)
        };
        let mut hidden = Vec::with_capacity(self.batch * self.seq * n_keys);
        for row in 0..self.batch {
            for slot in 0..self.seq {
                hidden.extend((0..n_keys).map(|key| is_hidden(row, slot, key)));
            }
        }
        let shape = [self.batch, self.seq, n_keys];
        Tensor::from_data(TensorData::new(hidden, shape), device)
    }

    /// Returns whether a slot holds a token that counts: it is not padding, and its row is not finished.
    pub fn counts(&self, row: usize, slot: usize) -> bool {
        !self.finished[row] && self.position(row, slot).is_some()
    }
}

/// Returns the first `n` of every `len` values.
pub(crate) fn first_of_each<T: Copy>(values: &[T], len: usize, n: usize) -> Vec<T> {
    values
        .chunks(len)
        .flat_map(|chunk| &chunk[..n])
        .copied()
        .collect()
}
