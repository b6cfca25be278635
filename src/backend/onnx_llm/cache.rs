//! What a model remembers of answers: the caches that a step reads and writes, of one answer, or of several that made
//! the step together.

use std::sync::Arc;

use half::f16;
use ort::value::{DynValue, TensorElementType};

use super::prefix::Remembered;
use crate::backend::onnx::{Gather, Piece};

/// Where the room is in a row of a batch that is shorter than the longest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Padding {
    /// After its tokens: the graph is told how long each row is and writes the next token there (GroupQueryAttention,
    /// as ONNX Runtime's model builder exports).
    #[default]
    After,
    /// Before them: the graph puts the next token at the end of all rows (as `torch.onnx` exports).
    Before,
}

/// Caches as they came out of a step: one tensor for each part, a row for each answer.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) values: Vec<DynValue>,
    /// Tokens that there is room for in a row.
    pub(super) width: usize,
    pub(super) rows: usize,
}

/// What the model remembers of one answer so far: a row of a batch that nobody changes, so that a clone is the same.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    batch: Arc<Batch>,
    row: usize,
    len: usize,
}

impl Cache {
    /// The rows of `batch`, which hold so many tokens each.
    pub(super) fn of(batch: Batch, lens: &[usize]) -> Vec<Self> {
        let batch = Arc::new(batch);
        lens.iter().enumerate().map(|(row, len)| Self { batch: Arc::clone(&batch), row, len: *len }).collect()
    }

    /// A cache that belongs to no model: no step can be made with it.
    #[cfg(test)]
    pub(super) fn nothing() -> Self {
        Self { batch: Arc::new(Batch { values: Vec::new(), width: 0, rows: 1 }), row: 0, len: 0 }
    }

    /// Tokens in it.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// One batch of all of these, in this order. Nothing is copied where they are one already.
    pub(super) fn join(
        caches: &[&Self],
        padding: Padding,
        gather: &mut Gather,
    ) -> Result<Arc<Batch>, String> {
        let width = caches.iter().map(|cache| cache.len).max().unwrap_or_default();
        let first = caches.first().ok_or("there is no cache")?;
        let is_whole =
            |(at, cache): (usize, &&Self)| cache.row == at && Arc::ptr_eq(&cache.batch, &first.batch);
        let is_one = (first.batch.rows, first.batch.width) == (caches.len(), width);
        if is_one && caches.iter().enumerate().all(is_whole) {
            return Ok(Arc::clone(&first.batch));
        }
        let lens: Vec<usize> = caches.iter().map(|cache| cache.len).collect();
        Ok(Arc::new(Self::gathered(caches, &lens, padding, gather)?))
    }

    /// Its first `tokens`, alone.
    pub(super) fn first(&self, tokens: usize, padding: Padding, gather: &mut Gather) -> Result<Self, String> {
        if (tokens, self.batch.rows, self.batch.width) == (self.len, 1, self.len) {
            return Ok(self.clone());
        }
        let batch = Self::gathered(&[self], &[tokens.min(self.len)], padding, gather)?;
        Self::of(batch, &[tokens.min(self.len)]).pop().ok_or_else(|| "there is no row".into())
    }

    /// The first tokens of each, so many as `lens` says, in one batch as wide as the longest.
    fn gathered(
        caches: &[&Self],
        lens: &[usize],
        padding: Padding,
        gather: &mut Gather,
    ) -> Result<Batch, String> {
        let width = lens.iter().max().copied().unwrap_or_default();
        let parts = caches.iter().map(|cache| cache.batch.values.len()).min().unwrap_or_default();
        let values = (0..parts).map(|part| {
            let pieces = caches.iter().zip(lens).map(|(cache, len)| cache.part(part, (*len, width), padding));
            gather.rows(&in_one(pieces.collect::<Result<_, _>>()?))
        });
        Ok(Batch { values: values.collect::<Result<_, _>>()?, width, rows: caches.len() })
    }

    /// The first `len` tokens of a part, with room up to `width`.
    fn part(&self, part: usize, (len, width): (usize, usize), padding: Padding) -> Result<Piece<'_>, String> {
        let tensor = &self.batch.values[part];
        let held = tensor.dtype().tensor_shape().and_then(|shape| shape.get(2).copied()).unwrap_or_default();
        let [held_here, len, width, own] =
            [self.batch.width, len, width, self.len].map(|count| i64::try_from(count).unwrap_or(i64::MAX));
        if held != held_here {
            return Err(format!("a cache of {held} tokens for {held_here}: it has let its beginning go"));
        }
        let (before, after) = match padding {
            Padding::After => (0, width - held),
            // What comes after `len` is cut off; the room that is there before its first token is room still.
            Padding::Before => ((width - len) - (held - own), len - own),
        };
        Ok(Piece { tensor, rows: self.row..self.row + 1, before, after })
    }
}

/// Rows that lie together are taken together: of a batch that one has left, those before it and those after.
fn in_one(pieces: Vec<Piece<'_>>) -> Vec<Piece<'_>> {
    let mut joined: Vec<Piece<'_>> = Vec::new();
    for piece in pieces {
        match joined.last_mut() {
            Some(last)
                if std::ptr::eq(last.tensor, piece.tensor)
                    && last.rows.end == piece.rows.start
                    && (last.before, last.after) == (piece.before, piece.after) =>
            {
                last.rows.end = piece.rows.end;
            }
            _ => joined.push(piece),
        }
    }
    joined
}

impl Remembered for Cache {
    /// Of the row alone.
    fn bytes(&self) -> usize {
        let count = |value: &DynValue| value.dtype().tensor_shape().map_or(0, |shape| shape.num_elements());
        let number = |value: &DynValue| match value.dtype().tensor_type() {
            Some(TensorElementType::Float16 | TensorElementType::Bfloat16) => size_of::<f16>(),
            _ => size_of::<f32>(),
        };
        let bytes: usize = self.batch.values.iter().map(|value| count(value) * number(value)).sum();
        bytes / self.batch.rows
    }
}
