//! The size of the first-level cache: what kernels keep there depends on it, but never a result.

use std::sync::OnceLock;

/// What is assumed where the processor does not tell.
const USUAL: usize = 32 << 10;

/// Bytes of data that the first-level cache of a core holds.
pub(crate) fn first_level_bytes() -> usize {
    static BYTES: OnceLock<usize> = OnceLock::new();
    *BYTES.get_or_init(|| told().unwrap_or(USUAL))
}

#[cfg(not(target_arch = "x86_64"))]
fn told() -> Option<usize> {
    None
}

/// What the CPUID instruction tells: its leaf of caches has the same form on processors of Intel (4)
/// and of AMD (8000001Dh), a sub-leaf for each cache.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
#[allow(unused_unsafe)] // A safe function from some version of Rust on.
fn told() -> Option<usize> {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    const MOST_CACHES: u32 = 8;
    for (leaf, range) in [(4, 0), (0x8000_001d, 0x8000_0000)] {
        // SAFETY: every 64-bit x86 processor has the instruction.
        let last = unsafe { __cpuid(range) }.eax;
        if last < leaf {
            continue;
        }
        for cache in 0..MOST_CACHES {
            // SAFETY: as above.
            let told = unsafe { __cpuid_count(leaf, cache) };
            let (kind, level) = (told.eax & 31, told.eax >> 5 & 7);
            if kind == 0 {
                break;
            }
            // Data, or data and instructions.
            if level == 1 && kind != 2 {
                let ways = (told.ebx >> 22) + 1;
                let partitions = (told.ebx >> 12 & 0x3ff) + 1;
                let line = (told.ebx & 0xfff) + 1;
                let sets = u64::from(told.ecx) + 1;
                let bytes = u64::from(ways) * u64::from(partitions) * u64::from(line) * sets;
                return usize::try_from(bytes).ok().filter(|bytes| *bytes > 0);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_level_cache_is_of_a_likely_size() {
        let bytes = first_level_bytes();
        assert!((8 << 10..=1 << 20).contains(&bytes), "{bytes} bytes");
        assert_eq!(bytes, first_level_bytes());
    }
}
