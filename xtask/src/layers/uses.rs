//! The single imports of a `use`.

use syn::{Ident, ItemUse, UseTree};

/// `path as name`.
#[derive(Debug, PartialEq, Eq)]
pub struct Use {
    pub path: Vec<String>,
    /// None is `*`.
    pub name: Option<String>,
    pub line: usize,
}

/// None for `use ::name`, which is another crate's.
pub fn singles(item: &ItemUse) -> Vec<Use> {
    let mut singles = Vec::new();
    if item.leading_colon.is_none() {
        collect(&item.tree, &mut Vec::new(), item.use_token.span.start().line, &mut singles);
    }
    singles
}

/// `line` is that of a `*` in no path.
fn collect(tree: &UseTree, before: &mut Vec<String>, line: usize, singles: &mut Vec<Use>) {
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            collect(&path.tree, before, line_of(&path.ident), singles);
            before.pop();
        }
        UseTree::Name(name) => singles.push(single(before, &name.ident, None)),
        UseTree::Rename(rename) => singles.push(single(before, &rename.ident, Some(&rename.rename))),
        UseTree::Glob(_) => singles.push(Use { path: before.clone(), name: None, line }),
        UseTree::Group(group) => {
            for tree in &group.items {
                collect(tree, before, line, singles);
            }
        }
    }
}

fn single(before: &[String], last: &Ident, renamed: Option<&Ident>) -> Use {
    let mut path = before.to_vec();
    // `a::{self}` is `a`.
    if path.is_empty() || last != "self" {
        path.push(last.to_string());
    }
    let name = renamed.map(ToString::to_string).or_else(|| path.last().cloned());
    Use { path, name, line: line_of(last) }
}

pub fn line_of(ident: &Ident) -> usize {
    ident.span().start().line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(item: &str) -> Vec<String> {
        let singles = singles(&syn::parse_str(item).unwrap());
        let show = |single: &Use| {
            let name = single.name.as_deref().unwrap_or("*");
            format!("{} as {name}, line {}", single.path.join("::"), single.line)
        };
        singles.iter().map(show).collect()
    }

    #[test]
    fn each_name_of_a_group_is_an_import_of_its_own() {
        assert_eq!(
            shown("use crate::{\n a::{self, B as C},\n d::*\n};"),
            ["crate::a as a, line 2", "crate::a::B as C, line 2", "crate::d as *, line 3"]
        );
    }

    #[test]
    fn path_that_begins_with_colons_is_another_crate() {
        assert!(shown("use ::libc::sockaddr;").is_empty());
    }
}
