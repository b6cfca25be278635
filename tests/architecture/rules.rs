//! The rules, each a function from one source file to what it finds there.

use std::fmt;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::source::{Mention, Source};

/// Longest function, in lines from `fn` to its closing brace.
pub(crate) const MAX_FUNCTION_LINES: usize = 60;
/// Most arguments of a function, `self` included, as clippy counts them.
pub(crate) const MAX_ARGUMENTS: usize = 5;
/// Longest file, in lines that are not test code.
pub(crate) const MAX_FILE_LINES: usize = 400;

/// Which top-level modules each top-level module may name. `main` and `loadtest` stand for the two programs.
pub(crate) const LAYERS: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("audio", &[]),
    ("telemetry", &[]),
    ("runtime", &[]),
    ("secret", &[]),
    ("engine", &["audio", "telemetry"]),
    ("pool", &["engine", "telemetry", "runtime"]),
    ("backend", &["engine", "audio", "telemetry", "runtime", "secret"]),
    ("store", &["audio", "telemetry"]),
    ("models", &[]),
    // store: a session writes its own snapshot, and its router reads it.
    ("session", &["pool", "store", "engine", "audio", "telemetry", "runtime"]),
    // pool and engine: the HTTP audio endpoints lease engines without a session.
    ("server", &["session", "protocol", "audio", "pool", "store", "engine", "telemetry", "runtime"]),
    (
        "config",
        &[
            "server",
            "session",
            "pool",
            "backend",
            "store",
            "models",
            "engine",
            "protocol",
            "audio",
            "telemetry",
            "runtime",
        ],
    ),
    (
        "app",
        &[
            "config",
            "server",
            "session",
            "pool",
            "backend",
            "store",
            "models",
            "engine",
            "protocol",
            "audio",
            "telemetry",
            "runtime",
        ],
    ),
    ("cli", &["app", "config", "models", "telemetry", "runtime"]),
    ("main", &["cli"]),
    ("loadtest", &["audio", "protocol"]),
];

/// Globals that are process-wide by nature: file, name, reason. No session's state may live in one.
pub(crate) const PROCESS_WIDE: &[(&str, &str, &str)] = &[
    (
        "src/telemetry/exporter.rs",
        "INSTALLED",
        "the metrics facade has one recorder a process; it holds counts, nothing of a session",
    ),
    (
        "src/backend/onnx/environment.rs",
        "ENVIRONMENT",
        "ONNX Runtime allows one environment a process; it holds a logger and settings, nothing of a session",
    ),
    (
        "src/backend/onnx/cuda.rs",
        "FOUND",
        "which GPUs the process can use is decided by its one library and its machine; it holds what is missing",
    ),
];

/// One broken rule at one place.
#[derive(Debug)]
pub(crate) struct Finding {
    /// `src/pool/select.rs:12`.
    pub(crate) place: String,
    /// What is wrong.
    pub(crate) problem: String,
    /// What to do about it.
    pub(crate) advice: &'static str,
}

impl Finding {
    fn new(source: &Source, line: usize, problem: String, advice: &'static str) -> Self {
        Self { place: format!("{}:{line}", source.path), problem, advice }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n    {}", self.place, self.problem, self.advice)
    }
}

/// Imports go down only: `use` items, inline paths and paths inside macro calls alike.
pub(crate) fn layers(source: &Source) -> Vec<Finding> {
    let own = owner(source);
    if own == "lib" {
        return Vec::new();
    }
    let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == own) else {
        let problem = format!("module `{own}` has no layer");
        return vec![Finding::new(source, 1, problem, "add its row to LAYERS and to docs/architecture.md")];
    };
    let mut findings = Vec::new();
    for mention in source.mentions() {
        let Some(target) = target(&mention) else { continue };
        let is_module = LAYERS.iter().any(|(name, _)| *name == target);
        if is_module && target != own && !allowed.contains(&target.as_str()) {
            let problem =
                format!("`{own}` must not know `{target}` (here: `{}`)", mention.segments.join("::"));
            findings.push(Finding::new(
                source,
                mention.line,
                problem,
                "move the shared type to a lower layer, or hand the value in from `app`",
            ));
        }
    }
    findings
}

/// The row of LAYERS that a file belongs to.
fn owner(source: &Source) -> String {
    match source.path.as_str() {
        "src/main.rs" => "main".to_owned(),
        "src/lib.rs" => "lib".to_owned(),
        path if path.starts_with("loadtest/") => "loadtest".to_owned(),
        path if path.starts_with("audio/") => "audio".to_owned(),
        _ => source.module[0].clone(),
    }
}

/// The top-level module that a path leads to, where it leads into this crate.
fn target(mention: &Mention) -> Option<String> {
    let mut segments = mention.segments.iter();
    let mut module = mention.module.clone();
    let mut supers = 0;
    loop {
        let segment = segments.next()?;
        match segment.as_str() {
            "crate" | "antiphon" if supers == 0 => return segments.next().cloned(),
            "self" if supers == 0 => return None,
            "super" => {
                module.pop();
                supers += 1;
            }
            _ if supers > 0 => return Some(module.first().unwrap_or(segment).clone()),
            _ => return None,
        }
    }
}

/// Only `runtime.rs` spawns tasks: there they are named, tracked and cancellable.
pub(crate) fn spawning(source: &Source) -> Vec<Finding> {
    if source.path == "src/runtime.rs" || source.path.starts_with("loadtest/") {
        return Vec::new();
    }
    let spawns = |m: &&Mention| {
        let segments: Vec<&str> = m.segments.iter().map(String::as_str).collect();
        segments.contains(&"JoinSet")
            || matches!(segments.as_slice(), ["tokio", "spawn"] | [.., "task", "spawn" | "spawn_local"])
    };
    source
        .mentions()
        .iter()
        .filter(spawns)
        .map(|m| {
            let problem = format!("`{}` spawns a task that nobody names or joins", m.segments.join("::"));
            Finding::new(source, m.line, problem, "spawn it with `runtime::Runtime::spawn`")
        })
        .collect()
}

/// Every queue is bounded.
pub(crate) fn queues(source: &Source) -> Vec<Finding> {
    let unbounded = |m: &&Mention| {
        let segments: Vec<&str> = m.segments.iter().map(String::as_str).collect();
        matches!(
            segments.as_slice(),
            [.., "unbounded" | "unbounded_channel"] | ["std", "sync", "mpsc", "channel"]
        )
    };
    source
        .mentions()
        .iter()
        .filter(unbounded)
        .map(|m| {
            let problem = format!("`{}` makes a queue without bound", m.segments.join("::"));
            let advice =
                "bound it by a named constant and give it a row in docs/architecture.md, Backpressure";
            Finding::new(source, m.line, problem, advice)
        })
        .collect()
}

/// Each file says at its top what it is.
pub(crate) fn header(source: &Source) -> Vec<Finding> {
    if source.text.starts_with("//!") {
        return Vec::new();
    }
    let advice = "open it with what the module is, what it must not know, and which type to read first";
    vec![Finding::new(source, 1, "the file does not open with `//!`".to_owned(), advice)]
}

/// Files stay short.
pub(crate) fn file_length(source: &Source) -> Vec<Finding> {
    let lines = source.text.lines().count().saturating_sub(source.test_lines);
    if lines <= MAX_FILE_LINES {
        return Vec::new();
    }
    let problem = format!("{lines} lines without tests, at most {MAX_FILE_LINES}");
    vec![Finding::new(source, 1, problem, "split the module by what changes together")]
}

/// Functions stay short and take few arguments.
pub(crate) fn functions(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for function in measure(source) {
        if function.lines > MAX_FUNCTION_LINES {
            let problem =
                format!("`{}` has {} lines, at most {MAX_FUNCTION_LINES}", function.name, function.lines);
            findings.push(Finding::new(source, function.line, problem, "give its steps names of their own"));
        }
        if function.arguments > MAX_ARGUMENTS && !function.of_trait_impl {
            let problem = format!(
                "`{}` takes {} arguments, at most {MAX_ARGUMENTS}",
                function.name, function.arguments
            );
            findings.push(Finding::new(
                source,
                function.line,
                problem,
                "group what belongs together in a struct",
            ));
        }
    }
    findings
}

/// No global state: sessions share nothing but what `app` hands them.
pub(crate) fn globals(source: &Source) -> Vec<Finding> {
    let mut visitor = Globals { source, findings: Vec::new() };
    visitor.visit_file(&source.file);
    visitor.findings
}

/// How long one function is.
pub(crate) struct Function {
    name: String,
    line: usize,
    /// From `fn` to the closing brace.
    pub(crate) lines: usize,
    arguments: usize,
    of_trait_impl: bool,
}

/// Every function of the file, methods and trait defaults included.
pub(crate) fn measure(source: &Source) -> Vec<Function> {
    let mut functions = Functions { of_trait_impl: false, found: Vec::new() };
    functions.visit_file(&source.file);
    functions.found
}

struct Functions {
    of_trait_impl: bool,
    found: Vec<Function>,
}

impl Functions {
    fn add(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let line = signature.span().start().line;
        self.found.push(Function {
            name: signature.ident.to_string(),
            line,
            lines: block.span().end().line - line + 1,
            arguments: signature.inputs.len(),
            of_trait_impl: self.of_trait_impl,
        });
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let outer = std::mem::replace(&mut self.of_trait_impl, item.trait_.is_some());
        visit::visit_item_impl(self, item);
        self.of_trait_impl = outer;
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.add(&item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }
}

struct Globals<'a> {
    source: &'a Source,
    findings: Vec<Finding>,
}

impl Globals<'_> {
    fn add(&mut self, line: usize, problem: String) {
        let advice =
            "hand it in from `app`; if it is process-wide by nature, add it to PROCESS_WIDE with the reason";
        self.findings.push(Finding::new(self.source, line, problem, advice));
    }
}

impl<'ast> Visit<'ast> for Globals<'_> {
    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        let name = item.ident.to_string();
        if PROCESS_WIDE.iter().any(|(path, allowed, _)| *path == self.source.path && *allowed == name) {
            return;
        }
        let mut cells = Cells(None);
        cells.visit_type(&item.ty);
        let line = item.span().start().line;
        if matches!(item.mutability, syn::StaticMutability::Mut(_)) {
            self.add(line, format!("`static mut {name}`"));
        } else if let Some(cell) = cells.0 {
            self.add(line, format!("`static {name}` holds state that changes (`{cell}`)"));
        }
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let name = call.path.segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default();
        if matches!(name.as_str(), "thread_local" | "lazy_static" | "task_local") {
            self.add(call.span().start().line, format!("`{name}!` is a global in disguise"));
        }
    }
}

/// Looks for a type with interior mutability.
struct Cells(Option<String>);

impl<'ast> Visit<'ast> for Cells {
    fn visit_path_segment(&mut self, segment: &'ast syn::PathSegment) {
        const CELLS: &[&str] =
            &["LazyLock", "OnceLock", "OnceCell", "Lazy", "Mutex", "RwLock", "RefCell", "Cell", "UnsafeCell"];
        let name = segment.ident.to_string();
        if CELLS.contains(&name.as_str()) || name.starts_with("Atomic") {
            self.0 = Some(name);
        }
        visit::visit_path_segment(self, segment);
    }
}
