//! Which file imports from which, found by reading all paths.

use std::collections::{BTreeMap, HashSet};

use syn::{
    Attribute, ImplItem, Item, ItemMod, ItemUse, Macro, Meta, Path, TraitItem, Visibility,
    visit::{self, Visit},
};

use super::{
    attributes::{of_impl_item, of_item, of_trait_item, only_for_tests},
    names::{Target, resolve},
    tokens,
    tree::{FileId, ModuleId, Tree},
    uses::{Use, line_of, singles},
};

#[derive(Debug)]
pub struct Import {
    pub from: FileId,
    /// The first of those that import from there.
    pub line: usize,
    pub to: FileId,
}

/// One for each pair of files, in the order of the files' names and of lines.
pub fn of(tree: &Tree) -> Vec<Import> {
    let of_file = |from| {
        let found = read(tree, from);
        found.into_iter().map(move |(to, line)| Import { from, line, to })
    };
    let mut imports: Vec<_> = (0..tree.files.len()).flat_map(of_file).collect();
    imports.sort_by_key(|import| (&tree.files[import.from].path, import.line));
    imports
}

fn read(tree: &Tree, file: FileId) -> BTreeMap<FileId, usize> {
    let module = tree.files[file].module;
    let mut reader = Reader {
        tree,
        file,
        module,
        found: BTreeMap::new(),
        spelled_out: HashSet::new(),
        modules: Vec::new(),
    };
    reader.visit_file(&tree.files[file].syntax);
    reader.finish()
}

struct Reader<'a> {
    tree: &'a Tree,
    file: FileId,
    /// The file's, or an inline module in it.
    module: ModuleId,
    found: BTreeMap<FileId, usize>,
    /// Names that begin longer paths, with the module in which they do.
    spelled_out: HashSet<(ModuleId, String)>,
    modules: Vec<ImportedModule>,
}

/// `use crate::a`: what is imported depends on what follows `a::` elsewhere.
struct ImportedModule {
    inside: ModuleId,
    name: String,
    line: usize,
    to: FileId,
}

impl Reader<'_> {
    fn finish(mut self) -> BTreeMap<FileId, usize> {
        for module in std::mem::take(&mut self.modules) {
            if !self.spelled_out.contains(&(module.inside, module.name)) {
                self.add(module.to, module.line);
            }
        }
        self.found
    }

    fn add(&mut self, to: FileId, line: usize) {
        if to != self.file {
            let first = self.found.entry(to).or_insert(line);
            *first = line.min(*first);
        }
    }

    fn resolve(&mut self, path: &[String]) -> Option<Target> {
        if let [first, _, ..] = path {
            self.spelled_out.insert((self.module, first.clone()));
        }
        resolve(self.tree, self.module, path)
    }

    /// A path outside a `use`. One segment alone is no module: a path that looks so is a variable.
    fn path(&mut self, path: &[String], line: usize) {
        match self.resolve(path) {
            Some(Target::Item(file)) => self.add(file, line),
            Some(Target::Module(module)) if path.len() > 1 => self.add(self.tree.modules[module].file, line),
            _ => {}
        }
    }

    fn single_use(&mut self, import: Use, is_public: bool) {
        let (inside, line) = (self.module, import.line);
        let target = self.resolve(&import.path);
        if is_public && target.is_some_and(|target| self.is_descendant(target)) {
            return;
        }
        match (target, import.name) {
            (Some(Target::Item(to)), _) => self.add(to, line),
            (Some(Target::Module(module)), Some(name)) if !is_public => {
                let to = self.tree.modules[module].file;
                self.modules.push(ImportedModule { inside, name, line, to });
            }
            // What it re-exports is found where it is used.
            (Some(Target::Module(module)), None) if !self.tree.modules[module].defines => {}
            (Some(Target::Module(module)), _) => self.add(self.tree.modules[module].file, line),
            (None, _) => {}
        }
    }

    fn is_descendant(&self, target: Target) -> bool {
        let module = match target {
            Target::Module(module) => module,
            Target::Item(file) => self.tree.files[file].module,
        };
        self.tree.is_within(module, self.tree.files[self.file].module)
    }

    fn tokens(&mut self, found: Vec<tokens::Found>) {
        for found in found {
            self.path(&found.path, found.line);
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !only_for_tests(of_item(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        if !only_for_tests(of_impl_item(item)) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_trait_item(&mut self, item: &'ast TraitItem) {
        if !only_for_tests(of_trait_item(item)) {
            visit::visit_trait_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if item.content.is_none() {
            return;
        }
        let outer = self.module;
        // A module in a function has no place in the tree; it is read as if it were not there.
        let children = &self.tree.modules[outer].children;
        self.module = children.get(&item.ident.to_string()).copied().unwrap_or(outer);
        visit::visit_item_mod(self, item);
        self.module = outer;
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let is_public = !matches!(item.vis, Visibility::Inherited);
        for import in singles(item) {
            self.single_use(import, is_public);
        }
    }

    fn visit_path(&mut self, path: &'ast Path) {
        // Colons at the beginning: another crate's, or `<T>::name`.
        if path.leading_colon.is_none() {
            let names: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            // `self` is the receiver.
            if names != ["self"] {
                self.path(&names, line_of(&path.segments[0].ident));
            }
        }
        visit::visit_path(self, path);
    }

    /// `pub(in crate::a)` imports nothing.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let Meta::List(list) = &attribute.meta
            && !attribute.path().is_ident("doc")
        {
            self.tokens(tokens::paths_and_strings(list.tokens.clone()));
        }
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        self.visit_path(&call.path);
        self.tokens(tokens::paths(call.tokens.clone()));
    }
}
