//! What is compiled for tests only, by its attributes.

use syn::{Attribute, ImplItem, Item, Meta, Token, TraitItem, punctuated::Punctuated};

/// `#[test]`, `#[cfg(test)]`, `#[cfg(all(test, …))]`.
pub fn only_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let path = attribute.path();
        path.is_ident("test")
            || path.is_ident("cfg") && attribute.parse_args().is_ok_and(|condition| needs_test(&condition))
    })
}

fn needs_test(condition: &Meta) -> bool {
    match condition {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) => {
            let parts = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
            let parts = parts.unwrap_or_default();
            if list.path.is_ident("all") {
                parts.iter().any(needs_test)
            } else {
                list.path.is_ident("any") && !parts.is_empty() && parts.iter().all(needs_test)
            }
        }
        Meta::NameValue(_) => false,
    }
}

pub fn of_item(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

pub fn of_impl_item(item: &ImplItem) -> &[Attribute] {
    match item {
        ImplItem::Const(item) => &item.attrs,
        ImplItem::Fn(item) => &item.attrs,
        ImplItem::Type(item) => &item.attrs,
        ImplItem::Macro(item) => &item.attrs,
        _ => &[],
    }
}

pub fn of_trait_item(item: &TraitItem) -> &[Attribute] {
    match item {
        TraitItem::Const(item) => &item.attrs,
        TraitItem::Fn(item) => &item.attrs,
        TraitItem::Type(item) => &item.attrs,
        TraitItem::Macro(item) => &item.attrs,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_only_for_tests(item: &str) -> bool {
        only_for_tests(of_item(&syn::parse_str(item).unwrap()))
    }

    #[test]
    fn item_is_only_for_tests_if_it_cannot_be_compiled_without_them() {
        for item in [
            "#[test] fn f() {}",
            "#[cfg(test)] mod tests;",
            r#"#[cfg(all(target_os = "linux", test))] use a::b;"#,
            "#[cfg(any(test, all(unix, test)))] struct S;",
        ] {
            assert!(is_only_for_tests(item), "{item}");
        }
    }

    #[test]
    fn item_that_products_may_hold_is_not_only_for_tests() {
        for item in [
            "mod tests;",
            "#[cfg(not(test))] fn f() {}",
            "#[cfg(any(test, unix))] fn f() {}",
            r#"#[cfg(feature = "test")] fn f() {}"#,
            "#[cfg_attr(test, derive(Debug))] struct S;",
        ] {
            assert!(!is_only_for_tests(item), "{item}");
        }
    }
}
