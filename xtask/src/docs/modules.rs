//! The module map at the end of the architecture's first page: every module with the first sentence of its `//!` lines.

use std::{fmt::Write as _, fs};

use super::{ARCHITECTURE, WIDTH, compare_or_renew, read};
use crate::{files::files, folders::workspace};

const CRATES: [&str; 3] = ["natbpf-ebpf", "natbpf-common", "natbpf"];

const BEGIN: &str = "<!-- modules -->\n";
const END: &str = "<!-- /modules -->";

/// A module: where its file is below `src`, and which folder its own modules are in.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Module {
    /// Names of the modules around it and its own.
    path: Vec<String>,
    file: String,
}

impl Module {
    fn of(file: &str) -> Self {
        let stem = file.strip_suffix("/mod.rs").or_else(|| file.strip_suffix(".rs")).unwrap_or(file);
        Self { path: stem.split('/').map(str::to_owned).collect(), file: file.to_owned() }
    }

    fn is_test(&self) -> bool {
        self.path.iter().any(|name| name == "tests")
    }
}

/// The modules of a crate; the first is its root.
fn modules(files: Vec<String>) -> Vec<Module> {
    let root = if files.iter().any(|file| file == "lib.rs") { "lib.rs" } else { "main.rs" };
    let mut modules: Vec<_> =
        files.iter().map(|file| Module::of(file)).filter(|module| !module.is_test()).collect();
    modules.sort();
    if let Some(at) = modules.iter().position(|module| module.file == root) {
        let root = modules.remove(at);
        modules.insert(0, root);
    }
    modules
}

/// The first sentence of a module's `//!` lines, without links.
fn sentence(source: &str) -> Option<String> {
    let lines = source.lines().map_while(|line| line.strip_prefix("//!"));
    let paragraph: Vec<_> =
        lines.map(str::trim).skip_while(|line| line.is_empty()).take_while(|line| !line.is_empty()).collect();
    let paragraph = paragraph.join(" ");
    let end = paragraph.find(". ").map_or(paragraph.len(), |dot| dot + 1);
    let sentence = without_links(&paragraph[..end]);
    (!sentence.is_empty()).then_some(sentence)
}

/// Rustdoc's links to items lead nowhere in a document.
fn without_links(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("[`") {
        plain.push_str(&rest[..start]);
        rest = &rest[start + 1..];
        let Some(end) = rest.find("`]") else { break };
        plain.push_str(&rest[..=end]);
        rest = &rest[end + 2..];
        if let (true, Some(end)) = (rest.starts_with('('), rest.find(')')) {
            rest = &rest[end + 1..];
        }
    }
    plain + rest
}

/// A list item, in lines that are not too long.
fn item(depth: usize, text: &str) -> String {
    let indent = "  ".repeat(depth);
    let mut lines = String::new();
    let mut line = format!("{indent}-");
    for word in text.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push_str(&line);
            lines.push('\n');
            line = format!("{indent} ");
        }
        line.push(' ');
        line.push_str(word);
    }
    lines + &line + "\n"
}

fn map() -> String {
    let mut map = String::new();
    for name in CRATES {
        let source = workspace().join(name).join("src");
        let files = files(&source, ".rs").expect("the sources can be read");
        let _ = writeln!(map, "\n`{name}/src`\n");
        let mut shown: Vec<String> = Vec::new();
        for module in modules(files) {
            // A folder whose module has no file of its own.
            let around = &module.path[..module.path.len() - 1];
            let common = shown.iter().zip(around).take_while(|(shown, name)| shown == name).count();
            for depth in common..around.len() {
                map.push_str(&item(depth, &format!("`{}/`", around[..=depth].join("/"))));
            }
            let says = sentence(&read(&source.join(&module.file)));
            let says = says.unwrap_or_else(|| panic!("{name}/src/{} does not begin with `//!`", module.file));
            map.push_str(&item(around.len(), &format!("`{}`: {says}", module.file)));
            shown = module.path;
        }
    }
    map + "\n"
}

#[test]
fn the_module_map_is_what_the_sources_say() {
    let file = format!("{ARCHITECTURE}/README.md");
    let page = fs::read_to_string(workspace().join(&file)).expect("the first page can be read");
    let (before, rest) = page.split_once(BEGIN).expect("the first page has the beginning of the map");
    let (_, after) = rest.split_once(END).expect("the first page has the end of the map");
    let expected = [before, BEGIN, &map(), END, after].concat();
    compare_or_renew(&file, &expected, "module_map");
}

#[test]
fn modules_come_after_those_around_them() {
    let files = ["a.rs", "a/b.rs", "a/tests.rs", "d/e.rs", "d/mod.rs", "lib.rs", "main.rs"];
    let modules = modules(files.map(String::from).into());
    let files: Vec<_> = modules.iter().map(|module| module.file.as_str()).collect();
    assert_eq!(files, ["lib.rs", "a.rs", "a/b.rs", "d/mod.rs", "d/e.rs", "main.rs"]);
}

#[test]
fn a_sentence_ends_at_its_point() {
    let first = |source| sentence(source).unwrap();
    assert_eq!(
        first("//! One, of\n//! two lines (RFC 1.2). More.\n//!\n//! x"),
        "One, of two lines (RFC 1.2)."
    );
    assert_eq!(first("//! `nft`\nuse x;\n"), "`nft`");
    assert_eq!(first("//! See [`a::B`], [`c`](d::c) and [e].\n"), "See `a::B`, `c` and [e].");
    assert_eq!(sentence("use x;\n"), None);
}

#[test]
fn items_are_broken_at_words() {
    let text = "word ".repeat(40);
    let item = item(1, text.trim());
    assert!(item.lines().all(|line| line.chars().count() <= WIDTH && line.starts_with("  ")), "{item}");
    assert!(item.lines().nth(1).unwrap().starts_with("    word"), "{item}");
}
