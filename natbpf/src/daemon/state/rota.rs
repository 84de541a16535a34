//! Which interface is looked at when.

use natbpf_common::IfIndex;

/// Between two looks at the same port; uplinks are looked at each time.
const ROUND: u32 = 8;

/// Whose turn it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rota {
    turn: u32,
}

impl Rota {
    /// The next ones have theirs.
    pub const fn advance(&mut self) {
        self.turn = (self.turn + 1) % ROUND;
    }

    /// Whether it is an interface's.
    pub const fn has(&self, interface: IfIndex) -> bool {
        interface.number() % ROUND == self.turn
    }

    /// All have had their turn.
    pub const fn is_over(&self) -> bool {
        self.turn == 0
    }
}
