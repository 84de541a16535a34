//! Runs another program on a packet with a number in `skb->tc_index`, which a test run cannot give it.
#![no_std]
#![no_main]

use aya_ebpf::{
    bindings::TC_ACT_SHOT,
    btf_maps::{Array, ProgramArray},
    macros::{btf_map, classifier},
    programs::TcContext,
};

/// The number.
#[btf_map]
static NUMBER: Array<u32, 1> = Array::new();

/// The program.
#[btf_map]
static PROGRAM: ProgramArray<1> = ProgramArray::new();

#[classifier]
pub fn marked(ctx: TcContext) -> i32 {
    let Some(number) = NUMBER.get(0) else { return TC_ACT_SHOT };
    // SAFETY: the context is valid while the program runs; nothing is left to be done here.
    unsafe {
        (*ctx.skb.skb).tc_index = *number;
        PROGRAM.tail_call(&ctx, 0);
    }
    // There is no such program.
    TC_ACT_SHOT
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
