//! The cache of a decoder's graph, by the names of the hub's exports: what goes in as `past_key_values.*` comes out as
//! `present.*`.

use ort::session::Session;
use ort::value::{DynTensor, DynValue, TensorElementType, ValueType};

/// What names of a cache's inputs begin with.
pub(in crate::backend) const PAST: &str = "past_key_values.";
const PRESENT: &str = "present.";

/// A part of a cache: the keys, or the values, of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::backend) struct CacheSlot {
    /// The input.
    pub(in crate::backend) past: String,
    /// The output.
    pub(in crate::backend) present: String,
    /// Of no tokens.
    shape: [i64; 4],
    kind: TensorElementType,
}

impl CacheSlot {
    /// The part behind the input `name`. `heads` and their `size` are for graphs that leave them open.
    pub(in crate::backend) fn new(
        name: &str,
        declared: &ValueType,
        (heads, size): (Option<i64>, Option<i64>),
    ) -> Result<Self, String> {
        let wrong = || format!("its cache input `{name}` has not the shape batch, heads, tokens, head size");
        let (Some(shape), Some(kind)) = (declared.tensor_shape(), declared.tensor_type()) else {
            return Err(wrong());
        };
        let &[_, told_heads, _, told_size] = &shape[..] else { return Err(wrong()) };
        let known = |told: i64, otherwise| Some(told).filter(|side| *side > 0).or(otherwise);
        let heads = known(told_heads, heads).ok_or_else(wrong)?;
        let size = known(told_size, size).ok_or_else(wrong)?;
        let suffix = name.strip_prefix(PAST).unwrap_or_default();
        let present = format!("{PRESENT}{suffix}");
        Ok(Self { past: name.to_owned(), present, shape: [1, heads, 0, size], kind })
    }

    /// The part with no tokens.
    pub(in crate::backend) fn empty(&self, session: &Session) -> Result<DynValue, String> {
        let tensor = DynTensor::new(session.allocator(), self.kind, self.shape.to_vec());
        tensor.map(|tensor| tensor.into_dyn()).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ort::value::{Shape, SymbolicDimensions};

    fn tensor(shape: &[i64]) -> ValueType {
        let dimension_symbols = SymbolicDimensions::empty(shape.len());
        let shape = Shape::new(shape.iter().copied());
        ValueType::Tensor { ty: TensorElementType::Float32, shape, dimension_symbols }
    }

    #[test]
    fn sizes_come_from_the_graph_or_else_from_the_model() {
        let table = [
            ([-1, 2, -1, 64], (None, None), Some([1, 2, 0, 64])),
            ([-1, 2, -1, 64], (Some(8), Some(32)), Some([1, 2, 0, 64])),
            ([-1, -1, -1, -1], (Some(8), Some(32)), Some([1, 8, 0, 32])),
            ([-1, -1, -1, 64], (None, Some(32)), None),
            ([-1, 2, -1, 0], (Some(8), None), None),
        ];
        for (shape, sizes, expected) in table {
            let slot = CacheSlot::new("past_key_values.3.value", &tensor(&shape), sizes);
            assert_eq!(slot.as_ref().ok().map(|slot| slot.shape), expected, "{shape:?} {sizes:?}");
            assert!(slot.map_or(true, |slot| slot.present == "present.3.value"));
        }
        let flat = CacheSlot::new("past_key_values.0.key", &tensor(&[1, 2]), (Some(8), Some(32)));
        assert!(flat.is_err_and(|reason| reason.contains("`past_key_values.0.key` has not the shape")));
    }
}
