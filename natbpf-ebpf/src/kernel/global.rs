//! Functions that are global to the kernel: its verifier follows each of them by itself, and once.
//!
//! Otherwise the verifier, and that of Linux 6.1 most of all, would follow the rest of a program once for
//! every path through them. Such a function takes and returns plain numbers and pointers; [`global!`] makes
//! one of a function with types.

use aya_ebpf::bindings::{__sk_buff, xdp_md};
use natbpf_common::{IfIndex, contract::counter::DropReason};

/// Makes a global function of another one, which it is all of. To the verifier a pointer that it is handed
/// may be null: then it answers what has the number 0.
macro_rules! global {
    ($vis:vis fn $name:ident($($argument:ident: $type:ty),*) -> $answer:ty = $inner:path) => {
        #[inline(always)]
        $vis fn $name($($argument: $type),*) -> $answer {
            #[unsafe(no_mangle)]
            #[inline(never)]
            extern "C" fn $name($($argument: <$type as $crate::kernel::global::Argument>::Raw),*) -> u32 {
                $(
                    // SAFETY: the caller below passes on what it was given itself, and the verifier checks the memory.
                    let taken = unsafe { <$type as $crate::kernel::global::Argument>::take($argument) };
                    let Some($argument) = taken else { return 0 };
                )*
                $crate::kernel::global::Answer::to_number($inner($($argument),*))
            }
            $crate::kernel::global::Answer::from_number($name($(
                $crate::kernel::global::Argument::pass($argument)
            ),*))
        }
    };
}

pub(crate) use global;

/// What a global function can be handed.
pub trait Argument: Sized {
    type Raw;

    fn pass(self) -> Self::Raw;

    /// # Safety
    /// `raw` has to come from [`pass`](Self::pass), whose lifetime goes on.
    unsafe fn take(raw: Self::Raw) -> Option<Self>;
}

/// What a global function can answer.
pub trait Answer {
    fn to_number(self) -> u32;
    fn from_number(number: u32) -> Self;
}

macro_rules! plain {
    ($($type:ty),*) => {$(
        impl Argument for $type {
            type Raw = Self;

            #[inline(always)]
            fn pass(self) -> Self {
                self
            }

            #[inline(always)]
            unsafe fn take(raw: Self) -> Option<Self> {
                Some(raw)
            }
        }
    )*};
}

plain!(u32, u64, *mut __sk_buff, *mut xdp_md);

impl Argument for IfIndex {
    type Raw = u32;

    #[inline(always)]
    fn pass(self) -> u32 {
        self.number()
    }

    #[inline(always)]
    unsafe fn take(raw: u32) -> Option<Self> {
        Some(Self::new(raw))
    }
}

impl<T> Argument for &T {
    type Raw = *const T;

    #[inline(always)]
    fn pass(self) -> *const T {
        self
    }

    #[inline(always)]
    unsafe fn take(raw: *const T) -> Option<Self> {
        // SAFETY: the caller's.
        if raw.is_null() { None } else { Some(unsafe { &*raw }) }
    }
}

impl<T> Argument for &mut T {
    type Raw = *mut T;

    #[inline(always)]
    fn pass(self) -> *mut T {
        self
    }

    #[inline(always)]
    unsafe fn take(raw: *mut T) -> Option<Self> {
        // SAFETY: the caller's.
        if raw.is_null() { None } else { Some(unsafe { &mut *raw }) }
    }
}

/// Lets an enumeration be handed and answered as its numbers. What is no number of it, which nobody hands
/// over, counts as the first.
macro_rules! numbered {
    ($type:ident { $first:ident, $($variant:ident),* }) => {
        impl $crate::kernel::global::Argument for $type {
            type Raw = u32;

            #[inline(always)]
            fn pass(self) -> u32 {
                self as u32
            }

            #[inline(always)]
            unsafe fn take(raw: u32) -> Option<Self> {
                Some($crate::kernel::global::Answer::from_number(raw))
            }
        }

        impl $crate::kernel::global::Answer for $type {
            #[inline(always)]
            fn to_number(self) -> u32 {
                self as u32
            }

            #[inline(always)]
            fn from_number(number: u32) -> Self {
                match number {
                    $(number if number == Self::$variant as u32 => Self::$variant,)*
                    _ => Self::$first,
                }
            }
        }
    };
}

pub(crate) use numbered;

impl Answer for u32 {
    #[inline(always)]
    fn to_number(self) -> u32 {
        self
    }

    #[inline(always)]
    fn from_number(number: u32) -> Self {
        number
    }
}

impl Answer for () {
    #[inline(always)]
    fn to_number(self) -> u32 {
        0
    }

    #[inline(always)]
    fn from_number(_: u32) {}
}

impl Answer for bool {
    #[inline(always)]
    fn to_number(self) -> u32 {
        self as u32
    }

    #[inline(always)]
    fn from_number(number: u32) -> Self {
        number != 0
    }
}

/// All numbers below are free for what is no reason to drop the packet.
const FIRST_REASON: u32 = 256;

impl<T: Answer> Answer for Result<T, DropReason> {
    #[inline(always)]
    fn to_number(self) -> u32 {
        match self {
            Ok(answer) => answer.to_number(),
            Err(reason) => FIRST_REASON + reason as u32,
        }
    }

    #[inline(always)]
    fn from_number(number: u32) -> Self {
        if number < FIRST_REASON {
            return Ok(T::from_number(number));
        }
        Err(DropReason::from_number(number - FIRST_REASON).unwrap_or(DropReason::Busy))
    }
}
