//! What a command says when it cannot do what it was asked to.

use std::process::Output;

use anyhow::{Result, ensure};

/// The one line on standard error with which a command failed (exit status 1), without its `natbpf: `.
///
/// # Errors
/// When it ended otherwise, said more or less than one line, or showed what only its developers understand.
pub fn sentence(output: &Output) -> Result<String> {
    let text = String::from_utf8_lossy(&output.stderr);
    let said = format!("{} with {text:?}", output.status);
    ensure!(output.status.code() == Some(1), "it ended with {said}");
    let sentence = text.strip_prefix("natbpf: ").and_then(|text| text.strip_suffix('\n'));
    let one = sentence.is_some_and(|sentence| !sentence.is_empty() && !sentence.contains('\n'));
    ensure!(one, "not one sentence: {said}");
    let debugging = ["Error {", "Error(", "Os {", "Some(", "panicked", "backtrace", "code: "];
    let found = debugging.into_iter().find(|mark| text.contains(mark));
    ensure!(found.is_none(), "{found:?} is in {said}");
    Ok(sentence.unwrap_or_default().to_owned())
}
