//! The modules of a crate and the files that they are in, without those for tests.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use syn::{Expr, ExprLit, Item, ItemMod, Lit, Meta};

use super::{
    attributes::{of_item, only_for_tests},
    uses::{Use, singles},
};

pub type FileId = usize;
pub type ModuleId = usize;

/// Both the file and the module of main.rs or lib.rs.
pub const ROOT: usize = 0;

#[derive(Default)]
pub struct Tree {
    pub files: Vec<File>,
    pub modules: Vec<Module>,
    /// From the top of the workspace.
    source: PathBuf,
}

pub struct File {
    /// From the source folder.
    pub path: PathBuf,
    /// The top-level module that it belongs to; the crate root has none.
    pub room: Option<String>,
    pub module: ModuleId,
    pub syntax: syn::File,
}

#[derive(Default)]
pub struct Module {
    pub parent: Option<ModuleId>,
    pub name: String,
    pub file: FileId,
    pub children: HashMap<String, ModuleId>,
    /// What is defined here by a name, as far as no macro makes it.
    pub items: HashMap<String, FileId>,
    pub uses: Vec<Use>,
    /// Whether there is more than modules and imports.
    pub defines: bool,
}

/// A module that has yet to be read.
struct Due {
    parent: Option<ModuleId>,
    name: String,
    file: PathBuf,
    /// Where the files of its children are.
    folder: PathBuf,
}

/// Where a module is declared.
#[derive(Clone, Copy)]
struct Place<'a> {
    source: &'a Path,
    file: &'a Path,
    module: ModuleId,
    /// Where the files of its children are.
    folder: &'a Path,
}

impl Tree {
    /// The crate in the folder `source` of `workspace`. Where there is a main.rs beside lib.rs, it is another
    /// crate: nothing in the library can import it.
    pub fn read(workspace: &Path, source: &Path) -> Result<Self> {
        let folder = workspace.join(source);
        let root = ["lib.rs", "main.rs"].into_iter().find(|name| folder.join(name).is_file());
        let root = root.with_context(|| format!("{} has neither lib.rs nor main.rs", folder.display()))?;
        let mut tree = Self { source: source.into(), ..Self::default() };
        let mut due =
            vec![Due { parent: None, name: "crate".into(), file: root.into(), folder: PathBuf::new() }];
        while let Some(next) = due.pop() {
            due.extend(tree.add_file(&folder, next)?);
        }
        Ok(tree)
    }

    /// `file` as the reader finds it from the top of the workspace.
    pub fn show(&self, file: FileId) -> String {
        self.source.join(&self.files[file].path).display().to_string()
    }

    /// Whether `module` is `ancestor` or in it.
    pub fn is_within(&self, module: ModuleId, ancestor: ModuleId) -> bool {
        let mut at = Some(module);
        while let Some(module) = at {
            if module == ancestor {
                return true;
            }
            at = self.modules[module].parent;
        }
        false
    }

    /// Returns the modules that the file declares.
    fn add_file(&mut self, source: &Path, due: Due) -> Result<Vec<Due>> {
        let path = source.join(&due.file);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let syntax = syn::parse_file(&text).with_context(|| format!("cannot parse {}", path.display()))?;
        if only_for_tests(&syntax.attrs) {
            return Ok(Vec::new());
        }
        let module = self.add_module(due.parent, &due.name, self.files.len());
        let mut declared = Vec::new();
        let place = Place { source, file: &due.file, module, folder: &due.folder };
        self.enter(place, &syntax.items, &mut declared)?;
        self.files.push(File { path: due.file, room: self.room(module), module, syntax });
        Ok(declared)
    }

    fn add_module(&mut self, parent: Option<ModuleId>, name: &str, file: FileId) -> ModuleId {
        let module = self.modules.len();
        self.modules.push(Module { parent, name: name.into(), file, ..Module::default() });
        if let Some(parent) = parent {
            self.modules[parent].children.insert(name.into(), module);
        }
        module
    }

    fn room(&self, module: ModuleId) -> Option<String> {
        let mut module = &self.modules[module];
        while module.parent? != ROOT {
            module = &self.modules[module.parent?];
        }
        Some(module.name.clone())
    }

    fn enter(&mut self, place: Place<'_>, items: &[Item], declared: &mut Vec<Due>) -> Result<()> {
        for item in items.iter().filter(|item| !only_for_tests(of_item(item))) {
            match item {
                Item::Mod(item) => self.enter_module(place, item, declared)?,
                Item::Use(item) => self.modules[place.module].uses.extend(singles(item)),
                item => self.define(place.module, item),
            }
        }
        Ok(())
    }

    fn enter_module(&mut self, place: Place<'_>, item: &ItemMod, declared: &mut Vec<Due>) -> Result<()> {
        let Place { source, file, module: parent, folder } = place;
        let name = item.ident.to_string();
        let folder = folder.join(&name);
        if let Some((_, items)) = &item.content {
            let module = self.add_module(Some(parent), &name, self.modules[parent].file);
            return self.enter(Place { module, folder: &folder, ..place }, items, declared);
        }
        if let Some(path) = path_of(item) {
            let file = file.with_file_name(path);
            let folder = file.with_file_name("");
            declared.push(Due { parent: Some(parent), name, file, folder });
            return Ok(());
        }
        let candidates = [folder.with_extension("rs"), folder.join("mod.rs")];
        let file = candidates.into_iter().find(|file| source.join(file).is_file());
        let file = file.with_context(|| {
            format!("module `{name}` has no file {0}.rs or {0}/mod.rs", source.join(&folder).display())
        })?;
        declared.push(Due { parent: Some(parent), name, file, folder });
        Ok(())
    }

    fn define(&mut self, module: ModuleId, item: &Item) {
        let file = self.modules[module].file;
        self.modules[module].defines = true;
        // `#[macro_export]` puts a macro in the root, wherever it stands.
        let exported = of_item(item).iter().any(|attribute| attribute.path().is_ident("macro_export"));
        if let Some(name) = name_of(item) {
            self.modules[if exported { ROOT } else { module }].items.insert(name, file);
        }
    }
}

/// What `#[path = "…"]` says, which is from the folder of the file that it stands in.
fn path_of(item: &ItemMod) -> Option<String> {
    item.attrs.iter().find_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(path), .. }) => Some(path.value()),
            _ => None,
        },
        _ => None,
    })
}

fn name_of(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::TraitAlias(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}
