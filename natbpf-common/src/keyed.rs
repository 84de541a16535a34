//! A keyed hash of a few words that is cheap enough for every packet, and that nobody can search without the keys.
//!
//! Multilinear hashing (Lemire and Kaser, "Strongly universal string hashing is fast", 2014): the sum of the
//! words, each times a secret number of 64 bits, modulo 2^64; its upper half counts. Any two different inputs
//! have the same upper half under one in 2^32 of all keys. Two such hashes with keys of their own make 64
//! bits, which are the same under one in 2^64. This holds against attackers who do not see hashes, and natbpf
//! shows none: it only compares them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// How many words are hashed.
pub const WORDS: usize = 6;

/// The secret numbers: for each half of the hash one to begin with, and one a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Keys([[u64; WORDS + 1]; 2]);

impl Keys {
    /// Bytes that have to be random.
    pub const BYTES: usize = size_of::<Self>();

    /// Whether no keys have been made yet: the numbers that the halves begin with are both 0.
    pub const fn is_unset(&self) -> bool {
        self.0[0][0] == 0 && self.0[1][0] == 0
    }

    /// The hash of all words, in their order.
    #[inline(always)]
    pub const fn hash(&self, words: &[u32; WORDS]) -> u64 {
        (self.half(0, words) & 0xffff_ffff_0000_0000) | self.half(1, words) >> 32
    }

    /// The hash of twice as many words, the second half of them by keys of their own.
    #[inline(always)]
    pub const fn hash_with(&self, words: &[u32; WORDS], others: &Self, more: &[u32; WORDS]) -> u64 {
        let upper = self.half(0, words).wrapping_add(others.half(0, more));
        let lower = self.half(1, words).wrapping_add(others.half(1, more));
        (upper & 0xffff_ffff_0000_0000) | lower >> 32
    }

    #[inline(always)]
    const fn half(&self, number: usize, words: &[u32; WORDS]) -> u64 {
        let [first, keys @ ..] = &self.0[number];
        // Written out: the verifier follows a loop once for each turn, and LLVM does not always unroll it.
        first
            .wrapping_add(keys[0].wrapping_mul(words[0] as u64))
            .wrapping_add(keys[1].wrapping_mul(words[1] as u64))
            .wrapping_add(keys[2].wrapping_mul(words[2] as u64))
            .wrapping_add(keys[3].wrapping_mul(words[3] as u64))
            .wrapping_add(keys[4].wrapping_mul(words[4] as u64))
            .wrapping_add(keys[5].wrapping_mul(words[5] as u64))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn keys()(numbers: [[u64; WORDS + 1]; 2]) -> Keys {
            Keys(numbers)
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(keys in keys(), words: [u32; WORDS]) {
            let half = |number: usize| {
                let sum = words.iter().zip(&keys.0[number][1..]).fold(u128::from(keys.0[number][0]), |sum, (word, key)| {
                    sum + u128::from(*word) * u128::from(*key)
                });
                (sum % (1 << 64)) >> 32
            };
            prop_assert_eq!(u128::from(keys.hash(&words)), half(0) << 32 | half(1));
        }

        #[test]
        fn every_bit_of_every_word_counts(keys in keys(), words: [u32; WORDS], bit in 0..32 * WORDS) {
            let mut other = words;
            other[bit / 32] ^= 1 << (bit % 32);
            prop_assert_ne!(keys.hash(&words), keys.hash(&other));
        }

        /// What meets under one set of keys does not under another: there is nothing to be found that would
        /// meet under all.
        #[test]
        fn the_keys_decide(keys in keys(), others in keys(), words: [u32; WORDS]) {
            prop_assert_ne!(keys.hash(&words), others.hash(&words));
        }
    }
}
