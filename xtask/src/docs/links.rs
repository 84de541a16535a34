//! Links between the documents: each leads to a file that is there, and to a heading of it.

use std::path::{Component, Path, PathBuf};

use super::read;
use crate::{files::files, folders::workspace};

/// A link's place in the text and where it leads.
struct Link<'a> {
    line: usize,
    file: &'a str,
    heading: Option<&'a str>,
}

/// All links of a document to files, and to headings of its own. What stands as code is no link.
fn links(text: &str) -> Vec<Link<'_>> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        let outside_code = line.split('`').step_by(2);
        for rest in outside_code.flat_map(|part| part.split("](").skip(1)) {
            let target = rest.split(')').next().unwrap_or_default();
            if target.contains("://") {
                continue;
            }
            let (file, heading) = match target.split_once('#') {
                Some((file, heading)) => (file, Some(heading)),
                None => (target, None),
            };
            found.push(Link { line: number + 1, file, heading });
        }
    }
    found
}

/// The lines that are not in a block of code, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut code = false;
    text.lines().enumerate().filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !code && !fence
    })
}

/// The name that GitHub gives to a heading.
fn name(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
    kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

fn has_heading(text: &str, wanted: &str) -> bool {
    prose(text).any(|(_, line)| line.starts_with('#') && name(line.trim_start_matches('#')) == wanted)
}

/// A path without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    plain
}

#[test]
fn every_link_leads_somewhere() {
    let root = workspace();
    let docs = files(&root.join("docs"), ".md").expect("the folder can be read");
    let documents = docs.into_iter().map(|file| format!("docs/{file}")).chain(["README.md".to_owned()]);
    let mut broken = Vec::new();
    for document in documents {
        let path = root.join(&document);
        let text = read(&path);
        for Link { line, file, heading } in links(&text) {
            let folder = path.parent().expect("a file is in a folder");
            let target = if file.is_empty() { path.clone() } else { plain(&folder.join(file)) };
            let leads = match heading {
                _ if !target.exists() => false,
                Some(heading) => target.is_file() && has_heading(&read(&target), heading),
                None => true,
            };
            if !leads {
                broken.push(format!("{document}:{line} {file}#{}", heading.unwrap_or_default()));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

#[test]
fn headings_have_the_names_that_links_use() {
    assert_eq!(name(" The host's own traffic"), "the-hosts-own-traffic");
    assert_eq!(name(" `status`, and more"), "status-and-more");
    assert!(has_heading("# A b\n```\n# not this\n```\n", "a-b"));
    assert!(!has_heading("# A b\n```\n# not this\n```\n", "not-this"));
}

#[test]
fn code_has_no_links() {
    let found = links("a [b](c.md#d) and `[e](f)`\n```\n[g](h)\n```\n[i](https://j) [k](#l)\n");
    let found: Vec<_> = found.iter().map(|link| (link.line, link.file, link.heading)).collect();
    assert_eq!(found, [(1, "c.md", Some("d")), (5, "", Some("l"))]);
}
