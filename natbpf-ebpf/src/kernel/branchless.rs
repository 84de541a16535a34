//! Decisions without a branch: the verifier follows what comes after a branch once for each way to it.

/// 1 if it is 0, else 0.
#[inline(always)]
pub fn is_zero(number: u64) -> u64 {
    opaque(1 ^ ((number | opaque(number.wrapping_neg())) >> 63))
}

/// 1 if the first is less, else 0; both have 63 bits.
#[inline(always)]
pub fn is_less(first: u64, second: u64) -> u64 {
    opaque(first.wrapping_sub(second) >> 63)
}

/// One of two, by 1 or 0.
#[inline(always)]
pub fn select(condition: u64, yes: u64, no: u64) -> u64 {
    no ^ ((no ^ yes) & condition.wrapping_neg())
}

/// The same number, of which LLVM knows nothing: it would make a branch of what it understands.
#[inline(always)]
pub fn opaque(mut number: u64) -> u64 {
    // An instruction that does nothing: of two that are none, one after the other, the kernel finds that they stand at
    // one place, and refuses the lines of the object.
    // SAFETY: a register is copied to itself.
    unsafe {
        core::arch::asm!("{0} = {0}", inout(reg) number, options(pure, nomem, nostack, preserves_flags));
    }
    number
}
