//! A Rust file as the rules see it: parsed, its test code cut away, every path it mentions with the line.

use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// One source file without its test code.
pub(crate) struct Source {
    /// Path from the repository root: `src/pool/select.rs`.
    pub(crate) path: String,
    /// Module path within the crate: `["pool", "select"]`.
    pub(crate) module: Vec<String>,
    /// The text as it stands in the file.
    pub(crate) text: String,
    /// The syntax tree, without items under `#[cfg(test)]`.
    pub(crate) file: syn::File,
    /// Lines that belong to test code.
    pub(crate) test_lines: usize,
    /// Test modules in files of their own (`#[cfg(test)] mod tests;`): their paths without `.rs`.
    test_modules: Vec<String>,
}

/// A path somewhere in the code, as written.
pub(crate) struct Mention {
    /// `["crate", "pool", "Lease"]`.
    pub(crate) segments: Vec<String>,
    /// The module in which it stands; differs from the file's module inside `mod x { .. }`.
    pub(crate) module: Vec<String>,
    /// Line, from 1.
    pub(crate) line: usize,
}

impl Source {
    /// Every source file under the given folders of the repository, test modules left out.
    pub(crate) fn all(folders: &[&str]) -> Vec<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut files = Vec::new();
        for folder in folders {
            rust_files(&root.join(folder), &mut files);
        }
        files.sort();
        let sources: Vec<Self> = files.iter().map(|file| Self::read(root, file)).collect();
        let tests: Vec<String> = sources.iter().flat_map(|s| s.test_modules.iter().cloned()).collect();
        let is_test = |path: &str| {
            tests.iter().any(|module| {
                path.strip_prefix(module.as_str()).is_some_and(|rest| rest.starts_with(['.', '/']))
            })
        };
        sources.into_iter().filter(|source| !is_test(&source.path)).collect()
    }

    fn read(root: &Path, file: &Path) -> Self {
        let path = file.strip_prefix(root).expect("under the root").to_string_lossy().replace('\\', "/");
        Self::parse(&path, &fs::read_to_string(file).unwrap_or_else(|e| panic!("{path}: {e}")))
    }

    /// Parses `text` as if it stood in the file `path`.
    pub(crate) fn parse(path: &str, text: &str) -> Self {
        let mut file = syn::parse_file(text).unwrap_or_else(|e| panic!("{path}: {e}"));
        let mut cut = Cut::default();
        cut.items(&mut file.items);
        let folder = module_folder(path);
        Self {
            path: path.to_owned(),
            module: module_path(path),
            text: text.to_owned(),
            file,
            test_lines: cut.ranges.iter().map(|range| range.clone().count()).sum(),
            test_modules: cut.modules.iter().map(|name| format!("{folder}/{name}")).collect(),
        }
    }

    /// Every path that the code mentions: in `use` items, inline, and inside macro calls.
    pub(crate) fn mentions(&self) -> Vec<Mention> {
        let mut collector = Mentions { module: self.module.clone(), found: Vec::new() };
        collector.visit_file(&self.file);
        collector.found
    }
}

/// `src/pool/select.rs` → `["pool", "select"]`; `mod.rs`, `lib.rs` and `main.rs` add no name of their own.
fn module_path(path: &str) -> Vec<String> {
    let inner = path.split_once("src/").map_or(path, |(_, rest)| rest).trim_end_matches(".rs");
    let mut names: Vec<String> = inner.split('/').map(str::to_owned).collect();
    if names.last().is_some_and(|name| name == "mod" || name == "lib" || name == "main") {
        names.pop();
    }
    names
}

/// Where the file's child modules lie.
fn module_folder(path: &str) -> String {
    let stem = path.trim_end_matches(".rs");
    let (folder, name) = stem.rsplit_once('/').unwrap_or(("", stem));
    if matches!(name, "mod" | "lib" | "main") { folder.to_owned() } else { stem.to_owned() }
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Cuts test code out of a syntax tree and remembers where it stood.
#[derive(Default)]
struct Cut {
    ranges: Vec<RangeInclusive<usize>>,
    modules: Vec<String>,
}

impl Cut {
    fn items(&mut self, items: &mut Vec<syn::Item>) {
        items.retain(|item| !self.is_test_item(item));
        for item in items {
            match item {
                syn::Item::Mod(module) => {
                    if let Some((_, content)) = &mut module.content {
                        self.items(content);
                    }
                }
                syn::Item::Impl(block) => block.items.retain(|item| !self.is_test_member(item)),
                _ => {}
            }
        }
    }

    fn is_test_item(&mut self, item: &syn::Item) -> bool {
        use syn::Item as I;
        let attributes: &[syn::Attribute] = match item {
            I::Const(i) => &i.attrs,
            I::Enum(i) => &i.attrs,
            I::Fn(i) => &i.attrs,
            I::Impl(i) => &i.attrs,
            I::Macro(i) => &i.attrs,
            I::Mod(i) => &i.attrs,
            I::Static(i) => &i.attrs,
            I::Struct(i) => &i.attrs,
            I::Trait(i) => &i.attrs,
            I::Type(i) => &i.attrs,
            I::Use(i) => &i.attrs,
            _ => &[],
        };
        let is_test = is_test_only(attributes);
        if is_test {
            self.ranges.push(lines_of(item));
            if let I::Mod(module) = item
                && module.content.is_none()
            {
                self.modules.push(module.ident.to_string());
            }
        }
        is_test
    }

    fn is_test_member(&mut self, item: &syn::ImplItem) -> bool {
        let is_test = matches!(item, syn::ImplItem::Fn(function) if is_test_only(&function.attrs));
        if is_test {
            self.ranges.push(lines_of(item));
        }
        is_test
    }
}

fn is_test_only(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    })
}

fn lines_of(node: &impl Spanned) -> RangeInclusive<usize> {
    node.span().start().line..=node.span().end().line
}

struct Mentions {
    module: Vec<String>,
    found: Vec<Mention>,
}

impl Mentions {
    fn add(&mut self, segments: Vec<String>, line: usize) {
        self.found.push(Mention { segments, module: self.module.clone(), line });
    }

    fn use_tree(&mut self, prefix: &[String], tree: &syn::UseTree) {
        let mut path = prefix.to_vec();
        match tree {
            syn::UseTree::Path(step) => {
                path.push(step.ident.to_string());
                self.use_tree(&path, &step.tree);
            }
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.use_tree(&path, tree)),
            syn::UseTree::Name(leaf) => {
                path.push(leaf.ident.to_string());
                self.add(path, leaf.ident.span().start().line);
            }
            syn::UseTree::Rename(leaf) => {
                path.push(leaf.ident.to_string());
                self.add(path, leaf.ident.span().start().line);
            }
            syn::UseTree::Glob(star) => self.add(path, star.star_token.span().start().line),
        }
    }

    /// Paths in the unparsed tokens of a macro call: identifiers joined by `::`.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let (mut line, mut colons) = (0, 0);
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.flush(&mut path, line);
                        line = ident.span().start().line;
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => {
                    self.flush(&mut path, line);
                    colons = 0;
                    self.tokens(group.stream());
                }
                _ => {
                    self.flush(&mut path, line);
                    colons = 0;
                }
            }
        }
        self.flush(&mut path, line);
    }

    fn flush(&mut self, path: &mut Vec<String>, line: usize) {
        if path.len() > 1 {
            self.add(std::mem::take(path), line);
        }
        path.clear();
    }
}

impl<'ast> Visit<'ast> for Mentions {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.use_tree(&[], &item.tree);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.add(segments, path.span().start().line);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        self.tokens(call.tokens.clone());
    }
}
