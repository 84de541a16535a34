//! Names of interfaces, asked for one at a time.

use natbpf_common::IfIndex;
use nix::net::if_::if_indextoname;

/// The name that an interface has now, in the network namespace of the calling thread; `None`: it is gone.
pub fn name_of(interface: IfIndex) -> Option<String> {
    // For an index that is nobody's nix makes an empty name: it takes the null pointer for success.
    let name = if_indextoname(interface.number()).ok()?.to_string_lossy().into_owned();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_that_is_nobodys_has_no_name() {
        assert_eq!(
            (name_of(IfIndex::new(1)).as_deref(), name_of(IfIndex::new(u32::MAX))),
            (Some("lo"), None)
        );
    }
}
