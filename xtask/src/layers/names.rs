//! What a path means: the file in which the last thing that it names is defined, through any re-exports.

use super::tree::{FileId, ModuleId, ROOT, Tree};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Module(ModuleId),
    /// Anything that is defined in this file, or that a macro may make there.
    Item(FileId),
}

/// None for what another crate defines, or the language, or nobody.
pub fn resolve(tree: &Tree, from: ModuleId, path: &[String]) -> Option<Target> {
    Search { tree, pending: Vec::new() }.walk(from, path)
}

struct Search<'a> {
    tree: &'a Tree,
    /// What is being looked for: imports may lead back to themselves.
    pending: Vec<(ModuleId, String)>,
}

impl Search<'_> {
    fn walk(&mut self, from: ModuleId, path: &[String]) -> Option<Target> {
        let (first, rest) = path.split_first()?;
        let mut at = match first.as_str() {
            "crate" => Target::Module(ROOT),
            "self" => Target::Module(from),
            "super" => Target::Module(self.tree.modules[from].parent?),
            name => self.find(from, name)?,
        };
        for name in rest {
            // Variants and associated items are where their type is.
            let Target::Module(module) = at else { break };
            let inside = &self.tree.modules[module];
            at = match name.as_str() {
                "super" => Target::Module(inside.parent?),
                name => self.find(module, name).unwrap_or(Target::Item(inside.file)),
            };
        }
        Some(at)
    }

    fn find(&mut self, module: ModuleId, name: &str) -> Option<Target> {
        let inside = &self.tree.modules[module];
        if let Some(child) = inside.children.get(name) {
            return Some(Target::Module(*child));
        }
        if let Some(file) = inside.items.get(name) {
            return Some(Target::Item(*file));
        }
        let question = (module, name.to_owned());
        if self.pending.contains(&question) {
            return None;
        }
        self.pending.push(question);
        let found = self.find_imported(module, name);
        self.pending.pop();
        found
    }

    fn find_imported(&mut self, module: ModuleId, name: &str) -> Option<Target> {
        let uses = &self.tree.modules[module].uses;
        let mut by_name = uses.iter().filter(|import| import.name.as_deref() == Some(name)).peekable();
        if by_name.peek().is_some() {
            return by_name.find_map(|import| self.walk(module, &import.path));
        }
        let mut globs = uses.iter().filter(|import| import.name.is_none());
        globs.find_map(|import| match self.walk(module, &import.path)? {
            Target::Module(other) => self.find(other, name),
            Target::Item(_) => None,
        })
    }
}
