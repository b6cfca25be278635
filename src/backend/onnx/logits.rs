//! What a decoder's graph gives at a step.

use half::f16;
use ort::value::DynValue;

/// The logits of what follows one answer: see [`last_rows`].
pub(in crate::backend) fn last_row(logits: &DynValue) -> Result<Vec<f32>, String> {
    last_rows(logits)?.pop().ok_or_else(|| "no logits came out".into())
}

/// The logits of what follows each answer of a batch: the last row of each, in 32 or 16 bits, of a tensor whose first
/// side is the answers and whose last is the vocabulary.
pub(in crate::backend) fn last_rows(logits: &DynValue) -> Result<Vec<Vec<f32>>, String> {
    if let Ok((shape, values)) = logits.try_extract_tensor::<f16>() {
        return last(shape, values, |row| row.iter().map(|value| value.to_f32()).collect());
    }
    let (shape, values) = logits.try_extract_tensor::<f32>().map_err(|error| error.to_string())?;
    last(shape, values, <[f32]>::to_vec)
}

fn last<T>(shape: &[i64], values: &[T], read: impl Fn(&[T]) -> Vec<f32>) -> Result<Vec<Vec<f32>>, String> {
    let side = |side: Option<&i64>| side.and_then(|side| usize::try_from(*side).ok()).unwrap_or_default();
    let (answers, width) = (side(shape.first()), side(shape.last()));
    if values.is_empty() || shape.len() < 2 {
        return Err(format!("no logits came out, but a tensor of shape {shape:?}"));
    }
    let each = values.len() / answers;
    Ok(values.chunks_exact(each).map(|rows| read(&rows[each - width..])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_row_of_each_answer_is_what_follows_it() {
        let numbers = |count: u8| (0..count).map(f32::from).collect::<Vec<_>>();
        let rows = |shape: &[i64], count| last(shape, &numbers(count), <[f32]>::to_vec);
        assert_eq!(rows(&[2, 2, 3], 12), Ok(vec![vec![3.0, 4.0, 5.0], vec![9.0, 10.0, 11.0]]));
        assert_eq!(rows(&[1, 1, 2], 2), Ok(vec![vec![0.0, 1.0]]));
        assert_eq!(rows(&[2, 3], 6), Ok(vec![vec![0.0, 1.0, 2.0], vec![3.0, 4.0, 5.0]]));
        for shape in [&[1_i64, 0, 3][..], &[0, 2, 3], &[]] {
            assert!(rows(shape, 0).is_err_and(|error| error.contains("no logits came out")), "{shape:?}");
        }
        assert!(rows(&[3], 3).is_err());
    }
}
