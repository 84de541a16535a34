//! SipHash-2-4 of two words: the keyed hash by which ports are chosen, so that nobody outside can predict
//! them.

/// The secret key, 128 bits: `k0` and `k1` of the definition.
pub type Secret = [u64; 2];

/// SipHash-2-4 (Aumasson and Bernstein) of the 16 bytes of `words`, little-endian.
#[inline(always)]
pub const fn siphash(secret: Secret, words: [u64; 2]) -> u64 {
    let mut v = [
        secret[0] ^ 0x736f_6d65_7073_6575,
        secret[1] ^ 0x646f_7261_6e64_6f6d,
        secret[0] ^ 0x6c79_6765_6e65_7261,
        secret[1] ^ 0x7465_6462_7974_6573,
    ];
    v = compress(v, words[0]);
    v = compress(v, words[1]);
    v = compress(v, 16 << 56);
    v[2] ^= 0xff;
    v = round(round(round(round(v))));
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

#[inline(always)]
const fn compress(mut v: [u64; 4], word: u64) -> [u64; 4] {
    v[3] ^= word;
    v = round(round(v));
    v[0] ^= word;
    v
}

#[inline(always)]
const fn round([mut a, mut b, mut c, mut d]: [u64; 4]) -> [u64; 4] {
    a = a.wrapping_add(b);
    b = b.rotate_left(13) ^ a;
    a = a.rotate_left(32);
    c = c.wrapping_add(d);
    d = d.rotate_left(16) ^ c;
    a = a.wrapping_add(d);
    d = d.rotate_left(21) ^ a;
    c = c.wrapping_add(b);
    b = b.rotate_left(17) ^ c;
    c = c.rotate_left(32);
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use std::hash::Hasher;

    use proptest::prelude::*;
    use siphasher::sip::SipHasher24;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_the_siphasher_crate(secret: [u64; 2], words: [u64; 2]) {
            let mut reference = SipHasher24::new_with_keys(secret[0], secret[1]);
            reference.write(&[words[0].to_le_bytes(), words[1].to_le_bytes()].concat());
            prop_assert_eq!(siphash(secret, words), reference.finish());
        }
    }
}
