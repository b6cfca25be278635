//! What a decoder's graph gives at a step.

use half::f16;
use ort::value::DynValue;

/// The logits of what follows one answer: see [`last_rows`].
pub(in crate::backend) fn last_row(logits: &DynValue) -> Result<Vec<f32>, String> {
    last_rows(logits)?.pop().ok_or_else(|| "no logits came out".into())
}

/// The logits of what follows each answer of a batch: the last row of each, of a tensor of batch, tokens, vocabulary in
/// 32 or 16 bits.
pub(in crate::backend) fn last_rows(logits: &DynValue) -> Result<Vec<Vec<f32>>, String> {
    if let Ok((shape, values)) = logits.try_extract_tensor::<f16>() {
        return last(shape, values, |row| row.iter().map(|value| value.to_f32()).collect());
    }
    let (shape, values) = logits.try_extract_tensor::<f32>().map_err(|error| error.to_string())?;
    last(shape, values, <[f32]>::to_vec)
}

fn last<T>(shape: &[i64], values: &[T], read: impl Fn(&[T]) -> Vec<f32>) -> Result<Vec<Vec<f32>>, String> {
    let &[_, tokens, width] = shape else { return Err(format!("the logits have the shape {shape:?}")) };
    let [tokens, width] = [tokens, width].map(|side| usize::try_from(side).unwrap_or_default());
    if values.is_empty() {
        return Err("no logits came out".into());
    }
    Ok(values.chunks_exact(tokens * width).map(|answer| read(&answer[(tokens - 1) * width..])).collect())
}
