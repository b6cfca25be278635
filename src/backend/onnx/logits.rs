//! What a decoder's graph gives at a step.

use half::f16;
use ort::value::DynValue;

/// The logits of what follows: the last row of a tensor of one row a token, in 32 or 16 bits.
pub(in crate::backend) fn last_row(logits: &DynValue) -> Result<Vec<f32>, String> {
    if let Ok((shape, values)) = logits.try_extract_tensor::<f16>() {
        return Ok(last(shape, values)?.iter().map(|value| value.to_f32()).collect());
    }
    let (shape, values) = logits.try_extract_tensor::<f32>().map_err(|error| error.to_string())?;
    Ok(last(shape, values)?.to_vec())
}

fn last<'a, T>(shape: &[i64], values: &'a [T]) -> Result<&'a [T], String> {
    let width = shape.last().and_then(|width| usize::try_from(*width).ok()).unwrap_or_default();
    let begin = values.len().checked_sub(width).filter(|_| width > 0).ok_or("no logits came out")?;
    Ok(&values[begin..])
}
