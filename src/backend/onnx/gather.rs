//! Rows of batches cut out and put together where they lie: by graphs of our own, one for each number of rows, so that
//! it is the same on a CPU and a GPU.

use std::path::Path;

use ort::editor::{Graph, Model, Node, ONNX_DOMAIN, Opset};
use ort::environment::Environment;
use ort::memory::Allocator;
use ort::operator::Attribute;
use ort::session::Session;
use ort::value::{DynTensor, DynValue, Outlet, Shape, SymbolicDimensions, TensorElementType, ValueType};

use super::binding::{memory, text};
use super::{Binding, Room, builder, environment};
use crate::engine::Device;

/// The version of ONNX's operators that the graphs are of: ONNX Runtime 1.22, the oldest that takes a graph that is no
/// file, knows it.
const OPSET: u32 = 21;
const ROWS: &str = "rows";

/// One row of a tensor of batch, heads, tokens, head size.
#[derive(Clone, Copy, Debug)]
pub(in crate::backend) struct Row<'a> {
    pub(in crate::backend) tensor: &'a DynValue,
    pub(in crate::backend) at: usize,
    /// Zeros that are put before its first token and after its last one; below zero, tokens that are cut off there.
    pub(in crate::backend) before: i64,
    pub(in crate::backend) after: i64,
}

/// Makes tensors of rows of others.
#[derive(Debug)]
pub(in crate::backend) struct Gather {
    environment: Environment,
    device: Device,
    /// Memory of the session whose tensors they are: what one run gives back serves the next.
    allocator: Allocator,
    made: Vec<Made>,
}

/// The graph for so many rows of one type.
#[derive(Debug)]
struct Made {
    rows: usize,
    kind: TensorElementType,
    session: Session,
    binding: Binding,
}

impl Gather {
    /// For tensors of `session`, which computes on `device`. `library` is ONNX Runtime's.
    pub(in crate::backend) fn new(session: &Session, device: Device, library: &Path) -> Result<Self, String> {
        let environment = environment(library)?;
        let allocator = Allocator::new(session, memory(device)?).map_err(text)?;
        Ok(Self { environment, device, allocator, made: Vec::new() })
    }

    /// A tensor of these rows, in this order. They are of one type, and with what is put to them of one shape.
    pub(in crate::backend) fn rows(&mut self, rows: &[Row<'_>]) -> Result<DynValue, String> {
        let kind = rows.first().and_then(|row| row.tensor.dtype().tensor_type()).ok_or("there is no row")?;
        let pads = rows.iter().map(pads).collect::<Result<Vec<_>, _>>()?;
        let shape = shape(&rows[0], rows.len())?;
        let mut output = DynTensor::new(&self.allocator, kind, shape).map_err(text)?.into_dyn();
        let Made { session, binding, .. } = self.graph(rows.len(), kind)?;
        let bound = (0..).zip(rows).zip(pads).try_for_each(|((at, row), pads)| {
            binding.pass(&whole(at), row.tensor)?;
            binding.feed(&around(at), vec![pads.len()], pads)
        });
        let ran = bound.and_then(|()| {
            binding.fill(ROWS, &mut output)?;
            binding.run(session, None).map(drop)
        });
        binding.clear();
        // The tensor that was made above, and not what the run hands out: that would not keep the allocator alive.
        ran.map(|()| output)
    }

    fn graph(&mut self, rows: usize, kind: TensorElementType) -> Result<&mut Made, String> {
        let at = match self.made.iter().position(|made| (made.rows, made.kind) == (rows, kind)) {
            Some(at) => at,
            None => {
                let session = self.make(rows, kind).map_err(text)?;
                let binding = Binding::new(&session, self.device)?;
                self.made.push(Made { rows, kind, session, binding });
                self.made.len() - 1
            }
        };
        Ok(&mut self.made[at])
    }

    /// Takes each row out of its tensor, and puts all together.
    fn make(&self, rows: usize, kind: TensorElementType) -> ort::Result<Session> {
        let mut graph = Graph::new()?;
        let symbols = SymbolicDimensions::empty;
        let part = |name: String| {
            let shape = Shape::new([-1; 4]);
            Outlet::new(name, ValueType::Tensor { ty: kind, shape, dimension_symbols: symbols(4) })
        };
        let numbers = |name: String| {
            let (ty, shape) = (TensorElementType::Int64, Shape::new([8]));
            Outlet::new(name, ValueType::Tensor { ty, shape, dimension_symbols: symbols(1) })
        };
        graph.set_inputs((0..rows).flat_map(|at| [part(whole(at)), numbers(around(at))]))?;
        graph.set_outputs([part(ROWS.to_owned())])?;
        let cut = |at: usize| format!("row{at}");
        for at in 0..rows {
            graph.add_node(Node::new(
                "Pad",
                ONNX_DOMAIN,
                cut(at),
                [whole(at), around(at)],
                [cut(at)],
                [],
            )?)?;
        }
        let (cuts, axis): (Vec<String>, _) = ((0..rows).map(cut).collect(), Attribute::new("axis", 0_i64)?);
        graph.add_node(Node::new("Concat", ONNX_DOMAIN, ROWS, cuts, [ROWS], [axis])?)?;
        let mut model = Model::new([Opset::new(ONNX_DOMAIN, OPSET)?])?;
        model.set_graph(graph)?;
        model.into_session(&builder(&self.environment, Room::on(self.device))?)
    }
}

fn whole(at: usize) -> String {
    format!("tensor{at}")
}

fn around(at: usize) -> String {
    format!("around{at}")
}

fn sides(row: &Row<'_>) -> Result<[i64; 4], String> {
    let shape = row.tensor.dtype().tensor_shape().map(|shape| shape.to_vec()).unwrap_or_default();
    <[i64; 4]>::try_from(shape).map_err(|shape| format!("a tensor of shape {shape:?} has no rows of tokens"))
}

/// What `Pad` puts before each side of the row's tensor, then after each; below zero it cuts.
fn pads(row: &Row<'_>) -> Result<Vec<i64>, String> {
    let [count, ..] = sides(row)?;
    let at = i64::try_from(row.at).unwrap_or(i64::MAX);
    if at >= count {
        return Err(format!("there is no row {at} of {count}"));
    }
    Ok(vec![-at, 0, row.before, 0, at + 1 - count, 0, row.after, 0])
}

fn shape(row: &Row<'_>, rows: usize) -> Result<Vec<i64>, String> {
    let [_, heads, tokens, size] = sides(row)?;
    let tokens = tokens + row.before + row.after;
    if tokens < 0 {
        return Err(format!("{tokens} tokens of a row"));
    }
    Ok(vec![i64::try_from(rows).unwrap_or(i64::MAX), heads, tokens, size])
}

#[cfg(test)]
mod tests {
    use half::f16;
    use ort::value::Tensor;

    use super::*;
    use crate::backend::onnx::open;

    fn gather() -> Gather {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let library = root.join(".cache/onnxruntime/libonnxruntime.so");
        let graph = root.join("tests/fixtures/llm/llama3/onnx/model.onnx");
        let session = open(Room::on(Device::Cpu), "test", &graph, &library, |reason| panic!("{reason}"))
            .expect("it opens");
        Gather::new(&session, Device::Cpu, &library).expect("it can allocate")
    }

    /// Rows of one head and size 1: their tokens are 10, 11, .. and 20, 21, ..
    fn tensor(tokens: u8) -> DynValue {
        let values: Vec<f32> =
            [10, 20].into_iter().flat_map(|row: u8| (row..row + tokens).map(f32::from)).collect();
        Tensor::from_array(([2, 1, usize::from(tokens), 1], values)).expect("a tensor").into_dyn()
    }

    fn values(tensor: &DynValue) -> (Vec<i64>, Vec<f32>) {
        let (shape, values) = tensor.try_extract_tensor::<f32>().expect("32 bits");
        (shape.to_vec(), values.to_vec())
    }

    #[test]
    fn rows_are_cut_and_given_room_at_both_ends() {
        let (mut gather, long, short) = (gather(), tensor(4), tensor(2));
        let row = |tensor, at, before, after| Row { tensor, at, before, after };
        let rows = [row(&long, 1, -1, 0), row(&short, 0, 0, 1), row(&short, 1, 1, 0), row(&long, 0, 1, -2)];
        let expected = [[21.0, 22.0, 23.0], [10.0, 11.0, 0.0], [0.0, 20.0, 21.0], [0.0, 10.0, 11.0]];
        let made = gather.rows(&rows).expect("rows");
        assert_eq!(values(&made), (vec![4, 1, 3, 1], expected.concat()));
        // Another number of rows, rows of what was made, and what they were made by is gone.
        let again = gather.rows(&[row(&made, 2, 0, -3)]).expect("no token");
        assert_eq!(values(&again), (vec![1, 1, 0, 1], vec![]));
        drop((gather, long));
        assert_eq!(values(&made).1, expected.concat());
    }

    #[test]
    fn rows_are_of_16_bits_too() {
        let mut gather = gather();
        let numbers: Vec<f16> = [1.5, 2.5].map(f16::from_f32).to_vec();
        let tensor = Tensor::from_array(([2, 1, 1, 1], numbers)).expect("a tensor").into_dyn();
        let rows = [1, 0].map(|at| Row { tensor: &tensor, at, before: 0, after: 1 });
        let made = gather.rows(&rows).expect("rows");
        let (_, made) = made.try_extract_tensor::<f16>().expect("16 bits");
        assert_eq!(made, [2.5, 0.0, 1.5, 0.0].map(f16::from_f32));
    }

    #[test]
    fn what_is_no_row_is_refused() {
        let (mut gather, long, short) = (gather(), tensor(3), tensor(2));
        let row = |tensor, at, after| Row { tensor, at, before: 0, after };
        for (rows, told) in [
            (vec![], "there is no row"),
            (vec![row(&long, 2, 0)], "no row 2 of 2"),
            (vec![row(&long, 0, -4)], "-1 tokens"),
            (vec![row(&long, 0, 0), row(&short, 0, 0)], "Concat"),
        ] {
            let error = gather.rows(&rows).expect_err("not possible");
            assert!(error.contains(told), "{error}");
        }
        let flat = Tensor::from_array(([2], vec![1.0_f32, 2.0])).expect("a tensor").into_dyn();
        assert!(gather.rows(&[row(&flat, 0, 0)]).is_err_and(|error| error.contains("[2] has no rows")));
        assert!(gather.rows(&[row(&long, 0, 0)]).is_ok(), "and it works on");
    }
}
