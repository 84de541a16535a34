//! What documents have between two comments and the code knows better.

use std::{env, fs, path::Path};

/// Asserts that a file of the project has this between `<!-- NAME -->` and its end; with `NATBPF_RENEW` it is written
/// there.
pub fn holds(file: &str, name: &str, made: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    let text = fs::read_to_string(&path).expect(file);
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let (before, rest) = text.split_once(&begin).expect(&begin);
    let (found, after) = rest.split_once(&end).expect(&end);
    if env::var_os("NATBPF_RENEW").is_some() {
        fs::write(&path, [before, &begin, made, &end, after].concat()).expect(file);
        return;
    }
    assert!(
        found == made,
        "\"{name}\" in {file} is not up to date; renew it by `NATBPF_RENEW=1 cargo test -p natbpf --lib`. It is \
         now\n{made}"
    );
}
