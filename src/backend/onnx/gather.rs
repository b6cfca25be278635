//! Rows of batches cut out and put together where they lie: by two graphs of our own, so that it is the same on a CPU and
//! a GPU.

use std::ops::Range;
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

/// The version of ONNX's operators that the graphs are of: an old one, which the kernels of every device know. Kernels are
/// registered for ranges of versions, and a GPU's for newer ones later than a CPU's.
const OPSET: u32 = 13;
const ROWS: &str = "rows";

/// Rows of a tensor of batch, heads, tokens, head size.
#[derive(Clone, Debug)]
pub(in crate::backend) struct Piece<'a> {
    pub(in crate::backend) tensor: &'a DynValue,
    pub(in crate::backend) rows: Range<usize>,
    /// Zeros that are put before the first token and after the last one of each; below zero, tokens that are cut off there.
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

/// The graph for one piece, or for two, of one type.
#[derive(Debug)]
struct Made {
    pieces: usize,
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
    pub(in crate::backend) fn rows(&mut self, pieces: &[Piece<'_>]) -> Result<DynValue, String> {
        if pieces.len() <= 2 {
            return self.run(pieces);
        }
        // A graph for each number of pieces would take memory of a GPU for each, and hardly ever are there more than two.
        let (first, rest) = pieces.split_at(pieces.len() / 2);
        let (first, rest) = (self.rows(first)?, self.rows(rest)?);
        let whole =
            |tensor| sides(tensor).map(|[rows, ..]| Piece { tensor, rows: 0..rows, before: 0, after: 0 });
        self.run(&[whole(&first)?, whole(&rest)?])
    }

    fn run(&mut self, pieces: &[Piece<'_>]) -> Result<DynValue, String> {
        let kind = pieces.first().and_then(|piece| piece.tensor.dtype().tensor_type());
        let kind = kind.ok_or("there is no row")?;
        let pads = pieces.iter().map(pads).collect::<Result<Vec<_>, _>>()?;
        let shape = shape(pieces)?;
        let mut output = DynTensor::new(&self.allocator, kind, shape).map_err(text)?.into_dyn();
        let Made { session, binding, .. } = self.graph(pieces.len(), kind)?;
        let bound = (0..).zip(pieces).zip(pads).try_for_each(|((at, piece), pads)| {
            binding.pass(&whole(at), piece.tensor)?;
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

    fn graph(&mut self, pieces: usize, kind: TensorElementType) -> Result<&mut Made, String> {
        let at = match self.made.iter().position(|made| (made.pieces, made.kind) == (pieces, kind)) {
            Some(at) => at,
            None => {
                let session = self.make(pieces, kind).map_err(text)?;
                let binding = Binding::new(&session, self.device)?;
                self.made.push(Made { pieces, kind, session, binding });
                self.made.len() - 1
            }
        };
        Ok(&mut self.made[at])
    }

    /// Takes the rows out of each tensor, and puts all together.
    fn make(&self, pieces: usize, kind: TensorElementType) -> ort::Result<Session> {
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
        graph.set_inputs((0..pieces).flat_map(|at| [part(whole(at)), numbers(around(at))]))?;
        graph.set_outputs([part(ROWS.to_owned())])?;
        let cut = |at: usize| format!("piece{at}");
        for at in 0..pieces {
            graph.add_node(Node::new(
                "Pad",
                ONNX_DOMAIN,
                cut(at),
                [whole(at), around(at)],
                [cut(at)],
                [],
            )?)?;
        }
        let (cuts, axis): (Vec<String>, _) = ((0..pieces).map(cut).collect(), Attribute::new("axis", 0_i64)?);
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

fn sides(tensor: &DynValue) -> Result<[usize; 4], String> {
    let shape = tensor.dtype().tensor_shape().map(|shape| shape.to_vec()).unwrap_or_default();
    let known: Option<Vec<usize>> = shape.iter().map(|side| usize::try_from(*side).ok()).collect();
    let sides = known.and_then(|sides| <[usize; 4]>::try_from(sides).ok());
    sides.ok_or_else(|| format!("a tensor of shape {shape:?} has no rows of tokens"))
}

/// What `Pad` puts before each side of the piece's tensor, then after each; below zero it cuts.
fn pads(piece: &Piece<'_>) -> Result<Vec<i64>, String> {
    let ([count, ..], rows) = (sides(piece.tensor)?, &piece.rows);
    if rows.is_empty() || rows.end > count {
        return Err(format!("there are no rows {rows:?} of {count}"));
    }
    let [before, after] = [rows.start, count - rows.end].map(number);
    Ok(vec![-before, 0, piece.before, 0, -after, 0, piece.after, 0])
}

fn shape(pieces: &[Piece<'_>]) -> Result<Vec<i64>, String> {
    let first = pieces.first().ok_or("there is no row")?;
    let [_, heads, tokens, size] = sides(first.tensor)?.map(number);
    let tokens = tokens + first.before + first.after;
    if tokens < 0 {
        return Err(format!("{tokens} tokens of a row"));
    }
    Ok(vec![number(pieces.iter().map(|piece| piece.rows.len()).sum()), heads, tokens, size])
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
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

    fn piece(tensor: &DynValue, rows: Range<usize>, (before, after): (i64, i64)) -> Piece<'_> {
        Piece { tensor, rows, before, after }
    }

    #[test]
    fn rows_are_cut_and_given_room_at_both_ends() {
        let (mut gather, long, short) = (gather(), tensor(4), tensor(2));
        let pieces = [
            piece(&long, 1..2, (-1, 0)),
            piece(&short, 0..2, (0, 1)),
            piece(&short, 1..2, (1, 0)),
            piece(&long, 0..1, (1, -2)),
        ];
        let expected =
            [[21.0, 22.0, 23.0], [10.0, 11.0, 0.0], [20.0, 21.0, 0.0], [0.0, 20.0, 21.0], [0.0, 10.0, 11.0]];
        for count in 1..=pieces.len() {
            let made = gather.rows(&pieces[..count]).expect("rows");
            let rows = if count == 1 { 1 } else { count + 1 };
            assert_eq!(values(&made), (vec![number(rows), 1, 3, 1], expected[..rows].concat()));
        }
        // Rows of what was made, and what they were made by is gone.
        let made = gather.rows(&pieces).expect("rows");
        let again = gather.rows(&[piece(&made, 2..3, (0, -3))]).expect("no token");
        assert_eq!(values(&again), (vec![1, 1, 0, 1], vec![]));
        drop((gather, long));
        assert_eq!(values(&made).1, expected.concat());
    }

    #[test]
    fn rows_are_of_16_bits_too() {
        let mut gather = gather();
        let numbers: Vec<f16> = [1.5, 2.5].map(f16::from_f32).to_vec();
        let tensor = Tensor::from_array(([2, 1, 1, 1], numbers)).expect("a tensor").into_dyn();
        let pieces = [1..2, 0..1].map(|rows| piece(&tensor, rows, (0, 1)));
        let made = gather.rows(&pieces).expect("rows");
        let (_, made) = made.try_extract_tensor::<f16>().expect("16 bits");
        assert_eq!(made, [2.5, 0.0, 1.5, 0.0].map(f16::from_f32));
    }

    #[test]
    fn what_is_no_row_is_refused() {
        let (mut gather, long, short) = (gather(), tensor(3), tensor(2));
        for (pieces, told) in [
            (vec![], "there is no row"),
            (vec![piece(&long, 2..3, (0, 0))], "no rows 2..3 of 2"),
            (vec![piece(&long, 0..1, (0, -4))], "-1 tokens"),
            (vec![piece(&long, 0..1, (0, 0)), piece(&short, 0..1, (0, 0))], "Concat"),
        ] {
            let error = gather.rows(&pieces).expect_err("not possible");
            assert!(error.contains(told), "{error}");
        }
        let flat = Tensor::from_array(([2], vec![1.0_f32, 2.0])).expect("a tensor").into_dyn();
        let error = gather.rows(&[piece(&flat, 0..1, (0, 0))]).expect_err("not possible");
        assert!(error.contains("[2] has no rows"), "{error}");
        assert!(gather.rows(&[piece(&long, 0..1, (0, 0))]).is_ok(), "and it works on");
    }
}
