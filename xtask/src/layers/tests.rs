//! What is found, and what is not.

use super::fixture::report;

const TWO: &str = r#"[["high"], ["low"]]"#;
const ROOT: (&str, &str) = ("lib.rs", "mod high;\nmod low;");

fn findings(floors: &str, files: &[(&str, &str)]) -> Vec<String> {
    report(floors, files).findings
}

/// Findings in a crate of two rooms, one above the other, that have only `low` to say.
fn findings_in_low(low: &str) -> Vec<String> {
    findings(TWO, &[ROOT, ("high.rs", "pub struct High; pub fn f() {}"), ("low.rs", low)])
}

const UPWARD: &str = "room `low` may not import from room `high`, which is above it";

#[test]
fn crate_that_imports_downward_only_is_counted() {
    let report = report(TWO, &[ROOT, ("high.rs", "use crate::low::Low;"), ("low.rs", "pub struct Low;")]);
    assert!(report.findings.is_empty(), "{report:?}");
    assert_eq!((report.files, report.rooms), (3, 2));
}

#[test]
fn upward_import_is_found_with_its_line() {
    assert_eq!(
        findings_in_low("use std::fs;\n\nuse crate::high::High;"),
        [format!("c/src/low.rs:3: {UPWARD}")]
    );
}

#[test]
fn upward_import_is_found_in_every_place_of_a_path() {
    for text in [
        "\nfn f(_: crate::high::High) {}",
        "\nfn f() { crate::high::f(); }",
        "\nimpl Drop for super::high::High {}",
        "use crate::{\n high};",
        "use crate as c;\nuse c::high::High;",
        "\n#[derive(crate::high::High)] struct S;",
        "\nstruct S { #[serde(with = \"crate::high::f\")] f: u8 }",
        "mod inline {\n pub(super) use super::super::high::High; }",
        "fn f() {\n use crate::high::*; }",
    ] {
        assert_eq!(findings_in_low(text), [format!("c/src/low.rs:2: {UPWARD}")], "{text}");
    }
}

#[test]
fn upward_import_is_found_in_macros() {
    for text in [
        "fn f() {\n vec![crate::high::f()]; }",
        "macro_rules! m {\n () => { $crate::high::f() } }",
        "use std::vec;\nvec![super::high::High];",
    ] {
        assert_eq!(findings_in_low(text), [format!("c/src/low.rs:2: {UPWARD}")], "{text}");
    }
}

#[test]
fn what_names_a_room_and_imports_nothing_is_passed_by() {
    for text in [
        "/// See [`High`](crate::high::High).\nstruct Low;",
        "struct Low { pub(in crate::low) high: u8 }",
        "fn f() { let high = 1; g(high); }",
        "use high::High;",
        "fn f() { ::high::f(); }",
    ] {
        assert!(findings_in_low(text).is_empty(), "{text}");
    }
}

#[test]
fn line_that_imports_from_several_files_of_a_room_is_told_once() {
    let files = [
        ROOT,
        ("high.rs", "mod child;\npub use child::Child;\npub struct High;"),
        ("high/child.rs", "pub struct Child;"),
        ("low.rs", "use crate::high::{Child, High};"),
    ];
    assert_eq!(findings(TWO, &files), [format!("c/src/low.rs:1: {UPWARD}")]);
}

#[test]
fn rooms_on_one_floor_do_not_import_each_other() {
    let files = [("lib.rs", "mod a;\nmod b;"), ("a.rs", "use crate::b::B;"), ("b.rs", "pub struct B;")];
    assert_eq!(
        findings(r#"[["a", "b"]]"#, &files),
        ["c/src/a.rs:1: room `a` may not import from room `b`, which is beside it"]
    );
}

#[test]
fn rooms_do_not_import_what_the_root_defines() {
    let files = [("lib.rs", "mod a;\npub const A: u8 = 1;"), ("a.rs", "use crate::A;")];
    assert_eq!(
        findings(r#"[["a"]]"#, &files),
        ["c/src/a.rs:1: room `a` may not import from the crate root, which is above it"]
    );
}

#[test]
fn circle_of_two_is_found() {
    let files = [
        ("lib.rs", "mod room;"),
        ("room/mod.rs", "mod a;\nmod b;"),
        ("room/a.rs", "use super::b::B;\npub struct A;"),
        ("room/b.rs", "pub struct B;\nuse super::a::A;"),
    ];
    assert_eq!(
        findings(r#"[["room"]]"#, &files),
        [
            "c: 2 files import each other in a circle\n  c/src/room/a.rs:1 -> room/b.rs\n  c/src/room/b.rs:2 -> room/a.rs"
        ]
    );
}

#[test]
fn circle_of_three_is_found_through_the_parent() {
    let files = [
        ("lib.rs", "mod room;"),
        ("room.rs", "mod a;\nmod b;\nfn f() { a::f(); }\npub struct Room;"),
        ("room/a.rs", "pub fn f() { super::b::f() }"),
        ("room/b.rs", "use super::Room;\npub fn f() {}"),
    ];
    assert_eq!(
        findings(r#"[["room"]]"#, &files),
        ["c: 3 files import each other in a circle\n  c/src/room/a.rs:1 -> room/b.rs\n  \
             c/src/room/b.rs:1 -> room.rs\n  c/src/room.rs:3 -> room/a.rs"]
    );
}

#[test]
fn tests_may_import_from_above() {
    let files = [
        ROOT,
        ("high.rs", "pub struct High;"),
        (
            "low.rs",
            "#[cfg(test)] mod tests;\n#[cfg(test)] mod more { use crate::high::High; }\n\
             #[cfg(test)] use crate::high::High;\nimpl S { #[cfg(test)] fn f(_: crate::high::High) {} }",
        ),
        ("low/tests.rs", "use crate::high::High;"),
    ];
    let report = report(TWO, &files);
    assert!(report.findings.is_empty(), "{report:?}");
    assert_eq!(report.files, 3);
}

#[test]
fn re_export_is_an_import_from_where_the_thing_is_defined() {
    for re_export in
        ["pub use a::A;", "pub use self::a::*;", "pub use a::A as Other;\npub(crate) use Other as A;"]
    {
        let room = format!("mod a;\nmod b;\n{re_export}\nuse b::B;");
        let files = [
            ("lib.rs", "mod room;\npub use room::A;"),
            ("room.rs", room.as_str()),
            ("room/a.rs", "pub struct A;"),
            ("room/b.rs", "use super::A;\nuse crate::room;\npub struct B(room::A, crate::A);"),
        ];
        assert!(findings(r#"[["room"]]"#, &files).is_empty(), "{re_export}");
    }
}

#[test]
fn re_export_does_not_hide_the_room_that_a_thing_comes_from() {
    let files = [
        ("lib.rs", "mod high;\nmod low;\npub use high::High;"),
        ("high.rs", "pub struct High;"),
        ("low.rs", "use crate::High;"),
    ];
    assert_eq!(findings(TWO, &files), [format!("c/src/low.rs:1: {UPWARD}")]);
}

#[test]
fn use_of_what_is_re_exported_is_an_import_of_the_child() {
    let files = [
        ("lib.rs", "mod room;"),
        ("room.rs", "mod a;\npub use a::A;\npub struct Room(A);"),
        ("room/a.rs", "pub struct A;\nfn f(_: super::Room) {}"),
    ];
    assert_eq!(
        findings(r#"[["room"]]"#, &files),
        [
            "c: 2 files import each other in a circle\n  c/src/room/a.rs:2 -> room.rs\n  c/src/room.rs:3 -> room/a.rs"
        ]
    );
}

#[test]
fn child_is_found_by_its_name_alone() {
    for parent in ["use a::A;", "use self::a::A;", "fn f() { a::f(); }", "use a::*;"] {
        let parent = format!("mod a;\n{parent}\npub struct Room;");
        let files = [
            ("lib.rs", "mod room;"),
            ("room/mod.rs", parent.as_str()),
            ("room/a.rs", "pub struct A;\nuse super::Room;"),
        ];
        assert_eq!(
            findings(r#"[["room"]]"#, &files),
            [
                "c: 2 files import each other in a circle\n  c/src/room/a.rs:2 -> room/mod.rs\n  c/src/room/mod.rs:2 -> room/a.rs"
            ],
            "{parent}"
        );
    }
}

#[test]
fn imports_that_lead_back_to_themselves_end() {
    let files = [
        ROOT,
        ("high.rs", "pub use crate::low::*;"),
        ("low.rs", "use crate::low::X;\npub use crate::low::*;"),
    ];
    findings(TWO, &files);
}

#[test]
fn module_whose_file_is_elsewhere_is_read_there() {
    let files = [
        ROOT,
        ("high.rs", "pub struct High;"),
        ("low/mod.rs", "mod deep;"),
        ("low/deep.rs", "#[path = \"../../elsewhere/list.rs\"]\nmod list;"),
        ("../elsewhere/list.rs", "mod more;"),
        ("../elsewhere/more.rs", "use crate::high::High;"),
    ];
    assert_eq!(findings(TWO, &files), [format!("c/src/low/../../elsewhere/more.rs:1: {UPWARD}")]);
}

#[test]
fn room_that_is_not_listed_is_found() {
    let files = [("lib.rs", "mod a;\nmod b;"), ("a.rs", ""), ("b.rs", "")];
    assert_eq!(findings(r#"[["a"]]"#, &files), ["layers.toml: room `b` of c is not listed"]);
}

#[test]
fn room_that_is_missing_or_listed_twice_is_found() {
    let files = [("lib.rs", "mod a;"), ("a.rs", "")];
    assert_eq!(
        findings(r#"[["a", "gone"], ["a"]]"#, &files),
        ["layers.toml: c has no room `gone`", "layers.toml: room `a` of c is listed twice"]
    );
}
