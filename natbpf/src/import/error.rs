//! Why nothing is imported.

/// Why nothing can be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ImportError {
    #[error(
        "there is no table nat of IPv4 in it; give what `iptables-save` or `nft list ruleset` writes in the namespace \
         that translates"
    )]
    NoTable,
    #[error(
        "this is what `iptables -L` prints, which leaves out interfaces and more; give what `iptables-save` writes"
    )]
    Listing,
    #[error(
        "line {line} belongs to a script, and what it does is known only when it runs; run it, and give what \
         `iptables-save` writes"
    )]
    Script { line: usize },
    #[error("line {line} cannot be read ({why}); load the rules, and give what `iptables-save` writes")]
    Unread { line: usize, why: String },
    #[error(
        "line {line} is for FORWARD, which the table nat has not, so lines of several tables are mixed up; give what \
         `iptables-save` writes"
    )]
    Mixed { line: usize },
    #[error("line {line} names a place in a chain that does not exist; give what `iptables-save` writes")]
    Place { line: usize },
    #[error(
        "there are two tables {table}, from line {first} and from line {second} on, and nothing says which is IPv4's, or \
         which of them counts; give what `iptables-save` alone writes"
    )]
    TwoTables { table: String, first: usize, second: usize },
    #[error(
        "nothing says of which table the chains from line {line} on are, and it may be the table nat; give what \
         `iptables-save` writes"
    )]
    WhichTable { line: usize },
    #[error("line {line} is not as `nft list ruleset` writes it ({what}); give what it writes, whole")]
    Nft { line: usize, what: String },
    #[error("this is JSON, but not as `nft -j list ruleset` writes it: {0}")]
    Json(String),
}
