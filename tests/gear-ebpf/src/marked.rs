//! Runs another program on a packet with things beside its frame that a test run cannot give it, and looks at them
//! afterwards.
//!
//! A test run can have a packet go through a program several times. The first time this program hands it on; the
//! second time it sees what the other program has made of it.
#![no_std]
#![no_main]

use aya_ebpf::{
    bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC},
    btf_maps::{Array, ProgramArray},
    helpers::generated::bpf_skb_vlan_push,
    macros::{btf_map, classifier},
    programs::TcContext,
};
use natbpf_gear::Beside;

/// What the packet has beside its frame; then, what it has afterwards.
#[btf_map]
static BESIDE: Array<Beside, 2> = Array::new();

/// Which of the programs is next, and whether the packet has gone through it.
#[btf_map]
static NEXT: Array<[u32; 2], 1> = Array::new();

#[btf_map]
static PROGRAMS: ProgramArray<2> = ProgramArray::new();

#[classifier]
pub fn marked(ctx: TcContext) -> i32 {
    let (Some(before), Some(after)) = (BESIDE.get_ptr(0), BESIDE.get_ptr_mut(1)) else { return TC_ACT_SHOT };
    let Some(next) = NEXT.get_ptr_mut(0) else { return TC_ACT_SHOT };
    let skb = ctx.skb.skb;
    // SAFETY: the context is valid while the program runs; the values are nobody else's meanwhile.
    unsafe {
        let [program, done] = *next;
        if done != 0 {
            let tag =
                if (*skb).vlan_present == 0 { 0 } else { (*skb).vlan_proto << 16 | (*skb).vlan_tci & 0xffff };
            *after = Beside { number: (*skb).tc_index, tag, mark: (*skb).mark, priority: (*skb).priority };
            return TC_ACT_UNSPEC;
        }
        (*next)[1] = 1;
        let Beside { number, tag, mark, priority } = *before;
        if tag != 0 && bpf_skb_vlan_push(skb, (tag >> 16) as u16, tag as u16) != 0 {
            return TC_ACT_SHOT;
        }
        (*skb).tc_index = number;
        (*skb).mark = mark;
        (*skb).priority = priority;
        PROGRAMS.tail_call(&ctx, program);
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
